"""The bus over MQTT 5: `connect` opens a connection that is a `workrs.ports.bus.Bus`.

Written for CPU per message, because this client, not the broker, is the bottleneck of a
node: a Rust codec on the receive buffer, no future or task per message, acknowledgements
and publications of one turn of the event loop in one write. `docs/bus.md` has the numbers
of this and of the libraries it was chosen over.
"""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import mqtt5

from workrs.adapters import log
from workrs.adapters.mqtt_link import CLOSED, FAREWELL_WITH_WILL, GOODBYE, Link
from workrs.adapters.mqtt_outbox import REQUEST_ID_MIN, Outbox
from workrs.adapters.mqtt_packet import PACKET_MAX_BYTES
from workrs.ports.bus import (
    LAGGING_MAX_BYTES,
    RECEIVE_MAX,
    BusClosedError,
    BusDeniedError,
    BusMessageError,
    BusUnreachableError,
    Message,
)
from workrs.trust.refusal import SILENT, explain

if TYPE_CHECKING:
    import enum
    import ssl
    from collections.abc import AsyncIterator, Sequence

    from mqtt5 import Packet

    from workrs.ports.bus import Address, Bus, Connect, Subscription
    from workrs.trust.credential import Credential

_log = log.get(__name__)

_NO_REASON: Final = (CLOSED, os.strerror(errno.ECONNRESET))
"""What is known of a connection that the broker ended without a word."""
_FAILURE: Final = 0x80
"""Reason codes from here on are refusals."""
_CLOSE_TIMEOUT_S: Final = 1.0


