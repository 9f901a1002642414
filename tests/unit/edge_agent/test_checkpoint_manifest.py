"""Goal: a manifest that a reader could be hurt by cannot exist.

Method: one rule broken at a time; and bytes that are none.
"""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.checkpoint.body import BODY_BYTES_MAX, decode_manifest, encode_manifest
from edge_agent.checkpoint.manifest import (
    EXTENTS_MAX,
    HOLE,
    PACK_BYTES,
    Blob,
    Entry,
    Extent,
    Kind,
    Manifest,
    pack_map,
)
from workrs.domain.errors import CheckpointError
from workrs.domain.ids import Digest, Epoch, JobId
from workrs.ports.runtime import Rung
from workrs.testing.runtime import HOST

if TYPE_CHECKING:
    from collections.abc import Sequence

GOOD = [
    Entry(path="job", kind=Kind.FOLDER),
    Entry(path="stdout", kind=Kind.FILE),
]


def file(size: int, path: str = "job/a") -> Entry:
    return Entry(path=path, kind=Kind.FILE, size=size)


def blob(size: int, name: str = "a") -> Blob:
    return Blob(name=Digest(name * 64), stored=1, bytes=size)


def manifest(
    *entries: Entry, blobs: Sequence[Blob] = (), extents: Sequence[int] = (), **fields: Any
) -> Manifest:
    given: dict[str, Any] = {
        "v": 2,
        "job": JobId("pump_1"),
        "epoch": Epoch(1),
        "seq": 1,
        "rung": Rung.FILES,
        "image": "",
        "command": (),
        "host": HOST,
        "entries": (*GOOD, *entries),
        "blobs": tuple(blobs),
        "map": pack_map(extents),
    }
    return Manifest(**{**given, **fields})


@pytest.mark.parametrize(
    "entry",
    [
        {"path": "/etc/passwd", "kind": Kind.FILE},
        {"path": "job/../../etc/passwd", "kind": Kind.FILE},
        {"path": "job//x", "kind": Kind.FILE},
        {"path": "job/./x", "kind": Kind.FILE},
        {"path": "job/x\0", "kind": Kind.FILE},
        {"path": "elsewhere", "kind": Kind.FILE},
        {"path": "job/x", "kind": Kind.FILE, "mode": 0o4755},
        {"path": "job/x", "kind": Kind.FILE, "size": -1},
        {"path": "job/x", "kind": Kind.FIFO, "size": 1},
        {"path": "job/x", "kind": Kind.LINK, "link": "/etc/passwd"},
        {"path": "job/x", "kind": Kind.LINK, "link": "../x"},
        {"path": "job/x", "kind": Kind.LINK, "link": "a/../../job/../x"},
        {"path": "job/x", "kind": Kind.LINK, "link": ""},
        {"path": "image/x", "kind": Kind.LINK, "link": "y"},
        {"path": "image/a b", "kind": Kind.FILE},
        {"path": "stdout", "kind": Kind.FIFO},
        {"path": "job", "kind": Kind.LINK, "link": "x"},
        {"path": "missing/folder/x", "kind": Kind.FILE},
    ],
)
def test_a_name_that_leads_elsewhere_cannot_be_listed(entry: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError):
        Entry(**entry)


@pytest.mark.parametrize(
    "entries",
    [
        [],
        GOOD[:1],
        [*GOOD, Entry(path="job/a/b", kind=Kind.FILE)],
        [*GOOD, Entry(path="job/a", kind=Kind.FILE), Entry(path="job/a", kind=Kind.FIFO)],
        [
            *GOOD,
            Entry(path="job/a", kind=Kind.LINK, link="b"),
            Entry(path="job/a/b", kind=Kind.FILE),
        ],
    ],
)
def test_entries_that_do_not_fit_together_are_refused(entries: list[Entry]) -> None:
    with pytest.raises(CheckpointError):
        manifest(entries=tuple(entries))


