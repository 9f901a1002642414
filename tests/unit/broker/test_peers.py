"""Goal: nodes heal each other's gaps, and only the nodes of the cluster count.

Method: nodes away, brokers emptied, strangers and broken peers, in a cluster in memory.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.admission import LISTEN_S
from broker.event import BrokerEmptied, PeerRecordSeen, PeerSpecSeen, PeerStateSeen, Ticked
from broker.node import PEER_SILENT_S
from tests.unit.broker.cluster import TIMING, Agent, Cluster
from workrs.domain.ids import ClientId, Epoch, JobId
from workrs.domain.job import Outcome, Verdict
from workrs.domain.record import Accepted, Record, Version
from workrs.wire import topics
from workrs.wire.message import NodeState

DONE = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0)
N2, N3 = ClientId("n2"), ClientId("n3")


def test_records_and_specs_of_a_stranger_are_not_counted() -> None:
    cluster = Cluster(3)
    cluster.stop("n2", "n3")
    job = cluster.submit("n1")
    record = cluster.record("n1", job)
    spec = cluster.retained["n1"][topics.node("n1", "spec", job)].body
    accepted = Accepted(epoch=Epoch(1), outcome=DONE, digest=DONE.digest())
    for name in ("n4", "n5"):
        stranger = ClientId(name)
        cluster.feed("n1", PeerRecordSeen(stranger, replace(record, version=Version(1, 9))))
        decided = replace(record, version=Version(2, 9), accepted=accepted, decided=DONE)
        cluster.feed("n1", PeerRecordSeen(stranger, decided))
        other = JobId("pump-7_j2")
        cluster.feed("n1", PeerSpecSeen(stranger, other, spec))  # type: ignore[arg-type]
        state = NodeState(boot=1, nonce="x", nodes=cluster.names)
        cluster.feed("n1", PeerStateSeen(stranger, state))
    node = cluster.nodes["n1"]
    assert list(node.entries) == [job]
    assert set(node.entries[job].records) == {"n1"}
    assert cluster.down_states("pump-7", "j1") == []
    assert node.peers.keys() <= {"n2", "n3"}


@pytest.mark.parametrize("learned", [True, False])
def test_a_decision_is_said_again_only_to_peers_that_do_not_show_it(*, learned: bool) -> None:
    """A peer's vote that crosses the decision on its way is no question."""
    cluster = Cluster(3)
    agent = Agent(cluster, "edge-a")
    agent.beat()
    job = cluster.submit("n1")
    agent.claim(job, 1)
    agent.outcome(job, 1)
    cluster.tick(3)
    shown = cluster.record("n2", job)
    assert shown.decided is not None
    cluster.nodes["n1"].repeat(cluster.nodes["n1"].entries[job])
    cluster.feed("n1", Ticked())
    vote = replace(shown, decided=None, version=Version(shown.version.boot, 90))
    cluster.feed("n1", PeerRecordSeen(N2, vote))
    if learned:
        cluster.feed(
            "n1", PeerRecordSeen(N2, replace(shown, version=Version(vote.version.boot, 91)))
        )
    said = len(cluster.heard)
    cluster.tick(2)
    topic = topics.record("n1", job)
    again = [publish for name, publish in cluster.heard[said:] if publish.topic == topic]
    assert len(again) == (0 if learned else 1)


def test_an_older_or_repeated_record_changes_nothing() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    entry = cluster.nodes["n1"].entries[job]
    known = entry.records[N2]
    for version in (known.version, Version(0, 99), Version(1, 0)):
        cluster.feed("n1", PeerRecordSeen(N2, replace(known, version=version, epoch=Epoch(9))))
        assert entry.records[N2] == known
    cluster.feed("n1", PeerRecordSeen(N2, replace(known, version=Version(2, 0), epoch=Epoch(9))))
    assert entry.records[N2].epoch == 9


def test_a_spec_that_is_junk_leaves_no_trace() -> None:
    cluster = Cluster(3)
    node = cluster.nodes["n1"]
    before = node.dropped
    cluster.feed("n1", PeerSpecSeen(N2, JobId("pump-7_j1"), b"junk"))
    job = cluster.submit("n2", "j2")
    payload = cluster.retained["n2"][topics.node("n2", "spec", job)].body
    assert isinstance(payload, bytes)
    cluster.feed("n1", PeerSpecSeen(N2, JobId("pump-7_j1"), payload))
    assert node.dropped == before + 2
    assert list(node.entries) == [job]


def test_a_node_that_was_away_gets_every_job_and_its_votes() -> None:
    cluster = Cluster(3)
    cluster.stop("n3")
    jobs = [cluster.submit("n1", f"j{n}") for n in range(10)]
    Agent(cluster).claim(jobs[0], 1)
    cluster.start("n3")
    assert set(cluster.nodes["n3"].entries) == set(jobs)
    assert len({cluster.record(n, jobs[1]).digest for n in cluster.names}) == 1
    assert cluster.record("n3", jobs[0]).epoch == 0, "votes are not copied, only seen"


