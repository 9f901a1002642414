"""Goal: whoever waits for a job that the nodes do not know is told so, and does not wait for ever.

Method: the brain with nodes that keep nothing, refuse, or have retired the job; the board with
what the brain tells.
"""

from __future__ import annotations

from functools import partial

import pytest

from device_client.board import Board, Feed
from device_client.brain import REFUSALS_MAX
from device_client.effect import AskRetained, ForgetJob, SendJob, TellUnknown
from device_client.error import JobLostError, UnknownJobError
from device_client.report import State, parse_plain
from tests.unit.device_client.device_desk import TIMING, Desk

TICK_S = 0.001
GONE = "this job has ended and its result is no longer kept"


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_strange_job_of_which_nothing_is_retained_is_unknown(desk: Desk) -> None:
    desk.connect()
    assert desk.wait("x") == [AskRetained("x")]
    assert desk.tick(TIMING.answer_timeout_s - TICK_S) == []
    assert desk.tick(TICK_S) == [TellUnknown("x", "")]
    assert desk.tick(1000.0) == []


def test_a_strange_job_is_not_unknown_before_a_node_could_tell(desk: Desk) -> None:
    assert desk.wait("x") == []
    assert desk.tick(1000.0) == []
    assert desk.connect() == [AskRetained("x")]
    desk.tick(TIMING.answer_timeout_s / 2)
    desk.brain.disconnected()
    assert desk.tick(1000.0) == []
    desk.connect()
    assert desk.tick(TIMING.answer_timeout_s - TICK_S) == []
    assert desk.tick(TICK_S) == [TellUnknown("x", "")]


def test_a_strange_job_that_runs_is_known(desk: Desk) -> None:
    desk.connect()
    desk.wait("x")
    desk.hear("x", "running", retained=True)
    assert desk.tick(1000.0) == []


def test_a_run_that_ended_and_was_retired_while_the_device_was_away_ends_here(desk: Desk) -> None:
    desk.keep("a", accepted=True)
    desk.connect()
    desk.wait("a")
    assert desk.tick(TIMING.reask_period_s) == [SendJob("a")]
    assert desk.hear("a", f"succeeded {GONE}", tail="state") == [ForgetJob("a")]
    assert desk.told == [("a", "succeeded")]


@pytest.mark.parametrize(
    ("line", "url", "reason"),
    [
        (b"succeeded", None, ""),
        (b"succeeded workrs:sha256/00", "workrs:sha256/00", ""),
        (b"succeeded https://a/b", "https://a/b", ""),
        (f"succeeded {GONE}".encode(), None, GONE),
    ],
)
def test_what_stands_beside_a_plain_success(line: bytes, url: str | None, reason: str) -> None:
    report = parse_plain("j", line)
    assert report is not None
    assert (report.state, report.result_url, report.reason) == (State.SUCCEEDED, url, reason)


def test_an_accepted_job_that_is_refused_again_and_again_is_lost(desk: Desk) -> None:
    desk.keep("a", accepted=True)
    desk.connect()
    desk.wait("a")
    for number in range(1, REFUSALS_MAX + 1):
        assert desk.tick(TIMING.reask_period_s) == [SendJob("a")]
        told = desk.hear("a", "rejected", reason="function 'f' is not known here")
        last = number == REFUSALS_MAX
        assert told == ([TellUnknown("a", "function 'f' is not known here")] if last else [])
    assert desk.tick(TIMING.reask_period_s) == [SendJob("a")], "it may be known again"


@pytest.mark.parametrize(
    ("state", "more"), [("queued", {}), ("rejected", {"reason": "full", "retry_after_s": 1})]
)
def test_a_node_that_knows_it_or_has_no_room_is_no_refusal(
    desk: Desk, state: str, more: dict[str, object]
) -> None:
    desk.keep("a", accepted=True)
    desk.connect()
    desk.wait("a")
    for heard, fields in [("rejected", {"reason": "x"})] * (REFUSALS_MAX - 1) + [(state, more)]:
        assert desk.hear("a", heard, **fields) == []
    if state == "queued":
        assert desk.hear("a", "rejected", reason="x") == [], "counted anew"


def test_the_board_tells_a_lost_job_from_a_strange_one() -> None:
    board = Board()
    woken: list[str] = []
    board.restore("mine", State.ACCEPTED)
    feeds = {job: Feed(job, partial(woken.append, job)) for job in ("mine", "strange")}
    for job, feed in feeds.items():
        board.attach(feed)
        board.tell_unknown(job, "never heard of it")
    board.tell_unknown("nobody waits for this", "")
    assert woken == ["mine", "strange"]
    assert isinstance(feeds["mine"].failure, JobLostError)
    assert "never heard of it" in str(feeds["mine"].failure)
    assert type(feeds["strange"].failure) is UnknownJobError
