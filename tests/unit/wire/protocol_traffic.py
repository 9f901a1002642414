"""What the programs really publish: every kind of message, once at least, with QoS and retain flag.

Nodes are whole brains in `tests.unit.broker.cluster`, agents a brain in conversation with
voters, a device its own MQTT library with the socket left out.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from device_client.link import Link, Login
from device_client.route import NodeAddress, Timing
from edge_agent.effect import Publish as AgentPublish
from edge_agent.event import LogRead, OrderReceived, ProgressMade
from tests.unit.broker.cluster import Agent, Cluster
from tests.unit.broker.trust_world import NOW, TrustWorld, make_directory
from tests.unit.edge_agent.agent_talk import JOB, Talk, saved
from workrs.cli import order as ordering
from workrs.cli.connection import Caller
from workrs.cli.list_sender import Spread, bring
from workrs.domain.function import Function
from workrs.domain.ids import ClientId, Digest
from workrs.domain.job import CheckpointPolicy
from workrs.ports.bus import Address, Message, Subscription, read_retained
from workrs.testing.bus import MemoryBroker
from workrs.wire import codec, topics
from workrs.wire.message import Order, OrderKind, OrderReply

HERE = Address(host="n1", port=1883)


@dataclass(frozen=True, slots=True)
class Sent:
    """One publication."""

    topic: str
    qos: int
    retain: bool


def nodes() -> set[Sent]:
    """Let a cluster do all that a node says something about."""
    cluster = Cluster()
    agent = Agent(cluster)
    agent.beat()
    job = cluster.submit("n1", retention_s=1.0)
    cluster.submit("n1", "bad", command=[])
    cluster.nodes["n1"].gate.untold.append(ClientId("pump-9"))
    cluster.tick(2.0)
    agent.claim(job, 1)
    agent.beat((job, 1, 1))
    for number, order in enumerate((OrderKind.LOG, OrderKind.DRAIN)):
        body = Order(order=order, job=job, agent=agent.name)
        cluster.client("n1", topics.up("ann", "order", f"o{number}"), body)
    echo = Function(image="base", command=("cat", "/job/in/input"))
    add = Order(order=OrderKind.ADD, function="echo", definition=echo)
    cluster.client("n1", topics.up("ann", "order", "o9"), add)
    agent.beat((job, 1, 1), ordered=1)
    cluster.client("n1", topics.up(agent.name, "log", job), b"printed", relays=False)
    agent.outcome(job, 1)
    agent.beat(profile=agent.profile)
    cluster.client("n1", topics.up("pump-7", "run", "echo", "plain"), b"in")
    agent.claim("pump-7_plain", 1)
    agent.outcome("pump-7_plain", 1)
    cluster.tick(5.0)
    cluster.submit("n1", retention_s=1.0)
    agent.claim(job, 2, digest=Digest("0" * 64))
    return {
        Sent(publish.topic, publish.qos, publish.retain)
        for _, publish in cluster.heard
        if publish.body != b""
    }


def agents() -> set[Sent]:
    """Let an agent run a job that tells, prints, is saved and ends; and give one back."""
    talk = Talk()
    asked = talk.run(checkpoint=CheckpointPolicy(interval_s=1.0))
    talk.tell(OrderReceived(order=Order(order=OrderKind.LOG, job=JOB)))
    talk.tell(LogRead(job=JOB, run=asked.run, tail=b"printed"))
    talk.tell(ProgressMade(job=JOB, run=asked.run, fraction=0.5, note="half"))
    talk.wait(6.0)
    saved(talk)
    talk.wait(1.0)
    talk.exits(75)
    talk.wait(1.0)
    other = Talk()
    other.run()
    other.exits(0)
    said = talk.all(AgentPublish) + other.all(AgentPublish)
    return {Sent(effect.topic, effect.qos, retain=False) for effect in said}


def devices(monkeypatch: pytest.MonkeyPatch) -> set[Sent]:
    """Let a device say all that it can, as far as the library that would send it."""
    found: set[Sent] = set()
    link = Link(
        NodeAddress("n1", 1883),
        Login("pump-7-1", "pump-7", None, None),
        timing=Timing(),
        closing=lambda _: None,
    )
    inner = link._client.publish

    def publish(
        topic: str,
        payload: bytes,
        qos: int = 0,
        retain: bool = False,  # noqa: FBT001, FBT002
    ) -> object:
        found.add(Sent(topic, qos, retain=retain))
        return inner(topic, payload, qos=qos, retain=retain)

    monkeypatch.setattr(link._client, "publish", publish)
    for rest in (("submit", "j1"), ("run", "echo", "j1"), ("cancel", "j1")):
        link.publish(topics.up("pump-7", *rest), b"", "j1")
    return found


def operators(monkeypatch: pytest.MonkeyPatch) -> set[Sent]:
    """Let an operator order something and read a snapshot, against a node that answers."""
    found: set[Sent] = set()
    broker = MemoryBroker()

    async def scenario() -> None:
        async with broker.connect(address=HERE, client_id="node") as node:
            await node.subscribe(Subscription(pattern="#"))
            asked = asyncio.create_task(
                ordering.send(
                    Order(order=OrderKind.DRAIN),
                    Caller(nodes=(HERE,), user=ClientId("ann")),
                    timeout_s=60.0,
                )
            )
            while not asked.done():
                for message in await node.receive():
                    up = topics.parse_up(message.topic)
                    if up is not None:
                        found.add(Sent(message.topic, message.qos, message.retain))
                        reply = codec.encode(OrderReply(ok=True, text=""))
                        node.publish(Message(topics.down(up.client, up.name), reply))
                await asyncio.sleep(0)
                if found:
                    await asked
            echo = f"{topics.ROOT}/echo/ann"
            async with broker.connect(address=HERE, client_id="ann") as bus:
                await read_retained(bus, Subscription(pattern="nothing"), echo_topic=echo)
            echoes = [m for m in await node.receive() if m.topic == echo]
            found.update(Sent(m.topic, m.qos, m.retain) for m in echoes)

    monkeypatch.setattr("workrs.cli.connection.connect", broker.connect)
    asyncio.run(scenario())
    return found


def lists() -> set[Sent]:
    """Let an operator bring a list of the revoked to a node."""
    found: set[Sent] = set()

    async def scenario(world: TrustWorld) -> None:
        async with world.running(["n1"]) as bus:
            world.directory.revoke("a1", now=NOW)
            spread = Spread(
                nodes=["n1"],
                lists=world.directory.lists(),
                authorities=world.directory.authorities,
            )
            # As long as it is answered, a second connection hears what both of them say.
            await bring(spread, Caller(nodes=(HERE,), user=ClientId("ann")))
            found.update(Sent(m.topic, m.qos, m.retain) for m in await bus.receive())

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        world = TrustWorld(Path(folder), make_directory(Path(folder) / "farm"))
        patch.setattr("workrs.cli.connection.connect", world.broker.connect)
        asyncio.run(scenario(world))
    return found


@cache
def _brains() -> frozenset[Sent]:
    return frozenset(nodes() | agents() | lists())


def traffic(monkeypatch: pytest.MonkeyPatch) -> set[Sent]:
    """Return what all of them publish."""
    return {*_brains(), *devices(monkeypatch), *operators(monkeypatch)}