class MqttBus:
    """One connection; implements `workrs.ports.bus.Bus`. Made by `connect`."""

    def __init__(self, client_id: str) -> None:
        """Prepare a connection that `connect` opens."""
        loop = asyncio.get_running_loop()
        self.client_id = client_id
        self.dropped = 0
        self.link = Link(self)
        self.welcome: asyncio.Future[mqtt5.ConnAckPacket] = loop.create_future()
        self._loop = loop
        self._outbox = Outbox(window=0, packet_max_bytes=None)
        self._closed: str | None = None
        self._arrived: list[Message] = []
        self._arrived_ids: list[int] = []
        self._arrived_bytes = 0
        self._arrival = asyncio.Event()
        self._handed_out_ids: list[int] = []
        self._requests: dict[int, asyncio.Future[Sequence[enum.IntEnum]]] = {}
        self._request_count = 0
        self._flushes: list[tuple[int, asyncio.Future[None]]] = []
        self._refusal: BusDeniedError | None = None

    async def subscribe(self, *subscriptions: Subscription) -> None:
        """See `Bus.subscribe`."""
        for wanted in subscriptions:
            if not wanted.pattern or "\0" in wanted.pattern:  # the codec lets these through
                raise BusMessageError(wanted.pattern, "not a topic filter")
        packet_id = self._next_request_id()
        try:
            filters = [
                mqtt5.TopicFilter(
                    wanted.pattern,
                    max_qos=mqtt5.QoS(wanted.qos),
                    no_local=wanted.no_local,
                    retain_as_published=True,
                )
                for wanted in subscriptions
            ]
            packet = mqtt5.SubscribePacket(packet_id, filters).write()
        except (ValueError, UnicodeError) as error:
            patterns = " ".join(wanted.pattern for wanted in subscriptions)
            raise BusMessageError(patterns, str(error)) from error
        codes = await self._request(packet_id, packet)
        for wanted, code in zip(subscriptions, codes, strict=True):
            if int(code) >= _FAILURE:
                raise BusDeniedError(f"subscribe {wanted.pattern}", _words(code))

    async def unsubscribe(self, *patterns: str) -> None:
        """See `Bus.unsubscribe`."""
        packet_id = self._next_request_id()
        await self._request(packet_id, mqtt5.UnsubscribePacket(packet_id, list(patterns)).write())

    def publish(self, message: Message) -> None:
        """See `Bus.publish`."""
        if self._closed is not None:
            raise BusClosedError(self._closed)
        self._outbox.add(message)
        self.link.plan_write()

    async def flush(self) -> None:
        """See `Bus.flush`."""
        fence = self._outbox.sequence
        if self._outbox.settled() < fence:
            if self._closed is not None:
                raise BusClosedError(self._closed)
            settled = self._loop.create_future()
            self._flushes.append((fence, settled))
            self.link.resume()
            await settled
        if self._refusal is not None:
            refusal, self._refusal = self._refusal, None
            raise refusal

    async def receive(self) -> list[Message]:
        """See `Bus.receive`."""
        if self._handed_out_ids:
            self._outbox.add_acknowledgements(self._handed_out_ids)
            self._handed_out_ids = []
            self.link.plan_write()
        while not self._arrived:
            if self._closed is not None:
                raise BusClosedError(self._closed)
            await self._arrival.wait()
        # Nothing is awaited from here on, so that a cancelled call takes no batch along.
        batch, self._arrived = self._arrived, []
        self._handed_out_ids, self._arrived_ids = self._arrived_ids, []
        self._arrived_bytes = 0
        if self._closed is None:
            self._arrival.clear()
            self.link.resume()
        return batch

    def abort(self) -> None:
        """See `Bus.abort`."""
        self.link.cut("aborted by this side")

    def packets_arrived(self, packets: list[Packet]) -> None:
        """Sort the packets that came with one read (called by the link)."""
        for packet in packets:
            # The most frequent first; `match` with class patterns costs three times as much.
            if isinstance(packet, mqtt5.PublishPacket):
                self._keep(packet)
            elif isinstance(packet, mqtt5.PubAckPacket):
                self._acknowledged(packet)
            else:
                self._control_arrived(packet)
        if self._flushes:
            self._wake_flushes()
        if self._arrived:
            self._arrival.set()
        # Answers come through the same socket, so nobody may be waiting for one.
        is_waiting = self._flushes or self._requests
        if self._arrived_bytes > 2 * LAGGING_MAX_BYTES and not is_waiting:
            self.link.pause()
        if self._outbox.has_ready:
            self.link.plan_write()

    def unsent(self, *, socket_backlog_bytes: int) -> bytes:
        """Return what may leave now (called by the link)."""
        return self._outbox.take(socket_backlog_bytes=socket_backlog_bytes)

    def link_ended(self, reason: str) -> None:
        """Wake everybody who waits for the broker (called by the link, once)."""
        self._closed = reason
        for reply in self._requests.values():
            if not reply.done():
                reply.set_exception(BusClosedError(reason))
        for _, settled in self._flushes:
            if not settled.done():
                settled.set_exception(BusClosedError(reason))
        self._requests.clear()
        self._flushes.clear()
        if not self.welcome.done():
            self.welcome.set_exception(BusClosedError(reason))
            self.welcome.exception()  # `connect` may have given up: no warning about that
        self._arrival.set()

    def welcomed(self, connack: mqtt5.ConnAckPacket, *, keepalive_s: int) -> None:
        """Begin to send, within the limits the broker named."""
        self._outbox = Outbox(window=connack.receive_max, packet_max_bytes=connack.max_packet_size)
        self.link.keep_alive(
            keepalive_s if connack.server_keep_alive is None else connack.server_keep_alive
        )

    def _control_arrived(self, packet: Packet) -> None:
        if isinstance(packet, mqtt5.SubAckPacket | mqtt5.UnsubAckPacket):
            reply = self._requests.pop(packet.packet_id, None)
            if reply is not None and not reply.done():
                reply.set_result(packet.reason_codes)
        elif isinstance(packet, mqtt5.DisconnectPacket):
            self.link.explain(_words(packet.reason_code))
        elif isinstance(packet, mqtt5.ConnAckPacket) and not self.welcome.done():
            self.welcome.set_result(packet)

    def _keep(self, packet: mqtt5.PublishPacket) -> None:
        topic, payload, packet_id = packet.topic, packet.payload, packet.packet_id
        if packet_id is not None:
            self._arrived_ids.append(packet_id)
        elif self._arrived_bytes > LAGGING_MAX_BYTES:
            if not self.dropped:
                _log.warning("bus_lagging", client_id=self.client_id, topic=topic)
            self.dropped += 1
            return
        self._arrived_bytes += len(payload) + len(topic)
        self._arrived.append(
            Message(
                topic,
                payload,
                0 if packet_id is None else 1,
                packet.retain,
                packet.message_expiry_interval,
            )
        )

    def _acknowledged(self, packet: mqtt5.PubAckPacket) -> None:
        topic = self._outbox.acknowledge(packet.packet_id)
        if int(packet.reason_code) >= _FAILURE and topic is not None:
            reason = _words(packet.reason_code)
            _log.warning(
                "bus_publish_refused", client_id=self.client_id, topic=topic, reason=reason
            )
            if self._refusal is None:
                self._refusal = BusDeniedError(f"publish {topic}", reason)

    def _wake_flushes(self) -> None:
        settled = self._outbox.settled()
        for fence, future in self._flushes:
            if fence <= settled and not future.done():
                future.set_result(None)
        self._flushes = [(fence, future) for fence, future in self._flushes if fence > settled]

    def _next_request_id(self) -> int:
        """Return a packet id no publication uses; they stay below `REQUEST_ID_MIN`."""
        self._request_count += 1
        return REQUEST_ID_MIN + self._request_count % (0x10000 - REQUEST_ID_MIN)

    async def _request(self, packet_id: int, packet: bytes) -> Sequence[enum.IntEnum]:
        if self._closed is not None:
            raise BusClosedError(self._closed)
        reply: asyncio.Future[Sequence[enum.IntEnum]] = self._loop.create_future()
        self._requests[packet_id] = reply
        self._outbox.add_raw(packet)
        self.link.plan_write()
        self.link.resume()
        try:
            return await reply
        finally:
            self._requests.pop(packet_id, None)


