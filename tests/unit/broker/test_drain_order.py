"""Goal: an order to drain or undrain reaches its agent, or its operator hears why; the newer wins.

Method: agents that take orders by the protocol's rule, when and where a test lets them listen.
"""

from dataclasses import dataclass, field, replace

import pytest

from broker.limits import ORDERS_MAX
from broker.wish import GONE_S, KEEP_S
from tests.unit.broker.cluster import Agent, Cluster
from workrs.wire import topics
from workrs.wire.message import Order, OrderKind, OrderReply

DRAIN, UNDRAIN = OrderKind.DRAIN, OrderKind.UNDRAIN
TOLD = OrderReply(ok=True, text="agent edge-1 was told to drain")
BACK = OrderReply(ok=True, text="agent edge-1 was told to undrain")


@dataclass
class Obeying(Agent):
    """An agent that reads what nodes have told it when a test says so."""

    ordered: int = 0
    taken: list[OrderKind] = field(default_factory=list)
    read: int = 0

    def listen(self) -> None:
        """Take what was said since the last time, then say so."""
        said, self.read = self.cluster.heard[self.read :], len(self.cluster.heard)
        for node, publish in said:
            order = publish.body
            mine = publish.topic == topics.node(node, "order", self.name)
            if mine and frozenset((node, self.at)) not in self.cluster.cut:
                assert isinstance(order, Order)
                self.take(order)
        self.tell()

    def take(self, order: Order) -> None:
        if order.number > self.ordered and order.incarnation == self.incarnation:
            self.ordered = order.number
            self.taken.append(order.order)
            self.profile = replace(self.profile, draining=order.order is DRAIN)

    def tell(self) -> None:
        self.beat(ordered=self.ordered)

    def miss(self) -> None:
        """Lose what was said so far, as with a connection."""
        self.read = len(self.cluster.heard)

    def restart(self) -> None:
        self.number += 1
        self.ordered = self.counter = 0
        self.profile = replace(self.profile, draining=False)
        self.miss()
        self.tell()


def agent(cluster: Cluster, *, at: str = "n1") -> Obeying:
    found = Obeying(cluster, at=at)
    found.tell()
    return found


def give(cluster: Cluster, name: str, kind: OrderKind, *, at: str = "n1") -> None:
    body = Order(order=kind, agent="edge-1")
    cluster.client(at, topics.up("ann", "order", name), body)


def replies(cluster: Cluster, name: str) -> list[OrderReply]:
    topic = topics.down("ann", name)
    return [p.body for _, p in cluster.heard if p.topic == topic]  # type: ignore[misc]


@pytest.mark.parametrize("home", ["n1", "n3"])
def test_it_is_answered_when_the_agent_shows_that_it_knows(home: str) -> None:
    cluster = Cluster(3)
    one = agent(cluster, at=home)
    give(cluster, "o1", DRAIN)
    assert replies(cluster, "o1") == []
    one.listen()
    assert one.taken == [DRAIN]
    assert replies(cluster, "o1") == [TOLD]
    give(cluster, "o1", DRAIN)
    assert replies(cluster, "o1") == [TOLD, TOLD], "its answer may have been lost"
    one.listen()
    assert one.taken == [DRAIN]
    give(cluster, "o2", DRAIN, at="n2")
    one.listen()
    again = OrderReply(ok=True, text="agent edge-1 is draining already")
    assert replies(cluster, "o2") == [again]


def test_one_that_the_agent_missed_is_said_with_its_next_heartbeat_wherever_it_went() -> None:
    cluster = Cluster(3)
    one = agent(cluster)
    give(cluster, "o1", DRAIN)
    one.miss()
    one.at = "n2"
    one.tell()
    one.listen()
    assert one.taken == [DRAIN]
    assert replies(cluster, "o1") == [TOLD]


def test_one_that_its_node_forgot_is_said_when_its_operator_repeats_it_elsewhere() -> None:
    cluster = Cluster(3)
    one = agent(cluster, at="n2")
    give(cluster, "o1", DRAIN)
    one.miss()
    cluster.stop("n1")
    one.listen()
    assert one.taken == []
    give(cluster, "o1", DRAIN, at="n3")
    one.listen()
    assert one.taken == [DRAIN]
    assert replies(cluster, "o1") == [TOLD]


def test_an_order_is_not_said_for_ever_after_its_operator_has_left() -> None:
    cluster = Cluster(3)
    one = agent(cluster)
    give(cluster, "o1", DRAIN)
    one.miss()
    for _ in range(int(KEEP_S) + 1):
        cluster.tick(1.0)
        one.tell()
    one.miss()
    one.tell()
    one.listen()
    assert one.taken == []


def test_the_newer_of_two_told_through_different_nodes_wins_however_late_the_older_comes() -> None:
    cluster = Cluster(3)
    one = agent(cluster, at="n2")
    cluster.part("n1", "n2")
    give(cluster, "o1", DRAIN, at="n1")
    give(cluster, "o2", UNDRAIN, at="n3")
    one.listen()
    assert one.taken == [UNDRAIN]
    assert replies(cluster, "o2") == [BACK]
    cluster.heal()
    one.tell()
    give(cluster, "o1", DRAIN, at="n1")
    one.listen()
    assert one.taken == [UNDRAIN]
    [lost] = replies(cluster, "o1")[:1]
    assert lost == OrderReply(ok=False, text="agent edge-1 was told otherwise by a later order")


