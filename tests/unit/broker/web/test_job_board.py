"""Goal: the board shows what the bus told, takes anything, and stays small.

Method: messages as nodes write them, and junk by hypothesis.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.web import job_board
from broker.web.job_board import JobBoard, stamp_of, stamped_id
from broker.web.job_view import ago, job_page, job_view, size
from workrs.domain.ids import ClientId, Instant, LocalJobId
from workrs.domain.job_state import State
from workrs.wire import topics

ANN = ClientId("ann")
WALL = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
JOB = LocalJobId("j")


def state(job: str, word: str, **fields: object) -> bytes:
    return json.dumps({"v": 1, "job": job, "state": word, **fields}).encode()


def told(*messages: bytes) -> JobBoard:
    board = JobBoard(ANN)
    for number, message in enumerate(messages):
        board.hear(topics.down(ANN, JOB), message, Instant(float(number)))
    return board


def steps(board: JobBoard) -> list[str]:
    found = board.find(JOB)
    assert found is not None
    return [step.text for step in found.steps]


def test_a_job_is_told_from_its_sending_to_its_result() -> None:
    board = JobBoard(ANN)
    board.sent(JOB, Instant(0.0), function="mean", file="a.csv")
    saved = {"epoch": 1, "seq": 1, "location": [], "bytes": 2048, "progress": 0.25}
    for message in (
        state(JOB, "accepted"),
        state(JOB, "queued"),
        state(JOB, "running", agent="a1", progress=0.1, note="reading"),
        state(
            JOB, "running", agent="a1", attempt=2, progress=0.3, note="fitting", checkpoint=saved
        ),
        state(JOB, "queued", note="exit code 1\nTraceback"),
        state(JOB, "running", agent="a2", attempt=3, progress=0.3, checkpoint=saved),
        state(JOB, "succeeded", attempt=3, exit_code=0, result="42\n"),
    ):
        assert board.hear(topics.down(ANN, JOB), message, Instant(1.0)) == JOB
    assert steps(board) == [
        "sent",
        "accepted",
        "queued",
        "running on a1, attempt 2",
        "checkpoint saved at 25%",
        "queued: exit code 1",
        "running on a2, attempt 3",
        "succeeded",
    ]
    found = board.find(JOB)
    assert found is not None
    page = job_page(found, Instant(11.0), WALL)
    assert [line.text for line in page.notes] == ["fitting", "reading"]
    assert page.steps[0].ago == "10 s ago"
    assert page.saved == ""
    assert page.result is not None
    assert (page.result.preview, page.result.size, page.result.is_cut) == ("42\n", "3 bytes", False)
    assert (page.job.word, page.job.file, page.job.is_over) == ("succeeded", "a.csv", True)


def test_a_running_job_shows_where_it_is() -> None:
    saved = {"epoch": 1, "seq": 4, "location": [], "bytes": 2048, "progress": 0.25}
    board = told(state(JOB, "running", agent="a1", attempt=1, progress=0.567, checkpoint=saved))
    found = board.find(JOB)
    assert found is not None
    page = job_page(found, Instant(0.0), WALL)
    assert (page.job.percent, page.job.agent, page.job.attempt) == (56, "a1", 1)
    assert page.saved == "number 4 at 25%, 2.0 KiB"


def test_a_failure_shows_its_first_line_and_apart_what_was_printed() -> None:
    board = told(state(JOB, "failed", reason="exit code 1\nTraceback\nBoom", exit_code=1))
    found = board.find(JOB)
    assert found is not None
    page = job_page(found, Instant(0.0), WALL)
    assert (page.reason, page.tail, page.result) == ("exit code 1", "Traceback\nBoom", None)


def test_the_line_that_says_what_was_wrong_is_shown_with_the_state() -> None:
    board = told(state(JOB, "failed", reason="exit code 1\nTraceback:\n  x\nValueError: 7\n\n"))
    found = board.find(JOB)
    assert found is not None
    page = job_page(found, Instant(1.0), WALL)
    assert (page.reason, page.last) == ("exit code 1", "ValueError: 7")


def test_what_a_program_says_twice_in_a_row_is_one_note() -> None:
    said = [state(JOB, "running", agent="a1", note=each) for each in ("x", "x", "y")]
    board = told(said[0], state(JOB, "running", agent="a1"), *said[1:], said[0])
    found = board.find(JOB)
    assert found is not None
    assert [note.text for note in found.notes] == ["x", "y", "x"]


def test_a_node_that_ends_a_job_is_not_shown_as_running_it() -> None:
    board = told(state(JOB, "running", agent="a1"))
    found = board.find(JOB)
    assert found is not None
    found.is_cancelling = True
    board.hear(topics.down(ANN, JOB), state(JOB, "running", agent="n3"), Instant(1.0))
    assert job_page(found, Instant(1.0), WALL).job.agent == ""
    board.hear(topics.down(ANN, JOB), state(JOB, "cancelled"), Instant(2.0))
    assert steps(board) == ["running on a1", "cancelled"]


def test_jobs_of_devices_without_json_are_shown_too() -> None:
    board = JobBoard(ANN)
    assert board.hear(topics.down(ANN, JOB, "state"), b"running 0.5", None) == JOB
    found = board.find(JOB)
    assert found is not None
    assert job_view(found, WALL).percent == 50
    board.hear(topics.down(ANN, JOB, "out"), b"\xff\x00", None)
    board.hear(topics.down(ANN, JOB, "state"), b"succeeded", None)
    page = job_page(found, Instant(0.0), WALL)
    assert page.result is not None
    assert (page.result.preview, page.result.size) == (None, "2 bytes")
    assert page.steps[0].ago == "before you signed in"


def test_nothing_of_anybody_else_is_taken() -> None:
    board = JobBoard(ANN)
    for topic in (
        topics.down("bob", JOB),
        topics.up(ANN, "submit", JOB),
        topics.down(ANN, "../j"),
        topics.down(ANN, JOB, "else"),
        "",
    ):
        assert board.hear(topic, state(JOB, "running"), None) is None
    assert board.jobs() == []


def test_a_retired_job_is_gone() -> None:
    board = told(state(JOB, "cancelled"), b"")
    assert board.find(JOB) is None


@given(st.binary(max_size=200), st.sampled_from(["", "state", "out"]))
def test_the_board_is_total(payload: bytes, part: str) -> None:
    board = JobBoard(ANN)
    board.hear(topics.down(ANN, JOB, *([part] if part else [])), payload, None)
    for job in board.jobs():
        job_page(job, Instant(0.0), WALL)


def test_the_board_keeps_open_jobs_and_the_newest() -> None:
    board = JobBoard(ANN)
    board.hear(topics.down(ANN, "open"), state("open", "running"), None)
    for number in range(job_board.JOBS_MAX + 50):
        name = f"j{number}"
        board.hear(topics.down(ANN, name), state(name, "succeeded", result="x" * 30_000), None)
    found = board.jobs()
    assert len(found) == job_board.JOBS_MAX
    assert board.find("open") is not None
    assert board.find("j0") is None
    assert board.forgotten == 51
    sizes = [len(job.result.preview) for job in found if job.result is not None]
    assert max(sizes) == job_board.PREVIEW_BYTES


def test_a_job_that_never_rests_keeps_its_beginning_and_its_last_steps() -> None:
    words = [
        state(JOB, "running", agent="a1", note=f"step {number}")
        if number % 2
        else state(JOB, "queued", note=f"reason {number}")
        for number in range(1000)
    ]
    board = told(*words)
    assert len(steps(board)) == job_board.STEPS_MAX
    assert steps(board)[0] == "queued: reason 0"
    found = board.find(JOB)
    assert found is not None
    assert len(found.notes) == job_board.NOTES_MAX


def test_an_id_says_when_it_was_made() -> None:
    job = stamped_id("mean", WALL, "0a1f")
    assert job == "mean-261122-170000-0a1f"
    assert stamp_of(job) == WALL
    assert stamp_of("mean-999999-999999-0a1f") is None
    assert stamp_of("pump-7") is None
    assert len(stamped_id("f" * 63, WALL, "0a1f")) <= 63


def test_the_newest_job_comes_first() -> None:
    board = JobBoard(ANN)
    for day in (21, 23, 22):
        name = stamped_id("f", WALL.replace(day=day), "aaaa")
        board.hear(topics.down(ANN, name), state(name, "succeeded"), None)
    assert [job.id[2:8] for job in board.jobs()] == ["261123", "261122", "261121"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (99, "99 s"), (100, "1 min"), (7200, "2 h"), (1e6, "11 d")]
)
def test_durations_are_read_as_people_say_them(seconds: float, text: str) -> None:
    assert ago(seconds) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"), [(0, "0 bytes"), (1, "1 byte"), (2048, "2.0 KiB"), (5 << 20, "5.0 MiB")]
)
def test_sizes_are_read_as_people_say_them(size_bytes: int, text: str) -> None:
    assert size(size_bytes) == text


def test_every_state_has_a_word_and_a_sign() -> None:
    for each in State:
        found = told(state(JOB, each.value)).find(JOB)
        assert found is not None
        view = job_view(found, WALL)
        assert view.word == each.value
        assert view.sign
