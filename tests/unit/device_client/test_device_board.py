"""Goal: readers of one job see each report once, in order, and one end.

Method: the board alone, with wake-ups that only count.
"""

from __future__ import annotations

import pytest

from device_client.board import FEED_MAX, FINALS_MAX, FINALS_MAX_BYTES, Board, Feed
from device_client.error import DeviceClosedError, JobIdReusedError
from device_client.report import Report, State
from device_client.submission import Submission

ASKED = Submission(job="a", topic="t", payload=b"p")
OTHER = Submission(job="a", topic="t", payload=b"q")


def report(state: State, job: str = "a", **more: float) -> Report:
    return Report(job=job, state=state, progress=more.get("progress"))


def test_a_reader_gets_what_is_known_and_then_what_comes() -> None:
    board, woken = Board(), []
    board.begin(ASKED)
    early = Feed("a", lambda: woken.append("early"))
    board.attach(early)
    assert not early.reports, "kept is no news from a node"
    board.tell(report(State.RUNNING))
    late = Feed("a", lambda: woken.append("late"))
    board.attach(late)
    board.tell(report(State.SUCCEEDED))
    board.tell(report(State.FAILED))
    assert [r.state for r in early.reports] == ["running", "succeeded"]
    assert list(late.reports) == list(early.reports)
    assert woken == ["early", "early", "late"]
    board.detach(early)
    board.detach(late)
    assert board.look("a") == report(State.SUCCEEDED)


def test_a_late_reader_is_told_each_state_once_and_the_end() -> None:
    board, feed = Board(), Feed("a", lambda: None)
    board.begin(ASKED)
    for state in (State.ACCEPTED, State.RUNNING, State.QUEUED):
        board.tell(report(state))
    for number in range(100):
        board.tell(report(State.RUNNING, progress=number / 100))
    board.tell(report(State.SUCCEEDED))
    board.attach(feed)
    assert [(str(r.state), r.progress) for r in feed.reports] == [
        ("accepted", None), ("running", None), ("queued", None), ("running", 0.99),
        ("succeeded", None),
    ]  # fmt: skip


def test_a_reader_that_lags_loses_the_oldest_and_never_the_end() -> None:
    board, feed = Board(), Feed("a", lambda: None)
    board.attach(feed)
    for number in range(FEED_MAX + 10):
        board.tell(report(State.RUNNING, progress=number / 1000))
    board.tell(report(State.SUCCEEDED))
    assert len(feed.reports) == FEED_MAX
    assert feed.reports[-1].state is State.SUCCEEDED


def test_a_looked_at_job_is_forgotten_with_its_last_reader_and_a_kept_one_is_not() -> None:
    board = Board()
    board.begin(ASKED)
    for name in ("a", "x"):
        feed = Feed(name, lambda: None)
        board.attach(feed)
        board.tell(report(State.RUNNING, name))
        board.detach(feed)
    assert board.look("a") == report(State.RUNNING)
    assert board.look("x") is None
    assert [r.job for r in board.list_open()] == ["a"]


def test_ids_are_held_by_their_jobs_while_remembered_and_freed_by_a_refusal() -> None:
    board = Board()
    assert board.admit(ASKED)
    board.begin(ASKED)
    assert board.admit(ASKED)
    with pytest.raises(JobIdReusedError):
        board.admit(OTHER)
    board.tell(report(State.SUCCEEDED))
    assert not board.admit(ASKED), "it has ended: nothing is to be sent"
    with pytest.raises(JobIdReusedError):
        board.admit(OTHER)
    rejected = Submission(job="r", topic="t", payload=b"p")
    board.begin(rejected)
    board.tell(report(State.REJECTED, "r"))
    assert board.admit(rejected._replace(payload=b"better"))
    assert board.look("r") is None


def test_memory_of_ended_jobs_is_bounded() -> None:
    board = Board()
    for number in range(FINALS_MAX + 5):
        board.begin(ASKED._replace(job=f"j{number}"))
        board.tell(report(State.SUCCEEDED, f"j{number}"))
    assert board.look("j4") is None
    assert board.look("j5") is not None
    assert board.list_open() == []
    assert board.admit(OTHER._replace(job="j4")), "what is forgotten is the nodes' to judge"


def test_big_results_are_forgotten_before_small_refusals() -> None:
    board = Board()
    for number in range(20):
        rejected = Report(job=f"r{number}", state=State.REJECTED, reason="no")
        board.tell(rejected)
        value = bytes(FINALS_MAX_BYTES // 10)
        board.tell(Report(job=f"s{number}", state=State.SUCCEEDED, value=value))
    assert [board.look(f"r{n}") is None for n in range(20)] == [False] * 20
    assert [board.look(f"s{n}") is None for n in range(20)] == [True] * 10 + [False] * 10
    too_big = Report(job="big", state=State.SUCCEEDED, value=bytes(FINALS_MAX_BYTES + 1))
    feed = Feed("big", lambda: None)
    board.attach(feed)
    board.tell(too_big)
    assert list(feed.reports) == [too_big], "who waits gets it all the same"
    assert board.look("big") is None


def test_a_failure_wakes_every_reader_and_the_first_reason_stays() -> None:
    board, woken = Board(), []
    feed = Feed("a", lambda: woken.append(1))
    board.attach(feed)
    first = DeviceClosedError("first")
    board.fail(first)
    board.fail(DeviceClosedError("second"))
    assert board.failure is first
    assert woken == [1, 1]
