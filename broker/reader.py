"""From what a connection brought to events: the same on both connections of a node."""

from collections.abc import Iterable
from contextlib import suppress

from broker import inbox
from broker.event import Event
from broker.node import Node
from workrs.adapters.log import EventLog
from workrs.ports.bus import Bus, BusClosedError, BusFullError, Message
from workrs.wire import topics

_UP = f"{topics.ROOT}/up/"


def read(node: Node, bus: Bus, batch: Iterable[Message], log: EventLog) -> list[Event]:
    """Return the events that *batch* stands for; count, log and clear what is none."""
    events: list[Event] = []
    for message in batch:
        found = inbox.parse(node.name, message)
        if isinstance(found, inbox.Dropped):
            node.dropped += 1
            if node.lines.take("dropped"):
                log.warning("dropped", topic=found.topic[:200], why=found.reason)
        elif found is not None:
            events.append(found)
        if message.retain and message.payload and message.topic.startswith(_UP):
            # Else the broker would say it again on every connection. One that is not cleared
            # now, because the bus is full or gone, comes with the next.
            with suppress(BusClosedError, BusFullError):
                bus.publish(Message(message.topic, b"", retain=True))
    return events
