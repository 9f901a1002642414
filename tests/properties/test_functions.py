"""Goal: nodes come to one definition of each function, whatever happens between orders.

Method: operators order at any node while nodes are parted, stopped, and started again from their
disks, in generated orders. At the end all bridges are mended, and every node must show, and have
on disk, the same. On the way: versions never go back on a disk, and what an operator was told is
done stands on a majority of disks, in that version or a later one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.unit.broker.cluster import Cluster
from workrs.domain.function import Function, Stamp
from workrs.domain.quorum import majority
from workrs.wire import topics
from workrs.wire.message import Order, OrderKind, OrderReply

if TYPE_CHECKING:
    from workrs.domain.function import FunctionRecord

NODES = st.sampled_from(["n1", "n2", "n3"])
NAMES = st.sampled_from(["sum", "mean"])
DEFINITIONS = [Function(image="base", command=("run", str(number))) for number in range(4)]


class Functions(RuleBasedStateMachine):
    """Three nodes, operators everywhere."""

    def __init__(self) -> None:
        """Begin with nodes that know no function."""
        super().__init__()
        self.cluster = Cluster(3)
        self.orders: dict[str, tuple[str, Function | None]] = {}
        self.newest: dict[tuple[str, str], Stamp] = {}
        self.answered = 0

    @rule(at=NODES, name=NAMES, definition=st.none() | st.sampled_from(DEFINITIONS))
    def order(self, at: str, name: str, definition: Function | None) -> None:
        """An operator adds or removes a function."""
        kind = OrderKind.REMOVE if definition is None else OrderKind.ADD
        order = Order(order=kind, function=name, definition=definition)
        order_id = f"o{len(self.orders)}"
        self.orders[order_id] = (name, definition)
        if at not in self.cluster.down:
            self.cluster.client(at, topics.up("ann", "order", order_id), order)

    @rule(one=NODES, other=NODES)
    def part(self, one: str, other: str) -> None:
        """The bridges between two nodes break."""
        if one != other:
            self.cluster.part(one, other)

    @rule()
    def heal(self) -> None:
        """All bridges are mended."""
        self.cluster.heal()

    @rule(name=NODES)
    def restart(self, name: str) -> None:
        """A node is killed and starts again from its disk."""
        self.cluster.stop(name)
        self.cluster.start(name)

    @rule(seconds=st.sampled_from([1.0, 4.0, 12.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.cluster.tick(seconds, step=1.0)

    def saved(self, node: str, name: str) -> FunctionRecord | None:
        """Return what a node has on disk of a function."""
        found = self.cluster.disks[node].functions.get(name)
        return found and found.record

    @invariant()
    def nothing_goes_back_on_a_disk(self) -> None:
        """Versions on a disk only rise."""
        for node in self.cluster.names:
            for name in ("sum", "mean"):
                record = self.saved(node, name)
                if record is not None:
                    assert record.stamp >= self.newest.get((node, name), record.stamp)
                    self.newest[node, name] = record.stamp

    @invariant()
    def what_was_told_to_be_done_is_on_a_majority(self) -> None:
        """Told *ok*: the version that was ordered, or a later one, is on a majority of disks."""
        heard = self.cluster.heard
        for _, publish in heard[self.answered :]:
            reply = publish.body
            if not isinstance(reply, OrderReply) or not reply.ok:
                continue
            name, _ = self.orders[publish.topic.rsplit("/", 1)[1]]
            version = int(reply.text.split("version ")[1].split(",")[0])
            records = [self.saved(node, name) for node in self.cluster.names]
            having = [record for record in records if record and record.version >= version]
            assert len(having) >= majority(3), reply.text
        self.answered = len(heard)

    def teardown(self) -> None:
        """Once all is mended, all nodes show and keep the same."""
        self.cluster.heal()
        self.cluster.tick(15.0, step=1.0)
        for name in ("sum", "mean"):
            shown = [node.functions.records.get(name) for node in self.cluster.nodes.values()]
            kept = [self.saved(node, name) for node in self.cluster.names]
            assert shown == kept == [shown[0]] * 3


TestFunctions = Functions.TestCase
TestFunctions.settings = settings(
    settings.get_profile("ci"),
    max_examples=60,
    stateful_step_count=20,
    suppress_health_check=list(HealthCheck),
)
