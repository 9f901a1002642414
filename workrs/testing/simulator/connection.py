"""One MQTT connection: two pipes of bytes, and the patience of both ends.

1. Each pipe keeps its order. What stands in it when the connection ends is lost; what arrived
   last may arrive once more.
2. An end that hears nothing for about one and a half keepalives gives the other up. An end
   that is stopped cannot; it finds out when it goes on.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Protocol

from workrs.testing.bus import matches

if TYPE_CHECKING:
    from collections.abc import Callable

    from workrs.ports.bus import Subscription
    from workrs.testing.simulator.host import Host, Process
    from workrs.testing.simulator.mosquitto import Broker
    from workrs.testing.simulator.parcel import Parcel
    from workrs.testing.simulator.world import World

_COVERS: dict[str, dict[str, bool]] = {}
"""By filter: the topics that were asked about. Names repeat from one schedule to the next."""


class Signal(Enum):
    """What travels in a pipe besides messages."""

    HELLO = auto()
    """CONNECT and the first SUBSCRIBE."""
    WELCOME = auto()
    """CONNACK and SUBACK."""
    GOODBYE = auto()
    """DISCONNECT: no will is to be published."""
    END = auto()
    """The socket was closed, or reset."""


class Endpoint(Protocol):
    """A client's side of a connection."""

    @property
    def process(self) -> Process:
        """The process that reads."""

    def on_welcome(self, connection: Connection) -> None:
        """The connection stands."""

    def on_parcels(self, connection: Connection, batch: list[tuple[Parcel, bool]]) -> None:
        """Messages arrived; True marks those that the broker had retained."""

    def on_lost(self, connection: Connection, reason: str) -> None:
        """The connection ended, or could not be made. Told once, and not after `leave`."""


class Pipe:
    """One direction of a connection."""

    __slots__ = (
        "_armed",
        "_deliver",
        "_receiver",
        "_sender",
        "_world",
        "closed",
        "last",
        "queue",
    )

    def __init__(
        self,
        world: World,
        sender: Process,
        receiver: Process,
        deliver: Callable[[list[Any]], None],
    ) -> None:
        """Carry from *sender* to *receiver*, handing over what arrived together."""
        self._world = world
        self._sender = sender
        self._receiver = receiver
        self._deliver = deliver
        self._armed = False
        self.closed = False
        self.queue: list[Any] = []
        self.last: list[Any] = []
        """What was delivered together most recently."""

    @property
    def is_blocked(self) -> bool:
        """Return whether nothing gets through now."""
        sender, receiver = self._sender.host, self._receiver.host
        if not sender.runs or not receiver.runs or self._receiver.stopped:
            return True
        return not self._world.network.passes(sender, receiver)

    def push(self, item: Any) -> None:
        """Send *item* behind all before it."""
        if not self.closed:
            self.queue.append(item)
            if not self._armed:
                self.arm()

    def arm(self) -> None:
        """See to it that what waits arrives, if anything gets through."""
        if self.queue and not self._armed and not self.closed and not self.is_blocked:
            self._armed = True
            delay_s = self._world.network.delay_s(self._sender.host, self._receiver.host)
            self._world.timeline.after(delay_s, self._flush)

    def _flush(self) -> None:
        self._armed = False
        if self.closed or self.is_blocked:
            return
        batch, self.queue = self.queue, []
        self.last = batch
        again = self._world.repetition.soon(batch)
        self._deliver(batch)
        if again and not self.closed:
            self.queue[:0] = again
            self.arm()

    def close(self) -> None:
        """Lose what is under way."""
        self.closed = True
        self.queue = []


