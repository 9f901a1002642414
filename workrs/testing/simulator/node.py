"""A node: its machine, its disk, its broker and its daemon, which drives the real brain.

The daemon does what `broker.supervisor` does: one batch, one commit, then the publishes; while
the disk refuses, nothing is said. The kernel kills the broker with its daemon, and a daemon
starts its broker again when that dies.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from broker import brain, ledger_copy
from broker import inbox as node_inbox
from broker.agents import AgentTable
from broker.effect import Effects, Publish, ReadPeerLedger
from broker.event import (
    BrokerEmptied,
    CopiedAgent,
    Event,
    PeerLedgerFailed,
    PeerLedgerRead,
    Ticked,
)
from broker.node import Node, NodeSettings
from broker.retry import CONNECT_S, KEEPALIVE_S, RETRY_S, pause_s
from workrs.domain.errors import LedgerError
from workrs.domain.function import Function
from workrs.domain.record import Incarnation
from workrs.ports.bus import Message
from workrs.ports.ledger import Rejoin, Standing
from workrs.testing.ledger import MemoryDisk, MemoryLedger
from workrs.testing.simulator import blob
from workrs.testing.simulator.host import Host, Process
from workrs.testing.simulator.mosquitto import Broker
from workrs.testing.simulator.parcel import Parcel
from workrs.wire import codec, topics

if TYPE_CHECKING:
    from workrs.domain.ids import ClientId
    from workrs.testing.simulator.connection import Connection
    from workrs.testing.simulator.world import World

FUNCTION = "base"
"""The one that devices without our client call."""
BROKER_PAUSE_S = 0.1
"""Between the death of a broker and its return."""


class Doom(NamedTuple):
    """Where in its next batch a daemon is killed, and for how long."""

    when: str
    """`before commit`, `after commit`, or nothing."""
    away_s: float


NO_DOOM = Doom("", 0.0)


class SimNode:
    """One node's parts, and what becomes of them together."""

    def __init__(self, world: World, name: ClientId, host: Host) -> None:
        """Be installed, with an empty disk; not started."""
        self.world = world
        self.name = name
        self.host = host
        self.disk = MemoryDisk()
        self.store = blob.BlobStore()
        self.broker = Broker(world, host, name, [])
        self.broker.alive = False
        self.daemon = Daemon(self)
        self.broker_held = 0
        """How many faults keep the broker from coming back."""

    def start(self) -> None:
        """Start the daemon, which starts the broker; nothing if it runs."""
        if self.host.on and not self.daemon.alive:
            self.daemon.start()
            self.start_broker()

    def start_broker(self) -> None:
        """Start the broker empty, unless a fault keeps it away."""
        if self.broker_held or self.broker.alive or not self.daemon.alive or not self.host.on:
            return
        peers = [n for n in self.world.names if n != self.name]
        self.broker = Broker(self.world, self.host, self.name, peers)
        self.daemon.connect()

    def kill_broker(self) -> None:
        """Kill the broker; its daemon starts it again."""
        if self.broker.alive:
            self.broker.die()
            self.world.timeline.after(BROKER_PAUSE_S, self.restart_broker)

    def restart_broker(self) -> None:
        """Be the daemon's keeper of the broker; a stopped daemon keeps nothing."""
        if self.daemon.alive and not self.daemon.runs:
            self.world.timeline.after(BROKER_PAUSE_S, self.restart_broker)
        else:
            self.start_broker()

    def replace_disk(self) -> None:
        """Have an empty disk, made for `workrs node --rejoin`."""
        self.disk = MemoryDisk(standing=Standing(rejoin=Rejoin.UNDER_WAY))
        self.store.blobs.clear()
        self.store.dropped.clear()

    def kill(self) -> None:
        """Kill the daemon, and so the broker."""
        self.daemon.die()
        if self.broker.alive:
            self.broker.die()


