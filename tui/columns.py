"""The columns of the lists of jobs, agents and events."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from tui import sign
from tui.cell import Cell, Column, Look, Piece, narrow
from tui.model.age import duration
from tui.model.agent import Agent
from tui.model.event import Event
from tui.model.job import Job
from workrs.wire.view import RUNNING

_BAR: Final = 14
_ORDER: Final = {"orphan": 0, "cancelling": 1, "running": 2, "arriving": 4, "queued": 3}
"""Jobs in the order in which they may need somebody; the ended ones after them."""


def job_state(job: Job, look: Look) -> str:
    """Return the job's state; a running one whose lease is out is an orphan."""
    if job.state == RUNNING and look.model.lease_left_s(job, look.now) == 0:
        return "orphan"
    return job.state


def agent_state(agent: Agent, look: Look) -> str:
    """Return the agent's state; one that should have been heard is late."""
    return "late" if agent.is_late(look.now, look.model.timing.ttl_s) else agent.state


def _job_rank(job: Job, look: Look) -> tuple[int, float, str]:
    rank = _ORDER.get(job.state, 5)
    if rank == _ORDER[RUNNING]:
        rank = _ORDER[job_state(job, look)]
    # Of those that ended the last comes first; the others stand still, by name.
    return (rank, -job.since.at if rank == 5 else 0.0, job.name)


def progress(job: Job, width: int) -> Cell:
    """Return bar and number; of an ended job only how it went."""
    view = job.view
    if not view.is_open:
        return [Piece("━" * width if view.state == "succeeded" else "─" * width, "rule")]
    if view.progress is None and view.agent is None:
        return [Piece("┄" * width, "rule")]
    saved = view.checkpoint.progress if view.checkpoint else None
    number = "" if view.progress is None else f"{view.progress:4.0%}"
    return [*sign.bar(view.progress, saved, width - 5), Piece(f" {number:>4}")]


def _lease(job: Job, look: Look) -> Cell:
    left_s = look.model.lease_left_s(job, look.now)
    if left_s is None:
        return []
    share = left_s / look.model.timing.ttl_s
    tone = "bad" if left_s == 0 else "warn" if share < 0.4 else ""
    return [Piece(f"{left_s:.0f}s", tone), Piece(sign.level(share), tone or "dim")]


def _saved(job: Job, look: Look) -> Cell:
    if job.checkpointed is None or not job.view.is_open:
        return []
    return [Piece(job.checkpointed.text(look.now))]


def _remark(job: Job, _look: Look) -> Cell:
    view = job.view
    text = " ".join((view.reason if not view.is_open else view.note or view.reason).split())
    return [Piece(narrow(text), "dim")]


def _moves(job: Job, _look: Look) -> Cell:
    return [Piece(f"↷{job.takeovers}", "warn")] if job.takeovers else []