class Connection:
    """One connection of one client to one life of one broker."""

    def __init__(
        self,
        world: World,
        endpoint: Endpoint,
        *,
        client: str,
        broker: Broker,
        will: Parcel | None,
        keepalive_s: float,
        subscriptions: list[Subscription],
    ) -> None:
        """Say hello. `World.connect` makes these."""
        self.world = world
        self.endpoint = endpoint
        self.client = client
        self.broker = broker
        self.will = will
        self.keepalive_s = keepalive_s
        self.patterns = {s.pattern: s.no_local for s in subscriptions}
        self.is_up = False
        self.left = False
        """The client has closed its side."""
        self.ended = False
        """The broker has closed its side."""
        self.expired = False
        """The broker's patience ended, perhaps while it was stopped."""
        self._wanted: dict[str, bool] = {}
        self._deaf = [0, 0]
        """For broker and client: the number of the present silence, 0 without one."""
        self._silences = 0
        self.up = Pipe(world, endpoint.process, broker, self._at_broker)
        self.down = Pipe(world, broker, endpoint.process, self._at_client)
        self.up.push(Signal.HELLO)

    @property
    def host(self) -> Host:
        """Return the client's machine."""
        return self.endpoint.process.host

    # Subscriptions

    def wants(self, topic: str) -> bool:
        """Return whether a subscription covers *topic*."""
        found = self._wanted.get(topic)
        if found is None:
            found = self._wanted[topic] = any(covers(p, topic) for p in self.patterns)
        return found

    def subscribe(self, pattern: str) -> None:
        """Ask for one more filter, retained messages included."""
        self.up.push((Signal.HELLO, pattern))

    def unsubscribe(self, pattern: str) -> None:
        """End a subscription."""
        self.up.push((Signal.END, pattern))

    def change(self, pattern: str, *, wanted: bool) -> None:
        """Take a change of subscriptions at the broker's side."""
        self._wanted.clear()
        if wanted:
            self.patterns[pattern] = False
        else:
            self.patterns.pop(pattern, None)

    # What the client does

    def publish(self, parcel: Parcel) -> None:
        """Send a message."""
        if not self.left:
            self.up.push(parcel)

    def hand_over(self, parcel: Parcel) -> None:
        """Send a message that takes no time: on one machine, with nothing under way."""
        self.up.last = [parcel]
        self.broker.publish(parcel, self)
        for again in self.world.repetition.soon(self.up.last):
            self.broker.publish(again, self)

    def leave(self, *, goodbye: bool) -> None:
        """Close the client's side; nothing is heard any more."""
        if self.left:
            return
        self.left = True
        self.down.close()
        self.up.push(Signal.GOODBYE if goodbye else Signal.END)
        if self.ended:
            self.drop()

    def vanish(self) -> None:
        """Lose the client's machine: nothing is closed, nothing is sent."""
        self.left = True
        self.down.close()
        self.up.close()
        if self.ended:
            self.drop()

    def _at_client(self, batch: list[Any]) -> None:
        parcels: list[tuple[Parcel, bool]] = []
        for item in batch:
            if item is Signal.END:
                break
            if item is Signal.WELCOME:
                self.is_up = True
                self.endpoint.on_welcome(self)
            elif not self.left:
                parcels.append(item)
        if parcels and not self.left:
            self.endpoint.on_parcels(self, parcels)
        if batch and batch[-1] is Signal.END:
            self._lose("the broker closed the connection")

    def _lose(self, reason: str) -> None:
        if not self.left:
            self.leave(goodbye=False)
            self.endpoint.on_lost(self, reason)

    def time_out(self) -> None:
        """Give up connecting, unless it stands by now."""
        if self.is_up or self.left:
            return
        if self.endpoint.process.runs:
            self._lose("no answer in time")
        else:
            self.world.timeline.after(1.0, self.time_out)

    # What the broker does

    def _at_broker(self, batch: list[Any]) -> None:
        if not self.broker.alive:
            self.down.push(Signal.END)  # its port answers with a reset
        else:
            self.broker.receive(self, batch)

    def end(self, *, tell: bool = True) -> None:
        """Close the broker's side."""
        self.ended = True
        self.up.close()
        if tell:
            self.down.push(Signal.END)
        if self.left:
            self.drop()

    def reset(self) -> None:
        """Break it for both ends at once; what is under way is lost."""
        self.up.queue.clear()
        self.down.queue.clear()
        if self.broker.alive:
            self.broker.expire(self)
        self._lose("connection reset")

    def drop(self) -> None:
        """Forget it: both sides are closed."""
        self.world.forget(self)

    # Patience

    def look(self) -> None:
        """Note after a change in the world who hears whom, and plan the end of patience."""
        client, broker, network = self.endpoint.process, self.broker, self.world.network
        heard = (
            not self.left
            and client.runs
            and broker.runs
            and network.passes(client.host, broker.host)
        )
        if not self.ended:
            self._note(0, heard=heard, patience=(1.1, 1.5))
        both = broker.runs and client.runs and network.passes(broker.host, client.host)
        if not self.left:
            heard = both and network.passes(client.host, broker.host)
            self._note(1, heard=heard, patience=(0.5, 1.5))

    def _note(self, side: int, *, heard: bool, patience: tuple[float, float]) -> None:
        if heard:
            self._deaf[side] = 0
        elif not self._deaf[side]:
            self._silences += 1
            number = self._deaf[side] = self._silences
            wait_s = self.keepalive_s * self.world.rng.uniform(*patience)
            self.world.timeline.after(wait_s, lambda: self._expire(side, number))

    def _expire(self, side: int, number: int) -> None:
        if self._deaf[side] != number:
            return
        if side == 0 and not self.ended:
            self.expired = True
            if self.broker.runs:
                self.broker.expire(self)
        elif side == 1 and not self.endpoint.process.runs:
            self._deaf[1] = 0  # it is patient anew when it goes on
        elif side == 1:
            self._lose("the broker is silent")


def covers(pattern: str, topic: str) -> bool:
    """Return whether a topic filter covers a topic."""
    known = _COVERS.setdefault(pattern, {})
    found = known.get(topic)
    if found is None:
        found = known[topic] = matches(pattern, topic)
    return found
