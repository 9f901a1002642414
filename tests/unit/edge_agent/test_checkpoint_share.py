"""Goal: however many checkpoints an agent saves and fetches at once, its memory has one bound.

Method: stores that count what they are asked at once, and answer late.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent.checkpoint import Share, discard, load, save, share
from edge_agent.checkpoint.index import BLOCK_BYTES
from edge_agent.checkpoint.manifest import PACK_BYTES
from tests.unit.edge_agent.test_checkpoint import BIG, JOB, RING, make_snapshot, noise, restore
from workrs.domain.errors import CheckpointError
from workrs.domain.ids import Digest, Epoch, JobId
from workrs.ports.store import JobSpace
from workrs.testing.store import MemoryStore, MemoryStores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from edge_agent.checkpoint import Saved
    from workrs.ports.store import Space

URLS = ("mem://a", "mem://b")
BLOBS = 4
WAIT_S = 0.2


class Busy:
    """How many are under way now, and were at most; each waits a while for more to come."""

    def __init__(self, bound: int, wait_s: float) -> None:
        self.bound = bound
        self._wait_s = wait_s
        self.most = 0
        self._now = 0
        self._beyond = asyncio.Event()

    @contextlib.asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        self._now += 1
        self.most = max(self.most, self._now)
        if self._now > self.bound:
            self._beyond.set()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s):
                    await self._beyond.wait()
            yield
        finally:
            self._now -= 1


class SlowStore(MemoryStore):
    """Answers late."""

    def __init__(self, location: str, puts: Busy, gets: Busy) -> None:
        super().__init__(location)
        self.puts = puts
        self.gets = gets

    async def put(self, digest: Digest, data: bytes | Path, space: Space) -> None:
        async with self.puts.one():
            await super().put(digest, data, space)

    async def get(self, digest: Digest, space: Space, *, limit_bytes: int = 1 << 30) -> bytes:
        async with self.gets.one():
            return await super().get(digest, space, limit_bytes=limit_bytes)


class World:
    """Two slow stores, and jobs with a few blobs each."""

    def __init__(self, folder: Path, *, wait_s: float = WAIT_S) -> None:
        # A manifest may be under way besides.
        self.puts = Busy((share.PACKS_MAX + 1) * len(URLS), wait_s)
        self.gets = Busy(share.BLOBS_MAX + 1, wait_s)
        self.folder = folder
        self.share = Share()
        self._stores = {url: SlowStore(url, self.puts, self.gets) for url in URLS}

    def open(self, url: str) -> SlowStore:
        return self._stores[url]

    async def save(self, number: int, share: Share | None) -> Saved:
        pages = noise(BLOBS * PACK_BYTES, number)
        return await save(
            make_snapshot(self.folder / f"job-{number}", pages=pages),
            job=JobId(f"pump_{number}"),
            epoch=Epoch(1),
            seq=1,
            stores=list(self._stores.values()),
            keys=RING,
            share=share,
        )

    async def load(self, number: int, saved: Saved, share: Share | None) -> None:
        await load(
            saved.ref,
            job=JobId(f"pump_{number}"),
            open_store=self.open,
            path=self.folder / f"made-{number}",
            limit_bytes=BIG,
            keys=RING,
            share=share,
        )


def play(folder: Path, *, together: bool) -> World:
    """Save four jobs at once, then fetch all of them at once."""

    async def story() -> World:
        # Where more must come, a busy machine is given time; it is spent once, on manifests.
        made = World(folder, wait_s=WAIT_S if together else 5.0)
        common = made.share if together else None
        async with made.share, asyncio.timeout(60):
            saved = await asyncio.gather(*(made.save(n, common) for n in range(4)))
            await asyncio.gather(*(made.load(n, one, common) for n, one in enumerate(saved)))
        return made

    return asyncio.run(story())


def test_four_jobs_have_no_more_under_way_than_one(tmp_path: Path) -> None:
    made = play(tmp_path, together=True)
    assert made.puts.most <= made.puts.bound
    assert made.gets.most <= made.gets.bound
    for number in range(4):
        assert (tmp_path / f"made-{number}" / "stdout").read_bytes() == b"so far\n"


def test_each_by_itself_would_have_more(tmp_path: Path) -> None:
    """Else the test above shows nothing."""
    made = play(tmp_path, together=False)
    assert made.puts.most > made.puts.bound
    assert made.gets.most > made.gets.bound


def test_blocks_are_larger_where_many_jobs_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(share, "BLOCKS_OF_ALL", 2 * BLOBS * PACK_BYTES // BLOCK_BYTES)

    async def story() -> None:
        made = World(tmp_path)
        sizes = []
        for number, jobs in enumerate((1, 8)):
            async with Share(jobs=jobs) as common:
                saved = await made.save(number, common)
                sizes.append(saved.packed.blocks.block_bytes)
                await made.load(number, saved, common)
        # It holds a little more than the blobs of noise.
        assert sizes == [BLOCK_BYTES, 8 * BLOCK_BYTES]

    asyncio.run(story())


def test_no_turn_is_lost_to_what_failed_or_was_cut_short(tmp_path: Path) -> None:
    async def story() -> None:
        made = World(tmp_path)
        async with made.share, asyncio.timeout(60):
            saved = await made.save(0, made.share)
            cut = asyncio.create_task(made.load(0, saved, made.share))
            cut_too = asyncio.create_task(made.save(1, made.share))
            made.puts.most = made.gets.most = 0
            while not (made.puts.most and made.gets.most):  # noqa: ASYNC110 (the deadline is above)
                await asyncio.sleep(0)
            for task in (cut, cut_too):
                task.cancel()
            await asyncio.wait([cut, cut_too])
            lost = saved.manifest.blobs[-1].name
            for store in made._stores.values():
                for key in [key for key in store.blobs if key[2] == lost]:
                    del store.blobs[key]
            with pytest.raises(CheckpointError):
                await made.load(0, saved, made.share)
            await discard(
                saved.ref,
                job=JobId("pump_0"),
                keep=(),
                open_store=made.open,
                keys=RING,
                share=made.share,
            )
            left = {
                name: getattr(made.share, name)._value
                for name in ("saves", "loads", "packs", "blobs", "manifests", "lookups", "aheads")
            }
        assert left == {
            "saves": share.SAVES_MAX,
            "loads": share.LOADS_MAX,
            "packs": share.PACKS_MAX,
            "blobs": share.BLOBS_MAX,
            "manifests": 1,
            "lookups": 1,
            "aheads": 1,
        }

    asyncio.run(story())


def test_a_job_whose_manifest_a_store_keeps_back_does_not_hold_up_the_others(
    tmp_path: Path,
) -> None:
    """A node that hangs answers nobody for 8 s, and its agent had many jobs."""

    async def story() -> None:
        made = World(tmp_path)
        hung: set[Digest] = set()

        class Hung(SlowStore):
            async def get(self, digest: Digest, *words: Any, **named: Any) -> bytes:
                if digest in hung:
                    await asyncio.Future()
                return await super().get(digest, *words, **named)

            async def put(self, digest: Digest, data: bytes | Path, space: Space) -> None:
                await super().put(digest, data, space)
                assert isinstance(data, bytes)
                # Manifests carry the id of the cluster's key, blobs do not.
                if data[4:12] == RING.keys[0].id and space == JobSpace(job=three, epoch=Epoch(1)):
                    manifest_came.set()
                    await asyncio.Future()

        three = JobId("pump_2")
        manifest_came = asyncio.Event()
        made._stores = {url: Hung(url, made.puts, made.gets) for url in URLS}
        async with made.share, asyncio.timeout(60):
            one, other = await asyncio.gather(*(made.save(n, made.share) for n in (0, 1)))
            hung.add(one.ref.manifest)
            stuck = [
                asyncio.create_task(made.load(0, one, made.share)),
                asyncio.create_task(made.save(2, made.share)),
            ]
            await manifest_came.wait()
            await made.load(1, other, made.share)
            await made.save(3, made.share)
            for task in stuck:
                assert not task.done()
                task.cancel()
            await asyncio.wait(stuck)

    asyncio.run(story())


def test_what_was_made_of_a_bad_checkpoint_is_removed_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gigabyte takes a while to remove, and heartbeats cannot wait for it."""
    threads: list[threading.Thread] = []
    remove = shutil.rmtree

    def noted(*words: Any, **named: Any) -> None:
        threads.append(threading.current_thread())
        remove(*words, **named)

    async def story() -> None:
        made = World(tmp_path)
        saved = await made.save(0, None)
        for store in made._stores.values():
            for key in [key for key in store.blobs if key[2] == saved.manifest.blobs[0].name]:
                del store.blobs[key]
        with pytest.raises(CheckpointError):
            await made.load(0, saved, None)
        assert threads
        assert threading.main_thread() not in threads
        assert not (tmp_path / "made-0").exists()

    monkeypatch.setattr("shutil.rmtree", noted)
    asyncio.run(story())


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        snapshot = make_snapshot(tmp_path / "one")
        (snapshot.path / "job" / "fifo").chmod(0o666)
        saved = await save(
            snapshot,
            job=JOB,
            epoch=Epoch(2),
            seq=1,
            stores=[stores.open("mem://a")],
            keys=RING,
        )
        before = os.umask(0o077)
        try:
            made = await restore(stores, saved, tmp_path / "made")
        finally:
            os.umask(before)
        assert (made.path / "job" / "fifo").stat().st_mode & 0o777 == 0o666

    asyncio.run(story())
