"""Goal: nodes come to one definition of a function, whatever happens between orders.

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
NAME = "sum"
CHANGES = st.none() | st.sampled_from(
    [Function(image="base", command=("run", str(number))) for number in range(2)]
)


class Functions(RuleBasedStateMachine):
    """Three nodes, operators everywhere."""

    def __init__(self) -> None:
        """Begin with nodes that know no function."""
        super().__init__()
        self.cluster = Cluster(3)
        self.orders = 0
        self.newest: dict[str, Stamp] = {}
        self.answered = 0

    @rule(at=NODES, definition=CHANGES)
    def order(self, at: str, definition: Function | None) -> None:
        """An operator adds or removes the function."""
        kind = OrderKind.REMOVE if definition is None else OrderKind.ADD
        order = Order(order=kind, function=NAME, definition=definition)
        order_id = f"o{self.orders}"
        self.orders += 1
        self.cluster.client(at, topics.up("ann", "order", order_id), order)

    @rule(one=NODES, other=NODES, first=CHANGES, second=CHANGES)
    def rival(self, one: str, other: str, first: Function | None, second: Function | None) -> None:
        """A node is cut off, and orders come to it and to another before it knows."""
        self.isolate(one)
        self.order(one, first)
        self.order(other, second)

    @rule(one=NODES, other=NODES)
    def part(self, one: str, other: str) -> None:
        """The bridges between two nodes break."""
        if one != other:
            self.cluster.part(one, other)

    @rule(name=NODES)
    def isolate(self, name: str) -> None:
        """A node is cut off, and does not know it yet."""
        self.cluster.part(name, *(peer for peer in self.cluster.names if peer != name))

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

    def saved(self) -> dict[str, FunctionRecord]:
        """Return what each node has on disk of the function, if it has anything."""
        disks = self.cluster.disks.items()
        return {node: disk.functions[NAME].record for node, disk in disks if disk.functions}

    @invariant()
    def nothing_goes_back_on_a_disk(self) -> None:
        """What counts on a disk only rises."""
        for node, record in self.saved().items():
            assert record.stamp >= self.newest.get(node, record.stamp)
            self.newest[node] = record.stamp

    @invariant()
    def what_was_told_to_be_done_is_on_a_majority(self) -> None:
        """Told *ok*: the version that was ordered, or a later one, is on a majority of disks."""
        heard = self.cluster.heard
        for _, publish in heard[self.answered :]:
            reply = publish.body
            if isinstance(reply, OrderReply) and reply.ok:
                version = int(reply.text.split("version ")[1].split(",")[0])
                having = [each for each in self.saved().values() if each.version >= version]
                assert len(having) >= majority(3), reply.text
        self.answered = len(heard)

    def teardown(self) -> None:
        """Once all is mended, all nodes show and keep the same."""
        self.cluster.heal()
        self.cluster.tick(15.0, step=1.0)
        shown = [node.functions.records.get(NAME) for node in self.cluster.nodes.values()]
        kept = [self.saved().get(node) for node in self.cluster.names]
        assert shown == kept == [shown[0]] * 3


TestFunctions = Functions.TestCase
TestFunctions.settings = settings(
    settings.get_profile("ci"),
    max_examples=60,
    stateful_step_count=20,
    suppress_health_check=list(HealthCheck),
)
