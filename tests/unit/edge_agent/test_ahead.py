"""Goal: what is fetched ahead is used once, by the job it is of, and never stays.

Method: stores in memory that answer or are silent, and a folder to look into.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from edge_agent import ahead
from edge_agent.ahead import Ahead, Source
from edge_agent.checkpoint import Share, load, save
from edge_agent.effect import FetchAhead
from tests.unit.edge_agent.test_checkpoint import (
    JOB,
    RING,
    URLS,
    make_snapshot,
    noise,
    store,
)
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.testing.runtime import HOST
from workrs.testing.store import MemoryStore, MemoryStores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from edge_agent.checkpoint import Saved

NEVER_S = 3600.0
"""Longer than any story here may take."""


@asynccontextmanager
async def expecting(
    stores: MemoryStores, folder: Path, share: Share | None = None
) -> AsyncIterator[Ahead]:
    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        source = Source(
            agent=ClientId("a1"),
            open_store=stores.open,
            folder=folder,
            disk_bytes=1 << 30,
            keys=RING,
            host=HOST,
            share=share or Share(),
        )
        made = Ahead(source, tasks)
        yield made
        made.close()


def hint(saved: Saved, job: JobId = JOB) -> FetchAhead:
    return FetchAhead(job=job, checkpoint=saved.ref, memory_mb=256)


def test_what_was_hinted_is_there_once_for_its_job_and_epoch(tmp_path: Path) -> None:
    async def story() -> None:
        stores = MemoryStores()
        first = await store(stores, make_snapshot(tmp_path / "one", pages=noise(9000)))
        second = await store(
            stores, make_snapshot(tmp_path / "two", pages=noise(9000, 2)), seq=2, previous=first
        )
        async with expecting(stores, tmp_path / "transfer") as one:
            one.follow(hint(first))
            one.follow(hint(second))
            assert await one.take(JobId("pump_2"), Epoch(2)) is None
            base = await one.take(JOB, Epoch(2))
            assert base is not None
            assert base.manifest.seq == 2
            assert (base.path / "image" / "pages-1.img").read_bytes() == noise(9000, 2)
            assert await one.take(JOB, Epoch(2)) is None
        assert [path.name for path in (tmp_path / "transfer").iterdir()] == [base.path.name]

    asyncio.run(story())


@pytest.mark.parametrize("why", ["epoch", "silent", "other"])
def test_what_is_of_no_use_does_not_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, why: str
) -> None:
    monkeypatch.setattr(ahead, "JOBS_MAX", 1)

    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "one", pages=noise(9000)))
        for url in saved.ref.location:
            stores.open(url).silent = why == "silent"
        async with expecting(stores, tmp_path / "transfer") as one:
            one.follow(hint(saved))
            if why == "other":
                one.follow(hint(saved, JobId("pump_2")))
            assert await one.take(JOB, Epoch(3 if why == "epoch" else 2)) is None
        folder = tmp_path / "transfer"
        assert not folder.exists() or list(folder.iterdir()) == []

    asyncio.run(story())


def test_who_waits_for_what_is_given_up_waits_no_longer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As when an agent hands over more jobs than are followed, and the first is being started."""
    monkeypatch.setattr(ahead, "JOBS_MAX", 1)
    monkeypatch.setattr(ahead, "WAIT_S", NEVER_S)

    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "one", pages=noise(9000)))
        asked = asyncio.Event()

        class Slow(MemoryStore):
            async def get(self, *_: object, **__: object) -> bytes:
                asked.set()
                return await asyncio.Future()

        stores.stores = {url: Slow(url) for url in saved.ref.location}
        async with expecting(stores, tmp_path / "transfer") as one:
            one.follow(hint(saved))
            await asked.wait()
            async with asyncio.TaskGroup() as tasks:
                taken = tasks.create_task(one.take(JOB, Epoch(2)))
                await asyncio.sleep(0)
                one.follow(hint(saved, JobId("pump_2")))
            assert taken.result() is None

    asyncio.run(story())


