"""The MQTT clients that `bus_clients.py` compares, behind one face.

Each is used as its documentation says, with TCP_NODELAY set where the library leaves it off.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from workrs.adapters.mqtt import connect
from workrs.ports.bus import Address, Bus, BusClosedError, Message, Subscription

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 900
"""Unacknowledged messages a publisher lets add up (gmqtt raises at the receive maximum)."""


class Client:
    """A client as this bench sees it; *heard* is called with each payload."""

    async def open(self, address: Address, pattern: str, heard: Callable[[bytes], None]) -> None:
        """Connect and subscribe."""
        raise NotImplementedError

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1, soon."""
        raise NotImplementedError

    async def settled(self) -> None:
        """Wait until everything published is acknowledged."""
        raise NotImplementedError

    async def close(self) -> None:
        """Disconnect."""


class BusClient(Client):
    """The project's own, through the port."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def open(self, address: Address, pattern: str, heard: Callable[[bytes], None]) -> None:
        """Connect and subscribe."""
        self._bus: Bus = await self._stack.enter_async_context(
            connect(address=address, client_id=f"bench-{os.getpid()}")
        )
        await self._bus.subscribe(Subscription(pattern=pattern))
        self.publish = lambda topic, payload: self._bus.publish(Message(topic, payload))  # type: ignore[method-assign]
        self.settled = self._bus.flush  # type: ignore[method-assign]
        self._pump = asyncio.create_task(self._receive(heard))

    async def _receive(self, heard: Callable[[bytes], None]) -> None:
        try:
            while True:
                for message in await self._bus.receive():
                    heard(message.payload)
        except BusClosedError:
            return

    async def close(self) -> None:
        """Disconnect."""
        self._pump.cancel()
        await self._stack.aclose()


class Gmqtt(Client):
    """gmqtt 0.8: pure Python, asyncio."""

    async def open(self, address: Address, pattern: str, heard: Callable[[bytes], None]) -> None:
        """Connect and subscribe."""
        from gmqtt import Client as Library  # type: ignore[import-not-found,unused-ignore]

        self._client = Library(f"bench-{os.getpid()}")
        self._client.on_message = lambda _c, _topic, payload, _qos, _props: heard(payload) or 0  # type: ignore[func-returns-value]
        await self._client.connect(address.host, address.port)
        subscribed = asyncio.Event()
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.subscribe(pattern, qos=1)
        await subscribed.wait()

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1, soon."""
        self._client.publish(topic, payload, qos=1)

    async def settled(self) -> None:
        """Wait until all is acknowledged."""
        await self._client._persistent_storage.wait_empty()  # noqa: SLF001 -- it has no other

    async def close(self) -> None:
        """Disconnect."""
        await self._client.disconnect()


class Paho(Client):
    """paho-mqtt 2: pure Python, a thread; TCP_NODELAY set from outside, as it never does."""

    async def open(self, address: Address, pattern: str, heard: Callable[[bytes], None]) -> None:
        """Connect and subscribe."""
        from paho.mqtt import client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        self._out = 0
        self._acknowledged = 0
        client = self._client = paho.Client(
            CallbackAPIVersion.VERSION2, f"bench-{os.getpid()}", protocol=paho.MQTTv5
        )
        client.max_inflight_messages_set(WINDOW)
        client.on_message = lambda _c, _u, message: heard(bytes(message.payload))
        client.on_publish = self._acknowledge
        client.on_subscribe = lambda _c, _u, _mid, _codes, _p: _wake(loop, ready)
        client.on_connect = lambda _c, _u, _flags, _code, _p: _subscribe(client, pattern)
        client.on_socket_open = lambda _c, _u, sock: _without_delay(sock)
        client.connect(address.host, address.port)
        client.loop_start()
        await ready.wait()

    def _acknowledge(self, *_: object) -> None:
        self._acknowledged += 1

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1, soon."""
        self._out += 1
        self._client.publish(topic, payload, qos=1)

    async def settled(self) -> None:
        """Wait until all is acknowledged."""
        while self._acknowledged < self._out:
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


def _quiet() -> logging.Logger:
    """Return a logger without aiomqtt's warning about each pending call."""
    logger = logging.getLogger("bench.quiet")
    logger.disabled = True
    return logger


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    loop.call_soon_threadsafe(event.set)


def _subscribe(client: Any, pattern: str) -> None:
    client.subscribe(pattern, qos=1)


def _without_delay(sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Aiomqtt(Client):
    """aiomqtt 2: paho under asyncio; a publication is a task of its own until acknowledged."""

    async def open(self, address: Address, pattern: str, heard: Callable[[bytes], None]) -> None:
        """Connect and subscribe."""
        import aiomqtt  # type: ignore[import-not-found,unused-ignore]

        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(100)
        self._client = aiomqtt.Client(
            address.host,
            address.port,
            identifier=f"bench-{os.getpid()}",
            protocol=aiomqtt.ProtocolVersion.V5,
            max_inflight_messages=WINDOW,
            max_concurrent_outgoing_calls=WINDOW,
            logger=_quiet(),
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        await self._client.__aenter__()
        await self._client.subscribe(pattern, qos=1)
        self._pump = asyncio.create_task(self._receive(heard))

    async def _receive(self, heard: Callable[[bytes], None]) -> None:
        async for message in self._client.messages:
            heard(message.payload)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish at QoS 1, soon."""
        task = asyncio.create_task(self._publish(topic, payload))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self, topic: str, payload: bytes) -> None:
        async with self._slots:
            await self._client.publish(topic, payload, qos=1)

    async def settled(self) -> None:
        """Wait until all is acknowledged."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """Disconnect."""
        self._pump.cancel()
        await self._client.__aexit__(None, None, None)


def make(name: str) -> Client:
    """Return the client of that name."""
    return {"bus": BusClient, "gmqtt": Gmqtt, "paho": Paho, "aiomqtt": Aiomqtt}[
        name.partition("+")[0]
    ]()
