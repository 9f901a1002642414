"""Three brains and a bus that delivers everything at once, for tests of the node's rules.

Not a simulator: no faults but those a test asks for. Messages go through the codec, so a
field that does not survive JSON fails here.
"""

from collections import deque
from dataclasses import dataclass, field

from broker import brain
from broker.agents import AgentTable
from broker.effect import Publish
from broker.event import BrokerEmptied, Event, Ticked
from broker.inbox import Dropped, parse
from broker.node import Node, NodeSettings
from workrs.domain.ids import ClientId, Instant
from workrs.domain.record import Incarnation, Record
from workrs.ports.bus import Message
from workrs.wire import codec, topics
from workrs.wire.message import Function

FUNCTIONS = {
    "echo": Function(image="base", command=("cat", "/job/in/input")),
    "private": Function(image="base", command=("true",), callers=("pump-1",)),
}


@dataclass
class Cluster:
    """Brains by name; what they publish reaches the live ones."""

    size: int = 3
    now: float = 1000.0
    nodes: dict[str, Node] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    heard: list[tuple[str, Publish]] = field(default_factory=list)
    """Everything published, by whom."""
    saved: dict[str, dict[str, Record]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = tuple(ClientId(f"n{i + 1}") for i in range(self.size))
        for name in names:
            settings = NodeSettings(
                name=name,
                nodes=names,
                functions=FUNCTIONS,
                incarnation=Incarnation(1, name * 8),
            )
            self.nodes[name] = Node(settings, lambda _job: None, AgentTable(settings.timing.ttl_s))
        for name in names:
            self.feed(name, BrokerEmptied())
        self.tick()

    def feed(self, name: str, *events: Event) -> None:
        """Let events happen at one node, and all that follows everywhere."""
        todo: deque[tuple[str, list[Event]]] = deque([(name, list(events))])
        while todo:
            at, batch = todo.popleft()
            if at in self.down:
                continue
            effects = brain.handle(self.nodes[at], batch, Instant(self.now))
            for change in effects.changes:
                record = getattr(change, "record", None)
                if record is not None:
                    self.saved.setdefault(at, {})[record.job] = record
            for publish in effects.publishes:
                self.heard.append((at, publish))
                todo.extend(self._bridge(at, publish))

    def _bridge(self, origin: str, publish: Publish) -> list[tuple[str, list[Event]]]:
        message = _message(publish)
        found = []
        for peer in self.nodes:
            if peer != origin and message.topic.startswith(f"{topics.ROOT}/node/"):
                event = parse(ClientId(peer), message)
                assert not isinstance(event, Dropped), event
                if event is not None:
                    found.append((peer, [event]))
        return found

    def client(self, at: str, topic: str, body: object, *, relays: bool = True) -> None:
        """Publish as a client at one node; bridges relay it to the others."""
        payload = body if isinstance(body, bytes) else codec.encode(body)
        relayed = topic.replace(f"{topics.ROOT}/up/", f"{topics.ROOT}/relay/{at}/")
        for name in self.nodes:
            if name != at and (not relays or at in self.down):
                continue
            event = parse(ClientId(name), Message(topic if name == at else relayed, payload))
            if event is not None and not isinstance(event, Dropped):
                self.feed(name, event)

    def tick(self, seconds: float = 0.0, step: float = 0.5) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            for name in self.nodes:
                self.feed(name, Ticked())
            if self.now >= end:
                return
            self.now = min(end, self.now + step)

    def down_states(self, device: str, job: str, rest: str = "") -> list[str]:
        """Return the states a device was told, in order, by whichever node."""
        topic = topics.down(device, job, *([rest] if rest else []))
        found = []
        for _, publish in self.heard:
            if publish.topic == topic and publish.body != b"":
                body = publish.body
                found.append(
                    body.decode() if isinstance(body, bytes) else str(getattr(body, "state", ""))
                )
        return found

    def offers(self) -> list[object]:
        """Return every offer made."""
        return [p.body for _, p in self.heard if "/offer/" in p.topic]

    def record(self, name: str, job: str) -> Record:
        """Return a node's vote."""
        return self.nodes[name].entries[job].record  # type: ignore[index]


def _message(publish: Publish) -> Message:
    body = publish.body if isinstance(publish.body, bytes) else codec.encode(publish.body)
    return Message(publish.topic, body, publish.qos, publish.retain, publish.expiry_s)
