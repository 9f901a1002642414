"""From a snapshot's folder to the entries of its manifest, and to where its bytes lie."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from edge_agent.checkpoint.manifest import Entry, Kind
from edge_agent.checkpoint.pagemap import page_maps
from workrs.domain.errors import CheckpointError


class Stretch(NamedTuple):
    """Bytes that lie side by side in a file, and belong side by side wherever they are from."""

    path: str
    offset: int
    """In the file."""
    source: str
    """What they are a piece of: the file itself, or a process's memory."""
    address: int
    """Where in the source they begin."""
    length: int


def scan(folder: Path) -> tuple[Entry, ...]:
    """Return the entries of *folder*: each folder before what it holds, files by size."""
    others: list[Entry] = []
    files: list[Entry] = []
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        inside = Path(os.path.relpath(parent, folder))
        for name in sorted((*folders, *names)):
            entry = _entry(Path(parent, name), str(inside / name))
            (files if entry.kind is Kind.FILE else others).append(entry)
    return (*others, *sorted(files, key=lambda entry: (entry.size, entry.path)))


def stretches(folder: Path, entries: Sequence[Entry]) -> list[Stretch]:
    """Return where the bytes of all files lie, in the order of the entries."""
    maps = {f"image/{name}": found for name, found in page_maps(folder / "image").items()}
    result = []
    for entry in entries:
        if entry.size == 0:
            continue
        found = maps.get(entry.path)
        if found is None:
            result.append(Stretch(entry.path, 0, entry.path, 0, entry.size))
            continue
        offset = 0
        for address, size in found.ranges:
            result.append(Stretch(entry.path, offset, found.source, address, size))
            offset += size
    return result


def _entry(path: Path, name: str) -> Entry:
    status = path.lstat()
    kinds = {
        stat.S_IFREG: Kind.FILE,
        stat.S_IFDIR: Kind.FOLDER,
        stat.S_IFLNK: Kind.LINK,
        stat.S_IFIFO: Kind.FIFO,
    }
    kind = kinds.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise CheckpointError(f"a snapshot holds {name!r}, which is no file, folder, link or FIFO")
    link = str(path.readlink()) if kind is Kind.LINK else ""
    try:
        (name + link).encode()
    except UnicodeEncodeError:
        raise CheckpointError(f"a snapshot holds {name!r}, whose name is no UTF-8") from None
    return Entry(
        path=name,
        kind=kind,
        mode=0o777 & status.st_mode if kind is not Kind.LINK else 0o777,
        size=status.st_size if kind is Kind.FILE else 0,
        mtime_ns=status.st_mtime_ns if kind is Kind.FILE else 0,
        link=link,
    )