def test_the_hints_of_several_jobs_do_not_displace_each_other(tmp_path: Path) -> None:
    """As when an agent drains that runs several: their checkpoints come by turns."""

    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "one", pages=noise(9000)))
        async with expecting(stores, tmp_path / "transfer") as one:
            other = JobId("pump_2")
            one.follow(hint(saved))
            one.follow(hint(saved, other))
            base = await one.take(JOB, Epoch(2))
            assert base is not None
            assert await one.take(other, Epoch(2)) is None, "its bytes are none of that job"
            assert base.path.is_dir()

    asyncio.run(story())


class Behind(MemoryStore):
    """Has what another store has, but keeps back all except some manifests."""

    def __init__(self, store: MemoryStore, given: set[Digest]) -> None:
        super().__init__(store.location)
        self.asked = asyncio.Event()
        self._store = store
        self._given = given

    async def get(self, digest: Digest, *words: Any, **named: Any) -> bytes:
        if digest in self._given:
            return await self._store.get(digest, *words, **named)
        self.asked.set()
        return await asyncio.Future()


async def saved_of(stores: MemoryStores, folder: Path, job: JobId, seq: int = 1) -> Saved:
    return await save(
        make_snapshot(folder / f"{job}-{seq}", pages=noise(9000, seq)),
        job=job,
        epoch=Epoch(2),
        seq=seq,
        stores=[stores.open(url) for url in URLS],
        keys=RING,
    )


def test_those_that_are_expected_leave_room_for_one_that_is_here(tmp_path: Path) -> None:
    """Fetching ahead is a favour: a job that stands still meanwhile comes first."""

    async def story() -> None:
        stores, hung, share = MemoryStores(), MemoryStores(), Share()
        jobs = [JobId(f"pump_{number}") for number in range(ahead.JOBS_MAX)]
        saved = [await saved_of(stores, tmp_path, job) for job in jobs]
        given = {one.ref.manifest for one in saved}
        behind = [Behind(stores.open(url), given) for url in URLS]
        hung.stores = {store.location: store for store in behind}
        async with expecting(hung, tmp_path / "transfer", share) as one:
            for job, found in zip(jobs, saved, strict=True):
                one.follow(hint(found, job))
            asked = [asyncio.create_task(store.asked.wait()) for store in behind]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            await load(
                saved[0].ref,
                job=jobs[0],
                open_store=stores.open,
                path=tmp_path / "here",
                limit_bytes=1 << 30,
                keys=RING,
                share=share,
            )
            for task in asked:
                task.cancel()

    asyncio.run(story())


def test_a_job_that_comes_does_not_wait_for_what_is_fetched_for_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ahead, "WAIT_S", NEVER_S)

    async def story() -> None:
        stores, both = MemoryStores(), MemoryStores()
        first = await saved_of(stores, tmp_path, JOB)
        second = await saved_of(stores, tmp_path, JOB, seq=2)
        large = await saved_of(stores, tmp_path, JobId("pump_2"))
        given = {large.ref.manifest, first.ref.manifest, *first.manifest.names()}
        behind = [Behind(stores.open(url), given) for url in URLS]
        both.stores = {store.location: store for store in behind}
        async with expecting(both, tmp_path / "transfer") as one:
            one.follow(hint(first))
            while not list(tmp_path.glob("transfer/*/stdout")):  # noqa: ASYNC110, ASYNC240
                await asyncio.sleep(0.01)
            one.follow(hint(large, JobId("pump_2")))
            asked = [asyncio.create_task(store.asked.wait()) for store in behind]
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            one.follow(hint(second))
            base = await one.take(JOB, Epoch(2))
            assert base is not None
            assert base.manifest.seq == 1
            for task in asked:
                task.cancel()

    asyncio.run(story())


def test_a_job_that_does_not_come_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(ahead, "KEEP_S", 0.05)

    async def story() -> None:
        stores = MemoryStores()
        saved = await store(stores, make_snapshot(tmp_path / "one", pages=noise(9000)))
        folder = tmp_path / "transfer"
        async with expecting(stores, folder) as one:
            one.follow(hint(saved))
            while not folder.exists() or list(folder.iterdir()):  # noqa: ASYNC110 (a folder)
                await asyncio.sleep(0.01)
            assert await one.take(JOB, Epoch(2)) is None

    asyncio.run(story())