class Daemon(Process):
    """A node's daemon: the real brain in a small shell."""

    def __init__(self, home: SimNode) -> None:
        """Not started yet."""
        super().__init__(home.world, home.host)
        self.home = home
        self.node: Node
        self.ledger: MemoryLedger
        self.doom = NO_DOOM
        self.connection: Connection | None = None
        self._refused = 0
        self._wake_s = 0.0
        self._stuck: Effects | None = None
        """A batch that the disk refuses."""
        self._backlog: list[Event] = []
        self._parts: list[Event] = []
        """Of peers' ledgers, read and not looked at yet."""

    @property
    def process(self) -> Process:
        """Return itself: it is its own endpoint."""
        return self

    @property
    def name(self) -> ClientId:
        """Return the node's name."""
        return self.home.name

    def start(self) -> None:
        """Read the ledger, as `broker.__main__` does."""
        world, now = self.world, self.host.clock.now()
        try:
            self.ledger = MemoryLedger(self.home.disk, wall=lambda: world.timeline.now)
        except LedgerError:
            world.timeline.after(RETRY_S, self.home.start)
            return
        self.life += 1
        rng = world.schedule.rng(f"boot/{self.name}/{self.ledger.boot}")
        settings = NodeSettings(
            name=self.name,
            nodes=world.names,
            timing=world.timing,
            blobs_url=f"{blob.URL}{self.name}",
            incarnation=Incarnation(self.ledger.boot, f"{rng.getrandbits(64):016x}"),
        )
        self.node = Node(settings, self.ledger.retired, AgentTable(world.timing.ttl_s))
        # Known as if from always: nobody changes it here, so nothing about it is said.
        self.node.functions.definitions[FUNCTION] = Function(image="base", command=("run",))
        brain.start(self.node, self.ledger, now, world.timeline.now)
        self._clear_store()
        self.alive = True
        self.stopped = 0
        self._wake_s = float("inf")
        self._stuck = None
        self._backlog = []
        self._parts = []
        self.doom = NO_DOOM

    def _clear_store(self) -> None:
        """Remove what a former start did not get to, as `broker.housekeeping` does."""
        store, disk = self.home.store, self.home.disk
        store.dropped.clear()  # kept in memory only
        for job in {job for job, _ in store.blobs}:
            if job not in disk.jobs and job in disk.retired:
                store.drop(job)

    def die(self) -> None:
        """Be killed: what was not committed is gone."""
        self.alive = False
        self.life += 1
        if self.connection is not None:
            self.connection.leave(goodbye=False)
            self.connection = None

    # The connection to the own broker

    def connect(self) -> None:
        """Join the own broker."""
        if not self.alive or self.connection is not None:
            return
        state = replace(self.node.state(), live=False)
        topic = topics.node(self.name, "state")
        self.connection = self.world.connect(
            self,
            client=self.name,
            node=self.name,
            will=Parcel(Message(topic, codec.encode(state), retain=True), state),
            keepalive_s=KEEPALIVE_S,
            subscriptions=[
                *node_inbox.vote_subscriptions(),
                *node_inbox.intake_subscriptions(),
            ],
            timeout_s=CONNECT_S,
        )

    def on_welcome(self, connection: Connection) -> None:
        """Fill the broker."""
        if connection is not self.connection:
            return
        self._refused = 0
        self.handle([BrokerEmptied()])

    def on_parcels(self, connection: Connection, batch: list[tuple[Parcel, bool]]) -> None:
        """Take what arrived together as one batch."""
        if connection is not self.connection:
            return
        events: list[Event] = []
        for parcel, _ in batch:
            found = parcel.for_node(self.name)
            if isinstance(found, node_inbox.Dropped):
                self.node.dropped += 1
            elif found is not None:
                events.append(found)
        self.handle(events)

    def on_lost(self, connection: Connection, reason: str) -> None:
        """Join again, soon."""
        if connection is not self.connection:
            return
        self.world.note("broker lost", self.name, reason)
        self.connection = None
        self._refused += 1
        life = self.life
        wait_s = pause_s(self._refused)
        self.world.timeline.after(wait_s, lambda: self.connect() if life == self.life else None)

    # The brain

    def handle(self, events: list[Event]) -> None:
        """Let the brain handle a batch, put it on disk, and say what it says."""
        if self._stuck is not None:
            self._backlog += events
            return
        now = self.host.clock.now()
        parts, self._parts = self._parts, []
        effects = brain.handle(self.node, [*parts, *events], now)
        if effects.halt:
            self.world.oracle.on_halt(self, effects.halt)
            self.home.kill()
            return
        self.world.oracle.on_batch(self, now)
        if self.doom.when == "before commit":
            self._fall()
        elif effects.changes:
            self._commit(effects)
        else:
            self._publish(effects)

    def _commit(self, effects: Effects) -> None:
        try:
            self.ledger.commit(effects.changes)
        except LedgerError as error:
            if not self.home.disk.broken:
                raise
            self._stuck = effects
            state = replace(
                self.node.state(),
                live=False,
                ready=False,
                health=str(error),
                serial=0,
                generation=0,
            )
            self._send(Publish(topics.node(self.name, "state"), state))
            life = self.life
            self.world.timeline.after(RETRY_S, lambda: self._retry(life))
            return
        self.world.oracle.on_commit(self, effects.changes)
        if self.doom.when == "after commit":
            self._fall()
        else:
            self._publish(effects)

    def _fall(self) -> None:
        """Be killed in the middle of a batch, as a fault wants it."""
        away_s = self.doom.away_s
        self.home.kill()
        self.world.undo_after(away_s, self.home.start)

    def _retry(self, life: int) -> None:
        if life != self.life or self._stuck is None:
            return
        if not self.runs:
            self.world.timeline.after(RETRY_S, lambda: self._retry(life))
            return
        effects, self._stuck = self._stuck, None
        self._commit(effects)
        if self._stuck is None and self.alive:
            backlog, self._backlog = self._backlog, []
            self.handle(backlog)

    def _publish(self, effects: Effects) -> None:
        for item in effects.publishes:
            self.world.oracle.on_say(self, item)
            self._send(item)
        for job in effects.dropped_blobs:
            self.home.store.drop(job)
        for wanted in effects.reads:
            self._read(wanted)
        self.arm()

    def _send(self, item: Publish) -> None:
        connection = self.connection
        if connection is None or not connection.is_up:
            return
        body = item.body if isinstance(item.body, bytes) else codec.encode(item.body)
        parcel = Parcel(Message(item.topic, body, item.qos, item.retain, item.expiry_s), item.body)
        self.world.count_message(item.topic)
        if connection.broker.runs and not connection.up.queue:
            connection.hand_over(parcel)
        else:
            connection.publish(parcel)

    def _read(self, wanted: ReadPeerLedger) -> None:
        """Have a peer's ledger read over HTTP, beside everything else."""
        life = self.life

        def answer() -> None:
            if life == self.life:
                self._parts += self._ask(wanted)
                if self.runs and self.connection is not None and self.connection.is_up:
                    self.handle([])

        self.world.timeline.after(self.world.rng.uniform(0.005, 0.3), answer)

    def _ask(self, wanted: ReadPeerLedger) -> list[Event]:
        peer = self.world.nodes[wanted.node]
        failed = PeerLedgerFailed(wanted.node, wanted.generation, "no answer")
        if not peer.daemon.runs or not self.world.hears_both(self.host, peer.host):
            return [failed]
        table = peer.daemon.node.agents
        agents = [CopiedAgent(e.client, e.incarnation) for e in table.entries.values()]
        try:
            texts = list(ledger_copy.lines(peer.daemon.ledger, agents, wanted.generation))
        except ledger_copy.StaleGenerationError:
            return [failed]
        found = [codec.decode(ledger_copy.Line, text) for text in texts]
        part = ledger_copy.part_of(wanted, found)
        return [part, PeerLedgerRead(wanted.node, wanted.generation)]

    def arm(self) -> None:
        """See to it that the brain is woken when it wants to be."""
        when_s = self.host.clock.world_s(self.node.wake_at()) + 1e-6
        if when_s < self._wake_s:
            self._wake_s = when_s
            life = self.life
            self.world.timeline.at(when_s, lambda: self._wake(life))

    def _wake(self, life: int) -> None:
        if life != self.life or self._wake_s > self.world.timeline.now:
            return
        self._wake_s = float("inf")
        if not self.runs or self.connection is None or not self.connection.is_up:
            return  # `resume` and `on_welcome` go on
        if self.node.wake_at() <= self.host.clock.now():
            self.handle([Ticked()])
        else:
            self.arm()

    def resume(self) -> None:
        """Go on after a stop."""
        if self.connection is None:
            self.connect()
        elif self.connection.is_up and self._stuck is None:
            self.handle([Ticked()])
