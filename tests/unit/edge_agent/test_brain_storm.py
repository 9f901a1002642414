"""Several brains, three voters, one job each, and a bus that loses, delays and reorders.

A small world in virtual time: agents crash, are cut off and come back as new incarnations;
containers fail, ask to be resumed, time out; stores are silent. After every step: at most
one outcome, and never two unfrozen containers of one job. When the storm is over every job
is decided and nothing is left. Each rule about deadlines is also switched off once, and must be
missed.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import pytest

from edge_agent import effect as do
from edge_agent import event as told
from edge_agent import holding
from edge_agent.brain import Brain, Settings
from edge_agent.heart import Heart, Renewal
from tests.unit.edge_agent.agent_talk import DIGEST, Voter, checkpoint, spec
from workrs.domain import voter
from workrs.domain.dispatch import AgentProfile
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.job import CheckpointPolicy, StoredSpec
from workrs.domain.quorum import Tally, decision
from workrs.domain.record import Holder, Incarnation
from workrs.wire.message import AgentView, Beat, NodeTerms, Offer

STORM_S = 60.0
CALM_S = 90.0
SPEC = spec(attempts_max=40, timeout_s=20.0, checkpoint=CheckpointPolicy(interval_s=1.0))
CODES = (0, 0, 1, 75, 85)


@dataclass
class Container:
    """A program, as the world sees it."""

    work_s: float
    deadline: float
    frozen: bool = False
    running: bool = False


@dataclass
class Member:
    """An agent and the machine it is on."""

    name: ClientId
    number: int = 0
    brain: Brain | None = None
    containers: dict[tuple[JobId, int], Container] = field(default_factory=dict)
    epochs: dict[tuple[JobId, Epoch], int] = field(default_factory=dict)
    followed: set[JobId] = field(default_factory=set)
    cut: bool = False
    life: int = 0
    """Counts crashes: what was under way for a former life is dropped."""

    @property
    def me(self) -> Holder:
        assert self.brain is not None
        return self.brain.agent.holder


class World:
    """Everything, and the order in which it happens."""

    def __init__(self, seed: int, *, agents: int = 3, jobs: int = 3) -> None:
        self.rng = random.Random(seed)
        self.now = 100.0
        self.start = self.now
        self.steps: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.voters = [Voter(f"n{i}") for i in range(3)]
        self.jobs = [JobId(f"pump_{i}") for i in range(jobs)]
        self.tallies = {job: Tally() for job in self.jobs}
        self.outcomes: dict[JobId, set[str]] = {job: set() for job in self.jobs}
        self.members = [Member(ClientId(f"a{i}")) for i in range(agents)]
        for member in self.members:
            self.boot(member)
        self.later(0.5, self.dispatch)
        self.later(3.0, self.strike)

    @property
    def stormy(self) -> bool:
        return self.now < self.start + STORM_S

    def later(self, delay: float, step: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.steps, (self.now + delay, self.count, step))

    def run(self) -> None:
        end = self.start + STORM_S + CALM_S
        while self.steps and self.steps[0][0] <= end:
            when, _, step = heapq.heappop(self.steps)
            self.now = max(self.now, when)
            step()
            self.check()

    # Agents

    def boot(self, member: Member) -> None:
        member.number += 1
        holder = Holder(client=member.name, incarnation=Incarnation(member.number, "00"))
        profile = AgentProfile(slots=2, arch="x", memory_mb=999, cpus=1.0, rung="files")
        member.brain = Brain(
            Settings(holder=holder, profile=profile, nodes=3), random.Random(self.rng.random())
        )
        member.followed.clear()
        self.perform(member, member.brain.start(Instant(self.now)))
        self.wake(member, member.life)

    def wake(self, member: Member, life: int) -> None:
        """Be the clock of one life of an agent."""
        if life != member.life or member.brain is None:
            return
        when = member.brain.next_wake()
        if when is not None and when <= self.now:
            self.tell(member, told.Woken())
            when = member.brain.next_wake()
        delay = 0.05 if when is None else min(0.05, max(0.001, when - self.now))
        self.later(delay, lambda: self.wake(member, life))

    def tell(self, member: Member, *events: told.Event) -> None:
        if member.brain is not None:
            self.perform(member, member.brain.handle_all(events, Instant(self.now)))

    def soon(self, member: Member, delay: float, *events: told.Event) -> None:
        life = member.life
        self.later(delay, lambda: self.tell(member, *events) if life == member.life else None)

    def crash(self, member: Member) -> None:
        member.life += 1
        member.brain = None
        member.containers.clear()
        self.later(self.rng.uniform(0.1, 15.0), lambda: self.boot(member))

    def perform(self, member: Member, effects: list[do.Effect]) -> None:
        for effect in effects:
            match effect:
                case do.Connect(connection=connection):
                    self.soon(member, 0.01, told.Connected(connection=connection))
                    names = tuple(v.name for v in self.voters)
                    for v in self.voters:
                        terms = NodeTerms(nodes=names, blobs_url=v.name)
                        self.soon(member, 0.02, told.TermsSeen(node=v.name, terms=terms))
                case do.Publish():
                    self.publish(member, effect)
                case do.FollowJob(job=job):
                    member.followed.add(job)
                    for v in self.voters:
                        self.show(member, told.RecordSeen(node=v.name, record=v.vote(job).record))
                case do.UnfollowJob(job=job):
                    member.followed.discard(job)
                case do.Log() | do.Exit():
                    pass
                case _:
                    self.act(member, effect)

    # The bus

    def lost(self, member: Member) -> bool:
        return member.cut or (self.stormy and self.rng.random() < 0.1)

    def delay(self) -> float:
        """Return a short time, and in the storm one message in ten is held up for seconds."""
        longest = (6.0 if self.rng.random() < 0.1 else 0.3) if self.stormy else 0.01
        return self.rng.uniform(0.001, longest)

    def show(self, member: Member, event: told.Event) -> None:
        if not self.lost(member):
            self.soon(member, self.delay(), event)

    def publish(self, member: Member, effect: do.Publish) -> None:
        holder = member.me
        for v in self.voters:
            if not self.lost(member):
                self.later(self.delay(), partial(self.hear, member, holder, v, effect))

    def hear(self, member: Member, holder: Holder, v: Voter, effect: do.Publish) -> None:
        now = Instant(self.now)
        if isinstance(effect.body, Beat):
            found = v.beat(holder, effect.body, now)
        else:
            found = v.hear(holder, JobId(effect.topic.rpartition("/")[2]), effect.body, now)
        for event in found:
            if isinstance(event, told.BeatAnswered):
                if member.brain is not None and holder == member.me:
                    self.show(member, event)
                continue
            assert isinstance(event, told.RecordSeen)
            self.count_votes(v, event)
            for other in self.members:
                if event.record.job in other.followed:
                    self.show(other, event)

    def count_votes(self, v: Voter, event: told.RecordSeen) -> None:
        job = event.record.job
        self.tallies[job].add(v.name, event.record)
        digest = self.tallies[job].decided(3)
        if digest is not None:
            self.outcomes[job].add(digest)
            records = {x.name: x.vote(job).record for x in self.voters}
            outcome = decision(records, self.tallies[job], 3)
            if outcome is not None:
                for x in self.voters:
                    x.put(voter.decide(x.vote(job), outcome), job)

    def dispatch(self) -> None:
        """Offer every job that seems free to some agent; nodes may be wrong, so this is."""
        self.later(self.rng.uniform(0.2, 0.6), self.dispatch)
        for job in self.jobs:
            votes = [v.vote(job) for v in self.voters]
            if any(v.record.decided for v in votes):
                continue
            if sum(self.now >= v.lease_until for v in votes) < 2 and self.rng.random() > 0.05:
                continue
            epoch = Epoch(max(v.record.epoch for v in votes) + 1)
            stored = StoredSpec(job=job, request=DIGEST, spec=SPEC)
            offer = Offer(job=job, epoch=epoch, digest=DIGEST, stored=stored)
            self.show(self.rng.choice(self.members), told.JobOffered(offer=offer))

    def strike(self) -> None:
        """Crash an agent, or cut it off for a while."""
        if not self.stormy:
            for member in self.members:
                member.cut = False
            return
        self.later(self.rng.uniform(2.0, 8.0), self.strike)
        member = self.rng.choice(self.members)
        if member.brain is not None and self.rng.random() < 0.4:
            self.crash(member)
        else:
            member.cut = True

            def heal() -> None:
                member.cut = False

            self.later(self.rng.uniform(1.0, 25.0), heal)

    # Containers

    def act(self, member: Member, effect: do.ContainerEffect) -> None:
        rng = self.rng
        match effect:
            case do.PrepareStart():
                self.soon(member, rng.uniform(0, 2), self.prepare(effect))
            case do.StartContainer(job=job, run=run, epoch=epoch, deadline=deadline):
                container = Container(rng.uniform(0.1, 12.0), deadline)
                member.containers[job, run] = container
                member.epochs[job, epoch] = run
                life = member.life
                delay = rng.uniform(0, 1)
                self.later(delay, lambda: self.begin(member, life, job, run, container))
            case do.MoveDeadline(job=job, epoch=epoch, deadline=deadline):
                found = member.containers.get((job, member.epochs.get((job, epoch), -1)))
                if found is not None and found.running:
                    found.deadline = deadline
            case do.FreezeContainer(job=job, run=run) | do.ThawContainer(job=job, run=run):
                found = member.containers.get((job, run))
                if found is not None:
                    found.frozen = isinstance(effect, do.FreezeContainer)
            case do.RemoveContainer(job=job, run=run):
                member.containers.pop((job, run), None)
                removed = told.ContainerRemoved(job=job, run=run)
                self.soon(member, rng.uniform(0, 0.5), removed)
            case do.TakeCheckpoint():
                self.soon(member, rng.uniform(0, 1), self.save(effect))
            case _:
                pass

    def prepare(self, effect: do.PrepareStart) -> told.Event:
        if not self.stormy or self.rng.random() < 0.7:
            return told.StartPrepared(job=effect.job, run=effect.run)
        blame = self.rng.choice(list(told.Blame))
        return told.StartFailed(job=effect.job, run=effect.run, blame=blame, reason="x")

    def save(self, effect: do.TakeCheckpoint) -> told.Event:
        job, run = effect.job, effect.run
        if self.stormy and self.rng.random() < 0.2:
            return told.CheckpointFailed(
                job=job, run=run, epoch=effect.epoch, seq=effect.seq, reason="x"
            )
        ref = checkpoint(effect.epoch, effect.seq)
        return told.CheckpointSaved(job=job, run=run, ref=ref, frozen_s=0.1, upload_s=0.1)

    def begin(self, m: Member, life: int, job: JobId, run: int, container: Container) -> None:
        if life == m.life and m.containers.get((job, run)) is container:
            container.running = True
            self.tell(m, told.ContainerStarted(job=job, run=run))
            self.later(0.1, lambda: self.work(m, life, job, run, container))

    def work(self, m: Member, life: int, job: JobId, run: int, container: Container) -> None:
        if life != m.life or m.containers.get((job, run)) is not container:
            return
        if self.runs(container):
            container.work_s -= 0.1
        if container.work_s > 0:
            self.later(0.1, lambda: self.work(m, life, job, run, container))
            return
        container.running = False
        code = self.rng.choice(CODES) if self.stormy else 0
        result = f"{m.name} {run}".encode()
        self.tell(m, told.ContainerExited(job=job, run=run, code=code, result=result))

    def runs(self, container: Container) -> bool:
        return container.running and not container.frozen and self.now < container.deadline

    # Invariants

    def check(self) -> None:
        for job in self.jobs:
            assert len(self.outcomes[job]) <= 1, f"{job} has two outcomes"
            running = [
                (m.name, run)
                for m in self.members
                for (j, run), c in m.containers.items()
                if j == job and self.runs(c)
            ]
            assert len(running) <= 1, f"{job} runs twice at {self.now:.3f}: {running}"


@pytest.mark.parametrize("seed", range(20))
def test_a_storm_leaves_one_outcome_for_every_job_and_nothing_else(seed: int) -> None:
    world = World(seed)
    world.run()
    for job in world.jobs:
        assert world.outcomes[job], f"{job} is undecided"
    for member in world.members:
        assert member.brain is not None
        assert member.brain.roster.works == {}
        assert member.containers == {}


def without_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        holding, "safe_until", lambda sent, timing: Instant(sent + 1.6 * timing.ttl_s)
    )


def from_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    renew = holding.renew
    monkeypatch.setattr(holding, "renew", lambda work, _, agent: renew(work, agent.now, agent))


def blind_to_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    hear = Heart.hear

    def deaf(
        self: Heart, node: ClientId, view: AgentView, majority: int, now: Instant
    ) -> tuple[list[Renewal], list[tuple[JobId, Epoch]]]:
        return hear(self, node, replace(view, refused=()), majority, now)

    monkeypatch.setattr(Heart, "hear", deaf)


@pytest.mark.parametrize("switch_off", [without_margin, from_the_answer, blind_to_refusals])
def test_a_rule_that_is_switched_off_is_missed(
    switch_off: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    switch_off(monkeypatch)
    with pytest.raises(AssertionError, match="runs twice"):  # noqa: PT012 (any of them)
        for seed in range(150):
            World(seed).run()
