"""An agent's process: the real brain, its line to a node, and what its hands do.

Effects on containers take a while and are lost with the process; what ends while the process
is stopped is told when it goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from edge_agent import inbox as agent_inbox
from edge_agent.brain import Brain, Settings
from edge_agent.effect import (
    Connect,
    DiscardCheckpoint,
    Effect,
    Exit,
    FetchAhead,
    FollowJob,
    FreezeContainer,
    Log,
    MoveDeadline,
    PrepareStart,
    Publish,
    ReadLog,
    RemoveContainer,
    StartContainer,
    StoreResult,
    TakeCheckpoint,
    ThawContainer,
    UnfollowJob,
)
from edge_agent.event import Connected, ConnectionLost, Event, StopRequested, Woken
from edge_agent.line import CONNECT_S, KEEPALIVE_S
from workrs.domain.dispatch import AgentProfile
from workrs.domain.host import HostFacts
from workrs.domain.ids import ClientId, JobId
from workrs.domain.ladder import MEMORY
from workrs.domain.record import Holder, Incarnation
from workrs.ports.bus import Message, Subscription
from workrs.testing.simulator.hands import Hands
from workrs.testing.simulator.host import Host, Process
from workrs.testing.simulator.parcel import Parcel
from workrs.testing.simulator.warden import Warden
from workrs.wire import codec, topics
from workrs.wire.message import AgentView

if TYPE_CHECKING:
    from collections.abc import Callable

    from workrs.testing.simulator.connection import Connection
    from workrs.testing.simulator.schedule import AgentPlan
    from workrs.testing.simulator.world import World

RESTART_S = 0.3
ASK_S = 0.3
"""Between two questions for the number of the last incarnation."""


def facts_of(plan: AgentPlan) -> HostFacts | None:
    """Return what an agent's machine tells of itself, if it restores memory."""
    if plan.rung != MEMORY:
        return None
    return HostFacts(arch="amd64", cpu=plan.machine, kernel="6.1", criu="4.0")


