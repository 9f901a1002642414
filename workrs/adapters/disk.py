"""Making sure that what was done to a disk is on it."""

import os
from pathlib import Path


def sync_directory(path: Path) -> None:
    """Put a directory's entries on disk, so that a name made in it outlives a power cut. Blocks.

    Raises:
        OSError: it is not there, or the disk fails.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