@asynccontextmanager
async def connect(
    *,
    address: Address,
    client_id: str,
    username: str | None = None,
    password: str | None = None,
    tls: ssl.SSLContext | None = None,
    will: Message | None = None,
    keepalive_s: int = 5,
    timeout_s: float = 5.0,
) -> AsyncIterator[Bus]:
    """Open a connection; see `workrs.ports.bus.Connect`."""
    hello = mqtt5.ConnectPacket(
        client_id,
        username=username,
        password=None if password is None else password.encode(),
        clean_start=True,
        will=None if will is None else _mqtt_will(will),
        keep_alive=keepalive_s,
        receive_max=RECEIVE_MAX,
        max_packet_size=PACKET_MAX_BYTES,
    ).write()
    bus = MqttBus(client_id)
    try:
        async with asyncio.timeout(timeout_s):
            await _open(bus, hello, address=address, tls=tls, keepalive_s=keepalive_s)
    except BaseException as error:
        # A broker may have taken a hello whose answer came too late: no will for that.
        await _close(bus.link, GOODBYE)
        match error:
            case TimeoutError():
                raise BusUnreachableError(address, f"no answer in {timeout_s} s") from error
            case OSError():
                raise BusUnreachableError(address, explain(error)) from error
            case UnicodeError():
                raise BusUnreachableError(address, "no host can have such a name") from error
            case BusClosedError():
                known = tls is None or error.reason not in _NO_REASON
                reason = error.reason if known else SILENT
                raise BusUnreachableError(address, reason) from error
            case _:
                raise
    try:
        yield bus
    except BaseException:
        await _close(bus.link, FAREWELL_WITH_WILL)
        raise
    else:
        await _close(bus.link, GOODBYE)


def secured(credential: Credential | None) -> Connect:
    """Return what connects as the member that a credential is of; None: as nobody."""
    if credential is None:
        return connect
    return partial(connect, tls=credential.client_context())


async def _open(
    bus: MqttBus,
    hello: bytes,
    *,
    address: Address,
    tls: ssl.SSLContext | None,
    keepalive_s: int,
) -> None:
    loop = asyncio.get_running_loop()
    try:
        if address.is_file:
            transport, _ = await loop.create_unix_connection(lambda: bus.link, address.host)
        else:
            transport, _ = await loop.create_connection(
                lambda: bus.link, address.host, address.port, ssl=tls
            )
    except BaseException:
        bus.link.disown()
        raise
    transport.write(hello)
    connack = await bus.welcome
    if int(connack.reason_code) >= _FAILURE:
        raise BusDeniedError("connect", connack.reason_str or _words(connack.reason_code))
    bus.welcomed(connack, keepalive_s=keepalive_s)


async def _close(link: Link, last_packet: bytes) -> None:
    """Close, but do not wait for a peer that takes nothing more.

    Safe to cancel: the socket is then closed by the event loop in its own time.
    """
    if not link.is_open:
        return
    link.close(last_packet)
    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await asyncio.shield(link.ended)
    except TimeoutError:
        link.cut("the broker did not take the goodbye")


def _mqtt_will(will: Message) -> mqtt5.Will:
    return mqtt5.Will(
        will.topic,
        payload=will.payload,
        qos=mqtt5.QoS(will.qos),
        retain=will.retain,
        message_expiry_interval=will.expiry_s,
    )


def _words(code: enum.IntEnum) -> str:
    """Turn a reason code of the codec (an enumeration, compare it by `int`) into words."""
    return code.name.replace("_", " ").lower()
