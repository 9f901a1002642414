"""A checkpoint's manifest: every entry of its folder, and every blob its bytes are in.

The contents of all files, in the order of the entries, are one stream of bytes. Blobs hold
pieces of it, and the *map* says, extent by extent, which bytes of which blob are the next ones
of the stream; a hole is an extent of zeros that needs no blob. A blob is up to PACK_BYTES of
blocks that were new to one checkpoint, so later ones use what is left of it.

1. A manifest that breaks a rule below cannot exist: the constructor raises CheckpointError.
2. Entries are files, folders, and in `job/` FIFOs and links that stay in /job. Nothing is
   absolute, has `..`, or lies in a folder that is not listed before it.
3. The extents together have exactly the bytes of the files, and lie within their blobs.
"""

import base64
import binascii
import re
import sys
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import NamedTuple

from edge_agent.runtimes.tree import link_stays
from workrs.domain.errors import CheckpointError
from workrs.domain.host import HostFacts
from workrs.domain.ids import Digest, Epoch, JobId, is_digest
from workrs.ports.runtime import Rung

PACK_BYTES = 4 << 20
"""Most that a blob holds, before compression."""
SEAL_BYTES_MAX = 64 << 10
"""What sealing may add to bytes that cannot be compressed."""
MANIFEST_BYTES_MAX = 8 << 20
"""As it is stored."""
EXTENTS_MAX = 1 << 20
HOLE = 0xFFFF_FFFF
"""In the place of a blob's number: zeros."""
_EXTENT_BYTES = 12
ENTRIES_MAX = 20_000
BLOBS_MAX = 1 << 16
_TOPS = {"job", "image", "stdout"}
_IMAGE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


class Kind(StrEnum):
    """What an entry is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    FIFO = "fifo"


def require(*, ok: bool, text: str) -> None:
    """Raise CheckpointError with *text* unless *ok*."""
    if not ok:
        raise CheckpointError(f"the manifest is not valid: {text}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name in the checkpoint's folder."""

    path: str
    kind: Kind
    mode: int = 0o600
    """Permission bits alone."""
    size: int = 0
    mtime_ns: int = 0
    link: str = ""

    def __post_init__(self) -> None:
        """Refuse what must not be created."""
        parts = self.path.split("/")
        require(
            ok=len(self.path) <= 4096
            and "\0" not in self.path + self.link
            and all(part not in ("", ".", "..") for part in parts)
            and parts[0] in _TOPS,
            text=f"path {self.path[:200]!r}",
        )
        require(ok=0 <= self.mode <= 0o777, text=f"mode {self.mode:o} of {self.path!r}")
        require(
            ok=self.size == 0 or (self.kind is Kind.FILE and self.size > 0),
            text=f"size of {self.path!r}",
        )
        require(ok=abs(self.mtime_ns) < 1 << 62, text=f"time of {self.path!r}")
        match parts:
            case ["stdout"]:
                require(ok=self.kind is Kind.FILE, text="stdout is no file")
            case ["job" | "image"]:
                require(ok=self.kind is Kind.FOLDER, text=f"{self.path} is no folder")
            case ["image", *names]:
                require(
                    ok=self.kind is Kind.FILE
                    and len(names) == 1
                    and _IMAGE_NAME.fullmatch(names[0]) is not None,
                    text=f"{self.path!r} is no image",
                )
            case _ if self.kind is Kind.LINK:
                require(
                    ok=0 < len(self.link) <= 4096
                    and link_stays(PurePosixPath(*parts[1:]), self.link),
                    text=f"link {self.path!r} leads out of /job",
                )


