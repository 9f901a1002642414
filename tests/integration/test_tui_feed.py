"""Goal: the dashboard's feed reads a real broker, and moves on when that is lost.

Method: two Mosquittos with the same made-up cluster retained at each; one of them is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tui.feed import Feed
from tui.model.cluster import Model
from tui.model.event import Kind
from tui.scene import Scene
from workrs.adapters.mqtt import connect
from workrs.domain.ids import ClientId, Instant
from workrs.ports.bus import PAYLOAD_MAX_BYTES, Address, Message, Subscription
from workrs.wire import codec, topics
from workrs.wire.message import Order, OrderKind, OrderReply

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from tests.integration.device_peer import Broker
    from workrs.ports.bus import Bus

WAIT_S = 60.0
USER = ClientId("ann")


def opener(address: Address) -> AbstractAsyncContextManager[Bus]:
    return connect(address=address, client_id=f"ann-{address.port}", timeout_s=30.0)


async def retain(address: Address, scene: Scene) -> None:
    async with connect(address=address, client_id="nodes") as bus:
        for each in scene.begin():
            bus.publish(Message(each.topic, each.payload, retain=True))
        await bus.flush()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 (what is waited for is another process)
            await asyncio.sleep(0.02)


async def answer(address: Address, listens: asyncio.Event) -> None:
    """Answer every order like a node does."""
    async with connect(address=address, client_id="answers") as bus:
        await bus.subscribe(Subscription(pattern=topics.up("+", "order", "+")))
        listens.set()
        while True:
            for message in await bus.receive():
                name = message.topic.rpartition("/")[2]
                reply = OrderReply(ok=True, text="told")
                bus.publish(Message(topics.down(USER, name), codec.encode(reply)))


def test_the_next_node_is_watched_when_the_first_is_lost(
    make_broker: Callable[..., Broker],
) -> None:
    async def play() -> None:
        brokers = [make_broker(), make_broker()]
        nodes = [Address(host="127.0.0.1", port=broker.port) for broker in brokers]
        scene = Scene(agents=3, jobs=10)
        for node in nodes:
            await retain(node, scene)
        model = Model()
        feed = Feed(model, nodes=nodes, user=USER, opener=opener)
        clock = asyncio.get_running_loop().time
        running = asyncio.create_task(feed.run())
        listens = asyncio.Event()
        answers = asyncio.create_task(answer(nodes[1], listens))
        try:
            await until(lambda: model.is_complete)
            model.settle(Instant(clock()), limit=100)
            assert len(model.jobs) == 10
            assert model.via == str(nodes[0])
            brokers[0].kill()
            await until(lambda: model.via == str(nodes[1]) and model.is_complete)
            model.settle(Instant(clock()), limit=100)
            assert len(model.jobs) == 10
            kinds = [event.kind for event in model.events]
            assert kinds == [Kind.WATCHING, Kind.NODE_LOST, Kind.WATCHING]
            await until(listens.is_set)
            order = Order(order=OrderKind.DRAIN, agent="edge-1")
            assert await feed.order(order) == OrderReply(ok=True, text="told")
        finally:
            for each in (running, answers):
                each.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await each

    asyncio.run(play())


def test_a_spec_that_no_node_could_take_is_told_at_once(make_broker: Callable[..., Broker]) -> None:
    async def play() -> None:
        node = Address(host="127.0.0.1", port=make_broker().port)
        feed = Feed(Model(), nodes=[node], user=USER, opener=opener)
        running = asyncio.create_task(feed.run())
        try:
            await until(lambda: feed.model.is_complete)
            reply = await feed.submit(b"x" * (PAYLOAD_MAX_BYTES + 1), "sum")
            assert not reply.ok
            assert reply.text.startswith("cannot publish to"), reply.text
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    asyncio.run(play())