def test_the_jobs_of_a_dead_node_are_shown_by_the_others_to_one_that_missed_them() -> None:
    cluster = Cluster(3)
    cluster.stop("n3")
    job = cluster.submit("n1")
    cluster.stop("n1")
    cluster.start("n3")
    cluster.tick(LISTEN_S + 2)
    assert job in cluster.nodes["n3"].entries
    assert cluster.nodes["n3"].entries[job].check_stored(3)


def is_copy(topic: str) -> bool:
    """Return whether a bridge brought what n1's broker keeps."""
    return "/node/" in topic and "/node/n1/" not in topic


def test_a_broker_that_came_back_empty_gets_everything_again() -> None:
    cluster = Cluster(3)
    open_job, done = cluster.submit("n1"), cluster.submit("n1", "j2")
    agent = Agent(cluster)
    agent.beat()
    agent.claim(done, 1)
    agent.outcome(done, 1)
    kept = {t: p for t, p in cluster.retained["n1"].items() if not is_copy(t)}
    versions = {job: cluster.record("n1", job).version for job in (open_job, done)}
    cluster.retained["n1"] = {}
    cluster.feed("n1", BrokerEmptied())
    assert {t for t in cluster.retained["n1"] if not is_copy(t)} == kept.keys()
    for topic, publish in kept.items():
        if not topic.endswith("/state"):
            assert cluster.retained["n1"][topic].body == publish.body
    assert {job: cluster.record("n1", job).version for job in versions} == versions


def test_a_restarted_daemon_is_heard_though_its_steps_begin_anew() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    Agent(cluster).claim(job, 1)
    cluster.stop("n2")
    cluster.start("n2")
    cluster.now += TIMING.ttl_s
    Agent(cluster, name="edge-2").claim(job, 2)
    seen = cluster.nodes["n1"].entries[job].records[N2]
    assert seen.version.boot == 2
    assert seen.epoch == 2


def test_a_silent_or_departing_peer_is_down_once_and_up_once() -> None:
    cluster = Cluster(3)
    cluster.submit("n2")

    def facts(*states: bool) -> list[str]:
        found = []
        for live in states:
            state = NodeState(boot=1, nonce="x", nodes=cluster.names, live=live)
            effects = cluster.handle("n1", [PeerStateSeen(N2, state)])
            found += [f.event for f in effects.facts]
            found += ["spec" for p in effects.publishes if "/spec/" in p.topic]
        return found

    assert facts(True, True) == []
    assert facts(False, False, False) == ["peer_down", "spec"]
    assert facts(True, True) == ["peer_up"]
    assert cluster.nodes["n1"].live_nodes() == ["n1", "n2", "n3"]
    cluster.stop("n3")
    cluster.now += PEER_SILENT_S
    cluster.tick()
    assert cluster.nodes["n1"].peers[N3].live
    cluster.tick(1.5)
    assert not cluster.nodes["n1"].peers[N3].live


def test_a_peer_with_other_timing_is_reported_once() -> None:
    cluster = Cluster(3)
    odd = NodeState(
        boot=1, nonce="x", nodes=cluster.names, timing=replace(TIMING, ttl_s=20.0), live=False
    )
    facts = [cluster.handle("n1", [PeerStateSeen(N2, odd)]).facts for _ in range(3)]
    assert [f.event for batch in facts for f in batch] == ["timing_differs", "peer_down"]


def test_the_wish_to_cancel_spreads_by_the_records() -> None:
    cluster = Cluster(5)
    job = cluster.submit("n1")
    cluster.stop("n1", "n2")
    record = replace(cluster.record("n4", job), version=Version(3, 1), cancel=True)
    cluster.feed("n3", PeerRecordSeen(ClientId("n4"), record))
    assert cluster.record("n3", job).cancel
    assert cluster.record("n5", job).cancel


@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_brain_is_never_woken_for_nothing(size: int) -> None:
    """Whatever goes on, an idle cluster wakes once a second and says only that it lives."""
    cluster = Cluster(size)
    one = Agent(cluster)
    one.beat()
    done, held, cancelled = (cluster.submit("n1", f"j{n}") for n in range(3))
    one.claim(done, 1)
    one.outcome(done, 1)
    one.claim(held, 1)
    cluster.client("n1", topics.up("pump-7", "cancel", "j2"), b"")
    for alive in (cluster.names, cluster.names[:1]):
        cluster.stop(*set(cluster.names) - set(alive))
        cluster.tick(60)
        node = cluster.nodes["n1"]
        wakes, end = 0, cluster.now + 30
        while node.wake_at() < end:
            cluster.now = node.wake_at()
            cluster.feed("n1")
            wakes += 1
        assert wakes <= 3 * 30
    assert cancelled


def test_a_record_of_another_job_than_its_topic_is_dropped() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    before = cluster.nodes["n1"].entries[job].records[N2]
    record = replace(before, version=Version(9, 9), job=JobId("pump-7_other"))
    with pytest.raises(AssertionError, match="shown as"):
        cluster._bridge("n2", _shown(job, record))
    assert cluster.nodes["n1"].entries[job].records[N2] == before


def _shown(job: JobId, record: Record) -> object:
    from broker.effect import Publish  # noqa: PLC0415

    return Publish(topics.record("n2", job), record)
