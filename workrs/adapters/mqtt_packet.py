"""Bytes of a socket to MQTT 5 packets, without a copy and without trust.

The codec is `mqtt5` (Rust). It tells "not enough bytes" and "malformed" apart only as far
as one packet goes, so the length in the fixed header is checked here:

1. A packet that claims more than `PACKET_MAX_BYTES` is malformed, at its first bytes.
2. A packet that is there as a whole and still reads beyond its end is malformed.
3. What came before a malformed packet is still handed out; nothing after it is.
4. Memory is one fixed buffer, whatever the peer sends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import mqtt5

from workrs.ports.bus import PAYLOAD_MAX_BYTES

if TYPE_CHECKING:
    from mqtt5 import Packet

PACKET_MAX_BYTES: Final = PAYLOAD_MAX_BYTES + 8 * 1024
"""Largest packet, either way; the surplus is for topic and properties."""

_LENGTH_BYTES_MAX: Final = 4


class PacketBuffer:
    """Receive buffer of one connection that yields the complete packets in it."""

    __slots__ = ("_buffer", "_end", "_view", "malformed")

    def __init__(self) -> None:
        """Reserve the buffer (untouched pages of it cost no memory)."""
        self._buffer = bytearray(PACKET_MAX_BYTES)
        self._view = memoryview(self._buffer)
        self._end = 0
        self.malformed: str | None = None
        """What is wrong with the bytes after the packets returned last: give the peer up."""

    def free(self) -> memoryview:
        """Return the part that the next bytes of the peer go to; never empty."""
        return self._view[self._end :]

    def parse(self, size_bytes: int) -> list[Packet]:
        """Return the packets complete now that *size_bytes* were written to `free`."""
        view, start, end = self._view, 0, self._end + size_bytes
        packets: list[Packet] = []
        read, keep = mqtt5.read, packets.append
        while start < end:
            rest = view[start:end]
            try:
                packet, length = read(rest)
            except IndexError:
                self.malformed = _fault_of_incomplete(rest)
                break
            except ValueError as error:
                self.malformed = str(error)
                break
            keep(packet)
            start += length
        if start and start < end:
            self._buffer[: end - start] = self._buffer[start:end]
        self._end = end - start
        return packets


def _fault_of_incomplete(data: memoryview) -> str | None:
    """Return why *data* cannot become a packet, or None if it may still."""
    length, shift = 0, 0
    for index in range(1, min(len(data), _LENGTH_BYTES_MAX + 1)):
        byte = data[index]
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            total = 1 + index + length
            if total > PACKET_MAX_BYTES:
                return f"packet of {total} bytes"
            return "a field reaches beyond its packet" if total <= len(data) else None
    return "length of more than four bytes" if len(data) > _LENGTH_BYTES_MAX else None
