"""The socket of one MQTT connection: gather writes, split reads, notice a dead peer.

Everything put in line during one turn of the event loop leaves in one write, with the
acknowledgements: at 6,000 messages a second the system calls cost more than the packets.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final, Protocol, cast

from mqtt5 import DisconnectPacket, DisconnectReasonCode, PingReqPacket

from workrs.adapters.mqtt_packet import PacketBuffer
from workrs.trust.refusal import explain

if TYPE_CHECKING:
    from mqtt5 import Packet

CLOSED: Final = "closed by the broker"
"""Why a connection ended of which nothing more is known."""
_TICKS: Final = 5
"""Looks at the peer in one keepalive: with 5 s, a dead one is given up within 4 s."""
_PONG_TICKS: Final = 2
"""An answer to a ping may take so long: a broker that refills may be busy for a second."""
_MUTE_TICKS: Final = 2
"""The broker counts our silence too, and gives up after 1.5 keepalives."""
_PING: Final = PingReqPacket().write()
GOODBYE: Final = DisconnectPacket().write()
FAREWELL_WITH_WILL: Final = DisconnectPacket(
    reason_code=DisconnectReasonCode.DISCONNECT_WITH_WILL_MESSAGE
).write()


class Owner(Protocol):
    """What a link needs of the connection it serves."""

    def packets_arrived(self, packets: list[Packet]) -> None:
        """Handle packets in order."""

    def unsent(self, *, socket_backlog_bytes: int) -> bytes:
        """Return what may be sent now; it counts as sent."""

    def link_ended(self, reason: str) -> None:
        """Nothing more will arrive or leave; called once."""


class Link(asyncio.BufferedProtocol):
    """One TCP or TLS connection that carries MQTT packets for its owner."""

    def __init__(self, owner: Owner) -> None:
        """Serve *owner*; the event loop calls the rest."""
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._buffer = PacketBuffer()
        self._transport: asyncio.Transport | None = None
        self._write_planned = False
        self._paused = False
        self._reason: str | None = None
        self._tick_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._heard = False
        self._mute_ticks = 0
        """Ticks in which this side said nothing."""
        self._asked_ticks = 0
        """Ticks that began since a ping without any word from the peer; 0: none is out."""
        self.ended = self._loop.create_future()

    @property
    def is_open(self) -> bool:
        """Whether there is a socket that has not ended."""
        return self._transport is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket; without TCP_NODELAY a request and its reply take 40-90 ms."""
        # uvloop's transports have the methods without being instances of the class.
        self._transport = cast("asyncio.Transport", transport)
        sock = transport.get_extra_info("socket")
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 -- asyncio's signature
        """Lend the free part of the receive buffer to the event loop."""
        return self._buffer.free()

    def buffer_updated(self, nbytes: int) -> None:
        """Hand the packets that are complete now to the owner."""
        self._heard = True
        packets = self._buffer.parse(nbytes)
        if packets:
            self._owner.packets_arrived(packets)
        if self._buffer.malformed is not None:
            self.cut(f"the broker sent a malformed packet: {self._buffer.malformed}")

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the owner, with the most telling reason known."""
        if self._timer is not None:
            self._timer.cancel()
        self._transport = None
        reason = self._reason or (explain(exc) if exc else CLOSED)
        self._owner.link_ended(reason)
        if not self.ended.done():
            self.ended.set_result(None)

    def keep_alive(self, keepalive_s: float) -> None:
        """Watch the peer from now on; 0 never gives it up."""
        if keepalive_s and self._transport is not None:
            self._tick_s = keepalive_s / _TICKS
            self._timer = self._loop.call_later(self._tick_s, self._tick)

    def plan_write(self) -> None:
        """Send what the owner has at the end of this turn of the event loop."""
        if not self._write_planned:
            self._write_planned = True
            self._loop.call_soon(self._write)

    def pause(self) -> None:
        """Stop reading; the peer's packets then wait at the peer."""
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again, if reading is paused."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._heard = True  # the silence until now was ours
            self._transport.resume_reading()

    def explain(self, reason: str) -> None:
        """Remember why the connection is about to end, unless that is known already."""
        self._reason = self._reason or reason

    def close(self, last_packet: bytes) -> None:
        """Send what is in line, then *last_packet*, and close."""
        if self._transport is not None:
            self.explain("closed by this side")
            self._write()
            self._transport.write(last_packet)
            self._transport.close()

    def disown(self) -> None:
        """Forget a socket that the event loop closed while it was being made.

        uvloop then tells nobody, shows it as open, and raises RuntimeError when it is used:
        an agent that was stopped in the middle of a connect, and resumed, died of that.
        """
        self._transport = None

    def cut(self, reason: str) -> None:
        """Close at once, without a goodbye."""
        if self._transport is not None:
            self.explain(reason)
            self._transport.abort()

    def _write(self) -> None:
        self._write_planned = False
        transport = self._transport
        if transport is None:
            return
        self._mute_ticks = 0
        data = self._owner.unsent(socket_backlog_bytes=transport.get_write_buffer_size())
        if data:
            transport.write(data)

    def _tick(self) -> None:
        """Ping a peer that was silent for a tick, or heard nothing of us for some.

        Giving up needs an unanswered ping, not a span of time: a process that was stopped
        and resumed sees a long silence that is its own.
        """
        if self._transport is None:
            return
        if self._heard or self._paused:
            self._asked_ticks = 0
        elif self._asked_ticks == _PONG_TICKS:
            self.cut("the broker does not answer")
            return
        elif self._asked_ticks:
            self._asked_ticks += 1
        self._mute_ticks += 1
        if not self._asked_ticks and (not self._heard or self._mute_ticks > _MUTE_TICKS):
            self._transport.write(_PING)
            self._asked_ticks, self._mute_ticks = 1, 0
        self._heard = False
        self._timer = self._loop.call_later(self._tick_s, self._tick)
