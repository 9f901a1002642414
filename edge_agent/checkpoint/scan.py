"""From a snapshot's folder to the entries of its manifest, and to the bytes of its parts."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from edge_agent.checkpoint.manifest import PART_BYTES, Entry, Kind, Piece, part_lengths, pieces
from edge_agent.checkpoint.pagemap import page_cuts
from workrs.domain.errors import CheckpointError

_ZEROS = bytes(PART_BYTES)


def scan(folder: Path) -> tuple[Entry, ...]:
    """Return the entries of *folder*: each folder before what it holds, files by size.

    Small files come first, so that they share parts; see `part_lengths`.
    """
    others: list[Entry] = []
    files: list[Entry] = []
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        inside = Path(os.path.relpath(parent, folder))
        for name in sorted((*folders, *names)):
            entry = _entry(Path(parent, name), str(inside / name))
            (files if entry.kind is Kind.FILE else others).append(entry)
    return (*others, *sorted(files, key=lambda entry: (entry.size, entry.path)))


def plan_parts(folder: Path, entries: Sequence[Entry]) -> list[list[Piece]]:
    """Return the pieces of each part of the entries' stream."""
    cuts = {
        f"image/{name}": found for name, found in page_cuts(folder / "image", PART_BYTES).items()
    }
    return list(pieces(entries, iter(part_lengths(entries, cuts=cuts))))


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
    return Entry(
        path=name,
        kind=kind,
        mode=0o777 & status.st_mode if kind is not Kind.LINK else 0o777,
        size=status.st_size if kind is Kind.FILE else 0,
        mtime_ns=status.st_mtime_ns if kind is Kind.FILE else 0,
        link=str(path.readlink()) if kind is Kind.LINK else "",
    )


def read_part(folder: Path, found: Sequence[Piece]) -> bytes | None:
    """Return the bytes of a part, or None when all are zero."""
    data = b"".join(_read(folder / piece.path, piece) for piece in found)
    # Compares until the first difference: free for all but zeros.
    return None if data == _ZEROS[: len(data)] else data


def _read(path: Path, piece: Piece) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(piece.offset)
        data = file.read(piece.length)
    if len(data) != piece.length:
        raise CheckpointError(f"{piece.path} became shorter while it was packed")
    return data
