"""Goal: what `save` stores `load` brings back, and damage of any kind is noticed.

Method: snapshots made of plain files, stores in memory, each blob spoiled in turn.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.checkpoint import Saved, discard, load, save
from edge_agent.checkpoint.keys import KeyRing, new_key, new_ring
from edge_agent.checkpoint.manifest import PACK_BYTES
from edge_agent.checkpoint.seal import KeyMissingError
from workrs.domain.errors import CheckpointError, StoreError
from workrs.domain.ids import Digest, Epoch, JobId
from workrs.ports.runtime import Progress, RestoreError, Rung, Snapshot
from workrs.testing.runtime import HOST
from workrs.testing.store import MemoryStore, MemoryStores

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
        file.truncate(3 * PACK_BYTES + 5)
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


RING = new_ring()


async def store(
    stores: MemoryStores,
    snapshot: Snapshot,
    *,
    seq: int = 1,
    epoch: int = 2,
    previous: Saved | None = None,
    keys: KeyRing | None = RING,
) -> Saved:
    return await save(
        snapshot,
        job=JOB,
        epoch=Epoch(epoch),
        seq=seq,
        stores=[stores.open(url) for url in URLS],
        previous=previous,
        keys=keys,
    )


async def restore(
    stores: MemoryStores, saved: Saved, path: Path, *, keys: KeyRing | None = RING
) -> Snapshot:
    return await load(
        saved.ref, job=JOB, open_store=stores.open, path=path, limit_bytes=BIG, keys=keys
    )


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        pages = noise(2 * PACK_BYTES) + bytes(PACK_BYTES) + noise(1000)
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
        pages = noise(4 * PACK_BYTES)
        first = await store(stores, make_snapshot(tmp_path / "a", pages=pages))
        changed = pages[:PACK_BYTES] + noise(PACK_BYTES, seed=2) + pages[2 * PACK_BYTES :]
        second = await store(
            stores, make_snapshot(tmp_path / "b", pages=changed), seq=2, previous=first
        )
        assert first.uploaded_bytes > 4 * PACK_BYTES
        assert second.uploaded_bytes < 1.1 * PACK_BYTES
        await discard(first.ref, job=JOB, keep=[second.ref], open_store=stores.open, keys=RING)
        await restore(stores, second, tmp_path / "c")
        with pytest.raises(CheckpointError):
            await restore(stores, first, tmp_path / "d")
        await discard(second.ref, job=JOB, keep=[], open_store=stores.open, keys=RING)
        assert not any(one.blobs for one in stores.stores.values())

    asyncio.run(story())


def test_after_a_lease_was_claimed_anew_nothing_is_shared_with_the_epoch_before(
    tmp_path: Path,
) -> None:
    """Though it is the same agent and nothing changed: what is of an epoch may go at any time."""

    async def story() -> None:
        stores = MemoryStores()
        pages = noise(PACK_BYTES)
        first = await store(stores, make_snapshot(tmp_path / "a", pages=pages))
        taken = make_snapshot(tmp_path / "b", pages=pages)
        second = await store(stores, taken, epoch=first.ref.epoch + 1, previous=first)
        assert second.ref.epoch == first.ref.epoch + 1
        assert second.manifest.names().isdisjoint(first.manifest.names())
        await discard(first.ref, job=JOB, keep=[], open_store=stores.open, keys=RING)
        await restore(stores, second, tmp_path / "c")
        assert tree(tmp_path / "b") == tree(tmp_path / "c")

    asyncio.run(story())


def test_another_store_takes_over_for_one_that_fails(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        snapshot = make_snapshot(tmp_path / "a", pages=noise(1000))
        stores.open(URLS[0]).silent = True
        saved = await store(stores, snapshot)
        assert saved.ref.location == URLS[1:]
        stores.open(URLS[1]).full = True
        there = set(stores.open(URLS[2]).blobs)
        with pytest.raises(StoreError, match="fewer than 2"):
            await store(stores, snapshot)
        assert set(stores.open(URLS[2]).blobs) == there, "or every try would leave some more"

    asyncio.run(story())


def test_a_store_that_takes_over_gets_all_of_it_and_not_only_what_changed(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        first = await store(stores, make_snapshot(tmp_path / "a", pages=noise(PACK_BYTES)))
        stores.open(URLS[1]).silent = True
        taken = make_snapshot(tmp_path / "b", pages=noise(PACK_BYTES))
        second = await store(stores, taken, seq=2, previous=first)
        assert second.ref.location == (URLS[0], URLS[2])
        stores.open(URLS[0]).blobs.clear()
        await restore(stores, second, tmp_path / "c")
        assert tree(tmp_path / "b") == tree(tmp_path / "c")

    asyncio.run(story())


def test_a_store_that_may_not_be_opened_is_no_worse_than_a_silent_one(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "a", pages=noise(1000)))

        def open_store(url: str) -> MemoryStore:
            if url == URLS[0]:
                raise StoreError(f"{url} is not among the stores configured here")
            return stores.open(url)

        found: dict[str, Any] = {
            "job": JOB,
            "open_store": open_store,
            "limit_bytes": BIG,
            "keys": RING,
        }
        await load(saved.ref, path=tmp_path / "b", **found)
        stores.open(URLS[1]).blobs.clear()
        with pytest.raises(StoreError, match="not among"):
            await load(saved.ref, path=tmp_path / "c", **found)

    asyncio.run(story())


@pytest.mark.parametrize("is_link", [False, True])
def test_a_name_that_is_no_utf8_is_said_and_not_stumbled_over(
    tmp_path: Path, *, is_link: bool
) -> None:
    snapshot = make_snapshot(tmp_path / "a")
    strange = os.fsdecode(b"\xff")
    if is_link:
        (tmp_path / "a" / "job" / "plain").symlink_to(strange)
    else:
        (tmp_path / "a" / "job" / strange).touch()
    with pytest.raises(CheckpointError, match="no UTF-8") as caught:
        asyncio.run(store(MemoryStores(), snapshot))
    assert str(caught.value).encode()


def test_a_store_that_is_silent_is_waited_for_once_and_not_for_every_part(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "a", pages=noise(8 * PACK_BYTES)))
        assert len(saved.manifest.names()) >= 8
        stores.open(URLS[0]).silent = True
        await restore(stores, saved, tmp_path / "b")
        assert stores.open(URLS[0]).unanswered == 1

    asyncio.run(story())


def test_a_spoiled_blob_is_noticed_and_the_other_copy_used(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        snapshot = make_snapshot(tmp_path / "a", pages=noise(PACK_BYTES + 1000))
        saved = await store(stores, snapshot)
        names = [*saved.manifest.names(), saved.ref.manifest]
        assert len(names) == 3
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


@pytest.mark.parametrize("keys", [RING, None])
def test_a_checkpoint_of_another_job_or_number_is_refused(
    tmp_path: Path, keys: KeyRing | None
) -> None:
    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "a"), keys=keys)
        for ref in (replace(saved.ref, seq=2), replace(saved.ref, epoch=Epoch(3))):
            with pytest.raises(CheckpointError, match=r"was asked for|seal"):
                await restore(stores, replace(saved, ref=ref), tmp_path / "b", keys=keys)
        for one in stores.stores.values():
            one.blobs = {(JobId("pump_2"), e, n): data for (_, e, n), data in one.blobs.items()}
        with pytest.raises(CheckpointError, match=r"was asked for|seal"):
            await load(
                saved.ref,
                job=JobId("pump_2"),
                open_store=stores.open,
                path=tmp_path / "b",
                limit_bytes=BIG,
                keys=keys,
            )

    asyncio.run(story())


def test_who_has_not_the_key_gives_the_job_back_and_another_cluster_refuses(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "a", pages=noise(5000)))
        with pytest.raises(KeyMissingError):
            await restore(stores, saved, tmp_path / "b", keys=None)
        with pytest.raises(KeyMissingError, match=RING.keys[0].id.hex()):
            await restore(stores, saved, tmp_path / "b", keys=new_ring())
        assert saved.ref.key == RING.keys[0].id.hex()
        lying = replace(saved, ref=replace(saved.ref, key=new_ring().keys[0].id.hex()))
        for keys in (None, RING, new_ring()):
            with pytest.raises(CheckpointError, match="as its record says"):
                await restore(stores, lying, tmp_path / "b", keys=keys)
        untold = replace(saved, ref=replace(saved.ref, key=""))
        with pytest.raises(KeyMissingError):
            await restore(stores, untold, tmp_path / "b", keys=new_ring())
        await restore(stores, untold, tmp_path / "c")
        other_cluster = replace(RING, cluster="0" * 32)
        with pytest.raises(CheckpointError, match="seal"):
            await restore(stores, saved, tmp_path / "b", keys=other_cluster)
        assert not (tmp_path / "b").exists()

    asyncio.run(story())


def test_with_a_key_nothing_is_read_that_was_not_sealed(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "a"), keys=None)
        with pytest.raises(CheckpointError, match="not sealed"):
            await restore(stores, saved, tmp_path / "b")
        await restore(stores, saved, tmp_path / "c", keys=None)
        assert tree(tmp_path / "a") == tree(tmp_path / "c")

    asyncio.run(story())


def test_what_an_older_key_sealed_is_read_while_that_key_is_kept(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "a", pages=noise(5000)))
        turned = replace(RING, keys=(new_key(), *RING.keys))
        await restore(stores, saved, tmp_path / "b", keys=turned)
        assert tree(tmp_path / "a") == tree(tmp_path / "b")

    asyncio.run(story())


def test_what_is_stored_shows_nothing_of_what_was_saved(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        secret = b"the password is swordfish "
        snapshot = make_snapshot(tmp_path / "a", pages=noise(5000) + secret)
        await store(stores, replace(snapshot, command=("run", secret.decode())))
        assert not any(b"swordfish" in data for data in stores.open(URLS[0]).blobs.values())
        await store(stores, snapshot, keys=None, seq=2)
        assert any(b"swordfish" in data for data in stores.open(URLS[0]).blobs.values())

    asyncio.run(story())


def test_no_two_blobs_have_one_name_even_where_nothing_is_encrypted(tmp_path: Path) -> None:
    """Else deleting an old checkpoint could take a blob along that a new one has just stored."""

    async def story() -> None:
        stores = MemoryStores()
        for keys in (RING, None):
            a = await store(stores, make_snapshot(tmp_path / f"{keys}a", pages=b"x"), keys=keys)
            b = await store(stores, make_snapshot(tmp_path / f"{keys}b", pages=b"x"), keys=keys)
            assert not a.manifest.names() & b.manifest.names()

    asyncio.run(story())


def test_memory_of_a_foreign_machine_is_refused_before_it_is_fetched(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "a", pages=noise(5000)))
        for name in saved.manifest.names():
            for url in URLS:
                stores.open(url).blobs.pop((JOB, Epoch(2), name), None)
        for host, error in ((replace(HOST, cpu="other"), RestoreError), (HOST, CheckpointError)):
            with pytest.raises(error):
                await load(
                    saved.ref,
                    job=JOB,
                    open_store=stores.open,
                    path=tmp_path / "b",
                    limit_bytes=BIG,
                    keys=RING,
                    host=host,
                )

    asyncio.run(story())


def test_files_of_a_foreign_machine_are_taken(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "a", rung=Rung.FILES))
        await load(
            saved.ref,
            job=JOB,
            open_store=stores.open,
            path=tmp_path / "b",
            limit_bytes=BIG,
            keys=RING,
            host=replace(HOST, arch="arm64"),
        )
        assert tree(tmp_path / "a") == tree(tmp_path / "b")

    asyncio.run(story())


def test_a_checkpoint_larger_than_the_job_may_be_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "a"))
        with pytest.raises(CheckpointError, match="too many"):
            await load(
                saved.ref,
                job=JOB,
                open_store=stores.open,
                path=tmp_path / "b",
                limit_bytes=1000,
                keys=RING,
            )

    asyncio.run(story())


def test_a_cancelled_load_leaves_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "a", pages=noise(8 * PACK_BYTES)))
        task = asyncio.create_task(restore(stores, saved, tmp_path / "b"))
        while not (tmp_path / "b").exists() and not task.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert not (tmp_path / "b").exists()

    asyncio.run(story())
