"""Functions as one node's broker shows them: the records of all nodes, merged as nodes do."""

from dataclasses import dataclass, field

from workrs.cli.connection import NODE_TIMEOUT_S, Caller, ask_first
from workrs.domain.errors import WireError
from workrs.domain.function import FunctionRecord, counts_more
from workrs.domain.ids import ClientId
from workrs.ports.bus import Bus, Message, Subscription, read_retained
from workrs.wire import codec, topics
from workrs.wire.message import NodeState

_READ_S = 10.0


@dataclass(slots=True)
class FunctionView:
    """What is shown of functions, and by how many nodes."""

    newest: dict[str, FunctionRecord] = field(default_factory=dict)
    """By name; a removed one too."""
    shown: dict[tuple[str, ClientId], FunctionRecord] = field(default_factory=dict)
    size: int = 0
    """Nodes of the cluster."""

    def apply(self, message: Message) -> None:
        """Take in what a node shows; anything else is left out."""
        topic = topics.parse_node(message.topic)
        if topic is None or not message.payload:
            return
        try:
            if topic.kind == "state":
                state = codec.decode(NodeState, message.payload)
                self.size = max(self.size, len(state.nodes))
            elif topic.kind == "function":
                record = codec.decode(FunctionRecord, message.payload)
                self.shown[record.function, topic.node] = record
                if counts_more(record, self.newest.get(record.function)):
                    self.newest[record.function] = record
        except WireError:
            return

    def count(self, name: str) -> int:
        """Return how many nodes show the newest record of a function."""
        newest = self.newest[name]
        return sum(
            1 for (shown, _), record in self.shown.items() if shown == name and record == newest
        )


async def read_functions(who: Caller) -> FunctionView:
    """Return the functions as the first node that answers completely shows them.

    Raises:
        NoNodeError: none of them does.
    """
    return await ask_first(who, _read, within_s=NODE_TIMEOUT_S + _READ_S)


async def _read(bus: Bus) -> FunctionView:
    view = FunctionView()
    wanted = [Subscription(pattern=topics.node("+", *k)) for k in (("function", "+"), ("state",))]
    echo = f"{topics.ROOT}/echo/{bus.client_id}"
    for message in await read_retained(bus, *wanted, echo_topic=echo):
        view.apply(message)
    return view
