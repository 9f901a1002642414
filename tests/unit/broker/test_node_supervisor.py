"""Goal: what a node says never runs ahead of its disk, and no single message stops it.

Method: the shell around a real brain, over a broker and a ledger in memory that fail on demand.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from broker.agents import AgentTable
from broker.node import Node, NodeSettings
from broker.retry import RETRY_S, pause_s
from broker.supervisor import STUCK_S, NodeSupervisor
from tests.unit.broker.cluster import TIMING
from workrs.domain.ids import ClientId, JobId
from workrs.domain.job import Outcome, Verdict
from workrs.domain.record import Incarnation, Record
from workrs.domain.voter import Vote
from workrs.ports.bus import Address, Bus, BusFullError, Message
from workrs.testing.bus import MemoryBroker, MemoryBus
from workrs.testing.ledger import MemoryLedger
from workrs.wire import topics

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

ADDRESS = Address(host="n1", port=1)
JOB = JobId("pump-7_j1")
SPEC = b'{"image": "base", "command": ["true"]}'


class World:
    """One node of a cluster of one, and a client at its broker."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.ledger = MemoryLedger()
        settings = NodeSettings(
            name=ClientId("n1"), nodes=(ClientId("n1"),), incarnation=Incarnation(1, "x")
        )
        self.node = Node(settings, self.ledger.retired, AgentTable(TIMING.ttl_s))
        self.supervisor = NodeSupervisor(
            self.node,
            ledger=self.ledger,
            drop_blobs=lambda _: None,
            connect=self.broker.connect,
            address=ADDRESS,
            clock=asyncio.get_running_loop().time,
        )

    def shown(self, topic: str) -> str:
        return self.broker.retained().get(topic, b"").decode()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (anything may be waited for)
            await asyncio.sleep(0.005)


def run(scene: Callable[[World, Bus], Coroutine[None, None, None]]) -> None:
    async def play() -> None:
        world = World()
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(world.supervisor.run())
            async with world.broker.connect(address=ADDRESS, client_id="pump-7") as bus:
                await until(lambda: world.shown(topics.node("n1", "state")))
                await scene(world, bus)
            serving.cancel()

    asyncio.run(play())


def test_a_vote_of_a_broken_disk_reaches_the_disk_though_the_connection_is_lost() -> None:
    async def scene(world: World, bus: Bus) -> None:
        world.ledger.disk.broken = "disk full"
        bus.publish(Message(topics.up("pump-7", "submit", "j1"), SPEC))
        await until(lambda: "disk full" in world.shown(topics.node("n1", "state")))
        assert '"serial"' not in world.shown(topics.node("n1", "state")), "ahead of the disk"
        world.broker.stop()
        world.broker.start()
        # A try to commit and to say why it failed comes within RETRY_S; it must survive.
        await until(lambda: world.node.entries)
        asyncio.get_running_loop().call_later(1.5, setattr, world.ledger.disk, "broken", "")
        await until(lambda: world.shown(topics.record("n1", JOB)))
        assert JOB in world.ledger.disk.jobs, "said, but not on disk"

    run(scene)


def test_a_message_too_large_for_a_broker_does_not_stop_the_node() -> None:
    async def scene(world: World, bus: Bus) -> None:
        huge = Outcome(verdict=Verdict.SUCCEEDED, result_url="x" * 300_000)
        entry = world.node.entry(JOB)
        record = Record(job=JOB, decided=huge, decided_digest=huge.digest())
        entry.set_vote(world.node.name, Vote(record=record))
        bus.publish(Message(topics.up("pump-7", "cancel", "j1"), b""))
        bus.publish(Message(topics.up("pump-7", "submit", "j2"), SPEC))
        await until(lambda: "queued" in world.shown(topics.down("pump-7", "j2")))
        assert world.shown(topics.record("n1", JOB)) == ""

    run(scene)


def test_a_full_outbox_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, refused = MemoryBus.publish, set()

    def publish(self: MemoryBus, found: Message) -> None:
        if self.client_id == "n1" and found.topic not in refused:
            refused.add(found.topic)
            raise BusFullError(messages=1, size_bytes=1)
        plain(self, found)

    monkeypatch.setattr(MemoryBus, "publish", publish)

    async def scene(world: World, bus: Bus) -> None:
        bus.publish(Message(topics.up("pump-7", "submit", "j1"), SPEC))
        await until(lambda: "queued" in world.shown(topics.down("pump-7", "j1")))
        assert len(refused) > 2

    run(scene)


@pytest.mark.parametrize("fault", ["disk", "broker"])
def test_a_node_goes_on_though_it_waits_for_its_disk_or_its_broker(fault: str) -> None:
    async def scene(world: World, bus: Bus) -> None:
        if fault == "disk":
            world.ledger.disk.broken = "disk full"
            bus.publish(Message(topics.up("pump-7", "submit", "j1"), SPEC))
            await until(lambda: "disk full" in world.shown(topics.node("n1", "state")))
        else:
            world.broker.stop()
        for _ in range(2):
            before_s = world.supervisor.turned_at
            await until(lambda: world.supervisor.turned_at > before_s)  # noqa: B023 (at once)
        assert world.supervisor.look() == ""
        world.ledger.disk.broken = ""

    run(scene)


def test_a_node_whose_shell_stands_still_says_so() -> None:
    async def scene(world: World, _: Bus) -> None:
        assert world.supervisor.serves.is_set()
        world.supervisor.turned_at -= STUCK_S + 1.0
        said = re.fullmatch(r"it has taken no turn for (\d+) s", world.supervisor.look())
        assert said
        # More, if this process had no turn itself.
        assert int(said[1]) >= STUCK_S + 1

    run(scene)


def test_a_broker_that_is_back_within_a_second_is_not_long_alone() -> None:
    pauses_s = [pause_s(refused) for refused in range(1, 1_000)]
    soon = [pause for n, pause in enumerate(pauses_s) if sum(pauses_s[:n]) < 1.0]
    assert max(soon) < 0.05
    assert pauses_s == sorted(pauses_s)
    assert pauses_s[-1] == pause_s(10**9) == RETRY_S