@pytest.mark.parametrize(
    ("blobs", "extents", "why"),
    [
        ([], [], "other bytes"),
        ([blob(9)], [0, 0, 9], "other bytes"),
        ([blob(11)], [0, 0, 11], "other bytes"),
        ([blob(9)], [0, 0, 10], "lies in no blob"),
        ([blob(10)], [0, 1, 10], "lies in no blob"),
        ([blob(10)], [1, 0, 10], "lies in no blob"),
        ([blob(10)], [0, 0, 10, 0, 0, 0], "lies in no blob"),
        ([], [HOLE, 0, 10, HOLE, 0, 0], "lies in no blob"),
        ([blob(10), blob(1, "b")], [0, 0, 10], "no extent lies in"),
        ([blob(10), blob(10)], [0, 0, 5, 1, 0, 5], "listed twice"),
        ([blob(10)], [0, 0, 10, 0], "within an extent"),
        ([blob(10)], [0, 0, 10] * (EXTENTS_MAX + 1), "too many extents"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(
    blobs: list[Blob], extents: list[int], why: str
) -> None:
    manifest(file(10), blobs=[blob(10)], extents=[0, 0, 4, HOLE, 0, 2, 0, 6, 4])
    with pytest.raises(CheckpointError, match=why):
        manifest(file(10), blobs=blobs, extents=extents)


def test_a_map_that_is_no_base64_is_refused() -> None:
    with pytest.raises(CheckpointError, match="no base64"):
        manifest(map="?")


@pytest.mark.parametrize(
    ("stored", "size"), [(0, 1), (1, 0), (1, PACK_BYTES + 1), (PACK_BYTES + (64 << 10) + 1, 1)]
)
def test_a_blob_of_impossible_size_cannot_be_listed(stored: int, size: int) -> None:
    with pytest.raises(CheckpointError, match="a blob"):
        Blob(name=Digest("a" * 64), stored=stored, bytes=size)


def test_another_version_is_refused() -> None:
    with pytest.raises(CheckpointError, match="version 1"):
        manifest(v=1)


def test_a_manifest_survives_its_own_format() -> None:
    link = Entry(path="job/l", kind=Kind.LINK, link="/job/b")
    good = manifest(link, file(8), blobs=[blob(5)], extents=[0, 0, 5, HOLE, 0, 3])
    again = decode_manifest(encode_manifest(good))
    assert again == good
    assert list(again.extents()) == [Extent(0, 0, 5), Extent(HOLE, 0, 3)]


def test_junk_is_no_manifest() -> None:
    rng = random.Random(1)
    good = bytearray(
        encode_manifest(manifest(file(8), blobs=[blob(5)], extents=[0, 0, 5, HOLE, 0, 3]))
    )
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(CheckpointError):
            decode_manifest(bytes(data))


@pytest.mark.parametrize("part", [b"0,", b"{},", b"[", b'{"a":'])
def test_a_body_of_too_many_parts_is_refused_unread(part: bytes) -> None:
    """Each would take a hundred times its size in memory before it could be judged."""
    body = b'{"v":2,"entries":[' + part * (1 << 19)
    with pytest.raises(CheckpointError, match="too many parts"):
        decode_manifest(body)


MOST = (1 << 17) - 9
FORGED = {
    "objects": b'{"v":2,"entries":[' + b",".join([b'{"a":1.5}'] * MOST) + b'],"blobs":[]}',
    "words": b'{"v":2,"entries":[],"blobs":[],"map":"","command":['
    + b",".join([b"[]"] * MOST)
    + b"]}",
    "fields": b"{" + b",".join(b'"k%d":1.5' % n for n in range(2 * MOST)) + b"}",
}
READER = """
import resource, sys
from edge_agent.checkpoint.body import decode_manifest
from workrs.domain.errors import CheckpointError

def grown():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

body = sys.stdin.buffer.read()
before = grown()
try:
    decode_manifest(body)
except CheckpointError as error:
    print(grown() - before, error)
"""


@pytest.mark.parametrize("kind", sorted(FORGED))
def test_a_forged_body_at_the_limit_takes_little_memory(kind: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", READER], input=FORGED[kind], capture_output=True, check=True
    ).stdout.decode()
    grown_kib, _, why = told.partition(" ")
    assert "too many parts" not in why, "it is refused before it is read, and shows nothing"
    assert int(grown_kib) < 64 << 10, told


def test_parts_within_parts_that_have_none_are_refused() -> None:
    good = encode_manifest(manifest()).decode()
    for forged in (
        good.replace('"command":[]', '"command":[[]]'),
        good.replace('"path":"job"', '"path":["job"]'),
        good.replace('"arch":', '"x":{"y":[]},"arch":'),
        good.replace('"entries":[', '"entries":{},"x":['),
        good.replace('"map":""', '"map":{}'),
        f"[{good}]",
    ):
        assert forged != good
        with pytest.raises(CheckpointError):
            decode_manifest(forged.encode())


def test_a_manifest_that_no_reader_would_take_is_not_written() -> None:
    commas = [file(0, f"job/{n}{',' * 200}") for n in range(2000)]
    with pytest.raises(CheckpointError, match="too many parts"):
        encode_manifest(manifest(*commas))
    with pytest.raises(CheckpointError, match="a body of"):
        encode_manifest(manifest(note="x" * BODY_BYTES_MAX))
