"""What a visitor's jobs are: a fold over what the bus tells the device of that name. Pure.

1. Whatever is heard gives a job or nothing, never an error.
2. At most JOBS_MAX jobs are kept. The one that ended and was heard of longest ago goes first.
3. Of a result no more than PREVIEW_BYTES stay here; the bus, or the nodes' stores, have it.

Not promised: what happened before the visitor signed in. Nodes tell states, not histories.
"""

import base64
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from workrs.domain.errors import IdError, WireError
from workrs.domain.ids import ClientId, Instant, LocalJobId, local_job_id
from workrs.domain.job_state import State
from workrs.wire import codec, topics
from workrs.wire.message import JobState

JOBS_MAX: Final = 200
STEPS_MAX: Final = 40
NOTES_MAX: Final = 30
PREVIEW_BYTES: Final = 4096
OVER: Final = frozenset(
    {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED, State.REJECTED}
)
_SAVED: Final = "checkpoint saved"
_PLACE_MAX: Final = 120
_STAMP = re.compile(r".*-(\d{6}-\d{6})-[a-z0-9]{4}")
_STAMP_FORMAT: Final = "%y%m%d-%H%M%S"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something that was seen to happen to a job."""

    text: str
    at: Instant | None
    """None: it was so when the visitor signed in."""


@dataclass(slots=True, kw_only=True)
class Result:
    """What is known here of a job's result."""

    size_bytes: int | None
    """None: it lies in the nodes' stores, and was not asked for."""
    preview: bytes = b""
    url: str = ""
    """Where it lies, if not in the message."""


@dataclass(slots=True, kw_only=True)
class BoardJob:
    """One job of the visitor's."""

    id: LocalJobId
    heard: int = 0
    """Counts what is heard: its order among the others."""
    state: State | None = None
    """None: it was sent, and nothing was heard of it yet."""
    shown: JobState | None = None
    """The last that was told in full; None for jobs of devices without a JSON parser."""
    reason: str = ""
    progress: float | None = None
    function: str = ""
    file: str = ""
    """Name of the file that was uploaded here, as its owner has it."""
    saved: tuple[int, int] = (0, 0)
    """Epoch and number of the newest checkpoint that was told."""
    is_cancelling: bool = False
    result: Result | None = None
    steps: list[Step] = field(default_factory=list)
    """Oldest first."""
    notes: list[Step] = field(default_factory=list)
    """What the program said beside its progress, oldest first."""

    @property
    def is_over(self) -> bool:
        """Return whether nothing can follow."""
        return self.state in OVER


def stamped_id(function: str, now_wall: datetime, mark: str) -> LocalJobId:
    """Return a job id that a person can read: whose function, and when.

    Args:
        function: its name.
        now_wall: the time, in UTC; for humans alone.
        mark: four characters that make it unique within a second.
    """
    return local_job_id(f"{function[:40]}-{now_wall.strftime(_STAMP_FORMAT)}-{mark}")


def stamp_of(job: str) -> datetime | None:
    """Return when a job was made by its id, or None if that does not say."""
    found = _STAMP.fullmatch(job)
    try:
        return datetime.strptime(found[1], _STAMP_FORMAT).replace(tzinfo=UTC) if found else None
    except ValueError:
        return None


