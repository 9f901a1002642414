"""Goal: what an operator says of a function holds on all nodes, and devices meet what holds.

Method: whole brains with ledgers and a bus that delivers at once; nodes are stopped, parted,
and lose their disks.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from broker import functions
from broker.event import BrokerEmptied
from broker.limits import ORDERS_WAITING_MAX
from tests.unit.broker.cluster import Agent, Cluster
from workrs.domain.function import Function, FunctionRecord, next_record
from workrs.domain.ids import ClientId
from workrs.domain.job import SPEC_MAX_BYTES
from workrs.wire import topics
from workrs.wire.message import JobState, Order, OrderKind, OrderReply

SUM = Function(image="base", command=("python3", "/job/in/main.py"), files={"main.py": "v1"})
OTHER = Function(image="base", command=("python3", "/job/in/main.py"), files={"main.py": "v2"})


@dataclass
class Operator:
    """Who orders, at some node, and what it was answered."""

    cluster: Cluster
    name: str = "ann"
    orders: int = field(default=0)

    def order(self, order: Order, at: str = "n1", *, order_id: str = "") -> str:
        """Give an order; return its id."""
        self.orders += 1
        order_id = order_id or f"o{self.orders}"
        self.cluster.client(at, topics.up(self.name, "order", order_id), order)
        return order_id

    def add(self, name: str, definition: Function = SUM, at: str = "n1") -> str:
        return self.order(Order(order=OrderKind.ADD, function=name, definition=definition), at)

    def remove(self, name: str, at: str = "n1") -> str:
        return self.order(Order(order=OrderKind.REMOVE, function=name), at)

    def replies(self, order_id: str) -> list[OrderReply]:
        topic = topics.down(self.name, order_id)
        return [p.body for _, p in self.cluster.heard if p.topic == topic]  # type: ignore[misc]

    def reply(self, order_id: str) -> OrderReply:
        (only,) = self.replies(order_id)
        return only


def known(cluster: Cluster, name: str) -> list[FunctionRecord | None]:
    return [node.functions.records.get(name) for node in cluster.nodes.values()]


def on_disk(cluster: Cluster, name: str) -> list[FunctionRecord | None]:
    found = [disk.functions.get(name) for disk in cluster.disks.values()]
    return [saved and saved.record for saved in found]


def run(cluster: Cluster, name: str, job: str, *, at: str = "n1", device: str = "pump-7") -> str:
    """Call a function; return the last word that the device heard."""
    cluster.client(at, topics.up(device, "run", name, job), b"in")
    return cluster.down_states(device, job, "state", at=at)[-1]


def test_an_added_function_is_on_every_disk_when_the_operator_is_told() -> None:
    cluster = Cluster(3)
    operator = Operator(cluster)
    reply = operator.reply(operator.add("sum"))
    assert reply.ok
    assert reply.text == "function sum is version 1, on 2 of 3 nodes"
    record = next_record("sum", SUM, None)
    assert known(cluster, "sum") == on_disk(cluster, "sum") == [record] * 3
    for at in cluster.names:
        assert run(cluster, "sum", f"j-{at}", at=at) == "queued"


def test_nothing_is_said_before_a_majority_has_it() -> None:
    cluster = Cluster(3)
    operator = Operator(cluster)
    cluster.part("n1", "n2", "n3")
    asked = operator.add("sum")
    assert operator.replies(asked) == [], "n1 does not know yet that it is alone"
    assert known(cluster, "sum")[1:] == [None, None]
    cluster.tick(5.0)
    refused = operator.reply(operator.add("product"))
    assert not refused.ok
    assert refused.text == "n1 reaches 1 of 3 nodes; nothing was changed"
    assert known(cluster, "product") == [None] * 3
    cluster.heal()
    assert operator.reply(asked).ok
    assert on_disk(cluster, "sum") == [next_record("sum", SUM, None)] * 3


def test_an_order_is_answered_each_time_and_carried_out_once() -> None:
    cluster = Cluster(3)
    operator = Operator(cluster)
    order = Order(order=OrderKind.ADD, function="sum", definition=SUM)
    for at in ("n1", "n1", "n2"):
        operator.order(order, at, order_id="same")
    assert [reply.ok for reply in operator.replies("same")] == [True] * 3
    assert {record and record.version for record in known(cluster, "sum")} == {1}
    history = [fact for _, fact in cluster.facts if fact.event == "function_added"]
    assert [fact.fields["by"] for fact in history] == ["ann", "n1", "n1"]


def test_a_changed_definition_is_a_new_version_and_running_jobs_keep_theirs() -> None:
    cluster = Cluster(3)
    operator, agent = Operator(cluster), Agent(cluster)
    operator.add("sum")
    assert run(cluster, "sum", "old") == "queued"
    assert "version 2" in operator.reply(operator.add("sum", OTHER, at="n2")).text
    assert run(cluster, "sum", "new") == "queued"
    agent.beat()
    files = {offer.job: offer.stored.spec.files for offer in cluster.offers()}
    assert files == {"pump-7_old": {"main.py": "v1"}, "pump-7_new": {"main.py": "v2"}}
    assert run(cluster, "sum", "old") == "queued", "asked again, it is the same job"


def test_a_removed_function_is_unknown_everywhere_and_its_jobs_go_on() -> None:
    cluster = Cluster(3)
    operator, agent = Operator(cluster), Agent(cluster)
    operator.add("sum")
    run(cluster, "sum", "j1")
    reply = operator.reply(operator.remove("sum", at="n3"))
    assert (reply.ok, reply.text) == (True, "function sum is removed: version 2, on 2 of 3 nodes")
    for at in cluster.names:
        assert run(cluster, "sum", f"j-{at}", at=at).startswith("rejected function 'sum' is not")
    agent.claim("pump-7_j1", 1)
    agent.outcome("pump-7_j1", 1)
    assert run(cluster, "sum", "j1") == "succeeded"
    assert operator.reply(operator.remove("sum")).ok, "a repeated order is answered like the first"
    assert operator.reply(operator.remove("none")).text.startswith("there is no function none")
    assert operator.reply(operator.add("sum")).text.startswith("function sum is version 3")


def test_a_node_that_was_away_learns_what_changed() -> None:
    cluster = Cluster(3)
    operator = Operator(cluster)
    operator.add("sum")
    operator.add("gone")
    cluster.stop("n3")
    cluster.tick(5.0)
    assert operator.reply(operator.add("sum", OTHER)).ok
    operator.remove("gone")
    cluster.start("n3")
    cluster.tick(10.0)
    assert on_disk(cluster, "sum")[2] == on_disk(cluster, "sum")[0]
    assert on_disk(cluster, "gone")[2] == on_disk(cluster, "gone")[0]
    assert run(cluster, "sum", "j1", at="n3") == "queued"
    assert run(cluster, "gone", "j2", at="n3").startswith("rejected")


def test_a_restarted_cluster_knows_its_functions_from_its_disks() -> None:
    cluster = Cluster(3)
    Operator(cluster).add("sum")
    cluster.stop(*cluster.names)
    cluster.start(*cluster.names)
    cluster.tick(10.0)
    assert run(cluster, "sum", "j1") == "queued"
    shown = cluster.retained["n2"][topics.node("n1", "function", "sum")].body
    assert shown == next_record("sum", SUM, None)


def test_an_order_that_a_node_heard_before_it_voted_undoes_none_that_another_answered() -> None:
    cluster = Cluster(3)
    operator = Operator(cluster)
    cluster.stop("n1")
    cluster.part("n1", "n2", "n3")
    cluster.start("n1")
    early = operator.add("sum")
    assert operator.reply(operator.add("sum", OTHER, at="n2")).ok
    cluster.heal()
    cluster.tick(10.0)
    assert cluster.nodes["n1"].admission.votes
    assert operator.replies(early) == [], "its operator repeats it while it is wanted"
    assert cluster.nodes["n1"].functions.records["sum"].definition == OTHER


def test_what_is_not_on_disk_is_not_shown_to_a_broker_that_comes_back_empty() -> None:
    cluster = Cluster(3)
    cluster.stop(*cluster.names)
    cluster.start("n1")
    functions.file(cluster.nodes["n1"], {"sum": SUM})
    cluster.feed("n1", BrokerEmptied())
    topic = topics.node("n1", "function", "sum")
    assert topic not in cluster.retained["n1"]
    cluster.start("n2", "n3")
    cluster.tick(10.0)
    assert topic in cluster.retained["n1"]


def test_a_node_that_lost_its_disk_learns_them_before_it_votes() -> None:
    cluster = Cluster(3)
    operator = Operator(cluster)
    operator.add("sum")
    cluster.lose_disk("n2")
    cluster.start("n2")
    cluster.tick(2.0)
    assert cluster.disks["n2"].functions == {}, "nothing is written before it is re-admitted"
    assert not cluster.nodes["n1"].functions.shown["sum"].get(ClientId("n2"))
    cluster.tick(30.0)
    assert cluster.nodes["n2"].admission.votes
    assert on_disk(cluster, "sum") == [next_record("sum", SUM, None)] * 3


def test_of_two_orders_at_once_one_holds_on_all_nodes_and_the_other_is_told() -> None:
    cluster = Cluster(3)
    ann, bob = Operator(cluster), Operator(cluster, "bob")
    cluster.part("n1", "n2", "n3")
    asked = ann.add("sum", SUM, at="n1"), bob.add("sum", OTHER, at="n2")
    cluster.heal()
    cluster.tick(2.0)
    winner = max((next_record("sum", each, None) for each in (SUM, OTHER)), key=lambda r: r.stamp)
    assert known(cluster, "sum") == on_disk(cluster, "sum") == [winner] * 3
    replies = [*ann.replies(asked[0]), *bob.replies(asked[1])]
    lost = [reply for reply in replies if not reply.ok]
    assert all("came at the same time and counts, as version 1" in reply.text for reply in lost)
    assert len(replies) == 2
    assert len(lost) <= 1 + (winner.definition == SUM)


def test_a_lost_message_is_said_again() -> None:
    cluster = Cluster(3)
    operator = Operator(cluster)
    operator.add("sum")
    node = cluster.nodes["n2"]
    node.functions.records.clear()
    node.functions.definitions.clear()
    cluster.nodes["n1"].functions.shown["sum"].pop(ClientId("n2"))
    cluster.nodes["n1"].functions.unsettled["sum"] = None
    cluster.tick(functions.REPEAT_BEATS + 1)
    assert "sum" in node.functions.records
    said = len([p for _, p in cluster.heard if p.topic == topics.node("n1", "function", "sum")])
    cluster.tick(3 * functions.REPEAT_BEATS)
    again = len([p for _, p in cluster.heard if p.topic == topics.node("n1", "function", "sum")])
    assert said == again, "once all show it, it is not said any more"


def test_a_caller_that_is_not_named_is_refused_with_a_clear_word() -> None:
    cluster = Cluster(1)
    definition = Function(image="base", command=("true",), callers=("press-*",), tenants=("acme",))
    Operator(cluster).add("sum", definition)
    assert run(cluster, "sum", "j1", device="press-7") == "queued"
    assert run(cluster, "sum", "j1", device="acme.pump") == "queued"
    word = run(cluster, "sum", "j1")
    assert word.startswith("rejected function 'sum' may not be called by pump-7: an operator has")
    cluster.submit("n1", "j2", image=None, command=[], function="sum")
    answer = cluster.heard[-1][1].body
    assert isinstance(answer, JobState)
    assert "may not be called by pump-7" in str(answer.reason), "nor through submit"


BAD = {
    "no name": (Order(order=OrderKind.ADD, definition=SUM), "name '' is not allowed"),
    "a bad name": (
        Order(order=OrderKind.ADD, function="Sum/1", definition=SUM),
        "name 'Sum/1' is not allowed",
    ),
    "no definition": (Order(order=OrderKind.ADD, function="sum"), "carries its definition"),
    "too large": (
        Order(
            order=OrderKind.ADD,
            function="sum",
            definition=Function(image="base", command=("true",), files={"a": "x" * SPEC_MAX_BYTES}),
        ),
        f"at most {SPEC_MAX_BYTES} are taken: put them into the image",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_order_is_refused_with_what_to_do(what: str) -> None:
    cluster = Cluster(3)
    operator = Operator(cluster)
    order, reason = BAD[what]
    reply = operator.reply(operator.order(order))
    assert not reply.ok
    assert reason in reply.text
    assert all(not disk.functions for disk in cluster.disks.values())


def test_functions_beyond_the_limits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(1)
    limit = len(cluster.functions) + 2
    monkeypatch.setattr(functions, "FUNCTIONS_MAX", limit)
    operator = Operator(cluster)
    operator.add("a")
    operator.add("b")
    operator.remove("b")
    assert operator.reply(operator.add("c")).ok, "a removed one takes no room"
    assert operator.reply(operator.add("b")).text.startswith(f"n1 has {limit} functions")
    assert operator.reply(operator.add("a", OTHER)).ok, "one that is there may change"
    operator.remove("c")
    monkeypatch.setattr(functions, "FUNCTION_NAMES_MAX", 3)
    refused = operator.reply(operator.add("d"))
    assert refused.text.startswith("n1 knows 3 names of functions, removed ones counted")
    assert operator.reply(operator.add("b")).ok, "a name that is known may be defined anew"
    monkeypatch.setattr(functions, "FUNCTIONS_MAX_BYTES", 300)
    large = Function(image="base", command=("true",), files={"a": "x" * 300})
    assert "put programs into images" in operator.reply(operator.add("b", large)).text
    assert operator.reply(operator.add("b", OTHER)).ok


def test_orders_that_wait_are_bounded_and_answered_when_they_come_again() -> None:
    cluster = Cluster(3)
    operator = Operator(cluster)
    cluster.part("n1", "n2", "n3")
    first = operator.add("sum")
    for _ in range(ORDERS_WAITING_MAX):
        operator.add("sum")
    assert len(cluster.nodes["n1"].functions.waiting) == ORDERS_WAITING_MAX
    cluster.heal()
    assert operator.replies(first) == []
    operator.order(Order(order=OrderKind.ADD, function="sum", definition=SUM), order_id=first)
    assert operator.reply(first).ok


def test_what_stands_under_no_nodes_name_is_not_heard() -> None:
    cluster = Cluster(3)
    record = next_record("sum", SUM, None)
    cluster.client("n1", topics.node("stranger", "function", "sum"), record, relays=False)
    assert known(cluster, "sum") == [None] * 3
    assert cluster.nodes["n1"].dropped == 1


# The functions file of a node.


def start_with(cluster: Cluster, file: dict[str, Function]) -> None:
    """Start all nodes again, with this in their functions files."""
    cluster.stop(*cluster.names)
    cluster.start(*cluster.names)
    for node in cluster.nodes.values():
        functions.file(node, file)
    cluster.tick(10.0)


def test_a_functions_file_adds_what_is_new_or_changed_in_it() -> None:
    cluster = Cluster(3)
    start_with(cluster, {"sum": SUM})
    assert on_disk(cluster, "sum") == [next_record("sum", SUM, None)] * 3
    start_with(cluster, {"sum": OTHER})
    assert {record and record.version for record in on_disk(cluster, "sum")} == {2}
    start_with(cluster, {})
    assert run(cluster, "sum", "j1") == "queued", "leaving it out of the file removes nothing"


def test_what_an_operator_changed_stays_as_long_as_the_file_does() -> None:
    cluster = Cluster(3)
    operator = Operator(cluster)
    start_with(cluster, {"sum": SUM, "gone": SUM})
    operator.add("sum", OTHER)
    operator.remove("gone")
    start_with(cluster, {"sum": SUM, "gone": SUM})
    assert {record and record.definition for record in on_disk(cluster, "sum")} == {OTHER}
    assert run(cluster, "gone", "j1").startswith("rejected")
    differs = {fact.fields["function"] for _, fact in cluster.facts if "differs" in fact.event}
    assert differs == {"sum", "gone"}


def test_files_that_differ_come_to_one_definition() -> None:
    cluster = Cluster(3)
    cluster.stop(*cluster.names)
    cluster.start(*cluster.names)
    for node, definition in zip(cluster.nodes.values(), (SUM, OTHER, SUM), strict=True):
        functions.file(node, {"sum": definition})
    cluster.tick(10.0)
    assert len({record and record.digest for record in on_disk(cluster, "sum")}) == 1


# The operator's list of images.


def test_images_that_are_not_on_the_list_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(1)
    operator, node = Operator(cluster), cluster.nodes["n1"]
    operator.add("old")
    listed = replace(node.settings, allowed_images=("lab/*", "*@sha256:*"))
    monkeypatch.setattr(node, "settings", listed)
    reason = "image 'base' is not allowed here. Allowed: lab/*, *@sha256:*; an operator adds to it"
    refused = operator.reply(operator.add("sum"))
    assert not refused.ok
    assert reason in refused.text
    assert "sum" not in node.functions.records
    assert reason in run(cluster, "old", "j1"), "nor is a function called that was there before"
    cluster.submit("n1", "j2")
    assert cluster.down_states("pump-7", "j2") == ["rejected"]
    for number, image in enumerate(("lab/python:1", "busybox@sha256:" + 64 * "0")):
        cluster.submit("n1", f"ok-{number}", image=image)
        assert cluster.down_states("pump-7", f"ok-{number}")[-1] == "queued"
        assert operator.reply(operator.add("new", replace(SUM, image=image))).ok
