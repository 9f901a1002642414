"""Sees everything that happens and checks after each event what must always hold.

Nothing a program says of itself is believed: disks, messages and containers are looked at.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker import front
from workrs.domain.ids import ClientId, Digest, Instant, JobId
from workrs.domain.record import Record
from workrs.ports.ledger import Change, RetireJob, SaveRecord, SaveSpec
from workrs.testing.simulator import fairness
from workrs.testing.simulator.broken import broken
from workrs.testing.simulator.credit import CreditLog
from workrs.testing.simulator.leaselog import LeaseLog
from workrs.testing.simulator.moves import MoveLog
from workrs.testing.simulator.progress import ProgressLog
from workrs.testing.simulator.restart import RestartLog
from workrs.testing.simulator.told import FINAL, TellLog, word_of
from workrs.testing.simulator.votelog import VoteLog
from workrs.wire import topics
from workrs.wire.message import (
    AgentView,
    Beat,
    CheckpointReport,
    Claim,
    JobState,
    Offer,
    Progress,
    Release,
    State,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.effect import Publish
    from edge_agent.effect import StartContainer
    from workrs.domain.record import Holder
    from workrs.testing.simulator.agent import AgentProcess
    from workrs.testing.simulator.container import Container
    from workrs.testing.simulator.node import Daemon
    from workrs.testing.simulator.world import World

PAUSE_SLACK_S = 0.5
"""After a pause of its machine, until a warden has looked at everything again."""
_OPEN = {State.ACCEPTED, State.QUEUED, State.RUNNING}


class Oracle:
    """The checkers S0 to S7, S9 and R2 to R4, and the logs they need."""

    def __init__(self, world: World) -> None:
        """Begin with empty disks."""
        self.world = world
        self.votes = VoteLog(names=world.names)
        self.leases = LeaseLog(self.votes, world.timing)
        self.moves = MoveLog(self.votes)
        self.restarts = RestartLog(world, self.votes)
        self.credit = CreditLog(world.timeline)
        self.told = TellLog()
        self.progress = ProgressLog()
        self.specs: dict[tuple[ClientId, JobId], Digest] = {}
        """Digest of the spec on each disk, on a lost one too: nobody can know of that yet."""
        self.accepted: dict[JobId, Digest] = {}
        """Jobs whose devices were told that they are accepted."""
        self.offered_at_s: dict[str, float] = {}
        """By job and by agent: when an offer was said last."""
        self._loose: dict[JobId, list[Container]] = {}
        self._programs: dict[Digest, tuple[str, ...]] = {}
        """Command by spec."""
        self._started: dict[JobId, set[tuple[str, ...]]] = {}

    # Nodes

    def on_batch(self, daemon: Daemon, now: Instant) -> None:
        """Check what holds of a brain after each batch: it does not spin (S10)."""
        wake_at = daemon.node.wake_at()
        if wake_at <= now:
            broken("S10", f"{daemon.name} would spin: it wants to be woken at {wake_at}")

    def on_halt(self, daemon: Daemon, why: str) -> None:
        """Take that a daemon refuses its disk, which none of the faults here gives cause for."""
        broken("L2", f"{daemon.name} ends: {why}")

    def lose_disk(self, node: ClientId) -> None:
        """Take that a node's disk is gone, with the checkpoints on it."""
        self.votes.lose_disk(node)
        self.restarts.lose_disk(set(self.world.nodes[node].store.blobs))

    def on_commit(self, daemon: Daemon, changes: Sequence[Change]) -> None:
        """Take what is now on a node's disk."""
        name = daemon.name
        for change in changes:
            if isinstance(change, SaveRecord):
                record = change.record
                former = self.votes.last_winner.get(record.job)
                if record.decided is not None and record.job not in self.votes.decided:
                    self.world.count(f"ended {record.decided.verdict}")
                self.votes.save(name, record)
                self.told.save(record)
                if former is not None:
                    self._check_takeover(record.job, former)
                if record.holder is not None:
                    self.leases.grant(name, record.job, record.holder, record.epoch)
            elif isinstance(change, SaveSpec):
                self.specs[name, change.job] = change.digest
                program = front.read_stored(change.job, change.payload).spec.command
                self._programs[change.digest] = program
            elif isinstance(change, RetireJob) and change.job not in self.votes.decided:
                broken("S9", f"{change.job}: {name} retired an undecided job")

    def _check_takeover(self, job: JobId, former: Holder) -> None:
        winner = self.votes.last_winner[job]
        if winner.client in self.world.agents and winner.client != former.client:
            until = self.leases.safe_until(job, former) + self.world.timing.margin_s
            loose = [c for c in self._loose.get(job, []) if c.is_loose]
            fairness.check_takeover(self.world, job, former, loose, until)

    def on_say(self, daemon: Daemon, said: Publish) -> None:
        """Check what a node is about to say."""
        body = said.body
        if isinstance(body, Record):
            if not self._is_on_disk(daemon, body):
                broken("S0", f"{body.job}: {daemon.name} says what is not on its disk")
            self.progress.check(daemon.name, body)
        elif isinstance(body, AgentView):
            self.leases.receipt(daemon.name, ClientId(said.topic.rpartition("/")[2]), body)
        elif isinstance(body, JobState):
            self._check_told(daemon, JobId(f"{said.topic.split('/')[3]}_{body.job}"), body)
        elif isinstance(body, bytes) and body and (told := topics.parse_down(said.topic)):
            device, local, form = told
            self._check_plain(daemon, JobId(f"{device}_{local}"), form, body)
        elif isinstance(body, Offer):
            agent = said.topic.rpartition("/")[2]
            self.offered_at_s[body.job] = self.offered_at_s[agent] = self.world.timeline.now

    def _is_on_disk(self, daemon: Daemon, said: Record) -> bool:
        retired = daemon.home.disk.retired.get(said.job)
        if retired is not None:
            return said.decided_digest == retired.outcome
        empty = Record(job=said.job, generation=said.generation)
        saved = self.votes.votes.get((daemon.name, said.job), empty)
        return vote_of(said) == vote_of(saved)

    def _check_told(self, daemon: Daemon, job: JobId, state: JobState) -> None:
        if state.state in _OPEN:
            self._check_stored(daemon, job)
        elif state.state in FINAL:
            self.told.check_state(daemon.name, job, state)

    def _check_plain(self, daemon: Daemon, job: JobId, form: str, body: bytes) -> None:
        """Check what a device that knows no JSON is told."""
        if form == "out":
            self.told.check_result(daemon.name, job, body)
        elif form == "state" and (word := word_of(body)) in _OPEN:
            self._check_stored(daemon, job)
        elif form == "state" and word in FINAL:
            self.told.check_verdict(daemon.name, job, word)

    def _check_stored(self, daemon: Daemon, job: JobId) -> None:
        counts: dict[Digest, int] = {}
        for name in self.world.names:
            spec = self.specs.get((name, job))
            if spec is not None:
                counts[spec] = counts.get(spec, 0) + 1
        for digest, nodes in counts.items():
            if nodes >= self.votes.majority:
                if self.accepted.setdefault(job, digest) != digest:
                    broken("S9", f"{job}: another spec was accepted under the same id")
                self._check_program(job)
                return
        broken(
            "S1",
            f"{job}: {daemon.name} says accepted, on disk at {max(counts.values(), default=0)}",
        )

    # Agents

    def on_request(self, agent: AgentProcess, topic: str, body: object) -> None:
        """Note what an agent sends."""
        now = agent.host.clock.now()
        if isinstance(body, Claim):
            job = JobId(topic.rpartition("/")[2])
            self.leases.claim(job, agent.holder, body.epoch, now)
        elif isinstance(body, Progress):
            self.progress.say(JobId(topic.rpartition("/")[2]), agent.holder, body)
        elif isinstance(body, CheckpointReport):
            self.credit.check(agent.name, JobId(topic.rpartition("/")[2]), body.checkpoint)
        elif isinstance(body, Release):
            self._check_release(agent, JobId(topic.rpartition("/")[2]))
        elif isinstance(body, Beat) and not body.gone:
            self.leases.beat(agent.name, body, now)

    def _check_release(self, agent: AgentProcess, job: JobId) -> None:
        """Check that no program of the job is left when its lease is given back (S7)."""
        for container in agent.warden.watched.values():
            if container.job == job and container.started and not container.is_dead:
                broken("S7", f"{job}: {agent.name} gives the lease back over a program")

    def on_deadline(self, agent: AgentProcess, job: JobId, deadline: Instant) -> None:
        """Check that no program is allowed to run for longer than its lease is safe (S7)."""
        safe = self.leases.safe_until(job, agent.holder)
        if deadline > safe:
            late_s = deadline - safe
            broken("S7", f"{job}: {agent.name} lets it run {late_s:.3f} s past its lease")

    def on_start(self, agent: AgentProcess, effect: StartContainer) -> None:
        """Check that a start has a lease, and its attempt on a majority's disks (S7)."""
        self.on_deadline(agent, effect.job, effect.deadline)
        saved = [self.votes.attempts.get((n, effect.job), 0) for n in self.world.names]
        self._started.setdefault(effect.job, set()).add(effect.spec.command)
        self._check_program(effect.job)
        known = sum(1 for attempt in saved if attempt >= effect.attempt)
        if known < self.votes.majority:
            broken("S7", f"{effect.job}: attempt {effect.attempt} starts, {known} nodes know of it")

    def _check_program(self, job: JobId) -> None:
        """Check that no program of a spec was started whose device was told of another (S9)."""
        accepted = self._programs.get(self.accepted.get(job, Digest("")))
        if accepted is not None and self._started.get(job, {accepted}) != {accepted}:
            broken("S9", f"{job}: the program of a spec was started that was not accepted")

    def on_loose(self, container: Container) -> None:
        """Check that it is the only program of a strict job that may run (S6)."""
        job = container.job
        others = [c for c in self._loose.get(job, []) if c.is_loose and c is not container]
        self._loose[job] = [*others, container]
        if not container.plan.strict:
            return
        for other in others:
            if not self._is_excused(other) and not self._is_excused(container):
                broken(
                    "S6",
                    f"{job}: runs at {other.agent} at epoch {other.epoch} and at "
                    f"{container.agent} at epoch {container.epoch}",
                )

    def _is_excused(self, container: Container) -> bool:
        host = container.host
        return bool(host.paused) or self.world.timeline.now - host.paused_until_s < PAUSE_SLACK_S

    def loose(self) -> list[Container]:
        """Return the containers that nothing holds."""
        return [c for found in self._loose.values() for c in found if c.is_loose]


def vote_of(record: Record) -> Record:
    """Return what of a record must be on disk before it is said, and is to be seen in the end."""
    return replace(record, version=Record(job=record.job).version, serial=0, progress=None, note="")
