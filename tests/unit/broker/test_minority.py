"""Goal: who asks a node that hears no majority is told so, and told the truth.

Method: links cut and mended in a cluster in memory; what devices and operators read.
"""

from __future__ import annotations

from broker import limits, teller
from broker.event import BrokerEmptied, PeerStateSeen
from broker.node import PEER_SILENT_S
from tests.unit.broker.cluster import Agent, Cluster
from workrs.domain.ids import ClientId, JobId
from workrs.wire import topics
from workrs.wire.message import JobState, NodeState, Order, OrderKind, OrderReply

LOST_S = PEER_SILENT_S + 3.0


def cut_off(size: int = 3) -> Cluster:
    """Return a cluster whose n1 hears nobody, and knows it."""
    cluster = Cluster(size)
    part(cluster)
    return cluster


def part(cluster: Cluster) -> None:
    cluster.part("n1", *cluster.names[1:])
    cluster.tick(LOST_S)


def shown(cluster: Cluster) -> list[tuple[bool, int]]:
    """Return what n1's state said of its reach, in order, repetitions left out."""
    found: list[tuple[bool, int]] = []
    for name, publish in cluster.heard:
        body = publish.body
        if name == "n1" and isinstance(body, NodeState):
            reach = (body.quorum, body.nodes_heard)
            if not found or found[-1] != reach:
                found.append(reach)
    return found


def told(cluster: Cluster, job: str) -> list[JobState]:
    """Return what n1 told the device about a job."""
    topic = topics.down("pump-7", job)
    bodies = [p.body for name, p in cluster.heard if p.topic == topic and name == "n1"]
    return [body for body in bodies if isinstance(body, JobState)]


def order(cluster: Cluster, body: Order) -> OrderReply:
    cluster.client("n1", topics.up("op", "order", "o1"), body)
    return next(p.body for _, p in reversed(cluster.heard) if isinstance(p.body, OrderReply))


def test_a_node_says_at_once_that_it_lost_the_majority_and_that_it_is_back() -> None:
    cluster = Cluster(3)
    cluster.tick(5)
    cluster.part("n1", "n2")
    cluster.tick(LOST_S)
    assert shown(cluster)[-1] == (True, 2)
    gone = NodeState(boot=1, nonce="x", nodes=cluster.names, live=False)
    beat = cluster.nodes["n1"].beat
    effects = cluster.handle("n1", [PeerStateSeen(ClientId("n3"), gone)])
    assert shown(cluster)[-1] == (False, 1)
    assert cluster.nodes["n1"].beat == beat, "without waiting for the next beat"
    assert "majority_lost" in [fact.event for fact in effects.facts]
    cluster.heal()
    cluster.tick(3)
    assert shown(cluster)[-1] == (True, 3)


def test_a_cluster_of_one_has_its_majority() -> None:
    cluster = Cluster(1)
    cluster.tick(10)
    assert set(shown(cluster)) == {(True, 1)}
    cluster.submit("n1")
    assert cluster.down_states("pump-7", "j1") == ["accepted", "queued"]


def test_a_submit_without_a_majority_is_told_to_wait_at_once_and_accepted_later() -> None:
    cluster = cut_off()
    cluster.submit("n1")
    [state] = told(cluster, "j1")
    assert state.state == "waiting"
    assert state.note == ("n1 reaches 1 of 3 nodes: the job is kept here and not yet accepted")
    cluster.submit("n1")
    assert len(told(cluster, "j1")) == 2, "who asks again is answered again"
    cluster.heal()
    states = cluster.down_states("pump-7", "j1")
    assert states[2] == "accepted"
    cluster.tick(2)
    last = told(cluster, "j1")[-1]
    assert (last.state, last.note, last.quorum) == ("queued", None, None)


def test_a_majority_that_is_silent_but_not_yet_known_to_be_is_told_within_two_beats() -> None:
    cluster = Cluster(3)
    cluster.tick(5)
    cluster.part("n1", "n2", "n3")
    cluster.submit("n1")
    assert told(cluster, "j1") == []
    cluster.tick(teller.WAITING_S + 1.0)
    [state] = told(cluster, "j1")
    assert state.state == "waiting"
    assert "n1 has not heard yet that a majority" in str(state.note)


