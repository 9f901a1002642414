"""A visitor's jobs in words and numbers, as the templates show them. Pure.

A state has a word and a sign beside its colour, which is never the only thing that tells it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from broker.web.job_board import PREVIEW_BYTES, BoardJob, Step, stamp_of
from workrs.domain.ids import Instant
from workrs.domain.job_state import State

_SIGNS: Final = {
    None: ("sent", "…", "quiet"),
    State.WAITING: ("waiting", "…", "warn"),
    State.ACCEPTED: ("accepted", "○", "quiet"),
    State.QUEUED: ("queued", "○", "quiet"),
    State.RUNNING: ("running", "▶", "busy"),
    State.SUCCEEDED: ("succeeded", "✓", "good"),
    State.FAILED: ("failed", "✗", "bad"),
    State.CANCELLED: ("cancelled", "■", "quiet"),
    State.EXPIRED: ("expired", "■", "warn"),
    State.REJECTED: ("rejected", "✗", "bad"),
}
_MEANINGS: Final = {
    None: "No node has answered yet. The request is repeated until one does.",
    State.WAITING: "This node keeps it and reaches no majority of the others now.",
    State.ACCEPTED: "A majority of nodes has it on disk: it will not be lost.",
    State.QUEUED: "It waits for an agent that has room for it.",
    State.RUNNING: "",
    State.SUCCEEDED: "",
    State.FAILED: "The program did not succeed.",
    State.CANCELLED: "It was ended before it had a result.",
    State.EXPIRED: "Its time ran out before it had a result.",
    State.REJECTED: "No node took it, and nothing was started.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job as it is shown."""

    id: str
    function: str
    file: str
    word: str
    sign: str
    tone: str
    """quiet, busy, good, warn or bad: a class of the style sheet."""
    meaning: str
    """A sentence about the state, or empty."""
    percent: int | None
    """Of its progress; None where none is known or it says nothing."""
    agent: str
    attempt: int
    """0: unknown."""
    age: str
    is_over: bool
    is_cancelling: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Something that happened, and how long ago."""

    text: str
    ago: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultView:
    """A result as it is shown."""

    size: str
    preview: str | None
    """Text of its beginning; None where it is no text or was not fetched."""
    is_cut: bool
    """Whether there is more than the preview."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPage:
    """All of one job."""

    job: JobView
    steps: Sequence[Line]
    """Newest first."""
    notes: Sequence[Line]
    reason: str
    """Why it did not succeed, or waits."""
    tail: str
    """What stands below the first line of the reason: the end of what the program printed."""
    last: str
    """The last line of that."""
    exit_code: int | None
    saved: str
    """What its newest checkpoint has, or empty."""
    result: ResultView | None


def job_view(job: BoardJob, now_wall: datetime) -> JobView:
    """Return a job as a row shows it."""
    word, sign, tone = _SIGNS[job.state]
    told = job.shown
    is_running = job.state is State.RUNNING
    made = stamp_of(job.id)
    seconds = (now_wall - made).total_seconds() if made is not None else -1.0
    progress = job.progress if is_running else None
    return JobView(
        id=job.id,
        function=job.function,
        file=job.file,
        word=word,
        sign=sign,
        tone=tone,
        meaning=_MEANINGS[job.state],
        percent=None if progress is None else int(100 * progress),
        agent=(told.agent or "")
        if told is not None and is_running and not job.is_cancelling
        else "",
        attempt=(told.attempt or 0) if told is not None else 0,
        age=ago(seconds) if seconds >= 0 else "",
        is_over=job.is_over,
        is_cancelling=job.is_cancelling and not job.is_over,
    )


def job_page(job: BoardJob, now: Instant, now_wall: datetime) -> JobPage:
    """Return a job as its own page shows it."""
    told = job.shown
    note = told.note or "" if told is not None and job.state is not State.RUNNING else ""
    first, _, tail = (job.reason or note).partition("\n")
    saved = ""
    if told is not None and told.checkpoint is not None:
        part = told.checkpoint.progress
        at = "" if part is None else f" at {part:.0%}"
        saved = f"number {told.checkpoint.seq}{at}, {size(told.checkpoint.bytes)}"
    return JobPage(
        job=job_view(job, now_wall),
        steps=[_line(step, now) for step in reversed(job.steps)],
        notes=[_line(step, now) for step in reversed(job.notes)],
        reason=first,
        tail=tail,
        last=tail.rstrip().rpartition("\n")[2].strip(),
        exit_code=told.exit_code if told is not None else None,
        saved=saved,
        result=_result(job),
    )


def _line(step: Step, now: Instant) -> Line:
    if step.at is None:
        return Line(text=step.text, ago="before you signed in")
    return Line(text=step.text, ago=f"{ago(now - step.at)} ago")


def _result(job: BoardJob) -> ResultView | None:
    found = job.result
    if found is None or job.state is not State.SUCCEEDED:
        return None
    if found.size_bytes is None:
        return ResultView(size="more than 32 KiB", preview=None, is_cut=True)
    return ResultView(
        size=size(found.size_bytes),
        preview=_text(found.preview),
        is_cut=found.size_bytes > PREVIEW_BYTES,
    )


def _text(data: bytes) -> str | None:
    """Return the text that *data* is the beginning of, or None if it is none."""
    # Where it was cut off, a character may be in parts.
    for cut in range(4 if len(data) == PREVIEW_BYTES else 1):
        try:
            text = data[: len(data) - cut].decode()
        except UnicodeDecodeError:
            continue
        is_plain = all(char.isprintable() or char in "\n\r\t" for char in text)
        return text if is_plain else None
    return None


def ago(seconds: float) -> str:
    """Return a duration as a person says it."""
    for limit, unit_s, name in (
        (100, 1, "s"),
        (6_000, 60, "min"),
        (172_800, 3_600, "h"),
        (float("inf"), 86_400, "d"),
    ):
        if seconds < limit:
            return f"{max(0, int(seconds / unit_s))} {name}"
    raise AssertionError(seconds)


def size(size_bytes: int) -> str:
    """Return a number of bytes as a person says it."""
    if size_bytes < 1000:
        return f"{size_bytes} byte{'s' * (size_bytes != 1)}"
    for limit, unit in ((1 << 20, "KiB"), (1 << 30, "MiB"), (1 << 50, "GiB")):
        if size_bytes < limit:
            return f"{size_bytes / (limit >> 10):.1f} {unit}"
    raise AssertionError(size_bytes)
