"""Goal: the end of one reason to stand still never undoes another.

Method: a freezer that notes what it is told, and every order of events that matters.
"""

from __future__ import annotations

import asyncio

import pytest

from edge_agent.runtimes.hold import Hold, until_allowed
from workrs.domain.ids import Epoch, Instant, JobId
from workrs.testing.runtime import FakeWarden

JOB, EPOCH = JobId("pump_1"), Epoch(1)


class Cgroup:
    def __init__(self) -> None:
        self.frozen = False
        self.broken = False

    async def freeze(self) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise RuntimeError
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False


def parts() -> tuple[Cgroup, FakeWarden, Hold]:
    cgroup, warden = Cgroup(), FakeWarden()
    warden.watch(JOB, EPOCH, (), Instant(1.0))
    return cgroup, warden, Hold(job=JOB, epoch=EPOCH, freezer=cgroup, warden=warden)


def test_a_checkpoint_lets_the_program_go_on() -> None:
    async def story() -> None:
        cgroup, _, hold = parts()
        async with hold.still():
            assert cgroup.frozen
        assert not cgroup.frozen

    asyncio.run(story())


def test_what_the_brain_froze_before_or_during_a_checkpoint_stays_frozen() -> None:
    async def story() -> None:
        for before in (True, False):
            cgroup, _, hold = parts()
            if before:
                await hold.freeze()
            async with hold.still():
                if not before:
                    await hold.freeze()
            assert cgroup.frozen
            await hold.thaw()
            assert not cgroup.frozen

    asyncio.run(story())


def test_a_thaw_during_a_checkpoint_waits_for_its_end() -> None:
    async def story() -> None:
        cgroup, _, hold = parts()
        await hold.freeze()
        async with hold.still():
            await hold.thaw()
            assert cgroup.frozen
        assert not cgroup.frozen

    asyncio.run(story())


def test_a_checkpoint_that_ends_past_the_deadline_does_not_thaw() -> None:
    async def story() -> None:
        cgroup, warden, hold = parts()
        async with hold.still():
            warden.due.add((JOB, EPOCH))
        assert cgroup.frozen
        warden.extend(JOB, EPOCH, Instant(2.0))
        await hold.thaw()
        assert not cgroup.frozen

    asyncio.run(story())


def test_a_freeze_during_a_checkpoint_returns_when_the_program_stands() -> None:
    async def story() -> None:
        cgroup, _, hold = parts()
        entered = asyncio.Event()

        async def checkpoint() -> None:
            async with hold.still():
                entered.set()

        task = asyncio.create_task(checkpoint())
        await asyncio.sleep(0)
        await hold.freeze()
        assert cgroup.frozen
        await task
        assert cgroup.frozen

    asyncio.run(story())


def test_a_checkpoint_that_cannot_freeze_leaves_no_trace() -> None:
    async def story() -> None:
        cgroup, _, hold = parts()
        cgroup.broken = True
        with pytest.raises(RuntimeError):
            async with hold.still():
                raise AssertionError
        cgroup.broken = False
        await hold.freeze()
        await hold.thaw()
        assert not cgroup.frozen

    asyncio.run(story())


def test_a_start_that_took_longer_than_its_lease_waits_for_a_renewal() -> None:
    async def story() -> None:
        warden = FakeWarden()
        warden.watch(JOB, EPOCH, (), Instant(1.0))
        await until_allowed(warden, JOB, EPOCH)
        warden.due.add((JOB, EPOCH))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(until_allowed(warden, JOB, EPOCH), 0.02)
        waiting = asyncio.ensure_future(until_allowed(warden, JOB, EPOCH))
        await asyncio.sleep(0)
        assert not waiting.done()
        warden.extend(JOB, EPOCH, Instant(2.0))
        await asyncio.wait_for(waiting, 60.0)

    asyncio.run(story())
