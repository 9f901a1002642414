"""Goal: the shell ends a daemon with an older disk, and reads peers' ledgers beside its work.

Method: the shell around a real brain of three nodes, over a broker and a ledger in memory; the
test speaks for the two peers, and stands for their ledgers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from broker import brain
from broker.admission import Phase
from broker.agents import AgentTable
from broker.event import CopiedJob, PeerLedgerFailed, PeerLedgerPart, PeerLedgerRead
from broker.node import Node, NodeSettings
from broker.supervisor import NodeSupervisor
from workrs.domain.errors import OlderDiskError
from workrs.domain.ids import ClientId, Instant, JobId
from workrs.domain.lease import LeaseTiming
from workrs.domain.record import Incarnation, Record
from workrs.domain.rollback import Seen
from workrs.ports.bus import Address, Bus, BusClosedError, Message
from workrs.ports.ledger import Rejoin, Standing
from workrs.testing.bus import MemoryBroker, MemoryBus
from workrs.testing.ledger import MemoryDisk, MemoryLedger
from workrs.wire import codec, topics
from workrs.wire.message import NodeState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.effect import ReadPeerLedger
    from broker.event import Event

ADDRESS = Address(host="n1", port=1)
NAMES = tuple(ClientId(f"n{i}") for i in (1, 2, 3))
JOB = JobId("pump-7_j1")
TIMING = LeaseTiming(ttl_s=0.5, heartbeat_period_s=0.1, margin_s=0.11, freeze_max_s=0.1)


class World:
    """Node n1 of three on a disk."""

    def __init__(self, standing: Standing) -> None:
        self.broker = MemoryBroker()
        self.disk = MemoryDisk(standing=standing)
        ledger = MemoryLedger(self.disk)
        clock = asyncio.get_running_loop().time
        settings = NodeSettings(
            name=NAMES[0],
            nodes=NAMES,
            timing=TIMING,
            incarnation=Incarnation(ledger.boot, "own"),
        )
        self.node = Node(settings, ledger.retired, AgentTable(TIMING.ttl_s))
        brain.start(self.node, ledger, Instant(clock()), 0.0)
        self.asked: list[ReadPeerLedger] = []
        self.supervisor = NodeSupervisor(
            self.node,
            ledger=ledger,
            drop_blobs=lambda _: None,
            connect=self.broker.connect,
            address=ADDRESS,
            clock=clock,
            read_peer_ledger=self.read,
        )

    async def read(self, wanted: ReadPeerLedger) -> AsyncIterator[Event]:
        self.asked.append(wanted)
        if len(self.asked) == 1:
            yield PeerLedgerFailed(wanted.node, wanted.generation, "not yet")
            return
        job = CopiedJob(Record(job=JOB), None)
        for _ in range(10):
            yield PeerLedgerPart(wanted.node, wanted.generation, jobs=(job,))
        yield PeerLedgerRead(wanted.node, wanted.generation)

    def say_states(self, bus: Bus, **fields: object) -> None:
        for name in NAMES[1:]:
            state = NodeState(boot=1, nonce=name, nodes=NAMES, timing=TIMING, **fields)  # type: ignore[arg-type]
            bus.publish(Message(topics.node(name, "state"), codec.encode(state), retain=True))


def test_an_older_disk_ends_the_daemon_and_nothing_is_written() -> None:
    async def play() -> None:
        world = World(Standing(boot=2, serial=5))
        async with world.broker.connect(address=ADDRESS, client_id="peers") as bus:
            world.say_states(bus, seen={"n1": Seen(2, "own", 6)})
            await world.supervisor.run()

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(play())
    assert caught.group_contains(OlderDiskError, match="commit 6 of it")


def test_ledgers_are_read_until_all_is_known_and_then_the_node_votes() -> None:
    async def play() -> None:
        world = World(Standing(rejoin=Rejoin.UNDER_WAY))
        async with (
            asyncio.TaskGroup() as tasks,
            asyncio.timeout(60),
            world.broker.connect(address=ADDRESS, client_id="peers") as bus,
        ):
            serving = tasks.create_task(world.supervisor.run())
            while world.node.admission.phase is not Phase.VOTING:
                world.say_states(bus, generation=world.node.generation)
                await asyncio.sleep(0.05)
            serving.cancel()
        # One of them twice. All is begun again where this process stood still for a ttl.
        assert {wanted.node for wanted in world.asked} == set(NAMES[1:])
        assert len(world.asked) >= 3
        assert world.disk.standing.rejoin is Rejoin.DONE
        assert world.disk.jobs[JOB].record.abstains

    asyncio.run(play())


def test_a_ledger_is_read_though_the_connection_ends_as_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = MemoryBus.publish
    cut: list[int] = []

    async def play() -> None:
        world = World(Standing(rejoin=Rejoin.UNDER_WAY))

        def publish(self: MemoryBus, found: Message) -> None:
            if self.client_id == NAMES[0] and world.node.admission.phase is Phase.COPYING:
                monkeypatch.undo()
                cut.append(len(world.asked))
                raise BusClosedError("the broker died")
            plain(self, found)

        monkeypatch.setattr(MemoryBus, "publish", publish)
        async with (
            asyncio.TaskGroup() as tasks,
            asyncio.timeout(20),
            world.broker.connect(address=ADDRESS, client_id="peers") as bus,
        ):
            serving = tasks.create_task(world.supervisor.run())
            while world.node.admission.phase is not Phase.VOTING:
                world.node.next_beat_at = Instant(0.0)  # so each batch has something to say
                world.say_states(bus, generation=world.node.generation)
                await asyncio.sleep(0.05)
            serving.cancel()
        assert cut == [0], "not cut in the batch that asks"
        assert world.disk.jobs[JOB].record.abstains

    asyncio.run(play())
