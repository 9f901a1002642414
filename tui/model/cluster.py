"""The whole model: a fold of the bus's messages, and of the time, into what is shown.

1. `apply` is cheap and takes every message; `settle` works out what changed, a bounded number of
   things at a time, so that a screen answers keys while 10,000 jobs arrive.
2. A node's snapshot is judged when it is complete: half of it would show every job wrong.
3. Progress of jobs that nobody looks at is read in turn, seconds late: see `deferred`.
4. What is kept is bounded: JOBS_MAX jobs, of which the longest ended go first; EVENTS_MAX events.
5. Moving to another node keeps what was seen; what is gone from the bus meanwhile goes.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from tui.model import agent as agents_rule
from tui.model import job as jobs_rule
from tui.model import node as nodes_rule
from tui.model.age import Since
from tui.model.agent import Agent
from tui.model.deferred import Deferred
from tui.model.event import Event, Kind
from tui.model.history import History
from tui.model.job import Job
from tui.model.node import Node
from tui.model.opened import Opened
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.lease import LeaseTiming
from workrs.domain.quorum import majority
from workrs.domain.record import Record
from workrs.wire.view import ARRIVING, QUEUED, RUNNING, ClusterView

JOBS_MAX: Final = 20_000
EVENTS_MAX: Final = 4_000
UNWATCHED_MAX: Final = 100
"""Jobs not in view whose progress is read at a time: of 1,000 that run each every 10 s."""
_NEVER: Final = Epoch(0)
_HEALTH_EVENTS: Final = {
    "ok": Kind.NODE_LIVE,
    "silent": Kind.NODE_SILENT,
    "gone": Kind.NODE_GONE,
    "minority": Kind.MAJORITY_LOST,
}


@dataclass(slots=True)
class Model:
    """What is known of the cluster."""

    view: ClusterView = field(default_factory=lambda: ClusterView(slim=True))
    jobs: dict[JobId, Job] = field(default_factory=dict)
    agents: dict[ClientId, Agent] = field(default_factory=dict)
    nodes: dict[ClientId, Node] = field(default_factory=dict)
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=EVENTS_MAX))
    history: History = field(default_factory=History)
    counts: Counter[str] = field(default_factory=Counter)
    """Jobs by state."""
    held: dict[ClientId, set[JobId]] = field(default_factory=dict)
    """Jobs by who holds them."""
    watched: Collection[JobId] = ()
    """Jobs in view: their progress is read first."""
    opened: Opened | None = None
    """The job that is looked at closely."""
    timing: LeaseTiming = field(default_factory=LeaseTiming)
    """As the node says that was heard last."""
    via: str = ""
    """Address of the node that is watched."""
    trouble: str = ""
    """Why no node is watched now; empty while one is."""
    is_complete: bool = False
    """Whether the node has shown all it retains."""
    forgotten: int = 0
    """Ended jobs that were dropped to keep within JOBS_MAX."""
    read: int = 0
    """Messages so far."""
    version: int = 0
    """Rises with every change of what is shown, but for ages."""
    _dirty: dict[JobId, None] = field(default_factory=dict)
    _deferred: Deferred = field(default_factory=Deferred)
    _progressed: dict[JobId, Record] = field(default_factory=dict)
    """Jobs of which nothing but progress is new: most of what is said, and the cheapest."""
    _dirty_agents: dict[ClientId, None] = field(default_factory=dict)
    _round: Iterator[None] | None = None
    """What is left to be settled of what had changed when that began."""
    _old: set[JobId] = field(default_factory=set)
    """Jobs of the snapshot that have no row yet: what happened to them is not news."""
    _released: dict[JobId, Epoch] = field(default_factory=dict)
    _ended: OrderedDict[JobId, None] = field(default_factory=OrderedDict)
    """Those of the jobs that have ended, the longest ended first."""
    _health: dict[ClientId, str] = field(default_factory=dict)

    def begin(self, via: str, now: Instant) -> None:
        """Start over with another node, or the same one anew."""
        self.via, self.trouble = via, ""
        self.view = ClusterView(slim=True)
        self.is_complete = False
        self._round = None
        self._dirty.clear()
        self._deferred = Deferred()
        self._progressed.clear()
        self._dirty_agents.clear()
        self._released.clear()
        self.say(Kind.WATCHING, via, "", now)

    def complete(self, now: Instant) -> None:
        """Know that all that is retained has come: from here on it is news."""
        self.is_complete = True
        known = dict.fromkeys(self.view.job_ids())
        self._old = known.keys() - self.jobs.keys()
        self._dirty = {**known, **dict.fromkeys(self.jobs)}
        self._dirty_agents = {**self._dirty_agents, **dict.fromkeys(self.agents)}
        for node in self.nodes.values():
            node.rate = node.dropped_rate = None
        self.tick(now)

    def lose(self, reason: str, now: Instant, *, at: str = "") -> None:
        """Know that the watched node is lost; before any was watched, the one *at* that address."""
        if not self.trouble:
            self.say(Kind.NODE_LOST, self.via or at, reason, now)
        self.trouble = reason
        self.version += 1

    def say(self, kind: Kind, subject: str, text: str, now: Instant) -> None:
        """Write a line of the log."""
        self.events.append(Event(now, kind, subject, text))
        self.version += 1

    def apply(self, topic: str, payload: bytes, now: Instant) -> None:
        """Take in one message of the bus."""
        self.read += 1
        if self.opened is not None:
            self.opened.apply(topic, payload, now)
        if self.is_complete and "/job/" in topic and self._deferred.defer(topic, payload):
            return
        self._read(topic, payload, now)

    def _read(self, topic: str, payload: bytes, now: Instant) -> None:
        changed = self.view.apply(topic, payload)
        if changed is None:
            return
        match changed.kind:
            case "job":
                self._hear_record(changed.node, JobId(changed.name))
            case "agent":
                self._hear_agent(changed.node, ClientId(changed.name), now)
            case "state":
                self._hear_node(changed.node, now)
            case _:
                pass

    def _hear_record(self, node: ClientId, job: JobId) -> None:
        record, before = self.view.records(job).get(node), self.view.replaced
        if record and before and jobs_rule.is_progress(before, record):
            self._progressed[job] = record
            return
        self._dirty[job] = None
        if record is not None and record.holder is None and record.epoch:
            self._released[job] = max(self._released.get(job, _NEVER), record.epoch)

    def _hear_agent(self, node: ClientId, name: ClientId, now: Instant) -> None:
        self._dirty_agents[name] = None
        known, seen = self.agents.get(name), self.view.receipt(node, name)
        if known is None or seen is None:
            return
        order = agents_rule.beat_order(seen)
        if order > known.order:
            known.order = order
            if not seen.gone:
                known.beat = Since(now, not self.is_complete)

    def _hear_node(self, name: ClientId, now: Instant) -> None:
        state = self.view.state(name)
        if state is None:
            return
        for each in (name, *map(ClientId, state.nodes)):
            self.nodes.setdefault(each, Node(each))
        self.timing = state.timing
        nodes_rule.hear(self.nodes[name], state, now, retained=not self.is_complete)
        self.version += 1

    def settle(self, now: Instant, *, limit: int) -> bool:
        """Work out at most *limit* of the things that changed; return whether some are left."""
        if not self.is_complete or not self.nodes:
            return False
        if self._round is None:
            self._round = self._settle(now)
        is_more = sum(1 for _ in islice(self._round, limit)) == limit
        if not is_more:
            self._round = None
        return is_more

    def _settle(self, now: Instant) -> Iterator[None]:
        """Work out one record, agent or job at a time; what changes meanwhile may wait."""
        for topic, payload in self._deferred.take(self.watched, UNWATCHED_MAX):
            self._read(topic, payload, now)
            yield
        agents, self._dirty_agents = self._dirty_agents, {}
        for name in agents:
            self._settle_agent(name, now)
            yield
        progressed, self._progressed = self._progressed, {}
        self.version += bool(progressed)
        for job, record in progressed.items():
            if (known := self.jobs.get(job)) is not None:
                jobs_rule.move_on(known, record)
            yield
        jobs, self._dirty = self._dirty, {}
        self.version += bool(jobs)
        for job in jobs:
            self._settle_job(job, now)
            yield
        self._trim()

    def _settle_agent(self, name: ClientId, now: Instant) -> None:
        summary = self.view.agent(name, ())
        if summary is None:
            if self.agents.pop(name, None) is not None:
                self.version += 1
            return
        known = self.agents.get(name)
        if known is None:
            orders = [self.view.receipt(node, name) for node in self.nodes]
            # A node that shows it may be none of the cluster's: removed, or made up.
            heard = (agents_rule.beat_order(each) for each in orders if each is not None)
            order = max(heard, default=agents_rule.NEVER)
            known = agents_rule.new_agent(summary, order, now, before=True)
            known.held = len(self.held.get(name, ()))
            self.agents[name] = known
            self.version += 1
            return
        found = agents_rule.advance(known, summary, now)
        self.events.extend(found)
        self.version += bool(found)

    def _settle_job(self, job: JobId, now: Instant) -> None:
        view, known = self.view.job(job), self.jobs.get(job)
        if known is not None:
            self._count(job, known, -1)
        if view is None:
            self.jobs.pop(job, None)
            self._released.pop(job, None)
            self._ended.pop(job, None)
            return
        if known is None:
            is_old = job in self._old
            self._old.discard(job)
            known = self.jobs[job] = jobs_rule.new_job(view, now, before=is_old)
            found = [] if is_old else jobs_rule.first_events(known, now)
            is_end = not view.is_open and not is_old
            was_open = True
        else:
            was_open = known.view.is_open
            released = self._released.get(job, _NEVER)
            found = jobs_rule.advance(known, view, released, now)
            is_end = was_open and not view.is_open
        self.history.ended += is_end
        self.history.takeovers += sum(event.kind is Kind.TAKEN_OVER for event in found)
        if view.is_open:
            self._ended.pop(job, None)
        elif was_open:
            self._ended[job] = None
            self._released.pop(job, None)
        self.events.extend(found)
        self._count(job, known, 1)

    def _count(self, job: JobId, known: Job, step: int) -> None:
        self.counts[known.state] += step
        holder = known.view.agent if known.view.is_open else None
        if holder is None:
            return
        held = self.held.setdefault(holder, set())
        (held.add if step > 0 else held.discard)(job)
        if not held:
            del self.held[holder]
        if (agent := self.agents.get(holder)) is not None:
            agent.held = len(held)

    def _trim(self) -> None:
        while len(self.jobs) > JOBS_MAX and self._ended:
            job, _ = self._ended.popitem(last=False)
            self._count(job, self.jobs.pop(job), -1)
            self.view.forget(job)
            self.forgotten += 1

    def tick(self, now: Instant) -> bool:
        """Take in that time has passed; return whether a second's sample was taken."""
        for name, node in self.nodes.items():
            health = node.health(now)
            before = self._health.get(name)
            self._health[name] = health
            if before not in (None, health) and self.is_complete:
                kind = _HEALTH_EVENTS.get(health, Kind.NODE_LIVE)
                if before == "minority" and health == "ok":
                    kind = Kind.MAJORITY_BACK
                self.say(kind, name, "" if health in _HEALTH_EVENTS else health, now)
        if not self.is_complete:
            return False
        waiting = self.counts[QUEUED] + self.counts[ARRIVING]
        return self.history.sample(now, running=self.counts[RUNNING], queued=waiting)

    def lease_left_s(self, job: Job, now: Instant) -> float | None:
        """Return how long the lease lasts at least without another heartbeat; None: no lease."""
        holder = self.agents.get(job.view.agent) if job.view.agent and job.view.is_open else None
        if holder is None:
            return None
        renewed_at = max(job.claimed.at if job.claimed else holder.beat.at, holder.beat.at)
        ends_at = renewed_at + self.timing.ttl_s
        if holder.state == "gone":
            ends_at = min(ends_at, holder.since.at + self.timing.reconnect_grace_s)
        return max(0.0, ends_at - now)

    def orphans(self, now: Instant) -> int:
        """Return how many jobs are held by leases that have run out; looks at lost agents only."""
        return sum(
            self.lease_left_s(self.jobs[job], now) == 0 and self.jobs[job].state == RUNNING
            for name, held in self.held.items()
            if (agent := self.agents.get(name)) is not None
            and (agent.state == "gone" or agent.is_late(now, self.timing.ttl_s))
            for job in held
            if job in self.jobs
        )

    def minority(self, now: Instant) -> str:
        """Say that what is shown is a minority's view, or that nobody is heard; else nothing."""
        if not self.is_complete or self.trouble:
            return ""
        heard = [node for node in self.nodes.values() if node.is_heard(now)]
        size = self.view.size
        names = ", ".join(sorted(node.name for node in heard)) or "none"
        if len(heard) < majority(size):
            return f"a minority's view: of {size} nodes only {names} heard. This may be old"
        if not any(node.state.quorum for node in heard if node.state is not None):
            return f"no majority: {names} of {size} nodes do not reach one. Nothing is decided"
        return ""
