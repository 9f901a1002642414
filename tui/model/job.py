"""One job over time: what the records show now, and what was seen to happen to it.

1. A takeover is a claim by another agent than the one before, which had not released the job.
2. A lease is renewed by a heartbeat or a claim that this reader saw; it ends `ttl_s` after the
   last of them at the earliest. The nodes count for themselves, so this is an estimate.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from tui.model import amount
from tui.model import claim as claims_rule
from tui.model.age import Since
from tui.model.claim import Claim
from tui.model.event import Event, Kind
from workrs.domain.ids import Epoch, Instant
from workrs.domain.record import CheckpointRef, Record
from workrs.wire.view import ARRIVING, CANCELLING, QUEUED, RUNNING, JobView

TIMELINE_MAX: Final = 40
"""Events that are kept of one job; the oldest go."""

_ENDS: Final = {
    "succeeded": Kind.SUCCEEDED,
    "failed": Kind.FAILED,
    "cancelled": Kind.CANCELLED,
    "expired": Kind.EXPIRED,
}


@dataclass(slots=True)
class Job:
    """A job as it is shown."""

    view: JobView
    name: str
    """DEVICE/ID."""
    since: Since
    """Of its state."""
    progress: float | None = None
    """As its agent told last. Most of what nodes say is that, so it is no new view each time."""
    note: str = ""
    claimed: Since | None = None
    checkpointed: Since | None = None
    """Of the newest checkpoint."""
    takeovers: int = 0
    """That were seen."""
    last_holder: tuple[Epoch, str] | None = None
    """Who held it last, at which epoch; kept while nobody does."""
    claims: tuple[Claim, ...] = ()
    """That were seen, the newest last."""
    timeline: list[Event] = field(default_factory=list)

    @property
    def state(self) -> str:
        """Return the state's word."""
        return self.view.state

    @property
    def is_running(self) -> bool:
        """Return whether somebody holds its lease."""
        return self.view.is_open and self.view.agent is not None


def new_job(view: JobView, now: Instant, *, before: bool) -> Job:
    """Return the job as first seen; *before*: it was there when the reader came."""
    since = Since(now, before)
    name = f"{view.device}/{view.id}"
    job = Job(view=view, name=name, since=since, progress=view.progress, note=view.note)
    _note_places(job, view, since)
    return job


def advance(job: Job, view: JobView, released: Epoch, now: Instant) -> list[Event]:
    """Take in the job's next state; return what happened in between.

    Args:
        job: changed in place.
        view: what the records show now.
        released: the highest epoch at which a record without a holder was seen.
        now: of the reader.
    """
    events = [Event(now, kind, job.name, text) for kind, text in _facts(job, view, released)]
    before, job.view = job.view, view
    job.progress, job.note = view.progress, view.note
    if before.state != view.state:
        job.since = Since(now)
    if view.checkpoint != before.checkpoint and view.checkpoint is not None:
        job.checkpointed = Since(now)
    took_over = sum(event.kind is Kind.TAKEN_OVER for event in events)
    job.takeovers += took_over
    if view.agent is not None and (view.epoch, view.agent) != job.last_holder:
        job.claims = claims_rule.end(job.claims, "taken over" if took_over else "released", now)
        _note_holder(job, view, Since(now))
    if not view.is_open:
        job.claims = claims_rule.end(job.claims, view.state, now)
    elif view.agent is None:
        job.claims = claims_rule.end(job.claims, f"released{_because(view.reason)}", now)
    job.timeline.extend(events)
    del job.timeline[:-TIMELINE_MAX]
    return events


def is_progress(before: Record, after: Record) -> bool:
    """Return whether nothing of a node's record is new but how far the program is."""
    return (
        before.holder == after.holder
        and before.epoch == after.epoch
        and before.attempt == after.attempt
        and before.checkpoints == after.checkpoints
        and before.decided == after.decided
        and before.accepted == after.accepted
        and before.cancel == after.cancel
        and before.digest == after.digest
        and before.reason == after.reason
    )


def move_on(job: Job, record: Record) -> None:
    """Take in how far the program is by *record*, unless that is of an older epoch, or behind."""
    view, done = job.view, record.progress
    is_newer = done is not None and (job.progress is None or done >= job.progress)
    if is_newer and view.outcome is None and record.epoch == view.epoch:
        job.progress, job.note = done, record.note


def first_events(job: Job, now: Instant) -> list[Event]:
    """Return what is to be told of a job that was not there before."""
    kind = Kind.ARRIVED if job.state == ARRIVING else Kind.ACCEPTED
    events = [Event(now, kind, job.name, "")]
    if job.view.agent is not None:
        events.append(Event(now, Kind.CLAIMED, job.name, _claim(job.view)))
    if not job.view.is_open:
        events.append(Event(now, _ENDS[job.state], job.name, _end(job.view)))
    job.timeline.extend(events)
    return events


def _note_places(job: Job, view: JobView, since: Since) -> None:
    if view.checkpoint is not None:
        job.checkpointed = since
    if view.agent is not None:
        _note_holder(job, view, since)


def _note_holder(job: Job, view: JobView, since: Since) -> None:
    if view.agent is None:
        return
    job.claimed = since
    job.last_holder = (view.epoch, view.agent)
    if view.is_open:
        claim = Claim(agent=view.agent, epoch=view.epoch, since=since)
        job.claims = claims_rule.begin(job.claims, claim)


def _facts(job: Job, view: JobView, released: Epoch) -> Iterator[tuple[Kind, str]]:
    before = job.view
    if before.state == ARRIVING and view.state in (QUEUED, RUNNING):
        yield Kind.ACCEPTED, ""
    last = job.last_holder
    if view.agent is not None and (view.epoch, view.agent) != last:
        is_takeover = last is not None and last[1] != view.agent and released < last[0]
        if is_takeover and last is not None:
            yield Kind.TAKEN_OVER, f"from {last[1]} by {_claim(view)}"
        else:
            yield Kind.CLAIMED, f"by {_claim(view)}"
    elif before.agent is not None and view.agent is None and view.is_open:
        yield Kind.RELEASED, f"by {before.agent}{_because(view.reason)}"
    if view.attempt > before.attempt:
        yield Kind.STARTED, f"attempt {view.attempt}"
    mark = view.checkpoint
    if mark is not None and mark != before.checkpoint:
        yield Kind.CHECKPOINTED, _saved(mark)
    if view.state == CANCELLING != before.state:
        yield Kind.CANCELLING, ""
    if before.is_open and not view.is_open:
        yield _ENDS[view.state], _end(view)


def _claim(view: JobView) -> str:
    return f"{view.agent} at epoch {view.epoch}"


def _saved(mark: CheckpointRef) -> str:
    """Return number, rung and size of a checkpoint, and how long it took where that is known."""
    parts = [f"{mark.epoch}.{mark.seq} {mark.rung} {amount.size(mark.bytes)}"]
    parts += [f"frozen {mark.frozen_s:.2f}s"] if mark.frozen_s is not None else []
    parts += [f"upload {mark.upload_s:.1f}s"] if mark.upload_s is not None else []
    return ", ".join(parts)


def _because(reason: str) -> str:
    return f": {' '.join(reason.split())}" if reason else ""


def _end(view: JobView) -> str:
    return " ".join(view.reason.split())
