"""Goal: the fake bus and MQTT 5 over a real Mosquitto keep the same promises.

Method: every test runs against both, the real one under asyncio's loop and under uvloop, with
topics and client ids of its own; what must not arrive is shown by a later message on the same
topic that does.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from tests.mosquitto_fixture import DENIED, mosquitto_address
from workrs.adapters.mqtt import connect
from workrs.ports.bus import (
    LAGGING_MAX_BYTES,
    PAYLOAD_MAX_BYTES,
    RECEIVE_MAX,
    Address,
    Bus,
    BusClosedError,
    BusDeniedError,
    BusMessageError,
    Connect,
    Message,
    Subscription,
    read_retained,
)
from workrs.testing.bus import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

__all__ = ["mosquitto_address"]  # a fixture is found by its name in the module

_counter = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """One broker and a corner of it that only one test uses."""

    runner: Callable[[Coroutine[Any, Any, None]], None]
    connector: Connect
    address: Address
    name: str

    def topic(self, rest: str) -> str:
        return f"{self.name}/{rest}"

    @asynccontextmanager
    async def bus(self, who: str, *, will: Message | None = None) -> AsyncIterator[Bus]:
        async with self.connector(
            address=self.address, client_id=f"{self.name}-{who}", will=will
        ) as bus:
            yield bus

    @asynccontextmanager
    async def reader(self, *, no_local: bool = False) -> AsyncIterator[Bus]:
        """Yield a bus that is subscribed to everything in this corner."""
        async with self.bus("reader") as bus:
            await bus.subscribe(Subscription(pattern=self.topic("#"), no_local=no_local))
            yield bus

    async def snapshot(self, bus: Bus, pattern: str = "#") -> list[Message]:
        return await read_retained(
            bus, Subscription(pattern=self.topic(pattern)), echo_topic=f"echo/{bus.client_id}"
        )


@pytest.fixture(params=["memory", "mosquitto", "mosquitto+uvloop"])
def world(request: pytest.FixtureRequest) -> World:
    name = f"t{next(_counter)}"
    if request.param == "memory":
        broker = MemoryBroker(deny=lambda _client_id, message: message.topic.startswith(DENIED))
        address = Address(host="memory", port=1)
        return World(runner=asyncio.run, connector=broker.connect, address=address, name=name)
    address = request.getfixturevalue("mosquitto_address")
    runner = uvloop.run if request.param.endswith("uvloop") else asyncio.run
    return World(runner=runner, connector=connect, address=address, name=name)


def within_120_s(
    test: Callable[[World], Coroutine[Any, Any, None]],
) -> Callable[[World], None]:
    """Run an asynchronous test in a loop of its own, and fail it if it hangs."""

    @functools.wraps(test)
    def run(world: World) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(120):
                await test(world)

        world.runner(bounded())

    return run


async def take(bus: Bus, count: int) -> list[Message]:
    """Receive until *count* messages are there."""
    messages: list[Message] = []
    while len(messages) < count:
        messages += await bus.receive()
    return messages


@within_120_s
async def test_messages_of_a_topic_arrive_once_and_in_order(world: World) -> None:
    async with world.reader() as reader, world.bus("writer") as writer:
        expected = [f"{n}".encode() for n in range(5_000)]
        for n, payload in enumerate(expected):
            writer.publish(Message(world.topic("a"), payload))
            if n % 1_000 == 0:
                await writer.flush()
        assert [message.payload for message in await take(reader, 5_000)] == expected


@within_120_s
async def test_qos_0_and_1_arrive_as_they_were_published(world: World) -> None:
    async with world.reader() as reader:
        sent = [Message(world.topic("a"), b"0", 0), Message(world.topic("b"), b"\0\xff", 1)]
        for message in sent:
            reader.publish(message)
        assert sorted(await take(reader, 2), key=lambda message: message.topic) == sent


@within_120_s
async def test_a_subscription_bounds_the_qos(world: World) -> None:
    async with world.bus("reader") as reader:
        await reader.subscribe(Subscription(pattern=world.topic("#"), qos=0))
        reader.publish(Message(world.topic("a"), b"1", 1))
        assert await take(reader, 1) == [Message(world.topic("a"), b"1", 0)]


@within_120_s
async def test_wildcards_cover_one_level_or_all_below(world: World) -> None:
    async with world.bus("reader") as reader:
        await reader.subscribe(
            Subscription(pattern=world.topic("+/x")), Subscription(pattern=world.topic("deep/#"))
        )
        for rest in ("x", "a/x", "a/b/x", "deep", "deep/a/b", "a/y"):
            reader.publish(Message(world.topic(rest), b""))
        reader.publish(Message(world.topic("end/x"), b""))
        got = [message.topic for message in await take(reader, 4)]
        assert got == [world.topic(rest) for rest in ("a/x", "deep", "deep/a/b", "end/x")]


@within_120_s
async def test_an_unsubscribed_topic_is_silent(world: World) -> None:
    async with world.reader() as reader:
        await reader.subscribe(Subscription(pattern=f"{world.name}-other"))
        await reader.unsubscribe(world.topic("#"), "never/subscribed")
        reader.publish(Message(world.topic("a"), b"unheard"))
        reader.publish(Message(f"{world.name}-other", b"heard"))
        assert [message.payload for message in await take(reader, 1)] == [b"heard"]


@within_120_s
async def test_a_late_reader_gets_what_is_retained_and_nothing_else(world: World) -> None:
    async with world.bus("writer") as writer:
        writer.publish(Message(world.topic("kept"), b"old", retain=True))
        writer.publish(Message(world.topic("kept"), b"new", retain=True))
        writer.publish(Message(world.topic("kept0"), b"zero", 0, retain=True))
        writer.publish(Message(world.topic("gone"), b"live only"))
        await writer.flush()
    async with world.bus("reader") as reader:
        found = await world.snapshot(reader)
        assert sorted(found, key=lambda message: message.topic) == [
            Message(world.topic("kept"), b"new", retain=True),
            Message(world.topic("kept0"), b"zero", 0, retain=True),
        ]


@within_120_s
async def test_an_empty_retained_message_deletes_and_is_told_live(world: World) -> None:
    async with world.reader() as reader, world.bus("late") as late:
        reader.publish(Message(world.topic("a"), b"1", retain=True))
        reader.publish(Message(world.topic("a"), b"", retain=True))
        await reader.flush()
        assert [message.payload for message in await take(reader, 2)] == [b"1", b""]
        assert await world.snapshot(late) == []


@within_120_s
async def test_a_snapshot_is_complete_beyond_the_receive_maximum(world: World) -> None:
    count = 2 * RECEIVE_MAX + 1
    async with world.bus("writer") as writer, world.bus("reader") as reader:
        for n in range(count):
            writer.publish(Message(world.topic(f"{n}"), b"x", n % 2, retain=True))
            if n % 1_000 == 0:
                await writer.flush()
        await writer.flush()
        found = await world.snapshot(reader)
        assert len({message.topic for message in found}) == len(found) == count


@within_120_s
async def test_no_local_leaves_out_ones_own_messages(world: World) -> None:
    async with world.reader(no_local=True) as reader, world.bus("other") as other:
        reader.publish(Message(world.topic("a"), b"mine"))
        await reader.flush()
        other.publish(Message(world.topic("a"), b"theirs"))
        assert [message.payload for message in await take(reader, 1)] == [b"theirs"]


@within_120_s
async def test_an_aborted_connection_leaves_its_will(world: World) -> None:
    will = Message(world.topic("will"), b"gone", retain=True)
    async with world.reader() as reader, world.bus("dying", will=will) as dying:
        dying.abort()
        assert await take(reader, 1) == [will]
        with pytest.raises(BusClosedError):
            dying.publish(Message(world.topic("a"), b""))
        with pytest.raises(BusClosedError):
            await dying.receive()
        with pytest.raises(BusClosedError):
            await dying.subscribe(Subscription(pattern="a"))


@within_120_s
async def test_leaving_by_an_exception_leaves_the_will(world: World) -> None:
    will = Message(world.topic("will"), b"gone")
    async with world.reader() as reader:
        with pytest.raises(LookupError):
            async with world.bus("dying", will=will):
                raise LookupError
        assert await take(reader, 1) == [will]


@within_120_s
async def test_a_goodbye_takes_the_will_back(world: World) -> None:
    will = Message(world.topic("a"), b"gone")
    async with world.reader() as reader:
        async with world.bus("leaving", will=will) as leaving:
            leaving.publish(Message(world.topic("a"), b"last words"))
        reader.publish(Message(world.topic("a"), b"later"))
        got = [message.payload for message in await take(reader, 2)]
        assert got == [b"last words", b"later"]
        with pytest.raises(BusClosedError):
            leaving.publish(Message(world.topic("a"), b""))


@within_120_s
async def test_a_second_connection_of_the_same_name_ends_the_first(world: World) -> None:
    async with world.reader() as first, world.reader():
        with pytest.raises(BusClosedError):
            await first.receive()


@within_120_s
async def test_what_had_arrived_is_handed_out_after_the_end(world: World) -> None:
    async with world.reader() as reader, world.bus("watcher") as watcher:
        await watcher.subscribe(Subscription(pattern=world.topic("#")))
        reader.publish(Message(world.topic("a"), b"1"))
        await take(watcher, 1)
        await reader.flush()
        await reader.unsubscribe("a/round/trip")
        reader.abort()
        assert [message.payload for message in await reader.receive()] == [b"1"]
        with pytest.raises(BusClosedError):
            await reader.receive()


@within_120_s
async def test_a_slow_reader_loses_nothing(world: World) -> None:
    count = 3 * RECEIVE_MAX
    async with world.reader() as reader, world.bus("writer") as writer:
        for n in range(count):
            writer.publish(Message(world.topic("a"), f"{n}".encode()))
            if n % 1_000 == 0:
                await writer.flush()
        got: list[Message] = []
        while len(got) < count:
            got += await reader.receive()
            await writer.flush()
        assert [message.payload for message in got] == [f"{n}".encode() for n in range(count)]


@within_120_s
async def test_a_lagging_reader_takes_bounded_batches_and_loses_nothing(world: World) -> None:
    payload = b"x" * PAYLOAD_MAX_BYTES
    count = 4 * LAGGING_MAX_BYTES // PAYLOAD_MAX_BYTES
    async with world.reader() as reader, world.bus("writer") as writer:
        for _ in range(count):
            writer.publish(Message(world.topic("bulk"), payload))
            await writer.flush()
        received = 0
        while received < count:
            batch = await reader.receive()
            assert len(batch) * PAYLOAD_MAX_BYTES <= 2 * LAGGING_MAX_BYTES + PAYLOAD_MAX_BYTES
            received += len(batch)
            await writer.flush()


@within_120_s
async def test_a_lagging_reader_still_gets_answers(world: World) -> None:
    payload = b"x" * PAYLOAD_MAX_BYTES
    count = 3 * LAGGING_MAX_BYTES // PAYLOAD_MAX_BYTES
    async with world.reader() as reader, world.bus("writer") as writer:
        for _ in range(count):
            writer.publish(Message(world.topic("bulk"), payload))
            await writer.flush()
        reader.publish(Message("another/topic", b""))
        await reader.flush()
        await reader.subscribe(Subscription(pattern="another/topic"))
        assert len(await take(reader, count)) == count


@within_120_s
async def test_a_cancelled_receive_takes_nothing_along(world: World) -> None:
    async with world.reader() as reader, world.bus("writer") as writer:
        waiting = asyncio.create_task(reader.receive())
        await writer.flush()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        writer.publish(Message(world.topic("a"), b"1"))
        assert [message.payload for message in await take(reader, 1)] == [b"1"]


@within_120_s
async def test_expiry_counts_down_for_late_readers(world: World) -> None:
    async with world.bus("writer") as writer, world.bus("late") as late:
        writer.publish(Message(world.topic("long"), b"1", retain=True, expiry_s=10_000))
        writer.publish(Message(world.topic("short"), b"1", retain=True, expiry_s=1))
        await writer.flush()
        found = await world.snapshot(late)
        assert all(message.expiry_s for message in found)
        while [message.topic for message in found] != [world.topic("long")]:
            found = await world.snapshot(late)
            await asyncio.sleep(0.05)
        assert 10_000 - 150 < (found[0].expiry_s or 0) < 10_000


@within_120_s
async def test_the_largest_payload_arrives(world: World) -> None:
    payload = bytes(range(256)) * (PAYLOAD_MAX_BYTES // 256)
    async with world.reader() as reader:
        for _ in range(5):
            reader.publish(Message(world.topic("a"), payload))
        assert all(message.payload == payload for message in await take(reader, 5))


@within_120_s
async def test_junk_is_refused_by_the_sender_and_harms_nothing(world: World) -> None:
    async with world.reader() as reader:
        for topic in ("", "a/#", "a/+", "a\0b", "a" * 65_536):
            with pytest.raises(BusMessageError):
                reader.publish(Message(topic, b""))
        with pytest.raises(BusMessageError):
            reader.publish(Message(world.topic("a"), b"x" * (PAYLOAD_MAX_BYTES + 1)))
        for pattern in ("", "a#", "a/#/b", "+a"):
            with pytest.raises(BusMessageError):
                await reader.subscribe(Subscription(pattern=pattern))
        reader.publish(Message(world.topic("a"), b"fine"))
        assert [message.payload for message in await take(reader, 1)] == [b"fine"]


@within_120_s
async def test_a_publication_the_broker_refuses_fails_the_next_flush(world: World) -> None:
    async with world.reader() as reader:
        reader.publish(Message(DENIED + "a", b""))
        with pytest.raises(BusDeniedError, match="denied/a"):
            await reader.flush()
        await reader.flush()


@within_120_s
async def test_qos_0_is_dropped_and_counted_when_the_reader_lags(world: World) -> None:
    payload = b"x" * PAYLOAD_MAX_BYTES
    async with world.reader() as reader, world.bus("writer") as writer:
        while not reader.dropped:
            writer.publish(Message(world.topic("bulk"), payload, 0))
            writer.publish(Message(world.topic("mark"), b""))
            await writer.flush()
        first = await reader.receive()
        bulk = sum(len(message.payload) for message in first)
        assert (
            LAGGING_MAX_BYTES - PAYLOAD_MAX_BYTES <= bulk <= LAGGING_MAX_BYTES + PAYLOAD_MAX_BYTES
        )