class Extent(NamedTuple):
    """The next bytes of the stream."""

    blob: int
    """Number of the blob in the manifest's list, or HOLE."""
    offset: int
    """In the blob's bytes, uncompressed. 0 for a hole."""
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """Something in the stores."""

    name: Digest
    """SHA-256 of what is stored."""
    stored: int
    """Size of that."""
    bytes: int
    """Size of what comes out of it."""

    def __post_init__(self) -> None:
        """Refuse what no writer makes."""
        require(ok=is_digest(self.name), text="a digest is none")
        require(ok=0 < self.bytes <= PACK_BYTES, text=f"a blob of {self.bytes} bytes")
        require(
            ok=0 < self.stored <= PACK_BYTES + SEAL_BYTES_MAX,
            text=f"a blob stored in {self.stored} bytes",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a checkpoint is, without what is in it."""

    v: int
    """Always 2. Required, so that it is never left out as a default."""
    job: JobId
    epoch: Epoch
    seq: int
    rung: Rung
    image: str
    """Id of the container image, or empty."""
    command: tuple[str, ...]
    host: HostFacts
    progress: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(Head):
    """One checkpoint."""

    entries: tuple[Entry, ...]
    blobs: tuple[Blob, ...]
    map: str
    """The extents: three numbers of 32 bits each, lowest byte first, in base64."""

    def __post_init__(self) -> None:
        """Check what concerns more than one entry."""
        require(ok=self.v == 2, text=f"version {self.v}")
        require(ok=self.rung is not Rung.NONE, text="rung none")
        require(ok=len(self.entries) <= ENTRIES_MAX, text=f"{len(self.entries)} entries")
        require(ok=len(self.blobs) <= BLOBS_MAX, text=f"{len(self.blobs)} blobs")
        self._check_names()
        self._check_map()

    def _check_names(self) -> None:
        folders: set[str] = set()
        seen: set[str] = set()
        for entry in self.entries:
            folder, _, _ = entry.path.rpartition("/")
            require(ok=not folder or folder in folders, text=f"no folder for {entry.path!r}")
            require(ok=entry.path not in seen, text=f"{entry.path!r} is listed twice")
            seen.add(entry.path)
            if entry.kind is Kind.FOLDER:
                folders.add(entry.path)
        wanted = {"job", "stdout"} | ({"image"} if self.rung is Rung.MEMORY else set())
        require(ok=seen >= wanted, text=f"{sorted(wanted - seen)} is missing")

    def _check_map(self) -> None:
        sizes = [blob.bytes for blob in self.blobs]
        require(
            ok=len({blob.name for blob in self.blobs}) == len(sizes), text="a blob is listed twice"
        )
        used = bytearray(len(sizes))
        total = 0
        for number, offset, length in self.extents():
            total += length
            if number == HOLE and length:
                continue
            if not (length and number < len(sizes) and offset + length <= sizes[number]):
                raise CheckpointError("the manifest is not valid: an extent lies in no blob")
            used[number] = 1
        require(ok=total == self.bytes, text="the extents have other bytes than the files")
        require(ok=all(used), text="a blob is listed that no extent lies in")

    def extents(self) -> Iterator[Extent]:
        """Yield the extents in order. Raises CheckpointError for a map that is none."""
        numbers = self.extent_numbers()
        return map(Extent, numbers[0::3], numbers[1::3], numbers[2::3])

    def extent_numbers(self) -> "array[int]":
        """Return blob, offset, length of one extent after the other. Raises as `extents`."""
        return _unpack(self.map)

    @property
    def bytes(self) -> int:
        """Return the bytes of all files, holes included."""
        return sum(entry.size for entry in self.entries)

    @property
    def stored_bytes(self) -> int:
        """Return the bytes of all blobs."""
        return sum(blob.stored for blob in self.blobs)

    def names(self) -> set[Digest]:
        """Return the names of its blobs, without its own."""
        return {blob.name for blob in self.blobs}


def pack_map(extents: Iterable[int]) -> str:
    """Return a manifest's map of *extents*: number of a blob, offset, length, and so on."""
    numbers = array("I", extents)
    if sys.byteorder == "big":
        numbers.byteswap()
    return base64.b64encode(numbers).decode()


def _unpack(text: str) -> "array[int]":
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise CheckpointError("the manifest is not valid: its map is no base64") from None
    require(ok=len(data) % _EXTENT_BYTES == 0, text="its map ends within an extent")
    require(ok=len(data) <= _EXTENT_BYTES * EXTENTS_MAX, text="its map has too many extents")
    numbers = array("I", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
