"""The OCI runtime through which a Docker Engine restores a container from a checkpoint.

`workrs-runc`, beside this module, is the runtime; its head says how it works. A caller creates
a container with ``runtime=RUNTIME_NAME``, calls `hand_over`, and starts the container.

1. Only root can hand over: nothing that a job brings along can cause a restore.
2. `hand_over` before `start` or never: a container that was started without it is a new one.
"""

import os
import re
from pathlib import Path

from workrs.domain.errors import ContainerError

RUNTIME_NAME = "workrs"
"""Under this name an engine lists the runtime."""

RUNTIME_PATH = Path("/opt/workrs/bin/workrs-runc")
"""Where the set-up puts the runtime."""

PREFIX_BIN = Path("/opt/workrs/bin")
"""To be put first in PATH for `runc checkpoint`, so that it finds a CRIU that works."""

_LOG_BYTES = 1 << 20
_HANDED_OVER = Path("/run/workrs/restore")
_CONTAINER_ID = re.compile(r"[0-9a-f]{64}")


def hand_over(container_id: str, checkpoint: Path) -> None:
    """Let the next start of *container_id* restore *checkpoint*.

    Args:
        container_id: full id of a container that was created and not started.
        checkpoint: absolute folder with CRIU's images in `image/`. After the start, `work/` in it
            holds `restore.log`.

    Raises:
        ContainerError: the id is malformed or there are no images.
    """
    if not _CONTAINER_ID.fullmatch(container_id):
        raise ContainerError(f"not a full container id: {container_id!r}")
    if not checkpoint.is_absolute() or not (checkpoint / "image").is_dir():
        raise ContainerError(f"no checkpoint images in {checkpoint}/image")
    _HANDED_OVER.mkdir(mode=0o700, parents=True, exist_ok=True)
    (_HANDED_OVER / container_id).symlink_to(checkpoint)


def take_back(container_id: str) -> None:
    """Forget a hand-over that was not used, as after a start that failed; idempotent."""
    (_HANDED_OVER / container_id).unlink(missing_ok=True)


def restore_errors(checkpoint: Path) -> list[str]:
    """Return what CRIU's log of a restore from *checkpoint* calls errors, oldest first.

    Looks at its beginning and its end: a restore that reads a short page image for ever writes
    gigabytes in between.
    """
    try:
        with (checkpoint / "work" / "restore.log").open("rb") as file:
            log = file.read(_LOG_BYTES)
            file.seek(max(file.tell(), file.seek(0, os.SEEK_END) - _LOG_BYTES))
            log += b"\n" + file.read(_LOG_BYTES)
    except OSError:
        return []
    return [line for line in log.decode(errors="replace").splitlines() if "Error (" in line]
