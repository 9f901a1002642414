"""Goal: requests of a device keep their order, and nobody waits behind another one's backlog.

Method: the queue alone; orders and crowds by hypothesis.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import intake_queue
from broker.event import CancelHeard, Refused, SubmitHeard
from broker.intake_queue import CREDIT, TAGS_SLACK, IntakeQueue, sender
from workrs.domain.ids import ClientId, LocalJobId


def submit(device: str, number: int, payload: bytes = b"") -> SubmitHeard:
    return SubmitHeard(ClientId(device), LocalJobId(f"j{number}"), payload)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3))))
def test_each_device_keeps_its_order_whatever_is_taken_when(steps: list[tuple[str, int]]) -> None:
    queue, put, taken = IntakeQueue(), [], []
    for number, (device, count) in enumerate(steps):
        put.append(submit(device, number))
        queue.put(put[-1])
        taken += queue.take(count)
    taken += queue.take(len(queue))
    assert not queue
    assert queue.waiting_bytes == 0
    for device in "abc":
        assert [e for e in taken if sender(e) == device] == [e for e in put if e.device == device]


def test_a_cancel_waits_behind_its_submit() -> None:
    queue = IntakeQueue()
    first = submit("a", 1)
    second = CancelHeard(ClientId("a"), LocalJobId("j1"), "")
    third = Refused(ClientId("a"), "j!", "malformed", plain=False)
    for event in (first, second, third):
        queue.put(event)
    assert queue.take(9) == [first, second, third]


def test_a_backlog_holds_up_its_own_device_alone() -> None:
    queue = IntakeQueue()
    for number in range(5_000):
        queue.put(submit("bulk", number))
    queue.take(1_000)
    queue.put(submit("pump", 1))
    assert sender(queue.take(1)[0]) == "pump"
    for number in range(2 * CREDIT):
        queue.put(submit("pump", number))
    taken = [sender(event) for event in queue.take(4 * CREDIT)]
    assert taken.count("pump") == 2 * CREDIT, "it goes round between two"


def test_a_device_back_from_silence_goes_before_a_crowd_for_as_long_as_its_credit_lasts() -> None:
    queue = IntakeQueue()
    for number in range(CREDIT + 1):
        for device in range(100):
            queue.put(submit(f"d{device}", number))
    queue.take(100 * CREDIT)
    for number in range(CREDIT + 1):
        queue.put(submit("pump", number))
    taken = [sender(event) for event in queue.take(CREDIT)]
    assert taken == ["pump"] * CREDIT
    assert sender(queue.take(1)[0]) != "pump"


def test_it_is_full_by_number_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_queue, "INTAKE_MAX", 2)
    monkeypatch.setattr(intake_queue, "INTAKE_MAX_BYTES", 1_000)
    queue = IntakeQueue()
    queue.put(submit("a", 1))
    assert queue.has_room
    queue.put(submit("a", 2))
    assert not queue.has_room
    queue.take(2)
    assert queue.has_room
    queue.put(submit("a", 3, bytes(1_000)))
    assert not queue.has_room


def test_devices_that_came_once_are_forgotten() -> None:
    queue = IntakeQueue()
    for number in range(10 * TAGS_SLACK):
        queue.put(submit(f"d{number}", 1))
        queue.put(submit("busy", number))
        queue.take(2)
    assert len(queue._tags) <= TAGS_SLACK + 1
