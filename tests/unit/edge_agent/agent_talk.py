"""A brain talking to a few real voters, by hand and without a clock.

`Talk` plays the supervisor and the nodes: what the brain publishes goes through the voter
rules of `workrs.domain` and comes back as records and receipts, unless a test cuts a node
off. Containers do nothing; tests say what becomes of them.
"""

import random
from dataclasses import replace
from typing import Any, TypeVar

from edge_agent.brain import Brain, Settings
from edge_agent.effect import (
    Connect,
    Effect,
    Log,
    Publish,
    RemoveContainer,
    StartContainer,
    TakeCheckpoint,
)
from edge_agent.event import (
    BeatAnswered,
    CheckpointFailed,
    CheckpointSaved,
    Connected,
    ContainerExited,
    ContainerRemoved,
    ContainerStarted,
    Event,
    JobOffered,
    OrderReceived,
    RecordSeen,
    TermsSeen,
    Woken,
)
from workrs.domain import voter
from workrs.domain.dispatch import AgentProfile
from workrs.domain.ids import ClientId, Digest, Epoch, Instant, JobId
from workrs.domain.job import CheckpointMode, CheckpointPolicy, JobSpec, Outcome, StoredSpec
from workrs.domain.lease import LeaseTiming
from workrs.domain.quorum import Tally, decision
from workrs.domain.record import CheckpointRef, Holder, Incarnation, Record, Version
from workrs.domain.voter import ClaimRequest, Vote
from workrs.wire.message import (
    AgentView,
    Beat,
    CheckpointReport,
    Claim,
    NodeTerms,
    Offer,
    Order,
    OrderKind,
    OutcomeProposal,
    Release,
)

E = TypeVar("E")
B = TypeVar("B")
DIGEST = Digest("d" * 64)
JOB = JobId("pump_1")
ME = Holder(client=ClientId("a1"), incarnation=Incarnation(1, "00"))
OTHER = Holder(client=ClientId("a2"), incarnation=Incarnation(1, "11"))
TIMING = LeaseTiming()
OFF = CheckpointPolicy(mode=CheckpointMode.OFF)
EVERY_2_S = CheckpointPolicy(interval_s=2.0)


def spec(**fields: Any) -> JobSpec:
    return JobSpec(image="i", command=("true",), **fields)


def checkpoint(epoch: int, seq: int) -> CheckpointRef:
    digest = Digest(f"{epoch:032x}{seq:032x}")
    return CheckpointRef(
        epoch=Epoch(epoch), seq=seq, manifest=digest, location=("u",), rung="files", bytes=1
    )


