"""Goal: what a bridge carries arrives while Mosquitto waits to try it again, and newest last.

Method: two real Mosquittos with a bridge from n1 to n2, and n1's stand-in for it. Where the
bridge must not come back during the test, its pause is raised to ten minutes.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from broker.mosquitto import mosquitto
from broker.mosquitto_config import Peer, bridge_state_topic, render
from broker.stand_in import StandIn
from tests.mosquitto_fixture import HOST, free_port
from workrs.adapters.ending import end
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
async def pair(
    folder: Path,
    *,
    bridge_returns: bool,
    there: Address | None = None,
    way: Address | None = None,
) -> AsyncIterator[tuple[Pair, Bus]]:
    """Run n1's broker and stand-in, which go to n2 by *way*; yield a connection to it as well."""
    there = there or Address(host=HOST, port=free_port())
    it = Pair(folder, Address(host=HOST, port=free_port()), there)
    peer = Peer(name="n2", address=way or there)
    config = render(node="n1", listener=it.own, peers=[peer])
    if not bridge_returns:
        assert "restart_timeout 1 2" in config
        config = config.replace("restart_timeout 1 2", "restart_timeout 600")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(120))
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
            while not it.words:  # noqa: ASYNC110 (filled by a task)
                await asyncio.sleep(0.01)
            assert set(it.words) == {b"0"}

    asyncio.run(scene())


def goes_back(seen: list[int]) -> bool:
    """Whether an older message stays: it came after a newer one, and what followed it did not.

    A bridge that connects has queued what its broker took in meanwhile, which the stand-in may
    have handed on already: the end of what was said may be said again, whole and in order.
    """
    newest, before = 0, 0
    for number in seen:
        if before < newest and number not in {before, before + 1}:
            return True
        newest, before = max(newest, number), number
    return before < newest


@pytest.mark.parametrize(
    ("seen", "bad"),
    [
        ([1, 2, 5, 6], False),
        ([1, 2, 3, 2, 3, 4], False),
        ([1, 2, 3, 3, 4], False),
        ([1, 2, 3, 2], True),
        ([1, 2, 3, 1, 3], True),
        ([1, 2, 3, 2, 1, 2, 3], True),
    ],
)
def test_what_going_back_is(seen: list[int], *, bad: bool) -> None:
    assert goes_back(seen) is bad


@asynccontextmanager
async def slow_start(there: Address) -> AsyncIterator[Address]:
    """Yield a way to *there* on which a connection's first bytes take 0.1 s, and no others."""

    async def move(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        both = [writer]
        try:
            with suppress(OSError):
                onward = await asyncio.open_connection(there.host, there.port)
                both.append(onward[1])
                first = await reader.read(65536)
                held = asyncio.Event()
                asyncio.get_running_loop().call_later(0.1, held.set)
                await held.wait()
                onward[1].write(first)
                await asyncio.gather(move(reader, onward[1]), move(onward[0], writer))
        finally:
            for each in both:
                each.transport.abort()  # what it has not sent may have nobody to take it

    serving: set[asyncio.Task[None]] = set()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.create_task(serve(reader, writer), name="slow"))

    server = await asyncio.start_server(begin, HOST, 0)
    async with server, AsyncExitStack() as stack:
        stack.push_async_callback(end, serving)
        yield Address(host=HOST, port=server.sockets[0].getsockname()[1])


@pytest.mark.parametrize("slow", [False, True])
def test_no_older_word_stays_when_the_bridge_is_back(tmp_path: Path, *, slow: bool) -> None:
    async def scene() -> None:
        async with AsyncExitStack() as stack:
            there = Address(host=HOST, port=free_port())
            way = await stack.enter_async_context(slow_start(there)) if slow else there
            it, writer = await stack.enter_async_context(
                pair(tmp_path, bridge_returns=True, there=there, way=way)
            )
            reader = await stack.enter_async_context(it.peer())
            number, seen = 0, [0]
            while b"1" not in it.words or seen[-1] < number:
                if b"1" not in it.words:
                    number += 1
                    writer.publish(Message(TOPIC, str(number).encode(), retain=True))
                    await writer.flush()
                seen += [int(m.payload) for m in await reader.receive() if m.topic == TOPIC]
            assert not goes_back(seen)
            # The bridge alone carries from here on: one copy of each message.
            writer.publish(Message("workrs/1/up/d/cancel/j", b"once"))
            writer.publish(Message("workrs/1/node/n1/last", b""))
            arrived = []
            while "workrs/1/node/n1/last" not in arrived:
                arrived += [message.topic for message in await reader.receive()]
            assert arrived.count("workrs/1/relay/n1/d/cancel/j") == 1

    asyncio.run(scene())
