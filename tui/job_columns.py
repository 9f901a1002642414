"""The columns of the list of jobs: who runs each, how far it is, and what it would lose now."""

from collections.abc import Sequence
from typing import Final

from tui import sign
from tui.cell import Cell, Look, Piece, narrow
from tui.column import Column, number, words
from tui.model.job import Job
from workrs.wire.view import RUNNING

_BAR: Final = 19
_ORDER: Final = {"orphan": 0, "cancelling": 1, "running": 3, "queued": 4, "arriving": 5}
"""Jobs in the order in which they may need somebody; the ended ones after them."""
_JUST_FAILED: Final = 2
"""Among 10,000 others nobody would find it at the end."""
_ENDED: Final = 6
_LOW: Final = 0.4
"""Share of a lease below which it should have been renewed."""


def job_state(job: Job, look: Look) -> str:
    """Return the job's state; a running one whose lease is out is an orphan."""
    if job.view.state == RUNNING and look.model.lease_left_s(job, look.now) == 0:
        return "orphan"
    return job.view.state


def progress(job: Job, width: int) -> Cell:
    """Return bar and number; of an ended job only how it went."""
    view = job.view
    if not view.is_open:
        return [Piece("━" * width if view.state == "succeeded" else "─" * width, "rule")]
    if job.progress is None and view.agent is None:
        return [Piece("┄" * width, "rule")]
    saved = view.checkpoint.progress if view.checkpoint else None
    percent = "" if job.progress is None else f"{job.progress:4.0%}"
    return [*sign.bar(job.progress, saved, width - 5), Piece(f" {percent:>4}")]


def lease_tone(left_s: float, ttl_s: float) -> str:
    """Return how urgent what is left of a lease is."""
    return "bad" if left_s == 0 else "warn" if left_s / ttl_s < _LOW else ""


def _rank(job: Job, look: Look) -> tuple[int, float, str]:
    rank = _ORDER.get(job_state(job, look))
    if rank is not None:
        return (rank, 0.0, job.name)
    is_bad = job.view.state in ("failed", "expired") and job.since.is_fresh(look.now)
    # Of those that ended the last comes first; the others stand still, by name.
    return (_JUST_FAILED if is_bad else _ENDED, -job.since.at, job.name)


def _lease(job: Job, look: Look) -> Cell:
    left_s = look.model.lease_left_s(job, look.now)
    if left_s is None:
        return []
    return [Piece(f"{left_s:.0f}s", lease_tone(left_s, look.model.timing.ttl_s))]


def _saved(job: Job, look: Look) -> Cell:
    if job.checkpointed is None or not job.view.is_open:
        return []
    return [Piece(job.checkpointed.text(look.now))]


def _remark(job: Job, _look: Look) -> Cell:
    view = job.view
    text = " ".join((view.reason if not view.is_open else job.note or view.reason).split())
    return [Piece(narrow(text), "dim")]


def _moves(job: Job, _look: Look) -> Cell:
    return [Piece(f"↷{job.takeovers}", "warn")] if job.takeovers else []


def _agent(job: Job) -> str:
    return (job.view.agent or "") if job.view.is_open else ""


JOBS: Final[Sequence[Column[Job]]] = (
    words("job", lambda job: job.name, width=17, grows=2, rank=9),
    Column(
        key="state",
        title="state",
        width=12,
        rank=8,
        cell=lambda job, look: sign.state(job_state(job, look)),
        sort=_rank,
    ),
    Column(
        key="progress",
        title="progress",
        width=_BAR,
        rank=7,
        cell=lambda job, _: progress(job, _BAR),
        sort=lambda job, _: -(job.progress or 0.0) if job.view.is_open else 1.0,
    ),
    words("agent", _agent, width=9, grows=1, rank=7, by=lambda job: (not _agent(job), _agent(job))),
    number("epoch", lambda job: job.view.epoch or None, title="ep", width=3, rank=4),
    Column(
        key="lease",
        title="lease",
        width=5,
        right=True,
        rank=6,
        cell=_lease,
        sort=lambda job, look: look.model.lease_left_s(job, look.now) or 1e9,
    ),
    Column(
        key="saved",
        title="saved",
        width=5,
        right=True,
        rank=5,
        cell=_saved,
        sort=lambda job, look: job.checkpointed.age_s(look.now) if job.checkpointed else 1e9,
    ),
    number("attempt", lambda job: job.view.attempt or None, title="try", width=3, rank=3),
    Column(
        key="takeovers",
        title="moved",
        width=5,
        right=True,
        rank=2,
        cell=_moves,
        sort=lambda job, _: -job.takeovers,
    ),
    Column(
        key="since",
        title="since",
        width=5,
        right=True,
        rank=2,
        cell=lambda job, look: [Piece(job.since.text(look.now), "dim")],
        sort=lambda job, look: job.since.age_s(look.now),
    ),
    Column(key="note", title="note", width=16, grows=4, rank=1, cell=_remark),
)
