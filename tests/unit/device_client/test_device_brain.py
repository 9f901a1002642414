"""Goal: every rule of the device's brain, at its boundary.

Method: the brain is pure, so the test is its session: it passes times, collects effects and
answers as a node would. The last test lets hypothesis choose the faults.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_client.board import Board, Feed
from device_client.brain import CANCELS_MAX, WINDOW
from device_client.effect import (
    AskRetained,
    Effect,
    ForgetJob,
    LeaveNode,
    MarkAccepted,
    SendCancel,
    SendJob,
    Tell,
    UploadInput,
)
from tests.unit.device_client.device_desk import TIMING, Desk
from workrs.wire import topics

if TYPE_CHECKING:
    from collections.abc import Iterable

TICK_S = 0.001


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_job_is_sent_when_there_is_a_connection_and_on_every_new_one(desk: Desk) -> None:
    assert desk.keep("a") == []
    assert desk.connect() == [SendJob("a")]
    desk.brain.disconnected()
    assert desk.connect() == [SendJob("a")]
    assert desk.keep("b") == [SendJob("b")]
    assert desk.keep("b") == [], "keeping twice is once"


def test_acceptance_ends_the_sending_and_is_marked_once(desk: Desk) -> None:
    desk.keep("a")
    desk.connect()
    assert desk.hear("a", "accepted") == [MarkAccepted("a")]
    assert desk.hear("a", "queued") == []
    desk.brain.disconnected()
    assert desk.connect() == []
    assert desk.tick(1000.0) == []
    assert desk.told == [("a", "accepted"), ("a", "queued")]


def test_an_input_is_uploaded_before_its_job_is_sent(desk: Desk) -> None:
    desk.connect()
    assert desk.keep("a", ready=False) == [UploadInput("a")]
    assert desk.tick(1000.0) == []
    assert desk.do(desk.brain.uploaded("a", desk.now)) == [SendJob("a")]
    assert desk.do(desk.brain.uploaded("gone", desk.now)) == []


def test_a_silent_node_is_left_at_the_timeout_and_not_before(desk: Desk) -> None:
    desk.connect()
    desk.keep("a")
    assert desk.tick(TIMING.answer_timeout_s - TICK_S) == []
    [left] = desk.tick(TICK_S)
    assert isinstance(left, LeaveNode)


def test_a_node_that_answers_others_is_asked_again_and_not_left(desk: Desk) -> None:
    desk.connect()
    desk.keep("a")
    desk.now += TIMING.answer_timeout_s - TICK_S
    desk.keep("b")
    desk.hear("b", "accepted")
    assert desk.tick(TICK_S) == [SendJob("a")]


def test_a_node_that_tells_of_another_job_and_answers_nothing_is_left(desk: Desk) -> None:
    desk.connect()
    desk.keep("long")
    desk.hear("long", "running", progress=0.1)
    desk.keep("new")
    timeout_s = TIMING.answer_timeout_s
    desk.tick(timeout_s - 0.1)
    desk.hear("long", "running", progress=0.2)
    assert not any(isinstance(e, LeaveNode) for e in desk.tick())
    assert any(isinstance(e, LeaveNode) for e in desk.tick(0.1))


def test_silence_is_counted_from_the_last_answer(desk: Desk) -> None:
    desk.connect()
    desk.keep("a")
    desk.keep("b")
    desk.now += 1.0
    desk.hear("b", "accepted")
    assert desk.tick(TIMING.answer_timeout_s - TICK_S) == [SendJob("a")]
    assert isinstance(desk.tick(TICK_S)[0], LeaveNode)


def test_a_question_that_the_retained_end_answers_is_no_silence(desk: Desk) -> None:
    desk.keep("a", accepted=True)
    desk.wait("a")
    desk.connect()
    assert desk.tick(TIMING.snapshot_grace_s) == [SendJob("a")]
    assert desk.hear("a", "succeeded", retained=True) == [ForgetJob("a")]
    assert desk.tick(TIMING.answer_timeout_s) == []


def test_who_waited_before_the_job_was_kept_still_waits(desk: Desk) -> None:
    desk.connect()
    assert desk.wait("a") == [AskRetained("a")]
    assert desk.keep("a") == [SendJob("a")]
    desk.hear("a", "running")
    assert desk.tick(TIMING.reask_period_s) == [SendJob("a")]


def test_retained_states_do_not_count_as_a_sign_of_life(desk: Desk) -> None:
    desk.keep("a", accepted=True)
    desk.connect()
    desk.keep("b")
    desk.now += TIMING.answer_timeout_s
    desk.hear("a", "running", retained=True)
    assert isinstance(desk.tick()[0], LeaveNode)


def test_retained_states_are_not_believed_before_a_live_answer(desk: Desk) -> None:
    desk.keep("a")
    desk.connect()
    assert desk.hear("a", "succeeded", retained=True, result="old") == []
    assert desk.told == []
    desk.hear("a", "accepted")
    assert desk.hear("a", "succeeded", retained=True, result="new") == [ForgetJob("a")]
    assert desk.told == [("a", "accepted"), ("a", "succeeded")]


def test_a_retained_state_does_not_turn_a_known_one_back(desk: Desk) -> None:
    desk.keep("a", accepted=True)
    desk.connect()
    desk.hear("a", "running", progress=0.7)
    desk.brain.disconnected()
    desk.connect()
    desk.hear("a", "queued", retained=True)
    assert desk.told == [("a", "running")]


def test_acceptance_is_told_once_and_queued_after_running_is_news(desk: Desk) -> None:
    desk.keep("a")
    desk.connect()
    for state in ("accepted", "running", "accepted", "queued", "running", "accepted"):
        desk.hear("a", state)
    assert [state for _, state in desk.told] == ["accepted", "running", "queued", "running"]


def test_the_first_final_state_is_told_and_no_other(desk: Desk) -> None:
    desk.keep("a")
    desk.connect()
    assert desk.hear("a", "failed", reason="x") == [MarkAccepted("a"), ForgetJob("a")]
    assert desk.hear("a", "succeeded") == []
    assert desk.told == [("a", "failed")]
    assert desk.brain.wake_at() is None or desk.tick(1000.0) == []


def test_a_refusal_ends_an_unaccepted_job_and_only_notes_an_accepted_one(desk: Desk) -> None:
    desk.keep("a")
    desk.keep("b")
    desk.connect()
    assert desk.hear("a", "rejected", reason="no") == [ForgetJob("a")]
    desk.hear("b", "accepted")
    assert desk.hear("b", "rejected", reason="function gone") == []
    assert desk.told == [("a", "rejected"), ("b", "accepted"), ("b", "accepted")]


def test_a_plain_refusal_for_now_is_asked_again_when_it_says(desk: Desk) -> None:
    desk.keep("a")
    desk.connect()
    assert desk.hear("a", "rejected retry_after_s=7 n1 is full", tail="state") == []
    assert desk.told == [("a", "kept")]
    assert desk.tick(7 - TICK_S) == []
    assert desk.tick(TICK_S) == [SendJob("a")]


def test_the_window_bounds_what_is_unanswered_and_moves_on_with_each_answer(desk: Desk) -> None:
    for number in range(WINDOW + 2):
        desk.keep(f"j{number}")
    assert desk.connect() == [SendJob(f"j{n}") for n in range(WINDOW)]
    assert SendJob(f"j{WINDOW}") in desk.hear("j5", "accepted")
    assert SendJob(f"j{WINDOW + 1}") in desk.hear("j6", "rejected")
    desk.brain.disconnected()
    assert len(desk.connect()) == WINDOW


def test_a_job_that_waits_for_the_window_waits_there_once(desk: Desk) -> None:
    desk.connect()
    for number in range(WINDOW):
        desk.keep(f"j{number}")
    assert desk.keep("late") == []
    assert desk.do(desk.brain.uploaded("late", desk.now)) == []
    desk.hear("j0", "accepted")
    assert desk.hear("j1", "accepted") == [MarkAccepted("j1")]


def test_an_awaited_job_is_asked_about_after_a_silence_and_an_unawaited_one_is_not(
    desk: Desk,
) -> None:
    desk.keep("a", accepted=True)
    desk.connect()
    desk.hear("a", "running")
    assert desk.tick(1000.0) == []
    desk.wait("a")
    assert desk.tick(TIMING.reask_period_s - TICK_S) == []
    assert desk.tick(TICK_S) == [SendJob("a")]
    desk.hear("a", "running")
    desk.brain.leave_job("a")
    assert desk.tick(1000.0) == []


def test_an_awaited_job_is_asked_about_soon_after_a_change_of_nodes(desk: Desk) -> None:
    desk.keep("a", accepted=True)
    desk.connect()
    desk.hear("a", "running")
    desk.wait("a")
    desk.brain.disconnected()
    desk.connect()
    assert desk.tick(TIMING.snapshot_grace_s - TICK_S) == []
    assert desk.tick(TICK_S) == [SendJob("a")]


def test_a_cancel_waits_for_acceptance_and_is_repeated_until_the_end(desk: Desk) -> None:
    desk.keep("a")
    desk.connect()
    assert desk.do(desk.brain.cancel("a", desk.now)) == []
    assert desk.hear("a", "accepted") == [MarkAccepted("a"), SendCancel("a")]
    assert desk.hear("a", "queued") == []
    assert desk.tick(TIMING.answer_timeout_s) == [SendJob("a"), SendCancel("a")]
    assert desk.hear("a", "cancelled") == [ForgetJob("a")]
    assert desk.tick(1000.0) == []


def test_a_cancel_from_before_a_restart_goes_on(desk: Desk) -> None:
    desk.keep("a", accepted=True, cancel=True)
    assert SendCancel("a") in desk.connect() + desk.tick(TIMING.snapshot_grace_s)


def test_a_cancel_of_a_strange_job_is_given_up(desk: Desk) -> None:
    desk.connect()
    sent = desk.do(desk.brain.cancel("x", desk.now))
    for _ in range(100):
        sent += desk.tick(100.0)
    assert sent == [SendCancel("x")] * CANCELS_MAX


def test_a_strange_job_is_looked_up_by_its_retained_state(desk: Desk) -> None:
    assert desk.wait("x") == []
    assert desk.connect() == [AskRetained("x")]
    assert desk.hear("x", "succeeded", retained=True) == []
    assert desk.told == [("x", "succeeded")]
    assert desk.wait("y") == [AskRetained("y")]


def test_plain_output_is_waited_for_and_then_believed_to_be_empty(desk: Desk) -> None:
    desk.keep("a")
    desk.connect()
    assert AskRetained("a") in desk.hear("a", "succeeded", tail="state")
    assert desk.tick(TIMING.out_grace_s - TICK_S) == []
    desk.brain.disconnected()
    assert desk.tick(1000.0) == [], "a lost connection is no proof of emptiness"
    desk.connect()
    assert desk.tick(TIMING.out_grace_s) == [ForgetJob("a")]
    assert desk.told == [("a", "succeeded")]


def test_a_job_that_another_process_ended_is_dropped(desk: Desk) -> None:
    desk.keep("a")
    desk.connect()
    desk.brain.lost("a")
    assert desk.tick(1000.0) == []
    assert desk.brain.wake_at() is None or desk.tick(1000.0) == []


@given(st.text(max_size=40), st.binary(max_size=60), st.booleans())
def test_no_message_raises(tail: str, payload: bytes, retained: bool) -> None:  # noqa: FBT001
    desk = Desk()
    desk.keep("a")
    desk.connect()
    for topic in (f"workrs/1/down/dev/{tail}", tail, topics.down("dev", "a")):
        desk.do(desk.brain.heard(topic, payload, desk.now, retained=retained))


class Story:
    """A device and a node with a ledger, and a bus between them that loses what it likes."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.lossy = True
        self.desk = Desk()
        self.board = Board()
        self.ledger: dict[str, str] = {}
        """What the node knows; a final state stays."""
        self.connected = False
        self.jobs = [f"j{n}" for n in range(data.draw(st.integers(1, 4)))]
        self.feeds = [Feed(job, lambda: None) for job in self.jobs]
        for feed in self.feeds:
            self.board.attach(feed)

    def perform(self, effects: Iterable[Effect]) -> None:
        for effect in list(effects):
            match effect:
                case Tell(report):
                    self.board.tell(report)
                case LeaveNode():
                    self.drop()
                case SendJob(job) if self.arrives():
                    self.answer(job, self.ledger.setdefault(job, "accepted"))
                case SendCancel(job) if self.arrives() and self.ledger.get(job) == "accepted":
                    self.ledger[job] = "cancelled"
                case _:
                    pass

    def arrives(self) -> bool:
        return self.connected and not (self.lossy and self.data.draw(st.booleans()))

    def answer(self, job: str, state: str) -> None:
        if self.arrives():
            body = json.dumps({"state": state}).encode()
            desk, topic = self.desk, topics.down("dev", job)
            self.perform(desk.brain.heard(topic, body, desk.now, retained=False))

    def drop(self) -> None:
        self.desk.brain.disconnected()
        self.connected = False

    def connect(self) -> None:
        if not self.connected:
            self.connected = True
            self.perform(self.desk.brain.connected(self.desk.now))

    def tick(self, after_s: float) -> None:
        self.desk.now += after_s
        self.perform(self.desk.brain.tick(self.desk.now))

    def finish(self) -> None:
        for job, state in self.ledger.items():
            if state == "accepted":
                self.ledger[job] = "succeeded"

    def step(self) -> None:
        match self.data.draw(
            st.sampled_from(["tick", "drop", "connect", "finish", "cancel", "late"])
        ):
            case "tick":
                self.tick(self.data.draw(st.floats(0, 5)))
            case "drop":
                self.drop()
            case "connect":
                self.connect()
            case "finish":
                self.finish()
            case "cancel":
                self.perform(self.desk.brain.cancel(self.jobs[0], self.desk.now))
            case _:
                job = self.data.draw(st.sampled_from(self.jobs))
                if job in self.ledger:
                    self.answer(job, self.ledger[job])


@settings(max_examples=200)
@given(st.data())
def test_whatever_is_lost_every_job_ends_once_when_the_faults_stop(data: st.DataObject) -> None:
    story = Story(data)
    desk = story.desk
    for job in story.jobs:
        story.perform(desk.brain.keep(job, desk.now, accepted=False, ready=True, cancel=False))
        story.perform(desk.brain.await_job(job, desk.now))
    for _ in range(data.draw(st.integers(0, 25))):
        story.step()
    story.lossy = False
    for _ in range(60):
        story.finish()
        story.connect()
        story.tick(1.0)
    for feed in story.feeds:
        ends = [report.state for report in feed.reports if report.state.is_final]
        assert ends == [story.ledger[feed.job]]
