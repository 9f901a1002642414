"""Goal: a job's log is shown on order, from its holder, by the holder's own node, and bounded.

Method: whole brains of three nodes; a cluster's bridges carry what each says.
"""

from broker.inbox import Dropped, parse
from tests.unit.broker.cluster import Agent, Cluster
from workrs.domain.ids import ClientId, JobId
from workrs.ports.bus import Message
from workrs.wire import topics
from workrs.wire.message import LOG_MAX_BYTES, Order, OrderKind, OrderReply


def ask(cluster: Cluster, job: str, at: str = "n1") -> OrderReply:
    body = Order(order=OrderKind.LOG, job=job)
    cluster.client(at, topics.up("ops", "order", "o1"), body)
    replies = [p.body for _, p in cluster.heard if p.topic == topics.down("ops", "o1")]
    assert isinstance(replies[-1], OrderReply)
    return replies[-1]


def with_holder(*, at: str) -> tuple[Cluster, JobId, Agent]:
    cluster = Cluster(3)
    agent = Agent(cluster, at=at)
    agent.beat()
    job = cluster.submit("n1")
    agent.claim(job, 1)
    return cluster, job, agent


def orders(cluster: Cluster) -> list[tuple[str, str, object]]:
    return [(name, p.topic, p.body) for name, p in cluster.heard if "/order/" in p.topic]


def logs(cluster: Cluster) -> list[tuple[str, str, object]]:
    return [(name, p.topic, p.body) for name, p in cluster.heard if "/log/" in p.topic]


def test_the_node_that_was_asked_passes_the_order_to_the_holder() -> None:
    cluster, job, _ = with_holder(at="n3")
    reply = ask(cluster, "pump-7/j1")
    text = "agent edge-1 was told to show the log of pump-7/j1"
    assert reply == OrderReply(ok=True, text=text)
    wish = Order(order=OrderKind.LOG, job=job)
    assert orders(cluster) == [("n1", topics.node("n1", "order", "edge-1"), wish)]
    assert ask(cluster, job).ok, "the bus id names it as well"


def test_an_order_for_what_does_not_run_is_answered_with_the_reason() -> None:
    cluster = Cluster(3)
    cluster.submit("n1")
    assert ask(cluster, "pump-7/nope").text == "there is no job pump-7/nope"
    assert not ask(cluster, "pump-7/../x").ok
    assert ask(cluster, "pump-7/j1") == OrderReply(ok=False, text="pump-7/j1 is not running now")
    agent = Agent(cluster)
    agent.beat()
    agent.claim("pump-7_j1", 1)
    assert ask(cluster, "pump-7/j1").ok
    agent.will()
    assert ask(cluster, "pump-7/j1").text == "pump-7/j1 is not running now"
    agent.beat(("pump-7_j1", 1), connection=2)
    agent.outcome("pump-7_j1", 1)
    assert ask(cluster, "pump-7/j1").text == "pump-7/j1 has ended already: succeeded"
    assert len(orders(cluster)) == 1


def test_the_holders_own_node_alone_shows_the_log_to_all() -> None:
    cluster, job, agent = with_holder(at="n2")
    cluster.client(agent.at, topics.up("edge-1", "log", job), b"one\ntwo\n")
    assert logs(cluster) == [("n2", topics.node("n2", "log", job), b"one\ntwo\n")]
    (shown,) = (p for _, p in cluster.heard if "/log/" in p.topic)
    assert (shown.qos, shown.retain) == (0, False)


def test_of_a_long_log_the_end_is_shown() -> None:
    cluster, job, _ = with_holder(at="n1")
    exact = bytes(range(256)) * (LOG_MAX_BYTES // 256)
    for tail in (exact, b"x" + exact):
        cluster.client("n1", topics.up("edge-1", "log", job), tail)
    assert [body for _, _, body in logs(cluster)] == [exact, exact]


def test_logs_of_others_and_of_ended_jobs_are_dropped_and_counted() -> None:
    cluster, job, agent = with_holder(at="n1")
    node = cluster.nodes[ClientId("n1")]
    cluster.client("n1", topics.up("edge-2", "log", job), b"not mine")
    cluster.client("n1", topics.up("edge-1", "log", "pump-7_nope"), b"of no job")
    assert node.dropped == 2
    agent.outcome(job, 1)
    cluster.client("n1", topics.up("edge-1", "log", job), b"too late")
    assert node.dropped == 3
    assert logs(cluster) == []


def test_a_relayed_log_is_dropped() -> None:
    message = Message(f"{topics.ROOT}/relay/n2/edge-1/log/pump-7_j1", b"x")
    assert isinstance(parse(ClientId("n1"), message), Dropped)
