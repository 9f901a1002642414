"""Goal: who asks a node that does not vote yet is told that it waits; what peers take back is gone.

Method: a node restarted alone, or among peers that were heard long ago, and what it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker import limits
from broker.admission import LISTEN_S
from broker.inbox import Dropped, parse
from broker.node import PEER_SILENT_S
from tests.unit.broker.cluster import Agent, Cluster
from workrs.domain.ids import ClientId
from workrs.ports.bus import Message
from workrs.wire import codec, topics
from workrs.wire.message import Order, OrderKind, OrderReply

if TYPE_CHECKING:
    from broker.effect import Publish

ALONE_S = PEER_SILENT_S + 2.0
KEPT = "waiting n1 reaches 1 of 3 nodes: the job is kept here and not yet accepted"


def alone() -> Cluster:
    """Return a cluster whose n1 has just restarted, with nobody else there."""
    cluster = Cluster(3)
    cluster.stop("n1", "n2", "n3")
    cluster.start("n1")
    return cluster


def answers(cluster: Cluster, client: str) -> list[Publish]:
    return [p for n, p in cluster.heard if n == "n1" and f"/down/{client}/" in p.topic]


def replies(cluster: Cluster) -> list[OrderReply]:
    return [p.body for p in answers(cluster, "ops") if isinstance(p.body, OrderReply)]


def run(cluster: Cluster, job: str = "j1") -> None:
    cluster.client("n1", topics.up("pump-7", "run", "echo", job), b"x")


def test_a_plain_device_reads_that_it_waits_and_later_that_it_is_accepted() -> None:
    cluster = alone()
    cluster.tick(ALONE_S)
    run(cluster)
    cluster.tick(60)
    assert cluster.down_states("pump-7", "j1", "state") == [KEPT], "once"
    assert not any(publish.retain for publish in answers(cluster, "pump-7"))
    run(cluster)
    cluster.tick(2)
    assert cluster.down_states("pump-7", "j1", "state") == [KEPT] * 2, "again to who asks again"
    cluster.start("n2", "n3")
    words = cluster.down_states("pump-7", "j1", "state", at="n1")
    assert words[2:] == ["accepted", "queued"]


def test_before_it_is_known_that_nobody_is_there_a_submit_is_told_within_two_beats() -> None:
    cluster = alone()
    cluster.submit("n1")
    cluster.tick(0.9)
    assert cluster.down_states("pump-7", "j1") == []
    cluster.tick(1.1)
    (publish,) = answers(cluster, "pump-7")
    assert cluster.down_states("pump-7", "j1") == ["waiting"]
    assert "n1 has not heard yet that a majority" in str(getattr(publish.body, "note", ""))


def test_many_are_told_a_few_each_beat() -> None:
    cluster = alone()
    cluster.tick(ALONE_S)
    for number in range(250):
        run(cluster, f"j{number}")
    counts: list[int] = []
    while sum(counts) < 250:
        before = len(answers(cluster, "pump-7"))
        cluster.tick(1.0, step=1.0)
        counts.append(len(answers(cluster, "pump-7")) - before)
        assert len(counts) < 9
    assert max(counts) == limits.NOTICES_PER_BEAT


def test_a_cancel_is_told_that_it_is_kept_unless_the_job_has_ended() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1", "ended")
    agent = Agent(cluster)
    agent.claim(job, 1)
    agent.outcome(job, 1)
    run(cluster, "plain")
    cluster.stop("n1", "n2", "n3")
    cluster.start("n1")
    before = len(cluster.heard)
    for name in ("ended", "plain", "unknown"):
        cluster.client("n1", topics.up("pump-7", "cancel", name), b"")
    cluster.tick(ALONE_S)
    told = {p.topic: p.body for _, p in cluster.heard[before:] if "/down/" in p.topic}
    assert set(told) == {
        topics.down("pump-7", "plain", "state"),
        topics.down("pump-7", "unknown"),
    }
    word = told[topics.down("pump-7", "plain", "state")]
    assert isinstance(word, bytes)
    assert word.startswith(b"waiting it is to be cancelled; n1 ")


def test_an_operator_is_told_that_the_order_is_kept_once_no_majority_is_heard() -> None:
    cluster = alone()
    order = Order(order=OrderKind.CANCEL, job="pump-7/j1")
    cluster.client("n1", topics.up("ops", "order", "o1"), order)
    cluster.tick(PEER_SILENT_S - 0.5)
    assert replies(cluster) == [], "it may vote in a moment, and answer for good"
    cluster.tick(10)
    (reply,) = replies(cluster)
    assert not reply.ok
    assert "kept until this node votes" in reply.text
    assert "n1 reaches 1 of 3 nodes" in reply.text
    cluster.start("n2", "n3")
    assert "there is no job" in replies(cluster)[-1].text


def test_an_operator_is_told_that_an_order_that_is_not_kept_changed_nothing() -> None:
    cluster = alone()
    for kind in OrderKind:
        order = Order(order=kind, agent="edge-1", function="sum")
        cluster.client("n1", topics.up("ops", "order", f"early-{kind.value}"), order)
    assert replies(cluster) == [], "it may vote in a moment"
    assert cluster.nodes["n1"].admission.held_back_requests == 1, "the wish to cancel"
    cluster.tick(ALONE_S)
    before = len(replies(cluster))
    for kind in set(OrderKind) - {OrderKind.CANCEL}:
        order = Order(order=kind, agent="edge-1", function="sum")
        cluster.client("n1", topics.up("ops", "order", f"late-{kind.value}"), order)
    told = replies(cluster)[before:]
    assert len(told) == len(OrderKind) - 1
    text = "n1 reaches 1 of 3 nodes: nothing was changed; give the order again later"
    assert {(reply.ok, reply.text) for reply in told} == {(False, text)}


def test_an_operator_is_not_kept_from_the_answer_by_a_restart_among_peers() -> None:
    cluster = Cluster(3)
    cluster.submit("n1")
    cluster.stop("n1", "n3")
    cluster.start("n1")
    order = Order(order=OrderKind.CANCEL, job="pump-7/j1")
    cluster.client("n1", topics.up("ops", "order", "o1"), order)
    cluster.tick(LISTEN_S + 1)
    assert [reply.ok for reply in replies(cluster)] == [True]


def test_what_a_peer_takes_back_is_kept_no_more() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n2")
    other = cluster.submit("n2", "j2")
    shown = dict(cluster.retained["n2"])
    cluster.stop("n1", "n2", "n3")
    cluster.start("n1")
    held_back = cluster.nodes["n1"].admission.held_back
    emptied = {topics.record("n2", job), topics.node("n2", "spec", job)}
    kept = {topics.record("n2", other), topics.node("n2", "spec", other)}
    for topic in sorted(emptied | kept):
        hear(cluster, topic, encoded(shown[topic]))
    assert len(held_back) == 4
    for topic in sorted(emptied):
        hear(cluster, topic, b"")
        hear(cluster, topic.replace("/n2/", "/n3/"), b"")
    assert set(held_back) == {("job", "n2", other), ("spec", "n2", other)}


def test_a_node_that_votes_forgets_no_vote_because_a_peer_shows_it_no_more() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n2")
    before = dict(cluster.nodes["n1"].entries[job].records)
    hear(cluster, topics.record("n2", job), b"")
    assert cluster.nodes["n1"].entries[job].records == before


def encoded(publish: Publish) -> bytes:
    body = publish.body
    return body if isinstance(body, bytes) else codec.encode(body)


def hear(cluster: Cluster, topic: str, payload: bytes) -> None:
    event = parse(ClientId("n1"), Message(topic, payload))
    assert event is not None
    assert not isinstance(event, Dropped)
    cluster.feed("n1", event)