class Voter:
    """One node, as far as an agent can tell."""

    def __init__(self, name: str) -> None:
        self.name = ClientId(name)
        self.votes: dict[JobId, Vote] = {}
        self.tallies: dict[JobId, Tally] = {}
        self.view: AgentView | None = None
        self.deaf = False
        """It gets nothing."""
        self.mute = False
        """It answers nothing."""
        self.step = 0

    def vote(self, job: JobId = JOB) -> Vote:
        return self.votes.get(job) or Vote(record=Record(job=job, digest=DIGEST))

    def put(self, vote: Vote | None, job: JobId = JOB) -> Record:
        """Store a vote, if it changed anything; return the record to publish."""
        if vote is not None and vote.record != self.vote(job).record:
            self.step += 1
            version = Version(1, self.step)
            vote = replace(vote, record=replace(vote.record, version=version))
        if vote is not None:
            self.votes[job] = vote
        return self.vote(job).record

    def change(self, job: JobId = JOB, **fields: Any) -> Record:
        vote = self.vote(job)
        return self.put(replace(vote, record=replace(vote.record, **fields)), job)

    def grant(self, holder: Holder, epoch: int, now: float, *, ttl_s: float = 10.0) -> Record:
        """Force a grant to someone."""
        vote = self.vote()
        record = replace(vote.record, epoch=Epoch(epoch), holder=holder)
        return self.put(Vote(record=record, lease_until=Instant(now + ttl_s)))

    def hear(self, holder: Holder, job: JobId, body: object, now: Instant) -> list[Event]:
        match body:
            case Claim():
                request = ClaimRequest(epoch=body.epoch, holder=holder, digest=body.digest)
                vote = voter.claim(self.vote(job), request, now=now, ttl_s=TIMING.ttl_s)
            case OutcomeProposal():
                vote = voter.outcome(self.vote(job), holder, body.epoch, body.outcome)
            case CheckpointReport():
                vote = voter.checkpoint(self.vote(job), holder, body.checkpoint)
            case Release():
                vote = voter.release(
                    self.vote(job),
                    holder,
                    body.epoch,
                    now=now,
                    retry_after_s=body.retry_after_s,
                    reason=body.reason,
                    spared=body.spared,
                )
            case _:
                return []
        return [RecordSeen(node=self.name, record=self.put(vote, job))]

    def beat(self, holder: Holder, beat: Beat, now: Instant) -> list[Event]:
        refused, events = [], []
        for job, epoch, attempt in beat.held:
            vote = voter.renew(self.vote(job), holder, epoch, attempt, now=now, ttl_s=TIMING.ttl_s)
            if vote is None:
                refused.append((job, epoch))
            elif vote.record != self.vote(job).record:
                events.append(RecordSeen(node=self.name, record=self.put(vote, job)))
            else:
                self.votes[job] = vote
        self.view = AgentView(
            incarnation=beat.incarnation,
            connection=beat.connection,
            counter=beat.counter,
            refused=tuple(refused),
        )
        return [*events, BeatAnswered(node=self.name, view=self.view)]


