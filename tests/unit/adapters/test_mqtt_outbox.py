"""Goal: ids, window and bounds hold for any order of publications and acknowledgements.

Method: hypothesis drives an outbox against a model that is a plain list; edges by hand.
"""

from __future__ import annotations

import mqtt5
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workrs.adapters.mqtt_outbox import MESSAGES_MAX, REQUEST_ID_MIN, SIZE_MAX_BYTES, Outbox
from workrs.ports.bus import PAYLOAD_MAX_BYTES, BusFullError, BusMessageError, Message


def sent(outbox: Outbox) -> list[mqtt5.PublishPacket]:
    """Return what leaves now."""
    data = memoryview(outbox.take(socket_backlog_bytes=0))
    packets = []
    while data:
        packet, size_bytes = mqtt5.read(data)
        assert isinstance(packet, mqtt5.PublishPacket)
        packets.append(packet)
        data = data[size_bytes:]
    return packets


@given(
    window=st.integers(1, 5),
    steps=st.lists(st.one_of(st.just(None), st.integers(0, 10)), max_size=60),
)
def test_order_window_and_settling_hold_in_any_schedule(
    window: int, steps: list[int | None]
) -> None:
    outbox = Outbox(window=window, packet_max_bytes=None)
    in_flight: list[mqtt5.PublishPacket] = []
    seen: list[int] = []
    acknowledged: set[int] = set()
    added = 0
    for step in steps:
        if step is None:
            outbox.add(Message("a", str(added).encode()))
            added += 1
        elif in_flight:
            packet = in_flight.pop(step % len(in_flight))
            assert packet.packet_id is not None
            assert outbox.acknowledge(packet.packet_id) == "a"
            assert outbox.acknowledge(packet.packet_id) is None
            acknowledged.add(int(packet.payload))
        leaving = sent(outbox)
        in_flight += leaving
        seen += [int(packet.payload) for packet in leaving]
        assert len(in_flight) <= window
        assert len({packet.packet_id for packet in in_flight}) == len(in_flight)
        assert all(0 < (packet.packet_id or 0) < REQUEST_ID_MIN for packet in in_flight)
        assert outbox.sequence == added
        missing = [n for n in range(added) if n not in acknowledged]
        assert outbox.settled() == (missing[0] if missing else added)
    assert seen == list(range(len(seen)))


def test_ids_wrap_around_one_that_is_still_out() -> None:
    outbox = Outbox(window=2, packet_max_bytes=None)
    outbox.add(Message("stuck", b""))
    (stuck,) = sent(outbox)
    for _ in range(REQUEST_ID_MIN + 10):
        outbox.add(Message("a", b""))
        (packet,) = sent(outbox)
        assert packet.packet_id != stuck.packet_id
        assert packet.packet_id is not None
        outbox.acknowledge(packet.packet_id)
    assert outbox.settled() == 0


def test_the_bounds_are_exact_and_a_refused_message_leaves_no_trace() -> None:
    outbox = Outbox(window=1, packet_max_bytes=None)
    for _ in range(MESSAGES_MAX):
        outbox.add(Message("a", b""))
    with pytest.raises(BusFullError):
        outbox.add(Message("a", b""))
    assert outbox.sequence == MESSAGES_MAX
    (first,) = sent(outbox)
    assert first.packet_id is not None
    outbox.acknowledge(first.packet_id)
    outbox.add(Message("a", b""))


def test_unsent_bytes_are_bounded_at_both_qos_levels() -> None:
    for qos in (0, 1):
        outbox = Outbox(window=1, packet_max_bytes=None)
        message = Message("a", b"x" * PAYLOAD_MAX_BYTES, qos)
        for _ in range(SIZE_MAX_BYTES // PAYLOAD_MAX_BYTES):
            outbox.add(message)
        with pytest.raises(BusFullError):
            outbox.add(message)
    outbox = Outbox(window=1, packet_max_bytes=None)
    outbox.take(socket_backlog_bytes=SIZE_MAX_BYTES + 1)
    with pytest.raises(BusFullError):
        outbox.add(Message("a", b"", 0))


def test_what_the_broker_would_not_take_is_refused_here() -> None:
    outbox = Outbox(window=1, packet_max_bytes=100)
    with pytest.raises(BusMessageError, match="packet of"):
        outbox.add(Message("a", b"x" * 100))
    for expiry_s in (-1, 2**32):
        with pytest.raises(BusMessageError):
            outbox.add(Message("a", b"", expiry_s=expiry_s))
    with pytest.raises(BusMessageError):
        outbox.add(Message("\ud800", b""))
    assert outbox.sequence == 0
    assert not outbox.has_ready
    outbox.add(Message("a", b"x" * 80))


@given(st.lists(st.integers(1, 65_535), min_size=1, max_size=50))
def test_acknowledgements_are_encoded_as_the_codec_does(packet_ids: list[int]) -> None:
    outbox = Outbox(window=1, packet_max_bytes=None)
    outbox.add_acknowledgements(packet_ids)
    expected = b"".join(mqtt5.PubAckPacket(packet_id).write() for packet_id in packet_ids)
    assert outbox.take(socket_backlog_bytes=0) == expected
