"""An agent's brain: what happened, and when, goes in; what is to be done comes out.

It owns the heartbeat, the choice of the node and the end of the agent; the jobs are the
`roster`'s, which routes them to the rules of `holding` (leases), `execution`, `ending` and
`saving`. No I/O, no clock, no randomness of its own: `now` is CLOCK_BOOTTIME.

1. No program is started without a lease, a recorded attempt and a deadline.
2. The cost of an event does not grow with the jobs in hand, except for a heartbeat and its
   receipt, which are about all of them and come at most once in COALESCE_S.
3. When nodes know a later incarnation of this agent, this one ends.

Not promised: that a job is worked on by one agent only. Nodes and deadlines make that rare;
that only one outcome counts is the votes' doing.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from edge_agent.agenda import Agenda
from edge_agent.agent import Agent
from edge_agent.cluster import Cluster
from edge_agent.config import GRACE_S
from edge_agent.effect import Effect, Exit, FetchAhead, Publish
from edge_agent.event import (
    BeatAnswered,
    Connected,
    ConnectionLost,
    Event,
    ImagesListed,
    JobOffered,
    LeaveWished,
    OrderReceived,
    RecordSeen,
    StopRequested,
    TermsSeen,
    Woken,
)
from edge_agent.heart import COALESCE_S, Heart
from edge_agent.roster import Roster
from edge_agent.uplink import Line, Uplink
from edge_agent.work import NOT
from workrs.domain.dispatch import AgentProfile
from workrs.domain.ids import Instant, JobId
from workrs.domain.lease import LeaseTiming
from workrs.domain.record import Holder
from workrs.wire import topics
from workrs.wire.message import Beat, Order, OrderKind

STOP_KILL_S = 3.0
"""After the grace: for containers to be killed and removed."""
_SELF = ""
"""The agenda's key for the agent itself; no job is called so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a brain must know from its configuration."""

    holder: Holder
    profile: AgentProfile
    nodes: int
    """Addresses in the configured list; not the size of the cluster."""
    grace_s: float = GRACE_S
    """How long a stop may take for last checkpoints and uploads."""
    timing: LeaseTiming = field(default_factory=LeaseTiming)
    """Assumed until a node has said its own."""


