"""Watching an agent's jobs move, as the nodes show them: what has become of each, and why not.

A pure fold: a view of the cluster goes in, again and again; out come lines for the operator, and
in the end what became of every job.
"""

from dataclasses import dataclass, field
from enum import Enum

from workrs.domain import ladder
from workrs.domain.dispatch import fits
from workrs.domain.ids import ClientId, JobId
from workrs.domain.job import CheckpointMode
from workrs.wire.view import RUNNING, AgentSummary, ClusterView, JobView


class End(Enum):
    """How watching a drain can end."""

    DRAINED = "is drained"
    GONE = "is gone: what it still had goes on elsewhere, from its newest checkpoint"
    UNDRAINED = "takes jobs again: it was undrained meanwhile"
    RESTARTED = "takes jobs again: it was started again meanwhile, which ends a drain"
    FORGOTTEN = "is not known any more: no node shows an agent of this name"


@dataclass(slots=True)
class MoveWatch:
    """One drain of one agent."""

    agent: ClientId
    fates: dict[JobId, str] = field(default_factory=dict)
    """What was last said of each job."""
    jobs: dict[JobId, JobView] = field(default_factory=dict)
    """Every job that the agent was seen to hold, as it was last shown."""
    _here: set[JobId] = field(default_factory=set)
    _incarnation: int | None = None
    """Of the agent as it was first seen."""
    _drains: bool = False
    """Whether it was seen to drain, as that incarnation."""

    def look(self, view: ClusterView) -> list[str]:
        """Take in how the cluster is now; return what is new for the operator."""
        held = self._summary(view)
        if held is not None and self._incarnation is None:
            self._incarnation = held.incarnation
        self._drains |= held is not None and held.state == "draining"
        self._here = set(held.jobs) if held is not None and held.state != "gone" else set()
        self.jobs.update(dict.fromkeys(self._here - set(self.jobs)))  # type: ignore[arg-type]
        lines = []
        for job in sorted(self.jobs):
            shown = view.job(job)
            if shown is not None:
                self.jobs[job] = shown
            fate = self._fate(view, held, self.jobs[job])
            if fate != self.fates.get(job):
                self.fates[job] = fate
                lines.append(f"{self.jobs[job].device}/{self.jobs[job].id} {fate}")
        return lines

    def end(self, view: ClusterView) -> End | None:
        """Return why there is nothing more to watch, or None.

        An agent that is live is believed only after it was seen to drain: what this node shows
        of it may be behind. One that was started again has lost its jobs, and what becomes of
        them is none of a drain's business.
        """
        held = self._summary(view)
        if held is None:
            return End.FORGOTTEN if self._incarnation is not None else None
        if held.state == "live":
            if held.incarnation != self._incarnation:
                return End.RESTARTED
            return End.UNDRAINED if self._drains else None
        if held.state == "gone":
            return End.GONE
        return None if self._here else End.DRAINED

    def is_settled(self) -> bool:
        """Return whether every job runs elsewhere or has ended."""
        return all(
            job.outcome is not None or (job.state == RUNNING and job.agent != self.agent)
            for job in self.jobs.values()
        )

    def left(self) -> list[str]:
        """Return the jobs that the agent still has, a few words each."""
        return [f"{each.device}/{each.id} {self.fates[job]}" for job, each in self._held()]

    def summed_up(self) -> str:
        """Say in a few words what became of all of them."""
        if not self.jobs:
            return "it had no jobs"
        fates = {
            "moved": sum(fate.startswith("moved") for fate in self.fates.values()),
            "waiting for an agent": sum(fate.startswith("waits") for fate in self.fates.values()),
            "ended": sum(fate.startswith("has ended") for fate in self.fates.values()),
            "left": len(self._here),
        }
        return ", ".join(f"{count} {word}" for word, count in fates.items() if count)

    def _held(self) -> list[tuple[JobId, JobView]]:
        return [(job, each) for job, each in self.jobs.items() if job in self._here]

    def as_json(self) -> list[dict[str, object]]:
        """Return what became of every job."""
        return [
            {
                "job": f"{job.device}/{job.id}",
                "state": job.state,
                "agent": job.agent,
                "fate": self.fates[job.job],
            }
            for job in self.jobs.values()
        ]

    def _summary(self, view: ClusterView) -> AgentSummary | None:
        return next((one for one in view.agents() if one.agent == self.agent), None)

    def _fate(self, view: ClusterView, held: AgentSummary | None, job: JobView) -> str:
        if job.outcome is not None:
            return f"has ended: {job.outcome.verdict.value}"
        if job.job in self._here:
            why = why_not(view, held, job)
            return f"is being moved{f', but {why}' if why else ''}"
        if job.agent is not None and job.agent != self.agent:
            return f"moved to {job.agent}"
        words = [word for word in (" ".join(job.reason.split()), nowhere(view, job)) if word]
        return f"waits for an agent{': ' if words else ''}{'; '.join(words)}"


def why_not(view: ClusterView, held: AgentSummary | None, job: JobView) -> str:
    """Return why a job does not leave its agent, or leaves it for nowhere; "" when it can move."""
    if job.spec is None:
        return ""
    spec = job.spec.spec
    if spec.checkpoint.mode is CheckpointMode.OFF:
        return "its checkpoints are off: it runs to its end where it is"
    if held is not None and held.profile is not None and held.profile.rung == ladder.NONE:
        return "its agent saves nothing: it runs to its end where it is"
    return nowhere(view, job)


def nowhere(view: ClusterView, job: JobView) -> str:
    """Return why no other agent takes a job, or takes it with less; "" when one does."""
    if job.spec is None:
        return ""
    spec = job.spec.spec
    others = [
        one.profile
        for one in view.agents()
        if one.agent != job.agent and one.state == "live" and one.profile is not None
    ]
    fitting = [profile for profile in others if fits(spec, profile)]
    if not fitting:
        return "no other agent meets its needs: it will wait for one"
    ref = job.checkpoint
    if ref is not None and all(
        ladder.refusal(ladder.saved_as(ref), profile.able) for profile in fitting
    ):
        return f"no other agent can restore its {ref.rung}: it will wait for one, and then fall"
    return ""
