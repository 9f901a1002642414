"""The state that a node's rules share, and how it becomes effects at the end of a batch.

1. A record that changed is saved and published once a batch, in its last version: what it
   went through in between, nobody needs.
2. A record that is only repeated keeps its version.
3. `now` comes from outside; waiting is a heap of instants at which a job is looked at again.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from broker import admission, node_list
from broker.admission import Admission
from broker.agents import AgentTable
from broker.effect import Effects, Fact, Publish
from broker.entry import JobEntry, Served
from broker.fault_count import FaultCount
from broker.function_table import FunctionTable
from broker.gate import Gate
from broker.job_queue import JobQueue
from broker.limits import HISTORY_TEXT_MAX
from broker.line_limit import LineLimit
from broker.minority import Minority
from broker.pace import Pace
from broker.spread import Spread
from broker.storm import StormGuard
from broker.sweep import Sweep
from broker.usage import Usage
from workrs.domain.ids import ClientId, Instant, JobId
from workrs.domain.lease import LeaseTiming
from workrs.domain.record import Holder, Incarnation, Record, Version
from workrs.domain.voter import Vote
from workrs.ports.ledger import NoteHistory, RetiredJob, RetireJob, SaveRecord, SaveRetired
from workrs.wire import topics
from workrs.wire.message import NodeState, NodeTerms

PEER_BEAT_S = 1.0
"""How often a node repeats its state."""
STALE_TIMERS_MAX = 1_000
"""Timers that an earlier one has replaced. Beyond, with as many as count, they are dropped."""
PEER_SILENT_S = 3.0
"""After how long without it a peer ranks as dead. Only dispatch and proposing care."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """What a node is told at its start and never changes."""

    name: ClientId
    nodes: tuple[ClientId, ...]
    """All nodes of the cluster, this one included."""
    timing: LeaseTiming = field(default_factory=LeaseTiming)
    allowed_images: tuple[str, ...] = ()
    """Patterns of images that jobs may name; empty: all."""
    blobs_url: str = ""
    software: str = ""
    incarnation: Incarnation
    """The boot number of the ledger and a nonce."""


@dataclass(slots=True)
class Peer:
    """Another node, as far as liveness goes."""

    seen_at: Instant
    live: bool
    blobs_url: str = ""
    heard: bool = True
    """False while it is only expected, at the start of this node."""
    ready: bool = True
    """It votes."""


@dataclass(slots=True)
class Node:
    """One node's whole memory."""

    settings: NodeSettings
    retired: Callable[[JobId], RetiredJob | None]
    """Looks a retired job up."""
    agents: AgentTable
    admission: Admission = field(default_factory=Admission)
    entries: dict[JobId, JobEntry] = field(default_factory=dict)
    peers: dict[ClientId, Peer] = field(default_factory=dict)
    storms: StormGuard = field(default_factory=StormGuard)
    faults: FaultCount = field(default_factory=FaultCount)
    local_devices: dict[ClientId, None] = field(default_factory=dict)
    """Devices that were last heard here, the one silent longest first."""
    payload: Callable[[JobId], bytes | None] | None = None
    """Reads a spec back from disk; without it specs of decided jobs stay in memory."""
    functions: FunctionTable = field(default_factory=FunctionTable)
    sweep: Sweep = field(default_factory=Sweep)
    spread: Spread = field(default_factory=Spread)
    gate: Gate = field(default_factory=Gate)
    usage: Usage = field(default_factory=Usage)
    decided: dict[JobId, int] = field(default_factory=dict)
    """Decided jobs, oldest first, and what each takes at a broker, in bytes."""
    decided_bytes: int = 0
    repeats: int = 0
    """Overdue decisions that were to be said again in this beat."""
    open_bytes: int = 0
    """What the specs of open jobs take at a broker."""
    unsure: dict[JobId, None] = field(default_factory=dict)
    """Open jobs that no majority is known to have, the one looked at longest ago first."""
    minority: Minority = field(default_factory=Minority)
    list_change: node_list.ListChange = field(default_factory=node_list.ListChange)
    lines: LineLimit = field(default_factory=LineLimit)
    effects: Effects = field(default_factory=Effects)
    queue: JobQueue = field(default_factory=JobQueue)
    """Jobs to offer."""
    pace: Pace = field(default_factory=Pace)
    served: dict[ClientId, Served] = field(default_factory=dict)
    """By node: the last job it brought to an agent while this one waited for its turn."""
    expected: dict[JobId, ClientId] = field(default_factory=dict)
    """Jobs that move, and the agent that was told to fetch the checkpoints of each: see `hint`."""
    arrivals: int = 0
    step: int = 0
    beat: int = 0
    sent: int = 0
    """Messages published since the start."""
    next_beat_at: Instant = Instant(0.0)  # noqa: RUF009 (a NewType of an immutable float)
    dropped: int = 0
    _timers: list[tuple[Instant, JobId]] = field(default_factory=list)
    _due: dict[JobId, Instant] = field(default_factory=dict)
    _unsaved: dict[JobId, None] = field(default_factory=dict)
    _unpublished: dict[JobId, bool] = field(default_factory=dict)
    """True: in a new version; False: only repeated."""
    _dropped: dict[JobId, RetiredJob] = field(default_factory=dict)
    """Retired in this batch, so not yet on disk as such."""
    _replies: dict[JobId, Record] = field(default_factory=dict)

    @property
    def name(self) -> ClientId:
        """Return this node's name."""
        return self.settings.name

    @property
    def size(self) -> int:
        """Return the number of nodes of the cluster."""
        return len(self.settings.nodes)

    @property
    def holder(self) -> Holder:
        """Return this node as a proposer."""
        return Holder(client=self.name, incarnation=self.settings.incarnation)

    @property
    def jobs_decided(self) -> int:
        """Return the number of decided jobs on the bus."""
        return len(self.decided)

    def live_nodes(self) -> list[ClientId]:
        """Return this node and the peers that give a sign of life."""
        return [self.name, *(name for name, peer in self.peers.items() if peer.live)]

    @property
    def generation(self) -> int:
        """Return the generation of this node's votes."""
        return self.admission.standing.generation

    def voters(self, entry: JobEntry) -> list[ClientId]:
        """Return the live nodes that vote, and on this job."""
        return [
            name
            for name in self.live_nodes()
            if (name == self.name or self.peers[name].ready)
            and not (name in entry.records and entry.records[name].abstains)
        ]

    def find_retired(self, job: JobId) -> RetiredJob | None:
        """Return what is kept of a retired job, or None."""
        return self._dropped.get(job) or self.retired(job)

    def records(self, job: JobId) -> Mapping[ClientId, Record]:
        """Return the votes on a job that are known here; none for an unknown or retired job."""
        entry = self.entries.get(job)
        return entry.records if entry is not None else {}

    def note_spec(self, entry: JobEntry, payload: bytes) -> None:
        """Take the bytes of a job's spec."""
        if entry.is_open:
            more_bytes = len(payload) - len(entry.payload or b"")
            self.open_bytes += self.size * more_bytes
            self.usage.add(entry.job, entry.payload is None, more_bytes)
        entry.payload = payload

    def note_decided(self, entry: JobEntry, size_bytes: int) -> None:
        """Count a job as decided instead of open."""
        if entry.payload is not None:
            self.open_bytes -= self.size * len(entry.payload)
            self.usage.add(entry.job, -1, -len(entry.payload))
        self.decided[entry.job] = size_bytes
        self.decided_bytes += size_bytes

    def retire(self, entry: JobEntry, kept: RetiredJob) -> None:
        """Forget a decided job; until it is on disk as retired, *kept* answers for it."""
        if entry.job in self._unsaved:
            self.effects.changes.append(SaveRecord(record=entry.record))
        self.effects.changes.append(RetireJob(job=entry.job))
        self.effects.dropped_blobs.append(entry.job)
        del self.entries[entry.job]
        self.unsure.pop(entry.job, None)
        # Else a job that is retired early is remembered until its retention would have ended.
        self._due.pop(entry.job, None)
        self.decided_bytes -= self.decided.pop(entry.job, 0)
        self._dropped[entry.job] = kept

    def take_retired(self, taken: SaveRetired) -> None:
        """Take over from a peer that a job is retired; until that is on disk it answers."""
        self._dropped[taken.job] = taken.kept
        self.effects.changes.append(taken)

    def reply(self, record: Record) -> None:
        """Say once what this node knows of a job that it has no entry of."""
        self._replies.setdefault(record.job, record)

    def entry(self, job: JobId) -> JobEntry:
        """Return the job's entry, made empty when it is new."""
        if (found := self.entries.get(job)) is None:
            self.arrivals += 1
            vote = Vote(record=Record(job=job, generation=self.generation))
            found = JobEntry(job, vote, {self.name: vote.record}, arrived=self.arrivals)
            self.entries[job] = found
        return found

    def change(
        self, entry: JobEntry, vote: Vote, *, save: bool = True, publish: bool = True
    ) -> None:
        """Replace the node's vote on a job, to be saved and published with the batch."""
        before = entry.record
        entry.set_vote(self.name, vote)
        if before.holder != vote.record.holder or not entry.is_open:
            self._move(entry, before, vote.record)
        if save and before is not vote.record:
            self._unsaved[entry.job] = None
        if publish and before is not vote.record:
            self._unpublished[entry.job] = True

    def _move(self, entry: JobEntry, before: Record, after: Record) -> None:
        """Keep the count of what each agent holds."""
        self.unhold(before.holder, entry.job)
        if entry.is_open and after.holder:
            self.hold(after.holder, entry.job)

    def hold(self, holder: Holder, job: JobId) -> None:
        """Note that an agent has the lease of a job. A node that cancels is none."""
        if holder.client not in self.settings.nodes:
            agent = self.agents.know(holder.client, holder.incarnation)
            agent.holding.add(job)
            self.agents.refresh(agent)

    def unhold(self, holder: Holder | None, job: JobId) -> None:
        """Note that an agent's lease of a job has ended, by whatever way."""
        if holder is not None and (agent := self.agents.get(holder.client)):
            agent.holding.discard(job)
            self.agents.refresh(agent)
            if not agent.heard and not agent.busy:
                # Known by this lease alone: nothing would ever say that it is gone.
                self.agents.forget(agent)

    def repeat(self, entry: JobEntry) -> None:
        """Publish the record once more, as it is."""
        self._unpublished.setdefault(entry.job, False)

    def poke(self, job: JobId, at: Instant) -> None:
        """Look at the job again at *at*, unless that happens earlier anyway."""
        due = self._due.get(job)
        if due is None or at < due:
            self._due[job] = at
            heapq.heappush(self._timers, (at, job))
            if len(self._timers) > 2 * len(self._due) + STALE_TIMERS_MAX:
                self._timers = [(at, job) for job, at in self._due.items()]
                heapq.heapify(self._timers)

    def due(self, now: Instant) -> list[JobEntry]:
        """Return the jobs whose time has come, each once."""
        found = []
        while self._timers and self._timers[0][0] <= now:
            at, job = heapq.heappop(self._timers)
            if self._due.get(job) == at:
                del self._due[job]
                if job in self.entries:
                    found.append(self.entries[job])
        return found

    def wake_at(self) -> Instant:
        """Return the next instant at which something is due."""
        if not self.admission.votes:
            return self.next_beat_at
        return min(self.next_beat_at, self._timers[0][0]) if self._timers else self.next_beat_at

    def say(self, publish: Publish) -> None:
        """Publish with this batch."""
        self.effects.publishes.append(publish)

    def fact(self, event: str, **fields: object) -> None:
        """Log with this batch."""
        self.effects.facts.append(Fact(event, fields))

    def fact_limited(self, event: str, **fields: object) -> None:
        """Log what a client can cause at will: a few lines a beat, and how many there were."""
        if self.lines.take(event):
            self.fact(event, **fields)

    def note(self, event: str, job: JobId | None, **facts: str | float | None) -> None:
        """Write a line of history with this batch, and log it."""
        cut = {
            name: fact[:HISTORY_TEXT_MAX] if isinstance(fact, str) else fact
            for name, fact in facts.items()
        }
        self.effects.changes.append(NoteHistory(event=event, job=job, facts=cut))
        # Behind the first line of a reason stands what a program printed: for history, and no log.
        told = {
            name: fact.partition("\n")[0] if isinstance(fact, str) else fact
            for name, fact in facts.items()
        }
        self.effects.facts.append(Fact(event, {"job": job, **told} if job else told))

    def note_limited(self, event: str, job: JobId | None, **facts: str | float | None) -> None:
        """Write into history and log what clients can cause at will: a few lines a beat."""
        if self.lines.take(event):
            self.note(event, job, **facts)

    def state(self) -> NodeState:
        """Return what this node says of itself."""
        settings = self.settings
        return NodeState(
            boot=settings.incarnation.number,
            nonce=settings.incarnation.nonce,
            nodes=settings.nodes,
            ready=self.admission.votes,
            health=admission.health(self),
            generation=self.generation,
            rejoining=self.admission.is_rejoining,
            serial=self.admission.serial,
            seen={str(name): most for name, most in self.admission.seen.items()},
            software=settings.software,
            blobs_url=settings.blobs_url,
            timing=settings.timing,
            beat=self.beat,
            jobs_open=len(self.entries) - self.jobs_decided,
            jobs_decided=self.jobs_decided,
            agents=self.agents.count_live(),
            dropped=self.dropped,
            quorum=self.minority.quorum,
            nodes_heard=self.minority.heard,
            hears=tuple(map(str, self.minority.peers)),
            sent=self.sent,
            list_drained=node_list.is_drained(self),
            list_ready=node_list.is_ready(self),
        )

    def terms(self) -> NodeTerms:
        """Return what agents must know of this node."""
        return NodeTerms(
            nodes=self.settings.nodes,
            timing=self.settings.timing,
            blobs_url=self.settings.blobs_url,
            faults=self.faults.told,
        )

    def finish(self, now: Instant) -> Effects:
        """Return the batch's effects and begin a new batch."""
        records = []
        for job, is_new in self._unpublished.items():
            entry = self.entries.get(job)
            if entry is None:
                continue
            if is_new:
                self.step += 1
                version = Version(self.settings.incarnation.number, self.step)
                # A vote that is only shown now was saved before, in a commit of then.
                serial = self.admission.serial + 1 if job in self._unsaved else entry.record.serial
                record = replace(entry.record, version=version, serial=serial)
                entry.set_vote(self.name, replace(entry.vote, record=record))
            entry.published_at = now
            records.append(Publish(topics.record(self.name, job), entry.record))
        for job, reply in self._replies.items():
            # A job that came later in this batch is shown as it is.
            if job not in self.entries:
                self.step += 1
                version = Version(self.settings.incarnation.number, self.step)
                shown = replace(reply, version=version)
                self.say(Publish(topics.record(self.name, job), shown, retain=False))
        effects, self.effects = self.effects, Effects()
        effects.changes.extend(
            SaveRecord(record=self.entries[job].record)
            for job in self._unsaved
            if job in self.entries
        )
        admission.finish(self, effects.changes)
        # Records first: whoever waits for a vote should not wait for what devices are told.
        effects.publishes[:0] = records
        self.sent += len(effects.publishes)
        self._unsaved.clear()
        self._unpublished.clear()
        self._dropped.clear()
        self._replies.clear()
        return effects
