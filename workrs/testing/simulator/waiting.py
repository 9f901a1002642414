"""L1 and L3: once nothing breaks any more, no job waits without a reason.

Looked at every LOOK_S from the end of the storm. A job has a reason while one of its programs
runs, while a majority of nodes keeps it back after a failed attempt, or while it is free and no
agent that fits is. To fit, an agent must be able to restore the job's newest checkpoint, as long
as the job has not been free for RESTORE_WAIT_S.

L1 without a reason a job is undecided for at most 3 ttl, all such times together.
L3 a job that is free and an agent that is free and fits do not stand side by side for longer
than 1.5 ttl without an offer of that job to anybody, or of any job to that agent. Free is a
job that a majority has, that is not to be cancelled, and that no majority keeps for a holder or
back; an agent, while it is connected, takes offers and has a slot.

Clients come back: none stays unconnected for longer than AWAY_MAX_S, which counts as L1.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from edge_agent.uplink import Line
from edge_agent.work import Lease
from workrs.domain import quorum
from workrs.domain.dispatch import RESTORE_WAIT_S, fits, meets, need_of
from workrs.testing.simulator.broken import broken

if TYPE_CHECKING:
    from broker.entry import JobEntry
    from workrs.domain.ids import JobId
    from workrs.testing.simulator.agent import AgentProcess
    from workrs.testing.simulator.world import World

LOOK_S = 0.5
LOST_TTLS = 3.0
UNOFFERED_TTLS = 1.5
AWAY_MAX_S = 6.0
"""More than twice what true code takes after the worst storms."""


class Standing(Enum):
    """What an undecided job is doing."""

    RUNNING = auto()
    KEPT_BACK = auto()
    FREE = auto()
    HELD = auto()
    """By an agent that runs nothing of it, or by a node that ends it."""
    UNKNOWN = auto()
    """No majority is known to have it."""


@dataclass(slots=True)
class Waits:
    """How long each job has waited for nothing, and what was free since when."""

    world: World
    lost_s: defaultdict[JobId, float] = field(default_factory=lambda: defaultdict(float))
    job_free_at: dict[JobId, float] = field(default_factory=dict)
    agent_free_at: dict[str, float] = field(default_factory=dict)
    longest_s: float = 0.0
    """Without an offer, though both were free."""
    here_at: dict[str, float] = field(default_factory=dict)
    """By client: when it was connected last."""
    away_s: float = 0.0
    """The longest that a client was not."""

    def look(self, jobs: list[JobId]) -> None:
        """Take that LOOK_S has passed, with these jobs undecided."""
        now = self.world.timeline.now
        free = [agent for agent in self.world.agents.values() if is_free(agent)]
        for name in self.world.agents:
            if not any(agent.name == name for agent in free):
                self.agent_free_at[name] = now
        self._look_for_clients(now)
        for job in jobs:
            self._look_at(job, free, now)

    def _look_for_clients(self, now: float) -> None:
        absent = find_absent(self.world)
        for name in (*self.world.agents, *self.world.devices):
            if name not in absent:
                self.here_at[name] = now
            away_s = now - self.here_at.setdefault(name, now)
            self.away_s = max(self.away_s, away_s)
            if away_s > AWAY_MAX_S:
                broken("L1", f"{name} is not connected for {away_s:.2f} s")

    def _look_at(self, job: JobId, free: list[AgentProcess], now: float) -> None:
        standing, entry = find_standing(self.world, job)
        if standing is not Standing.FREE:
            self.job_free_at[job] = now
        self.job_free_at.setdefault(job, now)
        if standing in (Standing.RUNNING, Standing.KEPT_BACK):
            return
        fitting = [a for a in free if entry is not None and self._fits(a, entry, now)]
        if standing is Standing.FREE:
            if not fitting:
                return
            for agent in fitting:
                self._check_offered(job, agent.name, now)
        self.lost_s[job] += LOOK_S
        if self.lost_s[job] > LOST_TTLS * self.world.timing.ttl_s:
            lost_s = self.lost_s[job]
            broken("L1", f"{job} is undecided for {lost_s:.2f} s without a reason: {standing.name}")

    def _fits(self, agent: AgentProcess, entry: JobEntry, now: float) -> bool:
        if entry.stored is None:
            return False
        spec, profile = entry.stored.spec, agent.brain.profile
        if now - self.job_free_at[entry.job] >= RESTORE_WAIT_S:
            return fits(spec, profile)
        # Nodes may differ in which checkpoint is the newest, and each offers by its own.
        known = [n.daemon.node.entries.get(entry.job) for n in self.world.nodes.values()]
        newest = {
            next(iter(quorum.newest_checkpoints(each.records)), None) for each in known if each
        }
        return all(meets(need_of(spec, ref), profile) for ref in newest)

    def _check_offered(self, job: JobId, agent: str, now: float) -> None:
        offered = self.world.oracle.offered_at_s
        since = max(
            self.job_free_at[job],
            self.agent_free_at.setdefault(agent, now),
            offered.get(job, 0.0),
            offered.get(agent, 0.0),
        )
        self.longest_s = max(self.longest_s, now - since)
        if now - since > UNOFFERED_TTLS * self.world.timing.ttl_s:
            broken("L3", f"{job} and {agent} are free for {now - since:.2f} s without an offer")


def is_free(agent: AgentProcess) -> bool:
    """Return whether an agent would take a job."""
    if not agent.runs or agent.brain.ended:
        return False
    brain = agent.brain
    busy = sum(1 for work in brain.roster.works.values() if work.lease is not Lease.RELEASING)
    return brain.roster.open and brain.uplink.line is Line.UP and busy < brain.roster.slots


def find_absent(world: World) -> list[str]:
    """Return the clients that are not connected."""
    agents = [
        plan
        for plan, agent in world.agents.items()
        if not agent.runs or agent.brain.ended or agent.brain.uplink.line is not Line.UP
    ]
    devices = [
        name
        for name, device in world.devices.items()
        if not device.runs or device.connection is None or not device.connection.is_up
    ]
    return agents + devices


def find_standing(world: World, job: JobId) -> tuple[Standing, JobEntry | None]:
    """Return what a job is doing, and the entry of a node that has its spec."""
    nodes = [node.daemon for node in world.nodes.values() if node.daemon.alive]
    found = [(d.host.clock.now(), d.node.entries[job]) for d in nodes if job in d.node.entries]
    known = [entry for _, entry in found if entry.stored is not None and entry.is_stored]
    entry = known[0] if known else None
    if any(container.job == job for container in world.oracle.loose()):
        return Standing.RUNNING, entry
    if entry is None:
        return Standing.UNKNOWN, None
    majority = world.oracle.votes.majority
    leased = [entry for now, entry in found if now < entry.vote.lease_until]
    if any(each.record.cancel for _, each in found):
        return Standing.HELD, entry
    if len(leased) < majority:
        return Standing.FREE, entry
    back = sum(1 for each in leased if each.record.holder is None)
    return (Standing.KEPT_BACK if back >= majority else Standing.HELD), entry
