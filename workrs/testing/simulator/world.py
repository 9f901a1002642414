"""The world of one schedule: machines, processes and the network, and what is planned for them.

Production code is called through its modules, so that a rule can be switched off from outside.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial

from edge_agent.effect import Log
from workrs.domain.ids import ClientId, JobId
from workrs.domain.lease import LeaseTiming
from workrs.ports.bus import Message, Subscription
from workrs.testing.simulator import faults
from workrs.testing.simulator.agent import AgentProcess
from workrs.testing.simulator.connection import Connection, Endpoint, Signal
from workrs.testing.simulator.device import DeviceProcess, payload_of
from workrs.testing.simulator.host import Host, Network
from workrs.testing.simulator.mosquitto import Broker
from workrs.testing.simulator.node import FUNCTION, NO_DOOM, SimNode
from workrs.testing.simulator.oracle import Oracle
from workrs.testing.simulator.parcel import Parcel
from workrs.testing.simulator.repetition import Repetition
from workrs.testing.simulator.schedule import FaultPlan, JobPlan, Schedule
from workrs.testing.simulator.timeline import Clock, Timeline
from workrs.testing.simulator.trace import Trace
from workrs.wire import topics

TALK_S = 1.0
"""Within this all who are connected say something: heartbeats, and states of nodes."""
TRIGGER_MAX_S = 0.004
"""How soon after a message a fault strikes that waited for it: about as long as it travels."""


def timing_of(schedule: Schedule) -> LeaseTiming:
    """Return the cluster's timing: tight for the lease that the schedule has."""
    return LeaseTiming(
        ttl_s=schedule.ttl_s,
        heartbeat_period_s=0.8 if schedule.ttl_s < 5.0 else 2.0,
        margin_s=0.4 + 0.02 * schedule.ttl_s + 0.04,
        reconnect_grace_s=0.1 * schedule.ttl_s,
        clock_drift_max=0.01,
        freeze_max_s=0.4,
    )


