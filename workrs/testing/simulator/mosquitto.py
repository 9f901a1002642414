"""A node's broker: sessions, retained messages, wills and bridges, as Mosquitto has them.

1. Nothing survives the process. Sessions are clean; a broken one leaves its will.
2. A broker that was stopped fires the wills of those it did not hear meanwhile when it goes
   on, before it reads what waited: they may be alive.
3. A bridge carries outwards only. When it connects it sends again all that is retained; what
   is not retained is lost while it is down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workrs.testing.simulator.connection import Connection, Signal, covers
from workrs.testing.simulator.host import Host, Process
from workrs.testing.simulator.parcel import Parcel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from workrs.domain.ids import ClientId
    from workrs.testing.simulator.world import World

BRIDGE_RETRY_S = (1.0, 2.0)
"""`restart_timeout` of the template."""
BRIDGE_KEEPALIVE_S = 5.0


class Broker(Process):
    """One life of a node's broker."""

    def __init__(self, world: World, host: Host, name: ClientId, peers: Sequence[str]) -> None:
        """Listen, knowing nothing, and begin to connect the bridges."""
        super().__init__(world, host)
        self.name = name
        self.alive = True
        self.retained: dict[str, Parcel] = {}
        self.sessions: dict[str, Connection] = {}
        self.bridges = [Bridge(self, peer) for peer in peers]
        for bridge in self.bridges:
            bridge.connect()

    def receive(self, connection: Connection, batch: list[Any]) -> None:
        """Take what arrived from a client."""
        for item in batch:
            if connection.ended:
                return
            if isinstance(item, Parcel):
                self.publish(item, connection)
            elif item is Signal.HELLO:
                self._welcome(connection)
            elif item is Signal.GOODBYE:
                self._remove(connection, will=False)
            elif item is Signal.END:
                self._remove(connection, will=True)
            else:
                signal, pattern = item
                connection.change(pattern, wanted=signal is Signal.HELLO)
                if signal is Signal.HELLO:
                    self._replay(connection, pattern)

    def publish(self, parcel: Parcel, origin: Connection | None) -> None:
        """Keep a message if it is retained, and hand it to all that want it."""
        message = parcel.message
        topic = message.topic
        if message.retain:
            if message.payload:
                self.retained[topic] = parcel
            else:
                self.retained.pop(topic, None)
        for session in self.sessions.values():
            if session.wants(topic) and not (session is origin and self._is_local(session, topic)):
                session.down.push((parcel, False))
        relayed = parcel.relayed(self.name)
        if relayed is not None:
            for bridge in self.bridges:
                bridge.carry(relayed)

    def _is_local(self, session: Connection, topic: str) -> bool:
        return all(no_local for p, no_local in session.patterns.items() if covers(p, topic))

    def _welcome(self, connection: Connection) -> None:
        former = self.sessions.pop(connection.client, None)
        self.sessions[connection.client] = connection
        if former is not None:
            former.end()
            self._fire(former)
        connection.down.push(Signal.WELCOME)
        for topic, parcel in self.retained.items():
            if connection.wants(topic):
                connection.down.push((parcel, True))

    def _replay(self, connection: Connection, pattern: str) -> None:
        for topic, parcel in self.retained.items():
            if covers(pattern, topic):
                connection.down.push((parcel, True))

    def _remove(self, connection: Connection, *, will: bool) -> None:
        connection.end()
        if self.sessions.get(connection.client) is connection:
            del self.sessions[connection.client]
            if will:
                self._fire(connection)

    def _fire(self, connection: Connection) -> None:
        if connection.will is not None:
            self.world.note("will", self.name, connection.client)
            self.publish(connection.will, connection)

    def expire(self, connection: Connection) -> None:
        """Give up a client that was silent for too long."""
        if not connection.ended:
            self._remove(connection, will=True)

    def resume(self) -> None:
        """Go on after a stop: first give up those that were not heard."""
        for session in list(self.sessions.values()):
            if session.expired:
                self.expire(session)

    def die(self) -> None:
        """Be killed: every socket is closed, all is forgotten."""
        self.alive = False
        for connection in self.world.connections_of(self):
            connection.end()
        for bridge in self.bridges:
            bridge.die()
        self.sessions.clear()
        self.retained.clear()


class Bridge:
    """A broker's connection to a peer's broker, and its return after a loss."""

    def __init__(self, broker: Broker, peer: str) -> None:
        """Belong to *broker*."""
        self.process = broker
        self._peer = peer
        self._connection: Connection | None = None

    def connect(self) -> None:
        """Try to reach the peer's broker."""
        world = self.process.world
        if self.process.alive:
            self._connection = world.connect(
                self,
                client=f"bridge-{self.process.name}",
                node=self._peer,
                will=None,
                keepalive_s=BRIDGE_KEEPALIVE_S,
                subscriptions=[],
                timeout_s=5.0,
            )

    def carry(self, parcel: Parcel) -> None:
        """Send a message to the peer, if there is a connection."""
        if self._connection is not None and self._connection.is_up:
            self._connection.publish(parcel)

    def die(self) -> None:
        """Close the socket with the process."""
        if self._connection is not None:
            self._connection.leave(goodbye=False)
            self._connection = None

    def on_welcome(self, connection: Connection) -> None:
        """Send again all that is retained."""
        for parcel in self.process.retained.values():
            relayed = parcel.relayed(self.process.name)
            if relayed is not None:
                connection.publish(relayed)

    def on_parcels(self, connection: Connection, batch: list[tuple[Parcel, bool]]) -> None:
        """Hear nothing: it carries outwards only."""

    def on_lost(self, connection: Connection, reason: str) -> None:
        """Try again after a while."""
        if connection.is_up:
            self.process.world.note("bridge lost", self.process.name, f"{self._peer}: {reason}")
        if connection is self._connection:
            self._connection = None
        self.process.world.timeline.after(
            self.process.world.rng.uniform(*BRIDGE_RETRY_S), self._again
        )

    def _again(self) -> None:
        if self._connection is None:
            if self.process.runs:
                self.connect()
            elif self.process.alive:
                self.process.world.timeline.after(1.0, self._again)
