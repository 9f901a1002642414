"""An MQTT broker in memory, whose connections are `workrs.ports.bus.Bus`es.

It passes the same contract suite as the real adapter and broker, and needs no socket, so
it runs under a virtual clock: retained messages and message expiry follow the running
loop's clock. It delivers in the same turn of the event loop in which it is told.

What it does not have: authentication (`deny` stands in for ACLs), QoS 2, persistent
sessions, keepalive (nobody is ever silent here; use `MemoryBus.abort`), bridges.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from workrs.ports.bus import (
    LAGGING_MAX_BYTES,
    PAYLOAD_MAX_BYTES,
    RECEIVE_MAX,
    BusClosedError,
    BusDeniedError,
    BusMessageError,
    BusUnreachableError,
    Message,
    Subscription,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable

    from workrs.ports.bus import Address, Bus

_TOPIC_MAX_BYTES: Final = 65_535


def matches(pattern: str, topic: str) -> bool:
    """Return whether the topic filter *pattern* covers *topic*."""
    if topic.startswith("$") and pattern[0] in "+#":
        return False
    levels = topic.split("/")
    wanted = pattern.split("/")
    if wanted[-1] == "#":
        wanted.pop()
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(
        want in ("+", level) for want, level in zip(wanted, levels, strict=True)
    )


def check_pattern(pattern: str) -> None:
    """Raise `BusMessageError` unless *pattern* is a topic filter."""
    levels = pattern.split("/")
    if (
        not pattern
        or "\0" in pattern
        or "#" in "".join(levels[:-1])
        or any(len(level) > 1 and ("#" in level or "+" in level) for level in levels)
    ):
        raise BusMessageError(pattern, "not a topic filter")


def check_message(message: Message) -> None:
    """Raise `BusMessageError` unless *message* can be published."""
    topic = message.topic
    if not topic or set(topic) & set("+#\0") or len(topic) > _TOPIC_MAX_BYTES:
        raise BusMessageError(topic, "not a topic name")
    if len(message.payload) > PAYLOAD_MAX_BYTES:
        raise BusMessageError(topic, f"payload of {len(message.payload)} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Retained:
    """A retained message and when it expires."""

    message: Message
    expires_at: float | None

    @classmethod
    def of(cls, message: Message) -> _Retained:
        """Begin to keep *message* now."""
        now = asyncio.get_running_loop().time()
        expires_at = None if message.expiry_s is None else now + message.expiry_s
        return cls(message=message, expires_at=expires_at)

    def now(self) -> Message | None:
        """Return the message as it is delivered now, or None once it has expired."""
        if self.expires_at is None:
            return self.message
        left_s = self.expires_at - asyncio.get_running_loop().time()
        return replace(self.message, expiry_s=math.ceil(left_s)) if left_s > 0 else None


class MemoryBroker:
    """One broker: its retained messages and its open connections."""

    def __init__(self, *, deny: Callable[[str, Message], bool] | None = None) -> None:
        """Start empty.

        Args:
            deny: called with client id and message of each publication; True refuses it,
                as an ACL would.
        """
        self._deny = deny
        self._buses: dict[str, MemoryBus] = {}
        self._retained: dict[str, _Retained] = {}
        self._is_up = True

    @asynccontextmanager
    async def connect(
        self,
        *,
        address: Address,
        client_id: str,
        username: str | None = None,  # noqa: ARG002 -- everybody is let in
        password: str | None = None,  # noqa: ARG002
        tls: ssl.SSLContext | None = None,  # noqa: ARG002
        will: Message | None = None,
        keepalive_s: int = 5,  # noqa: ARG002 -- nobody is ever silent
        timeout_s: float = 5.0,  # noqa: ARG002
    ) -> AsyncIterator[Bus]:
        """Open a connection; see `workrs.ports.bus.Connect`. The address only names it."""
        await asyncio.sleep(0)
        if not self._is_up:
            raise BusUnreachableError(address, "the broker is stopped")
        former = self._buses.get(client_id)
        if former is not None:
            self.end(former, "session taken over", will=True)
        bus = self._buses[client_id] = MemoryBus(self, client_id, will)
        try:
            yield bus
        except BaseException:
            self.end(bus, "closed by this side", will=True)
            raise
        else:
            self.end(bus, "closed by this side", will=False)

    def stop(self) -> None:
        """Die as by SIGKILL: connections end, no will is sent, retained messages are gone."""
        self._is_up = False
        self._retained.clear()
        for bus in list(self._buses.values()):
            self.end(bus, "closed by the broker", will=False)

    def start(self) -> None:
        """Accept connections again, with nothing retained."""
        self._is_up = True

    def retained(self) -> dict[str, bytes]:
        """Return what is retained now, payloads by topic."""
        messages = (kept.now() for kept in self._retained.values())
        return {message.topic: message.payload for message in messages if message}

    def end(self, bus: MemoryBus, reason: str, *, will: bool) -> None:
        """End a connection, unless it has ended, and publish its will if it has one."""
        if self._buses.get(bus.client_id) is not bus:
            return
        del self._buses[bus.client_id]
        bus.ended(reason)
        if will and bus.will is not None:
            self.route(bus, bus.will)

    def route(self, sender: MemoryBus, message: Message) -> bool:
        """Take a publication; return whether it was allowed."""
        if self._deny is not None and self._deny(sender.client_id, message):
            return False
        if message.retain:
            if message.payload:
                self._retained[message.topic] = _Retained.of(message)
            else:
                self._retained.pop(message.topic, None)
        for bus in list(self._buses.values()):
            bus.offer(message, is_local=bus is sender)
        return True

    def retained_for(self, subscription: Subscription) -> list[Message]:
        """Return the retained messages that a subscription receives first."""
        messages = (kept.now() for kept in self._retained.values())
        return [
            message
            for message in messages
            if message and matches(subscription.pattern, message.topic)
        ]


class MemoryBus:
    """One connection to a `MemoryBroker`; implements `workrs.ports.bus.Bus`."""

    def __init__(self, broker: MemoryBroker, client_id: str, will: Message | None) -> None:
        self.client_id = client_id
        self.will = will
        self.dropped = 0
        self._broker = broker
        self._subscriptions: dict[str, Subscription] = {}
        self._queue: deque[Message] = deque()
        self._queued_bytes = 0
        self._arrival = asyncio.Event()
        self._closed: str | None = None
        self._refusal: BusDeniedError | None = None

    async def subscribe(self, *subscriptions: Subscription) -> None:
        """See `Bus.subscribe`."""
        for wanted in subscriptions:
            check_pattern(wanted.pattern)
        await self._turn()
        for wanted in subscriptions:
            self._subscriptions[wanted.pattern] = wanted
            for message in self._broker.retained_for(wanted):
                self._enqueue(message, min(message.qos, wanted.qos))

    async def unsubscribe(self, *patterns: str) -> None:
        """See `Bus.unsubscribe`."""
        await self._turn()
        for pattern in patterns:
            self._subscriptions.pop(pattern, None)

    def publish(self, message: Message) -> None:
        """See `Bus.publish`. It arrives in this same turn of the event loop."""
        if self._closed is not None:
            raise BusClosedError(self._closed)
        check_message(message)
        if not self._broker.route(self, message) and message.qos and self._refusal is None:
            self._refusal = BusDeniedError(f"publish {message.topic}", "not authorized")

    async def flush(self) -> None:
        """See `Bus.flush`."""
        await asyncio.sleep(0)
        if self._refusal is not None:
            refusal, self._refusal = self._refusal, None
            raise refusal

    async def receive(self) -> list[Message]:
        """See `Bus.receive`."""
        while not self._queue:
            if self._closed is not None:
                raise BusClosedError(self._closed)
            self._arrival.clear()
            await self._arrival.wait()
        batch: list[Message] = []
        room, size_bytes = RECEIVE_MAX, 0
        while self._queue and room and size_bytes <= 2 * LAGGING_MAX_BYTES:
            message = self._queue.popleft()
            size_bytes += len(message.payload) + len(message.topic)
            room -= message.qos
            batch.append(message)
        self._queued_bytes -= size_bytes
        return batch

    def abort(self) -> None:
        """See `Bus.abort`."""
        self._broker.end(self, "aborted by this side", will=True)

    def offer(self, message: Message, *, is_local: bool) -> None:
        """Take a live message if a subscription covers it (once: overlaps do not double)."""
        levels = [
            wanted.qos
            for wanted in self._subscriptions.values()
            if matches(wanted.pattern, message.topic) and not (is_local and wanted.no_local)
        ]
        if levels:
            self._enqueue(message, min(message.qos, max(levels)))

    def ended(self, reason: str) -> None:
        """Refuse everything from now on, but hand out what has arrived."""
        self._closed = reason
        self._arrival.set()

    def _enqueue(self, message: Message, qos: int) -> None:
        if not qos and self._queued_bytes > LAGGING_MAX_BYTES:
            self.dropped += 1
            return
        self._queued_bytes += len(message.payload) + len(message.topic)
        self._queue.append(message if message.qos == qos else replace(message, qos=qos))
        self._arrival.set()

    async def _turn(self) -> None:
        """Let others run, as a round trip would; raise if the connection is gone."""
        await asyncio.sleep(0)
        if self._closed is not None:
            raise BusClosedError(self._closed)
