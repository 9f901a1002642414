"""Goal: requests of a device keep their order, and nobody waits behind another one's backlog.

Method: the queue alone; orders and crowds by hypothesis.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker import intake_queue
from broker.event import CancelHeard, Refused, SubmitHeard
from broker.intake_queue import IntakeQueue, sender
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
    for number in range(3):
        queue.put(submit("pump", number))
    assert [sender(event) for event in queue.take(4)] == ["pump", "pump", "pump", "bulk"]


def test_a_device_that_sends_now_and_then_is_before_a_crowd_that_sends_all_it_can() -> None:
    queue = IntakeQueue()
    for turn in range(50):
        for device in range(100):
            for number in range(4):
                queue.put(submit(f"d{device}", 4 * turn + number))
        queue.put(submit("pump", turn))
    assert [sender(event) for event in queue.take(50)] == ["pump"] * 50


def test_who_has_nothing_waiting_is_forgotten() -> None:
    queue = IntakeQueue()
    for number in range(1_000):
        queue.put(submit(f"d{number}", 1))
        assert queue.waiting(f"d{number}") == 1
        queue.take(1)
    assert not queue._lines
    assert queue.waiting("d0") == 0


def test_what_waits_of_one_device_can_be_forgotten() -> None:
    queue = IntakeQueue()
    for number in range(9):
        queue.put(submit("bulk", number))
        queue.put(submit(f"d{number}", number))
    assert queue.forget("bulk") == 9
    assert queue.forget("bulk") == 0
    assert len(queue) == 9
    assert "bulk" not in [sender(event) for event in queue.take(99)]
    assert queue.waiting_bytes == 0


def test_it_is_full_by_number_and_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake_queue, "INTAKE_MAX", 2)
    monkeypatch.setattr(intake_queue, "INTAKE_MAX_BYTES", 1_000)
    queue = IntakeQueue()
    for number in range(4):
        assert queue.has_room, "to read on is what the gate can refuse by"
        queue.put(submit("a", number))
    assert not queue.has_room
    queue.take(4)
    assert queue.has_room
    queue.put(submit("a", 3, bytes(1_000)))
    assert not queue.has_room