def test_one_that_a_node_heard_before_it_voted_undoes_none_that_another_answered() -> None:
    cluster = Cluster(3)
    one = agent(cluster, at="n2")
    cluster.stop("n1")
    cluster.part("n1", "n2", "n3")
    cluster.start("n1")
    give(cluster, "o1", DRAIN, at="n1")
    give(cluster, "o2", UNDRAIN, at="n2")
    one.listen()
    assert replies(cluster, "o2") == [BACK]
    cluster.heal()
    for _ in range(10):
        cluster.tick(1.0)
        one.listen()
    assert cluster.nodes["n1"].admission.votes
    assert one.taken == [UNDRAIN]
    assert replies(cluster, "o1") == [], "its operator repeats it while it is wanted"
    give(cluster, "o1", DRAIN, at="n1")
    one.listen()
    assert replies(cluster, "o1") == [TOLD]


def test_one_given_by_a_node_that_heard_of_no_other_is_newer_than_what_the_agent_missed() -> None:
    cluster = Cluster(3)
    one = agent(cluster, at="n3")
    cluster.part("n1", "n2", "n3")
    one.at = "n1"
    give(cluster, "o1", DRAIN, at="n1")
    one.miss()
    one.at = "n3"
    give(cluster, "o2", UNDRAIN, at="n2")
    one.listen()
    assert replies(cluster, "o2") == [BACK]
    cluster.heal()
    one.tell()
    one.listen()
    assert not one.profile.draining


def test_drain_and_undrain_by_turns_are_all_taken() -> None:
    cluster = Cluster(3)
    one = agent(cluster)
    for number, kind in enumerate((UNDRAIN, DRAIN, DRAIN, UNDRAIN, UNDRAIN, DRAIN)):
        give(cluster, f"o{number}", kind, at=f"n{number % 3 + 1}")
        one.listen()
        assert one.taken[-1] is kind
        assert [reply.ok for reply in replies(cluster, f"o{number}")] == [True]


def test_an_agent_that_started_again_takes_jobs_and_heeds_nothing_of_before() -> None:
    cluster = Cluster(3)
    one = agent(cluster)
    give(cluster, "o1", DRAIN)
    old = next(p.body for _, p in cluster.heard if isinstance(p.body, Order))
    assert isinstance(old, Order)
    one.restart()
    one.take(old)
    one.listen()
    assert one.taken == []
    give(cluster, "o1", DRAIN)
    one.listen()
    assert one.taken == [DRAIN], "its operator still asks for it"


def test_an_agent_that_is_gone_for_a_moment_is_waited_for() -> None:
    cluster = Cluster(3)
    one = agent(cluster)
    one.will()
    give(cluster, "o1", DRAIN)
    assert replies(cluster, "o1") == []
    cluster.tick(GONE_S - 1.0)
    give(cluster, "o1", DRAIN)
    assert replies(cluster, "o1") == []
    cluster.tick(2.0)
    give(cluster, "o1", DRAIN)
    assert replies(cluster, "o1") == [OrderReply(ok=False, text="agent edge-1 is gone")]
    one.connection += 1
    one.miss()
    one.tell()
    one.listen()
    assert one.taken == [], "its operator was told that nothing came of it"


def test_undrain_tells_of_an_agent_that_drains_on_for_another_reason() -> None:
    cluster = Cluster(3)
    one = agent(cluster)
    give(cluster, "o1", DRAIN)
    one.listen()
    give(cluster, "o2", UNDRAIN)
    number = next(p.body.number for _, p in reversed(cluster.heard) if isinstance(p.body, Order))
    one.ordered = number
    one.tell()
    [reply] = replies(cluster, "o2")
    assert reply.ok
    assert "drains on: it stops, or its machine wants it to leave" in reply.text


def test_what_is_remembered_of_an_agent_is_bounded() -> None:
    cluster = Cluster(3)
    one = agent(cluster)
    for number in range(3 * ORDERS_MAX):
        give(cluster, f"o{number}", UNDRAIN if number % 2 else DRAIN)
    assert all(len(n.agents.entries["edge-1"].wishes) <= ORDERS_MAX for n in cluster.nodes.values())  # type: ignore[index]
    one.listen()
    assert one.taken[-1] is UNDRAIN
    assert len(one.taken) == 3 * ORDERS_MAX


def test_nobody_is_told_to_drain_who_is_not_there() -> None:
    cluster = Cluster(3)
    body = Order(order=DRAIN, agent="x" * 9999)
    cluster.client("n1", topics.up("ann", "order", "o1"), body)
    [reply] = replies(cluster, "o1")
    assert not reply.ok
    assert reply.text.startswith("there is no agent 'xxx")
    assert len(reply.text) < 200