class Talk:
    """A brain, its nodes, and the instant it is."""

    def __init__(self, *, nodes: int = 3, slots: int = 4, rung: str = "files") -> None:
        self.now = Instant(100.0)
        self.nodes = [Voter(f"n{i}") for i in range(1, nodes + 1)]
        profile = AgentProfile(slots=slots, arch="amd64", memory_mb=1000, cpus=1.0, rung=rung)
        settings = Settings(holder=ME, profile=profile, nodes=nodes)
        self.brain = Brain(settings, random.Random(7))
        self.done: list[Effect] = []
        """Every effect so far."""
        self.connected = False
        self.auto_remove = True
        self._perform(self.brain.start(self.now))

    # The supervisor's part

    def tell(self, *events: Event) -> None:
        """Give events to the brain, and let everything that follows at this instant happen."""
        queue = list(events)
        while queue:
            batch, queue = queue, []
            queue = self._perform(self.brain.handle_all(batch, self.now))

    def _perform(self, effects: list[Effect]) -> list[Event]:
        answers: list[Event] = []
        for effect in effects:
            self.done.append(effect)
            match effect:
                case Connect():
                    self.connected = False
                case Publish(body=body) if self.connected:
                    answers += self._publish(effect.topic, body)
                case RemoveContainer(job=job, run=run) if self.auto_remove:
                    answers.append(ContainerRemoved(job=job, run=run))
                case _:
                    pass
        return answers

    def _publish(self, topic: str, body: object) -> list[Event]:
        answers: list[Event] = []
        for node in self.nodes:
            if node.deaf:
                continue
            if isinstance(body, Beat):
                found = node.beat(ME, body, self.now)
            else:
                found = node.hear(ME, JobId(topic.rpartition("/")[2]), body, self.now)
            if not node.mute:
                answers += found
        return answers

    def connect(self) -> None:
        """Let the connection stand and the nodes introduce themselves."""
        asked = self.last(Connect)
        self.connected = True
        names = tuple(n.name for n in self.nodes)
        terms = [
            TermsSeen(node=n.name, terms=NodeTerms(nodes=names, blobs_url=f"u-{n.name}"))
            for n in self.nodes
        ]
        self.tell(Connected(connection=asked.connection), *terms)

    def wait(self, seconds: float) -> None:
        """Let time pass, waking the brain when it asked for it."""
        end = self.now + seconds
        while True:
            when = self.brain.next_wake()
            if when is None or when > end:
                break
            self.now = Instant(max(self.now, when))
            self.tell(Woken())
        self.now = Instant(end)

    # What tests say

    def offer(self, job: JobId = JOB, epoch: int = 1, **fields: Any) -> None:
        stored = StoredSpec(job=job, request=DIGEST, spec=spec(**fields))
        self.tell(
            JobOffered(offer=Offer(job=job, epoch=Epoch(epoch), digest=DIGEST, stored=stored))
        )

    def started(self) -> StartContainer:
        """Say that the last container asked for runs; return what was asked."""
        asked = self.last(StartContainer)
        self.tell(ContainerStarted(job=asked.job, run=asked.run))
        return asked

    def exits(self, code: int, *, result: bytes | None = b"out", **fields: Any) -> None:
        asked = self.last(StartContainer)
        self.tell(ContainerExited(job=asked.job, run=asked.run, code=code, result=result, **fields))

    def run(self, **fields: Any) -> StartContainer:
        """Connect, take the job and start it."""
        self.connect()
        self.offer(**fields)
        self.wait(0.1)
        return self.started()

    def cut(self, *, deaf: bool = True) -> None:
        """Cut all nodes off, or join them again."""
        for node in self.nodes:
            node.deaf = deaf

    def show(self, *records: tuple[Voter, Record]) -> None:
        self.tell(*(RecordSeen(node=node.name, record=record) for node, record in records))

    def answer_beat(self) -> None:
        """Let every node answer the last heartbeat again, as if the receipt had been late."""
        self.tell(
            *(BeatAnswered(node=n.name, view=n.view) for n in self.nodes if n.view is not None)
        )

    def order(self, kind: OrderKind = OrderKind.DRAIN) -> None:
        """Tell it to drain, or to undrain, as a node that knows all former orders."""
        number = self.brain.ordered + 1
        number += (kind is OrderKind.DRAIN) is (number % 2 == 0)
        told = Order(order=kind, agent="a1", number=number, incarnation=ME.incarnation)
        self.tell(OrderReceived(order=told))

    # What tests ask

    def all(self, kind: type[E]) -> list[E]:
        return [e for e in self.done if isinstance(e, kind)]

    def last(self, kind: type[E]) -> E:
        return self.all(kind)[-1]

    def said(self, kind: type[B]) -> list[B]:
        """Return what was published of a kind, whether or not anybody heard it."""
        return [e.body for e in self.all(Publish) if isinstance(e.body, kind)]

    def logs(self) -> list[str]:
        return [e.key for e in self.all(Log)]

    def decided(self, job: JobId = JOB) -> Outcome | None:
        """Return what the nodes' records amount to."""
        tally = Tally()
        records = {n.name: n.vote(job).record for n in self.nodes}
        for node, record in records.items():
            tally.add(node, record)
        return decision(records, tally, len(self.nodes))


def saved(
    talk: Talk, asked: TakeCheckpoint | None = None, *, frozen_s: float = 0.1
) -> CheckpointRef:
    """Say that a checkpoint, the one last asked for if not given, is stored."""
    asked = asked or talk.last(TakeCheckpoint)
    ref = checkpoint(asked.epoch, asked.seq)
    talk.tell(CheckpointSaved(job=JOB, run=asked.run, ref=ref, frozen_s=frozen_s, upload_s=0.2))
    return ref


def failed(talk: Talk, asked: TakeCheckpoint | None = None) -> None:
    """Say that a checkpoint, the one last asked for if not given, came to nothing."""
    asked = asked or talk.last(TakeCheckpoint)
    talk.tell(
        CheckpointFailed(
            job=JOB, run=asked.run, epoch=asked.epoch, seq=asked.seq, reason="no store answered"
        )
    )