JOBS: Final[Sequence[Column[Job]]] = (
    Column(
        key="job",
        title="job",
        width=14,
        grows=2,
        rank=9,
        cell=lambda job, _: [Piece(job.name)],
        sort=lambda job, _: job.name,
    ),
    Column(
        key="state",
        title="state",
        width=12,
        rank=8,
        cell=lambda job, look: sign.state(job_state(job, look)),
        sort=_job_rank,
    ),
    Column(
        key="progress",
        title="progress",
        width=_BAR + 5,
        rank=7,
        cell=lambda job, _: progress(job, _BAR + 5),
        sort=lambda job, _: -(job.view.progress or 0.0) if job.view.is_open else 1.0,
    ),
    Column(
        key="agent",
        title="agent",
        width=9,
        grows=1,
        rank=7,
        cell=lambda job, _: [Piece(job.view.agent or "")] if job.view.is_open else [],
        sort=lambda job, _: (job.view.agent is None or not job.view.is_open, job.view.agent or ""),
    ),
    Column(
        key="epoch",
        title="ep",
        width=3,
        right=True,
        rank=4,
        cell=lambda job, _: [Piece(str(job.view.epoch or ""))],
        sort=lambda job, _: -job.view.epoch,
    ),
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
    Column(
        key="attempt",
        title="try",
        width=3,
        right=True,
        rank=3,
        cell=lambda job, _: [Piece(str(job.view.attempt or ""))],
        sort=lambda job, _: -job.view.attempt,
    ),
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


def _slots(agent: Agent, _look: Look) -> Cell:
    text = f"{agent.held}/{agent.slots}"
    return [*sign.slots(agent.held, agent.slots, 5), Piece(f" {text}")]


def _load(agent: Agent, _look: Look) -> Cell:
    profile = agent.profile
    if profile is None or agent.state == "gone":
        return []
    share = profile.load / max(profile.cpus, 1.0)
    tone = "warn" if share > 1.0 else "dim"
    return [Piece(sign.level(share), tone), Piece(f" {profile.load:.1f}")]


def _beat(agent: Agent, look: Look) -> Cell:
    late = agent.beat.age_s(look.now) > 2 * look.model.timing.heartbeat_period_s
    tone = "dim" if agent.state == "gone" else "warn" if late else ""
    return [Piece(agent.beat.text(look.now), tone)]


def _profile(agent: Agent, _look: Look, *, name: str) -> Cell:
    return [Piece(narrow(str(getattr(agent.profile, name))))] if agent.profile else []


def _labels(agent: Agent, _look: Look) -> Cell:
    return [Piece(narrow(" ".join(agent.profile.labels)), "dim")] if agent.profile else []


AGENTS: Final[Sequence[Column[Agent]]] = (
    Column(
        key="agent",
        title="agent",
        width=12,
        grows=2,
        rank=9,
        cell=lambda agent, _: [Piece(agent.name)],
        sort=lambda agent, _: agent.name,
    ),
    Column(
        key="state",
        title="state",
        width=10,
        rank=8,
        cell=lambda agent, look: sign.state(agent_state(agent, look)),
        sort=lambda agent, look: (
            ["late", "draining", "live", "gone"].index(agent_state(agent, look)),
            agent.name,
        ),
    ),
    Column(
        key="slots",
        title="slots",
        width=10,
        rank=7,
        cell=_slots,
        sort=lambda agent, _: (-agent.held / max(agent.slots, 1), agent.name),
    ),
    Column(
        key="load",
        title="load",
        width=6,
        rank=6,
        cell=_load,
        sort=lambda agent, _: -(agent.profile.load if agent.profile else 0.0),
    ),
    Column(
        key="rung",
        title="rung",
        width=6,
        rank=5,
        cell=partial(_profile, name="rung"),
        sort=lambda agent, _: agent.profile.rung if agent.profile else "",
    ),
    Column(
        key="beat",
        title="beat",
        width=5,
        right=True,
        rank=7,
        cell=_beat,
        sort=lambda agent, look: -agent.beat.age_s(look.now),
    ),
    Column(
        key="memory",
        title="memory",
        width=6,
        right=True,
        rank=2,
        cell=lambda agent, _: (
            [Piece(sign.size(agent.profile.memory_mb << 20))] if agent.profile else []
        ),
        sort=lambda agent, _: -(agent.profile.memory_mb if agent.profile else 0),
    ),
    Column(key="arch", title="arch", width=6, rank=1, cell=partial(_profile, name="arch")),
    Column(key="runtime", title="runtime", width=8, rank=1, cell=partial(_profile, name="runtime")),
    Column(key="labels", title="labels", width=8, grows=3, rank=4, cell=_labels),
)


EVENTS: Final[Sequence[Column[Event]]] = (
    Column(
        key="age",
        title="ago",
        width=4,
        right=True,
        rank=9,
        cell=lambda event, look: [Piece(duration(max(0.0, look.now - event.at)), "dim")],
    ),
    Column(
        key="kind",
        title="event",
        width=18,
        rank=8,
        cell=lambda event, _: [
            Piece(f"{sign.EVENTS[event.kind][0]} ", sign.EVENTS[event.kind][1]),
            Piece(event.kind.value, sign.EVENTS[event.kind][1]),
        ],
    ),
    Column(
        key="subject",
        title="of",
        width=14,
        grows=1,
        rank=7,
        cell=lambda event, _: [Piece(event.subject)],
    ),
    Column(
        key="text",
        title="",
        width=10,
        grows=2,
        rank=6,
        cell=lambda event, _: [Piece(narrow(event.text), "dim")],
    ),
)
