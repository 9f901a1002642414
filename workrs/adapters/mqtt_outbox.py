"""What goes out: packet ids, the broker's receive maximum, and who waits for what.

Pure bookkeeping, no I/O: messages in, bytes out. Rules:

1. QoS 1 packets leave in the order of `add`; at most `window` are unacknowledged at the
   broker, the others wait here, encoded already, so a bad message is refused at once.
2. Kept are at most `MESSAGES_MAX` messages and `SIZE_MAX_BYTES`; `add` refuses beyond.
3. A packet id is not used again before its acknowledgement, in whatever order those come.
"""

from __future__ import annotations

from collections import deque
from itertools import chain, repeat
from struct import pack
from typing import TYPE_CHECKING, Final

from mqtt5 import PublishPacket, QoS

from workrs.adapters.mqtt_packet import PACKET_MAX_BYTES
from workrs.ports.bus import (
    PAYLOAD_MAX_BYTES,
    BusFullError,
    BusMessageError,
    Message,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

MESSAGES_MAX: Final = 32_000
"""Unacknowledged QoS 1 messages, sent or waiting; about half of the packet ids."""
SIZE_MAX_BYTES: Final = 64 * 1024 * 1024
"""Bytes that wait here or in the socket's buffer."""

REQUEST_ID_MIN: Final = 60_001
"""Packet ids of publications are below this; the rest is for subscriptions."""

_PACKET_IDS: Final = REQUEST_ID_MIN - 1
_PUBACK: Final = 0x4002
"""First two bytes of an acknowledgement: the packet's type, and 2 bytes to follow."""


class Outbox:
    """Packets to send on one connection, and the unacknowledged ones."""

    __slots__ = (
        "_packet_id",
        "_packet_max_bytes",
        "_ready",
        "_sequence",
        "_unacknowledged",
        "_unsent_bytes",
        "_waiting",
        "_waiting_bytes",
        "_window",
    )

    def __init__(self, *, window: int, packet_max_bytes: int | None) -> None:
        """Start empty.

        Args:
            window: the broker's receive maximum.
            packet_max_bytes: the broker's largest packet, or None if it names none.
        """
        self._window = window
        self._packet_max_bytes = min(packet_max_bytes or PACKET_MAX_BYTES, PACKET_MAX_BYTES)
        self._ready: list[bytes] = []
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._unsent_bytes = 0
        self._unacknowledged: dict[int, tuple[int, str]] = {}
        self._sequence = 0
        self._packet_id = 0

    @property
    def has_ready(self) -> bool:
        """Whether `take` would return anything."""
        return bool(self._ready)

    @property
    def sequence(self) -> int:
        """Number of QoS 1 messages added so far."""
        return self._sequence

    def settled(self) -> int:
        """Return the largest *n* such that the first *n* QoS 1 messages are acknowledged."""
        for sequence, _ in self._unacknowledged.values():
            return sequence - 1
        return self._sequence

    def add(self, message: Message) -> None:
        """Encode *message*, to be sent now or when the window allows.

        Raises:
            BusFullError: the bound is reached.
            BusMessageError: it cannot be encoded, or is too large.
        """
        unacknowledged = self._unacknowledged
        if (
            self._waiting_bytes + self._unsent_bytes > SIZE_MAX_BYTES
            or len(unacknowledged) >= MESSAGES_MAX
        ):
            raise BusFullError(
                messages=len(unacknowledged),
                size_bytes=self._waiting_bytes + self._unsent_bytes,
            )
        if not message.qos:
            packet = self._encode(message, None)
            self._ready.append(packet)
            self._unsent_bytes += len(packet)
            return
        packet_id = self._packet_id % _PACKET_IDS + 1
        while packet_id in unacknowledged:
            packet_id = packet_id % _PACKET_IDS + 1
        packet = self._encode(message, packet_id)
        self._packet_id = packet_id
        self._sequence += 1
        in_flight = len(unacknowledged) - len(self._waiting)
        unacknowledged[packet_id] = (self._sequence, message.topic)
        if in_flight < self._window:
            self._ready.append(packet)
            self._unsent_bytes += len(packet)
        else:
            self._waiting.append(packet)
            self._waiting_bytes += len(packet)

    def add_raw(self, packet: bytes) -> None:
        """Put an encoded packet other than a publication in line."""
        self._ready.append(packet)

    def add_acknowledgements(self, packet_ids: Sequence[int]) -> None:
        """Put acknowledgements of received messages in line, as one piece."""
        words = chain.from_iterable(zip(repeat(_PUBACK), packet_ids, strict=False))
        self._ready.append(pack(f">{2 * len(packet_ids)}H", *words))

    def acknowledge(self, packet_id: int) -> str | None:
        """Take a packet id back; return the message's topic, or None if it was not out."""
        entry = self._unacknowledged.pop(packet_id, None)
        if entry is None:
            return None
        if self._waiting:
            packet = self._waiting.popleft()
            self._waiting_bytes -= len(packet)
            self._ready.append(packet)
            self._unsent_bytes += len(packet)
        return entry[1]

    def take(self, *, socket_backlog_bytes: int) -> bytes:
        """Return everything that may be sent now, as one piece.

        Args:
            socket_backlog_bytes: what the socket has not sent of the pieces before; it
                counts towards the bound.
        """
        ready = self._ready
        data = ready[0] if len(ready) == 1 else b"".join(ready)
        ready.clear()
        self._unsent_bytes = socket_backlog_bytes
        return data

    def _encode(self, message: Message, packet_id: int | None) -> bytes:
        topic, payload = message.topic, message.payload
        if len(payload) > PAYLOAD_MAX_BYTES:
            raise BusMessageError(topic, f"payload of {len(payload)} bytes")
        if not topic or "\0" in topic:
            raise BusMessageError(topic, "not a topic name")
        try:
            packet = PublishPacket(
                topic,
                payload,
                qos=QoS.AT_MOST_ONCE if packet_id is None else QoS.AT_LEAST_ONCE,
                retain=message.retain,
                packet_id=packet_id,
                message_expiry_interval=message.expiry_s,
            ).write()
        except (ValueError, OverflowError, UnicodeError) as error:
            raise BusMessageError(topic, str(error)) from error
        if len(packet) > self._packet_max_bytes:
            raise BusMessageError(topic, f"packet of {len(packet)} bytes")
        return packet