class JobBoard:
    """All jobs of one visitor that are shown."""

    def __init__(self, name: ClientId) -> None:
        """Begin without any."""
        self._name = name
        self._jobs: dict[LocalJobId, BoardJob] = {}
        self._heard = 0
        self.forgotten = 0
        """Jobs that were left out for want of room."""

    def find(self, job: str) -> BoardJob | None:
        """Return a job; None for whatever is not the visitor's."""
        return self._jobs.get(LocalJobId(job))

    def jobs(self) -> list[BoardJob]:
        """Return all, the newest first."""

        def age(job: BoardJob) -> tuple[float, int]:
            made = stamp_of(job.id)
            return (made.timestamp() if made else 0.0, job.heard)

        return sorted(self._jobs.values(), key=age, reverse=True)

    def sent(self, job: LocalJobId, now: Instant, *, function: str, file: str) -> BoardJob:
        """Note that the visitor sent a job."""
        found = self._job(job)
        found.function, found.file = function, file
        if not found.steps:
            self._step(found, "sent", now)
        return found

    def hear(self, topic: str, payload: bytes, now: Instant | None) -> LocalJobId | None:
        """Take in a message; return whose job changed.

        Args:
            topic: in full.
            payload: as it came.
            now: None while the visitor has just come, and what is heard was so before.
        """
        parsed = topics.parse_down(topic)
        if parsed is None or parsed[0] != self._name:
            return None
        job, part = parsed[1], parsed[2]
        if not payload:
            if part != "out":
                self._jobs.pop(job, None)
            return job
        match part:
            case "":
                return self._hear_state(job, payload, now)
            case "state":
                return self._hear_word(job, payload, now)
            case _:
                self._job(job).result = _preview(payload)
                return job

    def _hear_state(
        self, job: LocalJobId, payload: bytes, now: Instant | None
    ) -> LocalJobId | None:
        try:
            told = codec.decode(JobState, payload)
        except WireError:
            return None
        found = self._job(job)
        found.shown = told
        # A node that ends a job on request holds it for a moment, and runs nothing.
        if not (found.is_cancelling and told.state is found.state):
            self._move(found, told.state, now, _place(told))
        saved = told.checkpoint
        if saved is not None and (saved.epoch, saved.seq) > found.saved:
            found.saved = (saved.epoch, saved.seq)
            at = f" at {saved.progress:.0%}" if saved.progress is not None else ""
            self._step(found, f"{_SAVED}{at}", now)
        if told.note and told.state is State.RUNNING and told.note != _last(found.notes):
            found.notes = [*found.notes, Step(text=told.note, at=now)][-NOTES_MAX:]
        found.progress = told.progress
        found.reason = told.reason or ""
        if told.state is State.SUCCEEDED:
            found.result = _result_of(told)
        return job

    def _hear_word(self, job: LocalJobId, payload: bytes, now: Instant | None) -> LocalJobId | None:
        word, _, rest = payload.decode("utf-8", "replace").strip().partition(" ")
        try:
            state = State(word)
        except ValueError:
            return None
        found = self._job(job)
        self._move(found, state, now)
        if state is State.RUNNING:
            found.progress = _fraction(rest.partition(" ")[0])
        elif state is State.SUCCEEDED and rest.startswith("workrs:"):
            found.result = Result(size_bytes=None, url=rest)
        else:
            found.reason = rest
        return job

    def _move(self, job: BoardJob, state: State, now: Instant | None, place: str = "") -> None:
        text = f"{state.value}{place}"
        moved = [step for step in job.steps if not step.text.startswith(_SAVED)]
        if moved and state is job.state and text.startswith(moved[-1].text):
            # More is known of the same: which attempt it is comes a moment later.
            position = job.steps.index(moved[-1])
            job.steps[position] = Step(text=text, at=moved[-1].at)
        elif not moved or moved[-1].text != text:
            self._step(job, text, now)
        job.state = state

    @staticmethod
    def _step(job: BoardJob, text: str, now: Instant | None) -> None:
        job.steps = [*job.steps, Step(text=text, at=now)]
        if len(job.steps) > STEPS_MAX:
            del job.steps[1]  # how it began is worth more than what came next

    def _job(self, job: LocalJobId) -> BoardJob:
        found = self._jobs.pop(job, None) or BoardJob(id=job)
        self._heard += 1
        found.heard = self._heard
        self._jobs[job] = found  # behind all others: heard of last
        if len(self._jobs) > JOBS_MAX:
            over = (each.id for each in self._jobs.values() if each.is_over and each is not found)
            del self._jobs[next(over, next(iter(self._jobs)))]
            self.forgotten += 1
        return found


def _last(steps: list[Step]) -> str:
    return steps[-1].text if steps else ""


def _place(told: JobState) -> str:
    """Return where a job runs, or why it waits again."""
    if told.state is State.RUNNING:
        times = f", attempt {told.attempt}" if told.attempt and told.attempt > 1 else ""
        return f" on {told.agent}{times}" if told.agent else times
    if told.state is State.QUEUED and told.note:
        return ": " + told.note.partition("\n")[0][:_PLACE_MAX]
    return ""


def content_of(told: JobState) -> bytes | None:
    """Return the result that stands in a message, or None."""
    if told.result is not None:
        return told.result.encode("utf-8", "surrogatepass")
    if told.result_b64 is None:
        return None
    try:
        return base64.b64decode(told.result_b64, validate=True)
    except ValueError:
        return None


def _result_of(told: JobState) -> Result | None:
    content = content_of(told)
    if content is not None:
        return _preview(content)
    return Result(size_bytes=None, url=told.result_url) if told.result_url else None


def _preview(content: bytes) -> Result:
    return Result(size_bytes=len(content), preview=content[:PREVIEW_BYTES])


def _fraction(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= 1 else None


def own_job(text: str) -> LocalJobId | None:
    """Return the job id that a path names, or None if it can be none."""
    try:
        return local_job_id(text)
    except IdError:
        return None