def test_an_accepted_job_is_never_told_to_wait() -> None:
    cluster = Cluster(3)
    cluster.submit("n1")
    cluster.tick(10)
    assert cluster.down_states("pump-7", "j1") == ["accepted", "queued"]


def test_a_plain_device_reads_why_it_waits() -> None:
    cluster = cut_off()
    cluster.client("n1", topics.up("pump-7", "run", "echo", "j1"), b"x")
    assert cluster.down_states("pump-7", "j1", "state") == [
        "waiting n1 reaches 1 of 3 nodes: the job is kept here and not yet accepted"
    ]


def test_of_many_open_jobs_a_device_is_told_in_one() -> None:
    cluster = Cluster(3)
    for number in range(50):
        cluster.submit("n1", f"j{number}")
    cluster.submit("n2", "other", device="pump-8")
    before = len(cluster.heard)
    part(cluster)
    down = [p for _, p in cluster.heard[before:] if "/down/" in p.topic]
    assert [p.topic.split("/")[3:] for p in down] == [["pump-7", "j49"]]
    body = down[0].body
    assert isinstance(body, JobState)
    assert (body.state, body.quorum) == ("queued", False)
    assert (
        body.note == "n1 reaches 1 of 3 nodes: until it reaches a majority nothing is decided here"
    )
    before = len(cluster.heard)
    cluster.heal()
    cluster.tick(2)
    down = [p for _, p in cluster.heard[before:] if "/down/" in p.topic]
    assert [p.topic.split("/")[3:] for p in down] == [["pump-7", "j49"]]


def test_many_devices_are_told_a_few_each_beat() -> None:
    cluster = Cluster(3)
    for number in range(250):
        cluster.submit("n1", device=f"pump-{number}")
    cluster.part("n1", "n2", "n3")
    counts: list[int] = []
    while sum(counts) < 250:
        before = len(cluster.heard)
        cluster.tick(1.0, step=1.0)
        counts.append(
            sum(1 for n, p in cluster.heard[before:] if n == "n1" and "/down/" in p.topic)
        )
        assert len(counts) < 20
    assert max(counts) <= limits.NOTICES_PER_BEAT


def test_cancels_and_orders_are_answered_truthfully() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    there = Agent(cluster, name="there", at="n2")
    here = Agent(cluster, name="here", at="n1")
    there.beat()
    here.beat()
    part(cluster)
    here.beat()
    cluster.client("n1", topics.up("pump-7", "cancel", "j1"), b"")
    note = str(told(cluster, "j1")[-1].note)
    assert note.startswith("it is to be cancelled; n1 reaches 1 of 3 nodes")
    assert cluster.record("n1", job).cancel
    reply = order(cluster, Order(order=OrderKind.CANCEL, job=job))
    assert reply.ok
    assert "n1 reaches 1 of 3 nodes" in reply.text
    reply = order(cluster, Order(order=OrderKind.CANCEL, job="pump-7/other"))
    assert not reply.ok
    assert "n1 reaches 1 of 3 nodes" in reply.text
    reply = order(cluster, Order(order=OrderKind.DRAIN, agent="there"))
    assert not reply.ok
    assert "connected to another" in reply.text
    cluster.client(
        "n1", topics.up("ann", "order", "o9"), Order(order=OrderKind.DRAIN, agent="here")
    )
    here.beat(ordered=1)
    answers = [p.body for _, p in cluster.heard if p.topic == topics.down("ann", "o9")]
    assert answers == [OrderReply(ok=True, text="agent here was told to drain")]
    cluster.client("n1", topics.up("pump-7", "cancel", "unknown"), b"")
    assert "but n1 reaches 1 of 3 nodes" in str(told(cluster, "unknown")[-1].reason)
    cluster.heal()
    cluster.tick(30)
    assert cluster.down_states("pump-7", "j1", at="n1")[-1] == "cancelled"


def test_what_waits_is_said_again_on_an_empty_broker() -> None:
    cluster = cut_off()
    cluster.submit("n1")
    topic = topics.down("pump-7", "j1")
    kept = cluster.retained["n1"].pop(topic)
    cluster.feed("n1", BrokerEmptied())
    assert cluster.retained["n1"][topic] == kept
    assert JobId("pump-7_j1") in cluster.nodes["n1"].entries
