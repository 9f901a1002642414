"""Goal: what a bridge carries arrives while Mosquitto waits to try it again, and nothing goes back.

Method: two real Mosquittos with a bridge from n1 to n2, and n1's stand-in for it. Where the
bridge must not come back during the test, its pause is raised to a minute.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.mosquitto import mosquitto
from broker.mosquitto_config import Peer, bridge_state_topic, render
from broker.stand_in import StandIn
from tests.mosquitto_fixture import HOST, free_port
from workrs.adapters.mqtt import connect
from workrs.ports.bus import Address, Bus, Message, Subscription

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TOPIC = "workrs/1/node/n1/job/a"


@dataclass(slots=True)
class Pair:
    """Two nodes' brokers; n1's runs, n2's when it is told to."""

    folder: Path
    own: Address
    there: Address
    words: list[bytes] = field(default_factory=list)
    """What n1's broker said of its bridge."""

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Bus]:
        """Run n2's broker; yield a connection to it that hears everything."""
        config = render(node="n2", listener=self.there)
        async with (
            mosquitto(name="n2", config=config, folder=self.folder / "n2"),
            connect(address=self.there, client_id="reader") as reader,
        ):
            await reader.subscribe(Subscription(pattern="#"))
            yield reader

    async def watch(self, bus: Bus) -> None:
        while True:
            self.words += [message.payload for message in await bus.receive()]


@asynccontextmanager
async def pair(folder: Path, *, bridge_returns: bool) -> AsyncIterator[tuple[Pair, Bus]]:
    """Run n1's broker and stand-in; yield a connection to it as well."""
    it = Pair(folder, *(Address(host=HOST, port=free_port()) for _ in range(2)))
    peer = Peer(name="n2", address=it.there)
    config = render(node="n1", listener=it.own, peers=[peer])
    if not bridge_returns:
        assert "restart_timeout 1 2" in config
        config = config.replace("restart_timeout 1 2", "restart_timeout 60")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(30))
        await stack.enter_async_context(mosquitto(name="n1", config=config, folder=folder / "n1"))
        writer, watcher = [
            await stack.enter_async_context(connect(address=it.own, client_id=name))
            for name in ("writer", "watcher")
        ]
        await watcher.subscribe(Subscription(pattern=bridge_state_topic("n1", "n2")))
        # Entered last: it ends before the connections that its tasks use.
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        stand_in = StandIn(node="n1", own=it.own, peer=peer, connect=connect)
        running = [tasks.create_task(it.watch(watcher)), tasks.create_task(stand_in.run())]
        yield it, writer
        for task in running:
            task.cancel()


async def heard(bus: Bus, *wanted: str) -> dict[str, Message]:
    """Receive until each of the topics was heard; return the last message of every topic."""
    found: dict[str, Message] = {}
    while not found.keys() >= set(wanted):
        found |= {message.topic: message for message in await bus.receive()}
    return found


def test_what_the_bridge_carries_arrives_while_it_is_down(tmp_path: Path) -> None:
    async def scene() -> None:
        async with pair(tmp_path, bridge_returns=False) as (it, writer):
            writer.publish(Message(TOPIC, b"kept", retain=True))
            await writer.flush()
            for _ in range(2):  # when it starts, and when it comes back empty
                async with it.peer() as reader:
                    found = await heard(reader, TOPIC)
                    assert found[TOPIC].payload == b"kept"
                    assert found[TOPIC].retain
                    writer.publish(Message("workrs/1/down/d/j/state", b"stays here"))
                    writer.publish(Message("workrs/1/relay/n2/d/cancel/j", b"made its hop"))
                    writer.publish(Message("workrs/1/up/d/submit/j", b"spec"))
                    writer.publish(Message("workrs/1/node/n2/state", b"not its own"))
                    writer.publish(Message("workrs/1/up/d/cancel/j", b"word"))
                    writer.publish(Message("workrs/1/node/n1/offer/j", b"live"))
                    found = await heard(
                        reader, "workrs/1/relay/n1/d/cancel/j", "workrs/1/node/n1/offer/j"
                    )
                    assert len(found) == 2
                    assert found["workrs/1/relay/n1/d/cancel/j"].payload == b"word"
                    assert not found["workrs/1/node/n1/offer/j"].retain
            assert set(it.words) == {b"0"}

    asyncio.run(scene())


def test_nothing_older_comes_after_the_bridge_is_back(tmp_path: Path) -> None:
    async def scene() -> None:
        async with pair(tmp_path, bridge_returns=True) as (it, writer), it.peer() as reader:
            number, seen = 0, [0]
            while b"1" not in it.words or seen[-1] < number:
                if b"1" not in it.words:
                    number += 1
                    writer.publish(Message(TOPIC, str(number).encode(), retain=True))
                    await writer.flush()
                seen += [int(m.payload) for m in await reader.receive() if m.topic == TOPIC]
            assert seen == sorted(seen)
            # The bridge alone carries from here on: one copy of each message.
            writer.publish(Message("workrs/1/up/d/cancel/j", b"once"))
            writer.publish(Message("workrs/1/node/n1/last", b""))
            arrived = []
            while "workrs/1/node/n1/last" not in arrived:
                arrived += [message.topic for message in await reader.receive()]
            assert arrived.count("workrs/1/relay/n1/d/cancel/j") == 1

    asyncio.run(scene())
