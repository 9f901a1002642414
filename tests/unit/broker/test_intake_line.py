"""Goal: heartbeats and votes never wait behind what devices send, and nothing of that is lost.

Method: the shell around a real brain, over a broker in memory.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from broker import intake, intake_line, intake_queue, retained_requests
from broker.intake_line import client_id
from broker.limits import STALLED_TURN, TURN_MAX
from tests.unit.broker.cluster import Cluster
from tests.unit.broker.test_node_supervisor import ADDRESS, SPEC, World, run, until
from workrs.domain.dispatch import AgentProfile
from workrs.domain.ids import ClientId, JobId
from workrs.domain.quota import Quota, Quotas
from workrs.domain.record import Incarnation
from workrs.ports.bus import Bus, BusClosedError, Message, Subscription
from workrs.wire import codec, topics
from workrs.wire.message import Beat

if TYPE_CHECKING:
    from broker.node import Node

FLOOD = 500


def submit(bus: Bus, job: str) -> None:
    bus.publish(Message(topics.up("pump-7", "submit", job), SPEC))


def beat(seq: int) -> bytes:
    profile = AgentProfile(slots=1, arch="amd64", memory_mb=64, cpus=1.0)
    said = Beat(incarnation=Incarnation(1, "a" * 16), connection=1, counter=seq, profile=profile)
    return codec.encode(said)


def test_a_heartbeat_is_not_behind_the_submits_that_came_before_it() -> None:
    async def scene(world: World, bus: Bus) -> None:
        await bus.subscribe(Subscription(pattern=topics.node("n1", "agent", "edge-1")))
        for number in range(FLOOD):
            submit(bus, f"j{number}")
        bus.publish(Message(topics.beat("edge-1"), beat(1)))
        await bus.receive()
        assert len(world.node.entries) <= 3 * TURN_MAX
        await until(lambda: len(world.node.entries) == FLOOD)

    run(scene)


def test_no_batch_has_more_than_its_share_of_submits(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []
    plain = intake.on_submit
    steps: list[int] = []

    def count(node: Node, *rest: object) -> None:
        if not steps or steps[-1] != node.step:
            steps.append(node.step)
            counts.append(0)
        counts[-1] += 1
        plain(node, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(intake, "on_submit", count)

    async def scene(world: World, bus: Bus) -> None:
        for number in range(FLOOD):
            submit(bus, f"j{number}")
        await until(lambda: len(world.node.entries) == FLOOD)

    run(scene)
    assert max(counts) <= TURN_MAX
    assert sum(counts) == FLOOD


def test_a_full_queue_is_not_filled_further_and_nothing_of_it_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake_queue, "INTAKE_MAX", 10)
    waited: list[int] = []
    plain = intake_queue.IntakeQueue.put

    def put(queue: intake_queue.IntakeQueue, event: object) -> None:
        waited.append(len(queue))
        plain(queue, event)  # type: ignore[arg-type]

    monkeypatch.setattr(intake_queue.IntakeQueue, "put", put)

    async def scene(world: World, bus: Bus) -> None:
        for number in range(20):
            for part in range(5):
                submit(bus, f"j{number}-{part}")
            await asyncio.sleep(0)
        await until(lambda: len(world.node.entries) == 100)

    run(scene)
    assert len(waited) == 100


def test_the_second_connection_is_made_again_by_itself() -> None:
    async def scene(world: World, bus: Bus) -> None:
        async with world.broker.connect(address=ADDRESS, client_id=client_id("n1")):
            pass  # a session takeover ends the node's own
        while not world.node.entries:
            submit(bus, "j1")  # as devices do
            await asyncio.sleep(0.005)

    run(scene)


def test_no_more_jobs_are_on_their_way_to_a_majority_than_peers_keep_up_with() -> None:
    cluster = Cluster()
    node = cluster.nodes["n1"]
    window = int(node.spread.window)
    assert intake.room(node) == window
    cluster.cut = {frozenset({"n1", "n2"}), frozenset({"n1", "n3"})}
    for number in range(window - 1):
        cluster.submit("n1", f"j{number}")
    assert intake.room(node) == 1
    cluster.submit("n1", "last")
    assert intake.room(node) == 0
    node.minority.quorum = False
    assert intake.room(node) == TURN_MAX, "without a majority they only wait here"


def test_jobs_that_a_majority_has_soon_make_room_for_more() -> None:
    cluster = Cluster()
    before = cluster.nodes["n1"].spread.window
    for number in range(100):
        cluster.submit("n1", f"j{number}")
    assert cluster.nodes["n1"].spread.window > before
    assert cluster.nodes["n2"].spread.window == before, "it took in none itself"


def test_a_few_are_taken_though_jobs_without_a_majority_stay(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "room", lambda _: 0)
    monkeypatch.setattr(intake_line, "STALLED_S", 0.01)

    async def scene(world: World, bus: Bus) -> None:
        for number in range(3 * STALLED_TURN):
            submit(bus, f"j{number}")
        await until(lambda: JobId(f"pump-7_j{3 * STALLED_TURN - 1}") in world.node.entries)

    run(scene)


def test_a_retained_request_is_refused_and_cleared() -> None:
    async def scene(world: World, bus: Bus) -> None:
        topic = topics.up("pump-7", "submit", "j1")
        await bus.subscribe(Subscription(pattern=topics.down("pump-7", "j1")))
        bus.publish(Message(topic, SPEC, retain=True))
        (answer,) = await bus.receive()
        assert b"rejected" in answer.payload
        await until(lambda: topic not in world.broker.retained())
        assert not world.node.entries
        assert ClientId("pump-7") not in world.node.local_devices

    run(scene)


@pytest.mark.parametrize(
    "topic",
    [
        f"{topics.ROOT}/up/pump-7",
        f"{topics.ROOT}/up/pump-7/nothing/j1",
        f"{topics.ROOT}/up/pump-7/beat/j1",
        f"{topics.ROOT}/up/edge-1/claim/a/b/c",
        f"{topics.ROOT}/up/PUMP 7/x",
        f"{topics.ROOT}/relay/n2/pump-7/nothing/j1",
        f"{topics.ROOT}/relay/n2/pump-7/submit/j1",
    ],
)
def test_what_is_retained_where_nobody_listens_is_cleared_too(
    monkeypatch: pytest.MonkeyPatch, topic: str
) -> None:
    monkeypatch.setattr(retained_requests, "LOOK_S", 0.01)

    async def scene(world: World, bus: Bus) -> None:
        kept = topics.node("n2", "state")
        bus.publish(Message(kept, b"{}", retain=True))
        bus.publish(Message(topic, SPEC, retain=True))
        bus.publish(Message(topic, b"live"))
        await bus.flush()
        await until(lambda: topic not in world.broker.retained())
        assert kept in world.broker.retained()
        await until(lambda: world.node.dropped)
        assert not world.node.entries

    run(scene)


def test_who_does_not_listen_is_disconnected_and_another_device_does_not_notice() -> None:
    async def scene(world: World, bus: Bus) -> None:
        world.node.gate.quotas = Quotas(
            device=Quota(rate_per_s=1, burst=1, open_max=99, open_max_bytes=1 << 20)
        )

        async def go_on() -> None:
            for number in itertools.count():
                submit(bus, f"j{number}")
                await asyncio.sleep(0.002)

        with pytest.raises(BusClosedError, match="taken over"):
            await asyncio.wait_for(go_on(), 60)
        await until(lambda: not world.node.gate.kicks)
        async with world.broker.connect(address=ADDRESS, client_id="pump-8") as other:
            await other.subscribe(Subscription(pattern=topics.down("pump-8", "j1")))
            other.publish(Message(topics.up("pump-8", "submit", "j1"), SPEC))
            assert b"accepted" in (await other.receive())[0].payload
        assert JobId("pump-8_j1") in world.node.entries

    run(scene)


def test_no_daemon_and_no_agent_is_disconnected_by_who_speaks_under_its_name() -> None:
    async def scene(world: World, bus: Bus) -> None:
        world.node.agents.know(ClientId("edge-1"), Incarnation(1, "a" * 16))
        for name in ("n1", "n1.intake", "edge-1", "pump-9"):
            world.node.gate.kicks[ClientId(name)] = None
        async with (
            world.broker.connect(address=ADDRESS, client_id="edge-1") as agent,
            world.broker.connect(address=ADDRESS, client_id="pump-9") as device,
        ):
            submit(bus, "j1")
            with pytest.raises(BusClosedError, match="taken over"):
                await device.receive()
            agent.publish(Message(topics.beat("edge-1"), b""))
            await agent.flush()
        await until(lambda: world.node.entries)

    run(scene)
