"""An operator at the command line, who gives an agent orders as `workrs drain` and `undrain` do.

An order has one name, is said again each REPEAT_S, at the next node when one is lost, and ends when
a node answers it. An undrain that was refused, or not answered in time, is given anew; one that was
answered is believed, and an agent that takes no jobs after that is seen in the end (L1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workrs.domain.ids import ClientId
from workrs.ports.bus import Message, Subscription
from workrs.testing.simulator.host import Host, Process
from workrs.testing.simulator.parcel import Parcel
from workrs.testing.simulator.timeline import Clock
from workrs.wire import codec, topics
from workrs.wire.message import Order, OrderKind, OrderReply

if TYPE_CHECKING:
    from workrs.testing.simulator.agent import AgentProcess
    from workrs.testing.simulator.connection import Connection
    from workrs.testing.simulator.world import World

REPEAT_S = 1.0
"""As `workrs.cli.order` has it, and the two below."""
TIMEOUT_S = 10.0
CONNECT_S = 5.0
KEEPALIVE_S = 5.0


class Operator(Process):
    """Who wants one agent drained, and then no more."""

    def __init__(self, world: World, agent: AgentProcess, home: int) -> None:
        """Sit at a machine of its own; *home* is the place of the node that is asked first."""
        world.counts["operators"] += 1
        self.name = ClientId(f"operator{world.counts['operators']}")
        clock = Clock(timeline=world.timeline, offset_s=0.0, rate=1.0)
        super().__init__(world, Host(self.name, clock))
        self.alive = True
        self._agent = agent
        self._node = home
        self._order = Order(order=OrderKind.DRAIN, agent=agent.name)
        self._given = 0
        self._until_s = 0.0
        self._connection: Connection | None = None

    @property
    def process(self) -> Process:
        """Return itself: it is its own endpoint."""
        return self

    def drain(self) -> None:
        """Order the agent to drain."""
        self._give(OrderKind.DRAIN)

    def undrain(self) -> None:
        """Order it to take jobs again, whatever became of the drain."""
        self._give(OrderKind.UNDRAIN)

    def _give(self, kind: OrderKind) -> None:
        """Begin a new order in place of the one before: another run of the command."""
        self._hang_up()
        self.life += 1
        self._given += 1
        self._order = Order(order=kind, agent=self._agent.name)
        self._until_s = self.world.timeline.now + TIMEOUT_S
        self._connect()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.leave(goodbye=True)
            self._connection = None

    def _connect(self) -> None:
        self._connection = self.world.connect(
            self,
            client=self.name,
            node=self.world.names[self._node % len(self.world.names)],
            will=None,
            keepalive_s=KEEPALIVE_S,
            subscriptions=[Subscription(pattern=topics.down(self.name, self._id))],
            timeout_s=CONNECT_S,
        )

    @property
    def _id(self) -> str:
        return f"o{self._given}"

    def on_welcome(self, connection: Connection) -> None:
        """Say the order."""
        self._say(connection)

    def _say(self, connection: Connection) -> None:
        if connection is not self._connection:
            return
        if self.world.timeline.now >= self._until_s:
            self._end("not answered")
            return
        topic = topics.up(self.name, "order", self._id)
        self.world.count_message(topic)
        connection.publish(Parcel(Message(topic, codec.encode(self._order)), self._order))
        self.world.timeline.after(REPEAT_S, lambda: self._say(connection))

    def on_parcels(self, connection: Connection, batch: list[tuple[Parcel, bool]]) -> None:
        """Take the answer."""
        if connection is self._connection and batch:
            reply = codec.decode(OrderReply, batch[0][0].message.payload)
            self._end("answered" if reply.ok else "refused")

    def on_lost(self, connection: Connection, reason: str) -> None:
        """Go on to the next node."""
        if connection is not self._connection:
            return
        self.world.note("connection lost", self.name, reason)
        self._connection = None
        self._node += 1
        life = self.life
        self.world.timeline.after(REPEAT_S, lambda: self._again(life))

    def _again(self, life: int) -> None:
        if life != self.life:
            return
        if self.world.timeline.now >= self._until_s:
            self._end("not answered")
        else:
            self._connect()

    def _end(self, how: str) -> None:
        """End the command; of a drain nothing more is wanted, an undrain has to hold."""
        self._hang_up()
        kind = self._order.order
        self.world.note(f"{kind.value} {how}", self.name, self._agent.name)
        self.world.count(f"orders {how}")
        if kind is OrderKind.UNDRAIN and how != "answered":
            life = self.life
            self.world.timeline.after(REPEAT_S, lambda: self._undrain_again(life))

    def _undrain_again(self, life: int) -> None:
        if life == self.life:
            self.undrain()