class AgentProcess(Process):
    """One agent, from start to start."""

    def __init__(self, world: World, plan: AgentPlan, host: Host) -> None:
        """Be installed; not started."""
        super().__init__(world, host)
        self.plan = plan
        self.name = ClientId(plan.twin_of or plan.name)
        self.number = 0
        """Of the last incarnation: what is on its disk."""
        self.brain: Brain
        self.holder: Holder
        self.connection: Connection | None = None
        self.held = 0
        """How many faults keep it from being started again."""
        self.warden = Warden(self)
        self.hands = Hands(self)
        self._jobs: set[JobId] = set()
        self._number = 0
        self._events: list[Event] = []
        self._wake_s = float("inf")
        self._late: list[Callable[[], None]] = []
        self._connections: dict[int, int] = {}
        self.nodes = [
            world.names[(plan.home + i) % len(world.names)] for i in range(len(world.names))
        ]

    @property
    def process(self) -> Process:
        """Return itself: it is its own endpoint."""
        return self

    # Its life

    def start(self) -> None:
        """Wait for the former warden's end and for a node's view, then begin."""
        if self.alive or self.held or not self.host.runs:
            return
        shown = self._ask()
        if self.warden.is_busy or shown is None:
            life = self.life
            self.world.timeline.after(ASK_S, lambda: self.start() if life == self.life else None)
            return
        self.number = max(self.number, shown) + 1
        self.alive = True
        self.stopped = 0
        self.life += 1
        rng = self.world.schedule.rng(f"agent/{self.plan.name}/{self.number}")
        incarnation = Incarnation(self.number, f"{rng.getrandbits(64):016x}")
        self.holder = Holder(client=self.name, incarnation=incarnation)
        profile = AgentProfile(
            slots=self.plan.slots,
            arch="amd64",
            memory_mb=4096,
            cpus=4.0,
            rung=self.plan.rung,
            host=facts_of(self.plan),
        )
        settings = Settings(
            holder=self.holder,
            profile=profile,
            nodes=len(self.nodes),
            grace_s=2.0,
            timing=self.world.timing,
        )
        self.brain = Brain(settings, rng)
        self.hands.reset(rng)
        self._jobs = set()
        self._events = []
        self._late = []
        self._wake_s = float("inf")
        self.world.note("agent starts", self.name, str(self.number))
        self._perform(self.brain.start(self.host.clock.now()))
        self._arm()

    def _ask(self) -> int | None:
        """Return the number that a reachable broker shows, as `edge_agent.identity` does."""
        for name in self.nodes:
            node = self.world.nodes[name]
            if not node.broker.runs or not self.world.hears_both(self.host, node.host):
                continue
            views = [
                p.body.incarnation.number
                for t, p in node.broker.retained.items()
                if t.endswith(f"/agent/{self.name}") and isinstance(p.body, AgentView)
            ]
            return max(views, default=0)
        return None

    def die(self, *, host_too: bool = False) -> None:
        """Be killed. The warden kills the containers, unless the machine went as well."""
        if not self.alive:
            return
        self.alive = False
        self.life += 1
        if self.connection is not None:
            if host_too:
                self.connection.vanish()
            else:
                self.connection.leave(goodbye=False)
            self.connection = None
        if host_too:
            self.warden.vanish()
        else:
            self.warden.end()

    def restart_after(self, delay_s: float) -> None:
        """Start anew after a while, unless it runs by then."""
        self.world.timeline.after(delay_s, self.start)

    def resume(self) -> None:
        """Go on after a stop: first with what waited."""
        if not self.runs:
            return
        late, self._late = self._late, []
        for step in late:
            step()
        self._turn()

    def ask_to_stop(self) -> None:
        """Ask it to hand over and end, as SIGTERM does."""
        self.post(StopRequested())

    # Events

    def post(self, *events: Event) -> None:
        """Tell the brain, now or when the process goes on."""
        if not self.alive:
            return
        self._events += events
        if self.runs:
            self._turn()

    def later(self, delay_s: float, step: Callable[[], None]) -> None:
        """Do *step* in this life of the process, in a while, and not while it is stopped."""
        life = self.life

        def act() -> None:
            if life == self.life and self.alive:
                if self.runs:
                    step()
                else:
                    self._late.append(step)

        self.world.timeline.after(delay_s, act)

    def _turn(self) -> None:
        if not self.runs or self.brain.ended:
            return
        now = self.host.clock.now()
        batch, self._events = self._events, []
        when = self.brain.next_wake()
        if when is not None and when <= now:
            batch.append(Woken())
        if batch:
            self._perform(self.brain.handle_all(batch, now))
        if self.alive:
            self._arm()

    def _arm(self) -> None:
        when = self.brain.next_wake()
        if when is None:
            return
        when_s = self.host.clock.world_s(when) + 1e-6
        if when_s < self._wake_s:
            self._wake_s = when_s
            life = self.life
            self.world.timeline.at(when_s, lambda: self._wake(life))

    def _wake(self, life: int) -> None:
        if life != self.life or self._wake_s > self.world.timeline.now:
            return
        self._wake_s = float("inf")
        self._turn()

    # Effects

    def _perform(self, effects: list[Effect]) -> None:  # noqa: C901 (a table)
        for effect in effects:
            match effect:
                case Publish():
                    self._publish(effect)
                case Log():
                    self.world.count_log(self.name, effect)
                case FollowJob(job=job):
                    self._jobs.add(job)
                    if self.connection is not None:
                        self.connection.subscribe(agent_inbox.job_pattern(job))
                case UnfollowJob(job=job):
                    self._jobs.discard(job)
                    if self.connection is not None:
                        self.connection.unsubscribe(agent_inbox.job_pattern(job))
                case Connect():
                    self._connect(effect)
                case Exit():
                    self._exit(effect)
                    return
                case MoveDeadline(job=job, epoch=epoch, deadline=deadline):
                    self.world.oracle.on_deadline(self, job, deadline)
                    self.warden.extend(job, epoch, deadline)
                case (
                    PrepareStart()
                    | FetchAhead()
                    | StartContainer()
                    | FreezeContainer()
                    | ThawContainer()
                    | ReadLog()
                    | RemoveContainer()
                    | TakeCheckpoint()
                    | DiscardCheckpoint()
                    | StoreResult()
                ):
                    self.hands.perform(effect)
                case _:
                    assert_never(effect)

    def _publish(self, effect: Publish) -> None:
        if self.connection is None or not self.connection.is_up:
            return
        body = effect.body
        self.world.oracle.on_request(self, effect.topic, body)
        payload = body if isinstance(body, bytes) else codec.encode(body)
        self.world.count_message(effect.topic)
        self.connection.publish(Parcel(Message(effect.topic, payload, effect.qos), body))
        self.world.on_said(self.name, self.connection.broker.name, effect.topic)

    def _connect(self, effect: Connect) -> None:
        if self.connection is not None:
            self.connection.leave(goodbye=True)
        will = Message(topics.beat(self.name), codec.encode(effect.will))
        followed = [Subscription(pattern=agent_inbox.job_pattern(j)) for j in sorted(self._jobs)]
        self._number = effect.connection
        self.connection = self.world.connect(
            self,
            client=self.name,
            node=self.nodes[effect.node],
            will=Parcel(will, effect.will),
            keepalive_s=KEEPALIVE_S,
            subscriptions=agent_inbox.subscriptions(self.name) + followed,
            timeout_s=CONNECT_S,
        )

    def _exit(self, effect: Exit) -> None:
        if self.connection is not None:
            if effect.farewell is not None:
                body = effect.farewell
                self._publish(Publish(topic=topics.beat(self.name), body=body))
            self.connection.leave(goodbye=True)
            self.connection = None
        self.world.note("agent ends", self.name, effect.reason)
        self.alive = False
        self.life += 1
        self.warden.end()
        self.restart_after(RESTART_S)

    # Endpoint

    def on_welcome(self, connection: Connection) -> None:
        """Tell the brain that its connection stands."""
        if connection is self.connection:
            self.post(Connected(connection=self._number))

    def on_parcels(self, connection: Connection, batch: list[tuple[Parcel, bool]]) -> None:
        """Hand what arrived to the brain."""
        if connection is not self.connection:
            return
        events = [p.for_agent(self.name, self._jobs) for p, _ in batch]
        self.post(*(event for event in events if event is not None))

    def on_lost(self, connection: Connection, reason: str) -> None:
        """Tell the brain that its connection is gone."""
        if connection is self.connection:
            self.connection = None
            self.post(ConnectionLost(connection=self._number, reason=reason))
