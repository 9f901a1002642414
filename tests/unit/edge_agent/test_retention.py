"""Goal: deleting an old checkpoint takes nothing that a newer one names.

Method: a program that goes back to an earlier state, so that its next checkpoint finds blobs
there that are about to be deleted; real saving, deleting and loading, stores in memory.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from edge_agent import checkpoint
from edge_agent.container import Container, Tools
from edge_agent.effect import DiscardCheckpoint, TakeCheckpoint
from edge_agent.event import CheckpointSaved, Event
from edge_agent.hands import ContainerHands
from edge_agent.retention import Retention
from workrs.domain.ids import ClientId, Epoch, JobId
from workrs.ports.runtime import Attempt, Rung, Snapshot
from workrs.testing.runtime import HOST, FakeRuntime, FakeWarden
from workrs.testing.store import MemoryStores

if TYPE_CHECKING:
    from pathlib import Path

    from workrs.domain.record import CheckpointRef

JOB = JobId("pump_1")
URL = "mem://a"


class Program:
    """A program whose files are what a test wants."""

    def __init__(self) -> None:
        self.state = b""

    async def checkpoint(self, path: Path) -> Snapshot:
        (path / "job").mkdir(parents=True)
        (path / "job" / "state").write_bytes(self.state)
        (path / "stdout").touch()
        return Snapshot(path=path, rung=Rung.FILES, image="x", command=("y",), host=HOST)


class World:
    def __init__(self, folder: Path) -> None:
        self.stores = MemoryStores()
        self.events: list[Event] = []
        warden = FakeWarden()
        self.tools = Tools(
            agent=ClientId("a1"),
            runtime=FakeRuntime(warden=warden),
            warden=warden,
            open_store=self.stores.open,
            folder=folder,
            copies=1,
            disk_bytes=1 << 20,
        )
        self.program = Program()
        self.container = Container(JOB, 1, self.tools, self.events.append)
        self.container._attempt = cast("Attempt", self.program)

    async def save(self, seq: int, state: bytes) -> CheckpointRef:
        self.program.state = state
        await self.container.save(
            TakeCheckpoint(job=JOB, run=1, epoch=Epoch(1), seq=seq, stores=(URL,))
        )
        saved = self.events[-1]
        assert isinstance(saved, CheckpointSaved), saved
        return saved.ref

    async def is_whole(self, ref: CheckpointRef, path: Path) -> bool:
        await checkpoint.load(
            ref, job=JOB, open_store=self.stores.open, path=path, limit_bytes=1 << 20
        )
        return (path / "job" / "state").read_bytes() == self.program.state

    async def discard_all(self, *effects: DiscardCheckpoint, meanwhile: int) -> CheckpointRef:
        """Decide to delete, store one more checkpoint, and let the deletions happen."""
        async with asyncio.TaskGroup() as group:
            hands = ContainerHands(self.tools, group, self.events.append)
            for effect in effects:
                hands.perform(effect)
            stored = await self.save(meanwhile, b"a" * 100)
            discarding = group.create_task(hands.discard())
            shelf = self.tools.retention.of(JOB)
            while not hands._discards.empty() or shelf.turn.locked():  # noqa: ASYNC110
                await asyncio.sleep(0)
            discarding.cancel()
        return stored


def test_a_deletion_spares_what_was_stored_after_it_was_decided(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "agent")
        first = await world.save(1, b"a" * 100)
        second, third = await world.save(2, b"b" * 100), await world.save(3, b"b" * 100)
        late = DiscardCheckpoint(job=JOB, ref=first, keep=(third, second))
        fourth = await world.discard_all(late, meanwhile=4)
        assert await world.is_whole(fourth, tmp_path / "out")
        names = {name for _, _, name in world.stores.stores[URL].blobs}
        assert first.manifest not in names

    asyncio.run(story())


def test_a_decided_job_loses_all(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "agent")
        refs = [await world.save(seq, bytes([seq]) * 100) for seq in (1, 2, 3)]
        shelf = world.tools.retention.of(JOB)
        assert [shelf.keep(DiscardCheckpoint(job=JOB, ref=ref, keep=())) for ref in refs] == [
            (),
            (),
            (),
        ]

    asyncio.run(story())


def test_a_deletion_waits_for_the_checkpoint_that_is_being_stored(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "agent")
        async with world.tools.retention.of(JOB).turn:
            saving = asyncio.create_task(world.save(1, b"a"))
            for _ in range(100):
                await asyncio.sleep(0)
            assert not saving.done()
            assert not world.stores.stores.get(URL) or not world.stores.stores[URL].blobs
        await saving

    asyncio.run(story())


def test_a_shelf_lasts_as_long_as_somebody_holds_it() -> None:
    retention = Retention()
    shelf = retention.of(JOB)
    assert retention.of(JOB) is shelf
    assert retention.of(JobId("pump_2")) is not shelf
