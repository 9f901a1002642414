"""Goal: what `save` stores `load` brings back, and damage of any kind is noticed.

Method: snapshots made of plain files, stores in memory, each blob spoiled in turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from edge_agent.checkpoint import Saved, discard, load, save
from edge_agent.checkpoint.manifest import (
    PART_BYTES,
    Entry,
    Kind,
    Manifest,
    decode_manifest,
    encode_manifest,
    part_lengths,
)
from workrs.domain.errors import CheckpointError, StoreError
from workrs.domain.ids import Digest, Epoch, JobId
from workrs.ports.runtime import Progress, Rung, Snapshot
from workrs.testing.runtime import HOST
from workrs.testing.store import MemoryStores

if TYPE_CHECKING:
    from pathlib import Path

JOB = JobId("pump_1")
URLS = ("mem://a", "mem://b", "mem://c")
BIG = 1 << 30


def make_snapshot(path: Path, *, pages: bytes = b"", rung: Rung = Rung.MEMORY) -> Snapshot:
    """Write a folder with one of everything."""
    (path / "job" / "deep").mkdir(parents=True)
    (path / "stdout").write_bytes(b"so far\n")
    (path / "job" / "text").write_bytes(b"hello")
    (path / "job" / "text").chmod(0o640)
    os.utime(path / "job" / "text", ns=(123456789, 123456789))
    (path / "job" / "empty").touch()
    (path / "job" / "deep" / "link").symlink_to("../text")
    os.mkfifo(path / "job" / "fifo")
    with (path / "job" / "sparse").open("wb") as file:
        file.truncate(3 * PART_BYTES + 5)
    if rung is Rung.MEMORY:
        (path / "image").mkdir()
        (path / "image" / "pages-1.img").write_bytes(pages)
    return Snapshot(
        path=path,
        rung=rung,
        image="sha256:1",
        command=("run",),
        host=HOST,
        progress=Progress(fraction=0.5, note="half"),
    )


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def tree(path: Path) -> dict[str, tuple[object, ...]]:
    """Return everything below *path* that a checkpoint keeps."""
    found: dict[str, tuple[object, ...]] = {}
    for entry in sorted(path.rglob("*")):
        status = entry.lstat()
        name = str(entry.relative_to(path))
        if entry.is_symlink():
            found[name] = ("link", entry.readlink())
        elif entry.is_file():
            digest = hashlib.sha256(entry.read_bytes()).hexdigest()
            in_job = name.startswith("job/")
            found[name] = (
                "file",
                digest,
                *((status.st_mode, status.st_mtime_ns) if in_job else ()),
            )
        else:
            found[name] = (oct(status.st_mode & 0o170000),)
    return found


async def store(
    stores: MemoryStores, snapshot: Snapshot, *, seq: int = 1, previous: Saved | None = None
) -> Saved:
    return await save(
        snapshot,
        job=JOB,
        epoch=Epoch(2),
        seq=seq,
        stores=[stores.open(url) for url in URLS],
        previous=previous,
    )


async def restore(stores: MemoryStores, saved: Saved, path: Path) -> Snapshot:
    return await load(saved.ref, job=JOB, open_store=stores.open, path=path, limit_bytes=BIG)


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        pages = noise(2 * PART_BYTES) + bytes(PART_BYTES) + noise(1000)
        snapshot = make_snapshot(tmp_path / "a", pages=pages)
        saved = await store(stores, snapshot)
        assert saved.ref.location == URLS[:2]
        again = await restore(stores, saved, tmp_path / "b")
        assert tree(tmp_path / "a") == tree(tmp_path / "b")
        assert replace(again, path=snapshot.path, steps_s={}) == snapshot
        assert (tmp_path / "b" / "job" / "sparse").stat().st_blocks == 0

    asyncio.run(story())


def test_what_did_not_change_is_not_sent_again(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        pages = noise(4 * PART_BYTES)
        first = await store(stores, make_snapshot(tmp_path / "a", pages=pages))
        changed = pages[:PART_BYTES] + noise(PART_BYTES, seed=2) + pages[2 * PART_BYTES :]
        second = await store(
            stores, make_snapshot(tmp_path / "b", pages=changed), seq=2, previous=first
        )
        assert first.uploaded_bytes > 4 * PART_BYTES
        assert second.uploaded_bytes < 1.1 * PART_BYTES
        await discard(first.ref, job=JOB, keep=[second.ref], open_store=stores.open)
        await restore(stores, second, tmp_path / "c")
        with pytest.raises(CheckpointError):
            await restore(stores, first, tmp_path / "d")
        await discard(second.ref, job=JOB, keep=[], open_store=stores.open)
        assert not any(one.blobs for one in stores.stores.values())

    asyncio.run(story())


def test_another_store_takes_over_for_one_that_fails(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        snapshot = make_snapshot(tmp_path / "a", pages=noise(1000))
        stores.open(URLS[0]).silent = True
        saved = await store(stores, snapshot)
        assert saved.ref.location == URLS[1:]
        stores.open(URLS[1]).full = True
        with pytest.raises(StoreError, match="fewer than 2"):
            await store(stores, snapshot)

    asyncio.run(story())


def test_a_store_that_is_silent_is_waited_for_once_and_not_for_every_part(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "a", pages=noise(8 * PART_BYTES)))
        assert len(saved.manifest.blobs()) >= 8
        stores.open(URLS[0]).silent = True
        await restore(stores, saved, tmp_path / "b")
        assert stores.open(URLS[0]).unanswered == 1

    asyncio.run(story())


def test_a_spoiled_blob_is_noticed_and_the_other_copy_used(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        snapshot = make_snapshot(tmp_path / "a", pages=noise(PART_BYTES + 1000))
        saved = await store(stores, snapshot)
        names = [*saved.manifest.blobs(), saved.ref.manifest]
        assert len(names) >= 4
        for number, name in enumerate(names):
            for spoiled in (_cut, _flip, _swap, _drop):
                whole = {url: dict(stores.open(url).blobs) for url in URLS}
                spoiled(stores, URLS[0], name)
                await restore(stores, saved, tmp_path / "one")
                _remove(tmp_path / "one")
                spoiled(stores, URLS[1], name)
                with pytest.raises(CheckpointError):
                    await restore(stores, saved, tmp_path / "none")
                assert not (tmp_path / "none").exists()
                stores.open(URLS[1]).silent = True
                with pytest.raises(StoreError):
                    await restore(stores, saved, tmp_path / f"silent{number}")
                stores.open(URLS[1]).silent = False
                for url in URLS:
                    stores.open(url).blobs = whole[url]

    asyncio.run(story())


def _blobs(stores: MemoryStores, url: str) -> dict[tuple[object, ...], bytes]:
    return stores.open(url).blobs  # type: ignore[return-value]


def _cut(stores: MemoryStores, url: str, name: Digest) -> None:
    blobs = _blobs(stores, url)
    blobs[JOB, Epoch(2), name] = blobs[JOB, Epoch(2), name][:-1]


def _flip(stores: MemoryStores, url: str, name: Digest) -> None:
    blobs = _blobs(stores, url)
    data = bytearray(blobs[JOB, Epoch(2), name])
    data[len(data) // 2] ^= 1
    blobs[JOB, Epoch(2), name] = bytes(data)


def _swap(stores: MemoryStores, url: str, name: Digest) -> None:
    blobs = _blobs(stores, url)
    blobs[JOB, Epoch(2), name] = next(data for key, data in blobs.items() if key[2] != name)


def _drop(stores: MemoryStores, url: str, name: Digest) -> None:
    del _blobs(stores, url)[JOB, Epoch(2), name]


def _remove(path: Path) -> None:
    shutil.rmtree(path)


def test_a_checkpoint_of_another_job_or_number_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "a"))
        for ref in (replace(saved.ref, seq=2), replace(saved.ref, epoch=Epoch(3))):
            with pytest.raises(CheckpointError, match="was asked for"):
                await restore(stores, replace(saved, ref=ref), tmp_path / "b")
        for one in stores.stores.values():
            one.blobs = {(JobId("pump_2"), e, n): data for (_, e, n), data in one.blobs.items()}
        with pytest.raises(CheckpointError, match="was asked for"):
            await load(
                saved.ref,
                job=JobId("pump_2"),
                open_store=stores.open,
                path=tmp_path / "b",
                limit_bytes=BIG,
            )

    asyncio.run(story())


def test_a_checkpoint_larger_than_the_job_may_be_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "a"))
        with pytest.raises(CheckpointError, match="too many"):
            await load(
                saved.ref, job=JOB, open_store=stores.open, path=tmp_path / "b", limit_bytes=1000
            )

    asyncio.run(story())


def test_a_cancelled_load_leaves_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "a", pages=noise(8 * PART_BYTES)))
        task = asyncio.create_task(restore(stores, saved, tmp_path / "b"))
        while not (tmp_path / "b").exists() and not task.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert not (tmp_path / "b").exists()

    asyncio.run(story())


GOOD = [
    Entry(path="job", kind=Kind.FOLDER),
    Entry(path="stdout", kind=Kind.FILE),
]


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
def test_a_name_that_leads_elsewhere_cannot_be_listed(entry: dict[str, object]) -> None:
    with pytest.raises(CheckpointError):
        Entry(**entry)  # type: ignore[arg-type]


def manifest(*entries: Entry) -> Manifest:
    return Manifest(
        v=1,
        job=JOB,
        epoch=Epoch(1),
        seq=1,
        rung=Rung.FILES,
        image="",
        command=(),
        host=HOST,
        entries=entries,
        parts=(),
    )


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
        [*GOOD, Entry(path="job/a", kind=Kind.FILE, size=1)],
    ],
)
def test_entries_that_do_not_fit_together_are_refused(entries: list[Entry]) -> None:
    with pytest.raises(CheckpointError):
        manifest(*entries)


def test_a_manifest_survives_its_own_format() -> None:
    good = manifest(*GOOD, Entry(path="job/a", kind=Kind.LINK, link="/job/b"))
    assert decode_manifest(encode_manifest(good)) == good


def test_junk_is_no_manifest() -> None:
    rng = random.Random(1)
    good = bytearray(encode_manifest(manifest(*GOOD)))
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with contextlib.suppress(CheckpointError):
            decode_manifest(bytes(data))


def test_small_files_share_parts_and_large_ones_begin_their_own() -> None:
    sizes = [1000] * 100 + [PART_BYTES // 2, PART_BYTES + 1]
    entries = [Entry(path=f"job/{n}", kind=Kind.FILE, size=s) for n, s in enumerate(sizes)]
    assert part_lengths(entries) == [100_000, PART_BYTES // 2, PART_BYTES, 1]
