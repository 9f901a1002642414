"""Goal: votes that no majority is known to have are shown again, and are no flood.

Method: one node of a cluster in memory, whose messages reach nobody.
"""

from __future__ import annotations

from collections import Counter

from broker import limits
from broker.event import PeerStateSeen, Ticked
from broker.settle import ASK_S
from tests.unit.broker.cluster import Cluster
from workrs.domain import voter
from workrs.domain.ids import ClientId, Instant
from workrs.domain.record import Record
from workrs.wire.message import NodeState

JOBS = 250


def unheard(*, hears: bool) -> Cluster:
    """Return a cluster whose n1 has many jobs that nobody knows."""
    cluster = Cluster(3)
    cluster.stop("n2", "n3")
    for number in range(JOBS):
        cluster.submit("n1", f"j{number}")
    beat(cluster, hears=hears)
    return cluster


def beat(cluster: Cluster, *, hears: bool) -> list[Record]:
    """Let a second pass at n1; return the votes that it showed."""
    cluster.now += 1.0
    state = NodeState(boot=1, nonce="x", nodes=cluster.names)
    heard = [PeerStateSeen(ClientId("n2"), state)] if hears else []
    effects = cluster.handle("n1", [*heard, Ticked()])
    return [p.body for p in effects.publishes if isinstance(p.body, Record)]


def test_votes_without_a_majority_are_shown_again_a_few_each_beat() -> None:
    cluster = unheard(hears=True)
    seen: Counter[str] = Counter()
    for _ in range(int(2 * ASK_S + JOBS / limits.ASKS_PER_BEAT) + 2):
        shown = beat(cluster, hears=True)
        assert len(shown) <= limits.ASKS_PER_BEAT
        seen.update(record.job for record in shown)
    assert len(seen) == JOBS
    assert max(seen.values()) <= 2, "each at most every ASK_S"


def test_a_node_that_hears_no_majority_repeats_nothing() -> None:
    cluster = unheard(hears=False)
    for _ in range(4):
        beat(cluster, hears=False)
    assert not cluster.nodes["n1"].minority.quorum
    assert [beat(cluster, hears=False) for _ in range(40)] == [[]] * 40


def test_nothing_is_kept_of_jobs_that_a_majority_has() -> None:
    cluster = unheard(hears=False)
    assert len(cluster.nodes["n1"].unsure) == JOBS
    cluster.start("n2", "n3", keep_memory=True)
    cluster.tick(3)
    assert [len(node.unsure) for node in cluster.nodes.values()] == [0, 0, 0]


def test_a_job_that_a_node_claims_in_order_to_end_it_is_shown_again() -> None:
    """Found by the simulator, seed 7047: its peers had retired it, and their answers were lost."""
    cluster = Cluster(3)
    job = cluster.submit("n1")
    cluster.stop("n2", "n3")
    vote = voter.cancel(cluster.nodes["n1"].entries[job].vote)
    assert vote is not None
    cluster.nodes["n1"].change(cluster.nodes["n1"].entries[job], vote)
    cluster.nodes["n1"].entries[job].propose_at = Instant(cluster.now + 1)
    cluster.nodes["n1"].poke(job, Instant(cluster.now + 1))
    beat(cluster, hears=True)
    record = cluster.record("n1", job)
    assert record.holder == cluster.nodes["n1"].holder
    cluster.nodes["n1"].entries[job].propose_at = Instant(cluster.now + 10 * ASK_S)
    shown = [body for _ in range(int(ASK_S) + 2) for body in beat(cluster, hears=True)]
    assert record in shown
