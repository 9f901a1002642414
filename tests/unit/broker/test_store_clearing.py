"""Goal: what is left of a retired job goes from shared stores; nothing else is touched.

Method: the real clearing of stores in memory, one of them silent.
"""

from __future__ import annotations

import asyncio

import pytest

from broker import store_clearing
from broker.agents import AgentTable
from broker.node import Node, NodeSettings
from broker.store_clearing import drop_over, keep_clear
from workrs.domain.errors import LedgerError, StoreError
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.domain.job import Outcome, Verdict, digest_of
from workrs.domain.record import Incarnation
from workrs.ports.ledger import RetiredJob
from workrs.ports.store import JobSpace
from workrs.testing.store import MemoryStore

OVER, OPEN, UNKNOWN = JobId("pump_over"), JobId("pump_open"), JobId("other_job")
KEPT = RetiredJob(
    request=Digest(""),
    outcome=Digest(""),
    short=Outcome(verdict=Verdict.SUCCEEDED),
    epoch=Epoch(1),
    attempt=1,
)


def make_node() -> Node:
    settings = NodeSettings(
        name=ClientId("n1"), nodes=(ClientId("n1"),), incarnation=Incarnation(1, "a" * 16)
    )
    # A job can be on the bus again after the ledger noted its former self as retired.
    node = Node(settings, {OVER: KEPT, OPEN: KEPT}.get, AgentTable(10.0))
    node.entry(OPEN)
    return node


async def filled(url: str) -> MemoryStore:
    store = MemoryStore(url)
    for job in (OVER, OPEN, UNKNOWN):
        for epoch in (1, 2):
            await store.put(digest_of(b"x"), b"x", JobSpace(job=job, epoch=Epoch(epoch)))
    return store


def test_only_what_the_ledger_knows_as_over_is_removed() -> None:
    async def story() -> None:
        store = await filled("mem://1")
        assert await drop_over(make_node(), store) == 1
        assert await store.jobs() == [UNKNOWN, OPEN]
        assert len(store.blobs) == 4

    asyncio.run(story())


def test_a_job_that_comes_back_meanwhile_keeps_what_it_has() -> None:
    """As one does whose device submits it again under the same name."""

    async def story() -> None:
        store, node = await filled("mem://1"), make_node()
        node.retired = {OVER: KEPT, UNKNOWN: KEPT}.get
        first = asyncio.Event()
        drop = store.drop

        async def slow(job: JobId) -> None:
            await drop(job)
            if not first.is_set():
                first.set()
                node.entry(OVER if job == UNKNOWN else UNKNOWN)

        store.drop = slow  # type: ignore[method-assign]
        assert await drop_over(node, store) == 1
        assert len(await store.jobs()) == 2

    asyncio.run(story())


def test_a_ledger_that_cannot_be_read_does_not_end_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_clearing, "PERIOD_S", 0.0)
    asked: list[JobId] = []

    def retired(job: JobId) -> RetiredJob | None:
        asked.append(job)
        if len(asked) == 1:
            raise LedgerError("the disk failed")
        return KEPT if job == OVER else None

    async def story() -> None:
        store, node = await filled("mem://1"), make_node()
        node.retired = retired
        clearing = asyncio.create_task(keep_clear(node, [store]))
        async with asyncio.timeout(60):
            while OVER in await store.jobs():  # noqa: ASYNC110 (no event tells it)
                await asyncio.sleep(0)
        clearing.cancel()

    asyncio.run(story())


def test_a_silent_store_does_not_keep_the_others_from_being_cleared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_clearing, "PERIOD_S", 0.0)

    async def story() -> None:
        silent, other = await filled("mem://silent"), await filled("mem://other")
        silent.silent = True
        with pytest.raises(StoreError):
            await drop_over(make_node(), silent)
        clearing = asyncio.create_task(keep_clear(make_node(), [silent, other]))
        async with asyncio.timeout(60):
            while OVER in await other.jobs():  # noqa: ASYNC110 (no event tells it)
                await asyncio.sleep(0)
            silent.silent = False
            while OVER in await silent.jobs():  # noqa: ASYNC110
                await asyncio.sleep(0)
        clearing.cancel()

    asyncio.run(story())


def test_what_is_uploaded_after_its_job_was_removed_goes_the_next_time() -> None:
    async def story() -> None:
        store, node = await filled("mem://1"), make_node()
        assert await drop_over(node, store) == 1
        await store.put(digest_of(b"late"), b"late", JobSpace(job=OVER, epoch=Epoch(2)))
        assert await drop_over(node, store) == 1
        assert OVER not in await store.jobs()

    asyncio.run(story())


def test_a_job_that_cannot_be_removed_keeps_no_other() -> None:
    async def story() -> None:
        store, node = await filled("mem://1"), make_node()
        node.retired = {OVER: KEPT, UNKNOWN: KEPT}.get
        drop, tried = store.drop, []

        async def stubborn(job: JobId) -> None:
            tried.append(job)
            if len(tried) == 1:
                raise StoreError("an upload runs into it")
            await drop(job)

        store.drop = stubborn  # type: ignore[method-assign]
        with pytest.raises(StoreError, match="an upload"):
            await drop_over(node, store)
        assert len(tried) == 2
        assert await store.jobs() == sorted([OPEN, tried[0]])

    asyncio.run(story())


def test_a_store_that_removes_nothing_is_left_alone_until_the_next_time() -> None:
    async def story() -> None:
        store, node = MemoryStore("mem://1"), make_node()
        jobs = [JobId(f"pump_{n}") for n in range(10)]
        node.retired = dict.fromkeys(jobs, KEPT).get
        for job in jobs:
            await store.put(digest_of(b"x"), b"x", JobSpace(job=job, epoch=Epoch(1)))
        tried: list[JobId] = []

        async def refuse(job: JobId) -> None:
            tried.append(job)
            raise StoreError("no")

        store.drop = refuse  # type: ignore[method-assign]
        with pytest.raises(StoreError):
            await drop_over(node, store)
        assert len(tried) == store_clearing.FAILURES_MAX

    asyncio.run(story())
