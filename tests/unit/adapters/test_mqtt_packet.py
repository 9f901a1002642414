"""Goal: whatever a peer sends, the buffer yields packets or says "malformed", in fixed memory.

Method: hypothesis cuts valid streams anywhere, and feeds junk.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mqtt5 import PingRespPacket, PubAckPacket, PublishPacket, QoS

from workrs.adapters.mqtt_packet import PACKET_MAX_BYTES, PacketBuffer

packets = st.one_of(
    st.builds(
        lambda payload, packet_id: PublishPacket(
            "a/b", payload, qos=QoS.AT_LEAST_ONCE, packet_id=packet_id
        ),
        st.binary(max_size=300),
        st.integers(1, 65_535),
    ),
    st.builds(PubAckPacket, st.integers(1, 65_535)),
    st.builds(PingRespPacket),
)


def feed(buffer: PacketBuffer, data: bytes) -> list[bytes]:
    """Give *data* to the buffer as a socket would, and return the packets, encoded again."""
    found = []
    while data and buffer.malformed is None:
        room = buffer.free()
        size_bytes = min(len(room), len(data))
        assert size_bytes
        room[:size_bytes] = data[:size_bytes]
        data = data[size_bytes:]
        found += [packet.write() for packet in buffer.parse(size_bytes)]
    return found


@given(st.lists(packets, max_size=20), st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_packets_come_out_whole_wherever_the_stream_is_cut(
    sent: list[PublishPacket | PubAckPacket | PingRespPacket], cuts: list[int]
) -> None:
    encoded = [packet.write() for packet in sent]
    stream, buffer, found = b"".join(encoded), PacketBuffer(), []
    for index in range(len(stream)):
        size_bytes = cuts[index % len(cuts)]
        if not stream:
            break
        found += feed(buffer, stream[:size_bytes])
        stream = stream[size_bytes:]
    assert found == encoded


@given(st.lists(packets, max_size=3), st.binary(max_size=2_000))
def test_junk_is_malformed_or_incomplete_and_takes_nothing_along(
    sent: list[PublishPacket | PubAckPacket | PingRespPacket], junk: bytes
) -> None:
    encoded = [packet.write() for packet in sent]
    buffer = PacketBuffer()
    assert feed(buffer, b"".join(encoded) + junk)[: len(encoded)] == encoded
    assert len(buffer.free()) > 0


def test_the_largest_packet_fits_and_a_larger_one_is_refused_at_its_head() -> None:
    overhead_bytes = len(PublishPacket("a", b"x" * (PACKET_MAX_BYTES - 100)).write()) - (
        PACKET_MAX_BYTES - 100
    )
    largest = PublishPacket("a", b"x" * (PACKET_MAX_BYTES - overhead_bytes)).write()
    assert len(largest) == PACKET_MAX_BYTES
    ping = PingRespPacket().write()
    assert feed(PacketBuffer(), ping + largest + ping) == [ping, largest, ping]
    larger = PublishPacket("a", b"x" * (PACKET_MAX_BYTES - overhead_bytes + 1)).write()
    buffer = PacketBuffer()
    feed(buffer, larger[:5])
    assert buffer.malformed == f"packet of {PACKET_MAX_BYTES + 1} bytes"


@pytest.mark.parametrize(
    "data",
    [
        b"\x30\x03\xff\xff\x00",  # a topic longer than its packet
        b"\x30\xff\xff\xff\xff\x01",  # a length of five bytes
        b"\x00\x00",  # a reserved type
    ],
)
def test_a_packet_that_lies_about_its_length_is_malformed(data: bytes) -> None:
    buffer = PacketBuffer()
    feed(buffer, data + bytes(100))
    assert buffer.malformed is not None