class Brain:
    """One incarnation of one agent."""

    def __init__(self, settings: Settings, rng: random.Random) -> None:
        """Begin unconnected and with nothing in hand."""
        self.settings = settings
        self.profile = settings.profile
        self.cluster = Cluster(settings.timing)
        self.agent = Agent(
            holder=settings.holder,
            cluster=self.cluster,
            rng=rng,
            rung=settings.profile.rung,
            host=settings.profile.host,
            keys=settings.profile.keys,
            stores=settings.profile.stores,
        )
        self.agenda = Agenda()
        self.roster = Roster(self.agent, settings.profile.slots, self.agenda)
        self.heart = Heart()
        self.uplink = Uplink(nodes=settings.nodes)
        self.stop_at = NOT
        self.leave_wishes: set[str] = set()
        """Who wants this agent to hand over its jobs: `drain`, `hook`, `stop`."""
        self.ordered = 0
        """Number of the newest order to drain or undrain that was taken."""
        self.ended = False

    def start(self, now: Instant) -> list[Effect]:
        """Return the first effects."""
        self.agent.now = now
        self.uplink.connect(self.agent)
        return self._take_effects()

    def handle(self, event: Event, now: Instant) -> list[Effect]:
        """Return what is to be done about *event*."""
        return self.handle_all((event,), now)

    def handle_all(self, events: Iterable[Event], now: Instant) -> list[Effect]:
        """Return what is to be done about *events*, which arrived together in this order."""
        self.agent.now = now
        for event in events:
            if not self.ended:
                self._handle(event)
        if not self.ended:
            self._settle()
        return self._take_effects()

    def next_wake(self) -> Instant | None:
        """Return when to send Woken, or None."""
        return None if self.ended else self.agenda.next()

    def _take_effects(self) -> list[Effect]:
        effects, self.agent.effects = self.agent.effects, []
        return effects

    def _handle(self, event: Event) -> None:
        match event:
            case RecordSeen():
                self.roster.on_record(event)
            case JobOffered(offer=offer):
                self.roster.on_offer(offer)
            case BeatAnswered():
                self._on_beat_answered(event)
            case Woken():
                connected = self.uplink.line is Line.UP
                for key in self.agenda.due(self.agent.now):
                    self.roster.on_due(JobId(key), connected=connected)
            case TermsSeen() | Connected() | ConnectionLost():
                self._on_network(event)
            case OrderReceived(order=order):
                self._on_order(order)
            case StopRequested() | LeaveWished():
                self._on_machine(event)
            case ImagesListed(images=images, load=load):
                self.profile = replace(self.profile, images=images, load=load)
            case _:
                self.roster.on_job_event(event)

    def _on_network(self, event: TermsSeen | Connected | ConnectionLost) -> None:
        match event:
            case TermsSeen():
                self._on_terms(event)
            case Connected(connection=connection):
                if self.uplink.on_connected(connection, self.agent.now):
                    self.agent.log("connected", node=self.uplink.node, connection=connection)
                    self._beat()
                    self.roster.hurry()
            case ConnectionLost(connection=connection, reason=reason):
                self.agent.log("connection_lost", connection=connection, why=reason)
                self.uplink.on_lost(connection, self.agent)

    def _on_terms(self, event: TermsSeen) -> None:
        before, known = self.cluster.names, self.cluster.known
        if self.cluster.see(event.node, event.terms):
            self.agent.log("timing_learnt", ttl_s=self.cluster.timing.ttl_s, node=event.node)
            if self.cluster.timings() > 1:
                self.agent.log("timing_differs", node=event.node)
        if not before <= self.cluster.names:
            self.roster.keep(self.cluster.names)
            self.heart.keep(self.cluster.names)
        if not known and self.cluster.known:
            self.agent.beat_due = True

    def _on_beat_answered(self, event: BeatAnswered) -> None:
        mine, shown = self.agent.incarnation, event.view.incarnation
        if shown != mine:
            if shown.number >= mine.number:
                self._end(1, f"another incarnation of agent {self.agent.name} is running")
            return
        if event.node not in self.cluster.names:
            return
        now, needed = self.agent.now, self.cluster.majority
        self.cluster.hear(event.node, now)
        renewals, refused = self.heart.hear(event.node, event.view, needed, now)
        for renewal in renewals:
            self.roster.on_renewal(renewal)
        for job, epoch in refused:
            self.roster.on_refused(event.node, job, epoch)

    def _on_order(self, order: Order) -> None:
        match order.order:
            case OrderKind.DRAIN | OrderKind.UNDRAIN:
                self._on_wish(order)
            case OrderKind.LOG:
                self.roster.on_log_asked(JobId(order.job))
            case OrderKind.FETCH if order.checkpoint is not None and self.roster.open:
                job = JobId(order.job)
                self.agent.do(
                    FetchAhead(job=job, checkpoint=order.checkpoint, memory_mb=order.memory_mb)
                )
            case _:
                pass  # the nodes' own business

    def _on_wish(self, order: Order) -> None:
        """Take an order to drain or undrain, unless a later one was taken."""
        if order.number <= self.ordered or order.incarnation != self.agent.incarnation:
            return
        self.ordered = order.number
        # Also when nothing changes: who gave the order waits until this one is shown.
        self.agent.beat_due = True
        if order.order is OrderKind.DRAIN:
            self._leave("drain", "its agent was told to drain")
        else:
            self._come_back("drain")

    def _on_machine(self, event: StopRequested | LeaveWished) -> None:
        match event:
            case StopRequested():
                self._on_stop()
            case LeaveWished(leave=True, why=why):
                self._leave("hook", f"its agent leaves: {why}")
            case LeaveWished():
                self._come_back("hook")

    def _leave(self, who: str, reason: str) -> None:
        """Take nothing new and hand over what runs, as long as *who* wants it."""
        if self.roster.open:
            self.agent.log("draining", jobs=len(self.roster.works), why=reason)
        self.leave_wishes.add(who)
        self.agent.beat_due = True
        self.roster.drain(reason)

    def _come_back(self, who: str) -> None:
        """Take jobs again, once nobody wants this agent to leave."""
        self.leave_wishes.discard(who)
        if not self.leave_wishes and not self.roster.open:
            self.agent.log("undrained")
            self.agent.beat_due = True
            self.roster.reopen()

    def _on_stop(self) -> None:
        first = self.stop_at == NOT
        self.stop_at = self.agent.later(self.settings.grace_s if first else 0.0)
        self.agent.until = self.stop_at
        self._leave("stop", "its agent stops")

    def _settle(self) -> None:
        """Do what concerns the agent itself, once per batch of events."""
        now, heart, uplink = self.agent.now, self.heart, self.uplink
        silent_at = uplink.silent_at(heart.heard_at, self.cluster.timing.silence_s)
        if now >= silent_at:
            self.agent.log("node_silent", node=uplink.node)
            uplink.on_silent(heart.heard_at, self.agent)
            silent_at = NOT
        if now >= uplink.retry_at:
            uplink.connect(self.agent)
        beat_at = NOT
        if uplink.line is Line.UP:
            pause_s = COALESCE_S if self.agent.beat_due else self.cluster.timing.heartbeat_period_s
            beat_at = Instant(heart.sent_at + pause_s)
            if now >= beat_at:
                self._beat()
                beat_at = Instant(now + self.cluster.timing.heartbeat_period_s)
        if self.stop_at != NOT:
            self._settle_stop()
        when = min(beat_at, silent_at, uplink.retry_at)
        if when != NOT:
            self.agenda.set(_SELF, when)

    def _beat(self) -> None:
        held = self.roster.held()
        self.agent.beat_due = False
        beat = Beat(
            incarnation=self.agent.incarnation,
            connection=self.uplink.connection,
            counter=self.heart.beat(held, self.agent.now),
            held=held,
            profile=replace(self.profile, draining=not self.roster.open),
            ordered=self.ordered,
        )
        self.agent.do(Publish(topic=topics.beat(self.agent.name), body=beat))

    def _settle_stop(self) -> None:
        """End once nothing is in hand any more; at the end of the grace, end what is."""
        late = self.agent.now >= self.stop_at
        if not self.roster.busy or self.agent.now >= self.stop_at + STOP_KILL_S:
            self._end(0, "stopped")
        elif late:
            self.roster.end_all("its agent stops")
        self.agenda.set(_SELF, Instant(self.stop_at + (STOP_KILL_S if late else 0.0)))

    def _end(self, code: int, reason: str) -> None:
        self.ended = True
        self.agent.log("agent_ends", code=code, why=reason)
        connection = self.uplink.connection
        will = Beat(incarnation=self.agent.incarnation, connection=connection, gone=True)
        self.agent.do(Exit(code=code, reason=reason, farewell=will if code == 0 else None))