class World:
    """Everything there is."""

    def __init__(self, schedule: Schedule, trace: Trace) -> None:
        """Install all machines; `start` switches them on."""
        self.schedule = schedule
        self.trace = trace
        self.timing = timing_of(schedule)
        self.timeline = Timeline()
        self.rng = schedule.rng("world")
        self.network = Network(schedule.rng("network"))
        self.repetition = Repetition(schedule.rng("repetition"), schedule.repeats)
        self.counts: Counter[str] = Counter()
        self.messages = 0
        self.names = tuple(ClientId(f"n{i + 1}") for i in range(schedule.nodes))
        self.jobs: dict[JobId, JobPlan] = {
            JobId(f"{plan.device}_{plan.name}"): plan for plan in schedule.jobs
        }
        self._connections: dict[Connection, None] = {}
        self._undos: dict[int, Callable[[], None]] = {}
        self._undo_count = 0
        self._waiting: list[FaultPlan] = []
        """Faults that wait for an agent to say something."""
        self.focus: tuple[str, str] | None = None
        """Agent and node of what was just said, while a fault strikes that waited for it."""
        self.stormy = True
        self.oracle = Oracle(self)
        self.nodes: dict[str, SimNode] = {}
        for name in self.names:
            self.nodes[name] = SimNode(self, name, self._host(name))
        self.agents = {
            plan.name: AgentProcess(self, plan, self._host(plan.name)) for plan in schedule.agents
        }
        self.devices = {
            plan.name: DeviceProcess(self, plan, self._host(plan.name)) for plan in schedule.devices
        }

    def _host(self, name: str) -> Host:
        rng = self.schedule.rng(f"clock/{name}")
        drift = self.timing.clock_drift_max if self.schedule.drift else 0.0
        rate = 1.0 + rng.choice((-drift, drift, rng.uniform(-drift, drift)))
        clock = Clock(timeline=self.timeline, offset_s=rng.uniform(1000.0, 1e6), rate=rate)
        return Host(name, clock)

    def start(self) -> None:
        """Start all processes, and plan all that the schedule has."""
        for node in self.nodes.values():
            self.timeline.after(self.rng.uniform(0.0, 0.2), node.start)
        for agent in self.agents.values():
            self.timeline.after(self.rng.uniform(0.1, 0.4), agent.start)
        for device in self.devices.values():
            self.timeline.after(self.rng.uniform(0.1, 0.4), device.start)
        for plan in self.schedule.jobs:
            self._plan_job(plan)
        for fault in self.schedule.faults:
            self.timeline.at(fault.at_s, partial(self._begin, fault))

    def _plan_job(self, plan: JobPlan) -> None:
        device = self.devices[plan.device]
        topic = topics.up(plan.device, "submit", plan.name)
        if plan.is_raw:
            self._plan_raw(plan, device.home)
            topic = topics.up(plan.device, "run", FUNCTION, plan.name)
        else:
            self.timeline.at(plan.at_s, lambda: device.submit(plan))
            if plan.cancel_at_s is not None:
                self.timeline.at(plan.cancel_at_s, lambda: device.cancel(plan.name))
        for places, rival in ((plan.copies, False), (plan.rivals, True)):
            payload = payload_of(plan, rival=rival)
            for at_s, number in places:
                self._plan_publish(at_s, number, topic, payload)

    def _plan_raw(self, plan: JobPlan, home: int) -> None:
        """Plan what a device without our client does: publish, and hope."""
        call = topics.up(plan.device, "run", FUNCTION, plan.name)
        self._plan_publish(plan.at_s, home, call, payload_of(plan))
        if plan.cancel_at_s is not None:
            cancel = topics.up(plan.device, "cancel", plan.name)
            self._plan_publish(plan.cancel_at_s, home, cancel, b"")

    def _plan_publish(self, at_s: float, number: int, topic: str, payload: bytes) -> None:
        def publish() -> None:
            broker = self.nodes[self.names[number % len(self.names)]].broker
            if broker.runs:
                broker.publish(Parcel(Message(topic, payload)), None)

        self.timeline.at(at_s, publish)

    # Faults

    def _begin(self, plan: FaultPlan) -> None:
        if plan.on:
            self._waiting.append(plan)
        else:
            self._strike(plan)

    def on_said(self, agent: str, node: str, topic: str) -> None:
        """Let faults strike that waited for an agent to say this."""
        if not self._waiting or not self.stormy:
            return
        verb = topic.split("/", 5)[4]
        for plan in [plan for plan in self._waiting if plan.on == verb]:
            self._waiting.remove(plan)
            delay_s = self.rng.uniform(0.0, TRIGGER_MAX_S)
            self.timeline.after(delay_s, partial(self._strike_at, plan, (agent, node)))

    def _strike_at(self, plan: FaultPlan, focus: tuple[str, str]) -> None:
        self.focus = focus
        self._strike(plan)
        self.focus = None

    def _strike(self, plan: FaultPlan) -> None:
        fault = faults.FAULTS.get(plan.name)
        if fault is None or not self.stormy or not fault.available(self):
            self.counts["faults not possible"] += 1
            return
        what = fault.inject(self, self.schedule.rng(f"fault/{plan.salt}/{plan.name}"))
        self.counts[f"fault {plan.name}"] += 1
        self.note("FAULT", plan.name, what)
        self.look()

    def undo_after(self, delay_s: float, undo: Callable[[], None]) -> None:
        """Mend what a fault broke after a while, or when the storm is over."""
        self._undo_count += 1
        number = self._undo_count
        self._undos[number] = undo

        def act() -> None:
            found = self._undos.pop(number, None)
            if found is not None:
                found()
                self.look()

        self.timeline.after(delay_s, act)

    def mend(self) -> None:
        """End the storm: what is still broken is mended now."""
        self.stormy = False
        self.repetition.stop()
        self.note("MEND", "", "")
        for number in list(self._undos):
            self._undos.pop(number)()
        for node in self.nodes.values():
            node.daemon.doom = NO_DOOM
            node.start()
        for agent in self.agents.values():
            agent.start()
        for device in self.devices.values():
            device.start()
        self.look()

    # Connections

    def connect(
        self,
        endpoint: Endpoint,
        *,
        client: str,
        node: str,
        will: Parcel | None,
        keepalive_s: float,
        subscriptions: list[Subscription],
        timeout_s: float,
    ) -> Connection:
        """Begin to connect a client to a node's broker; the endpoint hears what becomes of it."""
        connection = Connection(
            self,
            endpoint,
            client=client,
            broker=self.nodes[node].broker,
            will=will,
            keepalive_s=keepalive_s,
            subscriptions=subscriptions,
        )
        self._connections[connection] = None
        connection.up.queue += self.repetition.late(endpoint, connection)
        connection.look()
        self.timeline.after(timeout_s, connection.time_out)
        return connection

    def forget(self, connection: Connection) -> None:
        """Drop a connection that both sides have closed."""
        self._connections.pop(connection, None)

    def connections_of(self, broker: Broker) -> list[Connection]:
        """Return the connections to one life of a broker."""
        return [c for c in self._connections if c.broker is broker]

    def connections(self) -> list[Connection]:
        """Return all connections that stand."""
        return [c for c in self._connections if c.is_up and not c.left and not c.ended]

    def look(self) -> None:
        """Let connections notice what has changed: who is heard, and what can move again."""
        for connection in list(self._connections):
            connection.look()
            connection.up.arm()
            connection.down.arm()

    def hears_both(self, one: Host, other: Host) -> bool:
        """Return whether two machines can talk, both ways."""
        passes = self.network.passes
        return one.runs and other.runs and passes(one, other) and passes(other, one)

    def vanish(self, host: Host) -> None:
        """Lose a machine's power: none of its sockets is closed."""
        for connection in list(self._connections):
            if connection.host is host:
                connection.vanish()
            if connection.broker.host is host:
                connection.end(tell=False)
                connection.down.queue.clear()

    def reset_stale(self, host: Host) -> None:
        """Let a machine that is back reset the connections of before, when it is sent anything."""
        for connection in self._connections:
            if connection.broker.host is host and connection.ended and not connection.left:
                delay_s = self.rng.uniform(0.0, TALK_S)
                self.timeline.after(delay_s, partial(connection.down.push, Signal.END))

    def settle_containers(self, host: Host) -> None:
        """Bring containers up to date around a change of their machine."""
        for agent in self.agents.values():
            if agent.host is host:
                for container in agent.hands.containers.values():
                    container.count()
                    container.go_on()

    def resume(self, host: Host) -> None:
        """Let all processes of a machine go on after a pause."""
        self.settle_containers(host)
        if not host.runs:
            return
        for agent in self.agents.values():
            if agent.host is host:
                agent.warden.resume()
                if agent.runs:
                    agent.resume()
        for node in self.nodes.values():
            if node.host is host:
                if node.broker.runs:
                    node.broker.resume()
                if node.daemon.runs:
                    node.daemon.resume()

    # Notes

    def note(self, what: str, who: str, about: str) -> None:
        """Put a line into the trace."""
        self.trace.add(self.timeline.now, what, who, about)

    def count(self, what: str) -> None:
        """Count something that a schedule is worth more for."""
        self.counts[what] += 1

    def count_log(self, who: str, line: Log) -> None:
        """Take a line of an agent's log."""
        self.counts[line.key] += 1
        if self.trace.is_kept:
            facts = " ".join(f"{key}={value}" for key, value in line.fields.items())
            self.note(line.key, who, facts)

    def count_message(self, topic: str) -> None:
        """Count a message that a client published."""
        self.messages += 1
        self.trace.mix(self.timeline.now, topic)
