"""A device: the real brain of the Python client, and the shell that `network` is around it.

Its outbox survives the process. Two programs that publish under its name (`copies` and
`rivals` of a job) speak past it, as `mosquitto_pub` would.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from device_client.brain import Brain
from device_client.effect import (
    AskRetained,
    Effect,
    ForgetJob,
    LeaveNode,
    MarkAccepted,
    SendCancel,
    SendJob,
    Tell,
)
from device_client.route import NodeAddress, Route, Timing
from workrs.domain.ids import ClientId
from workrs.ports.bus import Message, Subscription
from workrs.testing.simulator.host import Host, Process
from workrs.testing.simulator.parcel import Parcel
from workrs.wire import topics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from device_client.report import Report
    from workrs.testing.simulator.connection import Connection
    from workrs.testing.simulator.schedule import DevicePlan, JobPlan
    from workrs.testing.simulator.world import World

TIMING = Timing(backoff_max_s=2.0)
RESTART_S = 0.5


def payload_of(plan: JobPlan, *, rival: bool = False) -> bytes:
    """Return the spec of a job as its device sends it."""
    spec: dict[str, object] = {
        "image": "base",
        "command": ["rival" if rival else "run"],
        "attempts_max": plan.attempts_max,
        "retention_s": plan.retention_s,
        "timeout_s": 600.0,
    }
    if plan.strict:
        spec["takeover"] = "strict"
    if plan.checkpoint_s is None:
        spec["checkpoint"] = {"mode": "off"}
    else:
        spec["checkpoint"] = {"mode": plan.mode, "interval_s": plan.checkpoint_s}
    return json.dumps(spec).encode()


class DeviceProcess(Process):
    """One device, from start to start."""

    def __init__(self, world: World, plan: DevicePlan, host: Host) -> None:
        """Be installed, with an empty outbox; not started."""
        super().__init__(world, host)
        self.name = ClientId(plan.name)
        self.home = plan.home
        self.brain: Brain
        self.outbox: dict[str, bytes] = {}
        """Payload by job: what is on its disk until the end is known."""
        self.accepted: set[str] = set()
        self.cancelled: set[str] = set()
        self.reports: dict[str, Report] = {}
        """The last that it was told, by job."""
        self.connection: Connection | None = None
        size = len(world.names)
        order = [world.names[(plan.home + i) % size] for i in range(size)]
        rng = world.schedule.rng(f"device/{plan.name}")
        addresses = [NodeAddress(name, 1883) for name in order]
        self._route = Route(addresses, timing=TIMING, rng=rng)
        self._wake_s = float("inf")
        self._asked: set[str] = set()

    @property
    def process(self) -> Process:
        """Return itself: it is its own endpoint."""
        return self

    @property
    def _now(self) -> float:
        return self.host.clock.now()

    # Its life

    def start(self) -> None:
        """Start with what the outbox holds."""
        if self.alive or not self.host.runs:
            return
        self.alive = True
        self.stopped = 0
        self.life += 1
        self._wake_s = float("inf")
        self.brain = Brain(self.name, timing=TIMING, nodes=len(self.world.names))
        for job in self.outbox:
            self._keep(job)
        self._connect()

    def die(self) -> None:
        """Be killed, or lose power for a moment."""
        self.alive = False
        self.life += 1
        if self.connection is not None:
            self.connection.leave(goodbye=False)
            self.connection = None
        self.world.timeline.after(RESTART_S, self.start)

    def resume(self) -> None:
        """Go on after a stop."""
        if self.connection is None:
            self._connect()
        self._turn(())

    # What its user wants

    def submit(self, plan: JobPlan) -> None:
        """Keep a job and send it."""
        if plan.name not in self.outbox:
            self.outbox[plan.name] = payload_of(plan)
            if self.alive:
                self._keep(plan.name)

    def cancel(self, job: str) -> None:
        """Want a job cancelled, if it has not ended."""
        if job in self.outbox:
            self.cancelled.add(job)
            if self.alive:
                self._turn(self.brain.cancel(job, self._now))

    def _keep(self, job: str) -> None:
        now, brain = self._now, self.brain
        accepted, cancel = job in self.accepted, job in self.cancelled
        self._turn(brain.keep(job, now, accepted=accepted, ready=True, cancel=cancel))
        self._turn(brain.await_job(job, now))

    # The connection

    def move(self) -> None:
        """Break the connection and go on to the next node."""
        self._lose()

    def _connect(self) -> None:
        if not self.alive or self.connection is not None:
            return
        now = self._now
        if now < self._route.not_before:
            self._again(self._route.not_before)
            return
        self.connection = self.world.connect(
            self,
            client=self.name,
            node=self._route.current.host,
            will=None,
            keepalive_s=TIMING.keepalive_s,
            subscriptions=[Subscription(pattern=topics.down(self.name, "#"))],
            timeout_s=TIMING.connect_timeout_s,
        )

    def _again(self, when: float) -> None:
        life = self.life
        when_s = self.host.clock.world_s(when) + 1e-6
        self.world.timeline.at(when_s, lambda: self._connect() if life == self.life else None)

    def _lose(self) -> None:
        if self.connection is not None:
            self.connection.leave(goodbye=True)
            self.connection = None
            self._after_loss()

    def _after_loss(self) -> None:
        self._asked.clear()
        self._route.failed(self._now)
        self.brain.disconnected()
        self._again(self._route.not_before)

    def on_welcome(self, connection: Connection) -> None:
        """Say everything that is unsaid."""
        if connection is self.connection:
            self._turn(self.brain.connected(self._now))

    def on_parcels(self, connection: Connection, batch: list[tuple[Parcel, bool]]) -> None:
        """Hand what arrived to the brain."""
        for parcel, retained in batch:
            if connection is self.connection:
                message = parcel.message
                heard = self.brain.heard(
                    message.topic, message.payload, self._now, retained=retained
                )
                self._turn(heard)

    def on_lost(self, connection: Connection, reason: str) -> None:
        """Go on to the next node."""
        if connection is self.connection:
            self.world.note("connection lost", self.name, reason)
            self.connection = None
            self._after_loss()

    # Effects

    def _turn(self, effects: Iterable[Effect]) -> None:
        self._perform(effects)
        if not self.runs:
            return
        self._perform(self.brain.tick(self._now))
        if self.brain.take_served():
            self._route.answered()
        self._arm()

    def _arm(self) -> None:
        when = self.brain.wake_at()
        if when is None:
            return
        when_s = self.host.clock.world_s(when) + 1e-6
        if when_s < self._wake_s:
            self._wake_s = when_s
            life = self.life
            self.world.timeline.at(when_s, lambda: self._wake(life))

    def _wake(self, life: int) -> None:
        if life == self.life and self._wake_s <= self.world.timeline.now:
            self._wake_s = float("inf")
            if self.runs:
                self._turn(())

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Tell(report):
                    self.reports[report.job] = report
                case MarkAccepted(job):
                    self.accepted.add(job)
                case ForgetJob(job):
                    self.outbox.pop(job, None)
                case LeaveNode(reason):
                    self.world.count(f"left: {reason}")
                    self._lose()
                case SendJob(job):
                    self._publish(topics.up(self.name, "submit", job), self.outbox.get(job, b""))
                case SendCancel(job):
                    self._publish(topics.up(self.name, "cancel", job), b"")
                case AskRetained(job):
                    if self.connection is not None and job not in self._asked:
                        self._asked.add(job)
                        self.connection.subscribe(topics.down(self.name, job, "#"))
                case _:
                    pass  # inputs as blobs, and node states, are not of this world

    def _publish(self, topic: str, payload: bytes) -> None:
        if self.connection is not None and self.connection.is_up:
            self.world.count_message(topic)
            self.connection.publish(Parcel(Message(topic, payload)))
