"""A checkpoint's manifest: every entry of its folder, and every blob its bytes are in.

The contents of all files, in the order of the entries, are one stream of bytes. It is cut
into parts of at most PART_BYTES; every part is a blob of the stores, or a hole of zeros that
needs none.

1. A manifest that breaks a rule below cannot exist: the constructor raises CheckpointError.
2. Entries are files, folders, and in `job/` FIFOs and links that stay in /job. Nothing is
   absolute, has `..`, or lies in a folder that is not listed before it.
3. The parts together have exactly the bytes of the files.
"""

import re
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from edge_agent.runtimes.tree import link_stays
from workrs.domain.errors import CheckpointError, WireError
from workrs.domain.host import HostFacts
from workrs.domain.ids import Digest, Epoch, JobId, is_digest
from workrs.ports.runtime import Rung
from workrs.wire.codec import decode, encode

PART_BYTES = 4 << 20
MANIFEST_BYTES_MAX = 8 << 20
ENTRIES_MAX = 20_000
_TOPS = {"job", "image", "stdout"}
_IMAGE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}")


class Kind(StrEnum):
    """What an entry is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    FIFO = "fifo"


def _require(*, ok: bool, text: str) -> None:
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
        _require(
            ok=len(self.path) <= 4096
            and "\0" not in self.path + self.link
            and all(part not in ("", ".", "..") for part in parts)
            and parts[0] in _TOPS,
            text=f"path {self.path[:200]!r}",
        )
        _require(ok=0 <= self.mode <= 0o777, text=f"mode {self.mode:o} of {self.path!r}")
        _require(
            ok=self.size == 0 or (self.kind is Kind.FILE and self.size > 0),
            text=f"size of {self.path!r}",
        )
        _require(ok=abs(self.mtime_ns) < 1 << 62, text=f"time of {self.path!r}")
        match parts:
            case ["stdout"]:
                _require(ok=self.kind is Kind.FILE, text="stdout is no file")
            case ["job" | "image"]:
                _require(ok=self.kind is Kind.FOLDER, text=f"{self.path} is no folder")
            case ["image", *names]:
                _require(
                    ok=self.kind is Kind.FILE
                    and len(names) == 1
                    and _IMAGE_NAME.fullmatch(names[0]) is not None,
                    text=f"{self.path!r} is no image",
                )
            case _ if self.kind is Kind.LINK:
                _require(
                    ok=0 < len(self.link) <= 4096
                    and link_stays(PurePosixPath(*parts[1:]), self.link),
                    text=f"link {self.path!r} leads out of /job",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Some of the stream's bytes."""

    raw: Digest
    """Of the bytes themselves."""
    bytes: int
    blob: Digest | None = None
    """Of the blob that holds them, compressed; None: they are zeros."""
    stored: int = 0
    """Size of the blob."""

    def __post_init__(self) -> None:
        """Refuse what no writer makes."""
        _require(ok=0 < self.bytes <= PART_BYTES, text=f"a part of {self.bytes} bytes")
        _require(
            ok=is_digest(self.raw) and (self.blob is None or is_digest(self.blob)),
            text="a digest is none",
        )
        _require(ok=0 <= self.stored <= PART_BYTES + 65536, text=f"a blob of {self.stored} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One checkpoint."""

    v: int
    """Always 1. Required, so that it is never left out as a default."""
    job: JobId
    epoch: Epoch
    seq: int
    rung: Rung
    image: str
    """Id of the container image, or empty."""
    command: tuple[str, ...]
    host: HostFacts
    entries: tuple[Entry, ...]
    parts: tuple[Part, ...]
    progress: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        """Check what concerns more than one entry."""
        _require(ok=self.v == 1, text=f"version {self.v}")
        _require(ok=self.rung is not Rung.NONE, text="rung none")
        _require(ok=len(self.entries) <= ENTRIES_MAX, text=f"{len(self.entries)} entries")
        folders: set[str] = set()
        seen: set[str] = set()
        for entry in self.entries:
            folder, _, _ = entry.path.rpartition("/")
            _require(ok=not folder or folder in folders, text=f"no folder for {entry.path!r}")
            _require(ok=entry.path not in seen, text=f"{entry.path!r} is listed twice")
            seen.add(entry.path)
            if entry.kind is Kind.FOLDER:
                folders.add(entry.path)
        wanted = {"job", "stdout"} | ({"image"} if self.rung is Rung.MEMORY else set())
        _require(ok=seen >= wanted, text=f"{sorted(wanted - seen)} is missing")
        _require(
            ok=sum(part.bytes for part in self.parts) == self.bytes,
            text="the parts have other bytes than the files",
        )

    @property
    def bytes(self) -> int:
        """Return the bytes of all files, holes included."""
        return sum(entry.size for entry in self.entries)

    @property
    def stored_bytes(self) -> int:
        """Return the bytes of all blobs."""
        return sum({part.blob: part.stored for part in self.parts}.values())

    def blobs(self) -> set[Digest]:
        """Return the names of its blobs, without its own."""
        return {part.blob for part in self.parts if part.blob is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Where some bytes of a part lie."""

    path: str
    offset: int
    length: int


def pieces(entries: Sequence[Entry], lengths: Iterator[int]) -> Iterator[list[Piece]]:
    """Yield for each part, given its length, the pieces of files that it holds."""
    files = deque((entry.path, entry.size) for entry in entries if entry.size > 0)
    offset = 0
    for length in lengths:
        found = []
        left = length
        while left:
            path, size = files[0]
            taken = min(left, size - offset)
            found.append(Piece(path=path, offset=offset, length=taken))
            left -= taken
            offset += taken
            if offset == size:
                files.popleft()
                offset = 0
        yield found


def part_lengths(
    entries: Sequence[Entry],
    *,
    cuts: Mapping[str, Sequence[int]] | None = None,
    small_bytes: int = PART_BYTES // 16,
) -> list[int]:
    """Return how to cut the stream of *entries*; files in *cuts*, by path, are cut as it says.

    Small files share parts, so that a thousand of them are not a thousand blobs. A large one
    begins a part of its own: then it is cut at the same places in the next checkpoint,
    whatever became of the files before it, and what did not change needs no upload.
    """
    lengths: list[int] = []
    room = 0
    for entry in entries:
        if entry.size == 0:
            continue
        given = (cuts or {}).get(entry.path)
        if given is not None:
            lengths += given
            room = 0
        elif entry.size >= small_bytes:
            whole, rest = divmod(entry.size, PART_BYTES)
            lengths += [PART_BYTES] * whole + ([rest] if rest else [])
            room = 0
        elif entry.size <= room:
            lengths[-1] += entry.size
            room -= entry.size
        else:
            lengths.append(entry.size)
            room = PART_BYTES - entry.size
    return lengths


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest's blob."""
    return encode(manifest)


def decode_manifest(data: bytes) -> Manifest:
    """Return the manifest in *data*, or raise CheckpointError. Total over junk."""
    try:
        return decode(Manifest, data)
    except WireError as error:
        raise CheckpointError(f"the manifest is not valid: {error}") from None
