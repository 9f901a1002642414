"""Goal: a node that lost its disk comes back, votes twice on nothing, and is of use again.

Method: clusters of brains; a disk is emptied with jobs open, decided and retired; the node is
stopped at every step of its way back. `Cluster` checks after every batch that nothing is said
before it is on disk and that no job has two outcomes.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.admission import LISTEN_S, TELL_S, Phase, raise_generation
from broker.event import PeerStateSeen
from broker.settle import ASK_S
from tests.unit.broker.cluster import TIMING, Agent, Cluster
from workrs.domain import quorum
from workrs.domain.ids import NUMBER_MAX, ClientId, Epoch, JobId
from workrs.domain.job import Outcome, Verdict
from workrs.domain.record import Record
from workrs.domain.rollback import Seen
from workrs.ports.ledger import Rejoin
from workrs.wire import topics

TTL_S = TIMING.ttl_s
WAY_BACK_S = TTL_S + 3.0
"""With all others there nothing takes time but the wait of a ttl."""


def phase(cluster: Cluster, name: str) -> Phase:
    return cluster.nodes[name].admission.phase


def come_back(cluster: Cluster, name: str) -> None:
    cluster.lose_disk(name)
    cluster.start(name)
    cluster.tick(WAY_BACK_S)
    assert phase(cluster, name) is Phase.VOTING, cluster.nodes[name].state().health


def with_job(size: int = 3) -> tuple[Cluster, JobId, Agent]:
    cluster = Cluster(size)
    agent = Agent(cluster, at="n2")
    agent.beat()
    return cluster, cluster.submit("n2"), agent


def shown(cluster: Cluster, name: str, job: str) -> list[Record]:
    return [
        p.body
        for n, p in cluster.heard
        if n == name and p.topic == topics.record(name, job)
        if isinstance(p.body, Record)
    ]


def test_it_abstains_on_an_open_job_and_learns_and_shows_its_decision() -> None:
    cluster, job, agent = with_job()
    come_back(cluster, "n1")
    cluster.heard.clear()
    agent.beat()
    agent.claim(job, 1)
    agent.beat((job, 1, 1))
    agent.checkpoint(job, 1, 1)
    own = cluster.record("n1", job)
    assert (own.abstains, own.generation) == (True, 1)
    assert (own.digest, own.epoch, own.holder, own.checkpoints) == (None, 0, None, ())
    assert cluster.record("n2", job).epoch == cluster.record("n3", job).epoch == 1
    agent.outcome(job, 1)
    own = cluster.record("n1", job)
    assert own.decided is not None
    assert cluster.down_states("pump-7", "j1", at="n1")[-1] == "succeeded"
    assert all(r.accepted is None and r.epoch == 0 for r in shown(cluster, "n1", job))


def test_it_votes_on_new_jobs_and_another_node_may_die_then() -> None:
    cluster, _, agent = with_job()
    come_back(cluster, "n1")
    cluster.stop("n3")
    job = cluster.submit("n1", "new")
    assert cluster.down_states("pump-7", "new")[0] == "accepted"
    agent.beat()
    agent.claim(job, 1)
    agent.outcome(job, 1)
    assert cluster.record("n1", job).decided is not None


def test_its_forgotten_vote_counts_with_nobodys_any_more() -> None:
    """n1 had stored the job with nobody else, and forgot it; n2 votes for another of the id."""
    cluster = Cluster(3)
    cluster.part("n1", "n2", "n3")
    first = cluster.submit("n1", command=["one"])
    forgotten = cluster.record("n1", first)
    cluster.stop("n1")
    cluster.heal()
    come_back(cluster, "n1")
    cluster.submit("n2", command=["two"])
    n1, n2, n3 = cluster.names
    votes = {n: cluster.record(n, first) for n in (n1, n2, n3)}
    assert forgotten.digest is not None
    assert quorum.is_stored(votes, votes[n2].digest or forgotten.digest, 3)
    mixed = {**votes, n1: forgotten}
    assert forgotten.generation < votes[n2].generation
    assert not quorum.is_stored({n1: forgotten, n2: votes[n2]}, forgotten.digest, 3)
    assert not quorum.is_stored(mixed, forgotten.digest, 3)


def test_without_its_vote_nobody_goes_past_what_it_had_helped_to_decide() -> None:
    """n1 and n2 accepted a value, and neither saw it of the other; n3 never heard of it."""
    cluster, job, agent = with_job()
    cluster.part("n1", "n2", "n3")
    cluster.part("n2", "n3")
    for at in ("n1", "n2"):
        agent.at = at
        agent.claim(job, 1)
        agent.outcome(job, 1)
    chosen = cluster.record("n2", job).accepted
    assert chosen == cluster.record("n1", job).accepted is not None
    cluster.lose_disk("n1")
    cluster.cut = {frozenset(("n2", "n3"))}
    cluster.start("n1")
    cluster.tick(WAY_BACK_S)
    assert phase(cluster, "n1") is Phase.VOTING
    cluster.stop("n2")
    other = Agent(cluster, name="edge-2", at="n3")
    other.claim(job, 2)
    digest = cluster.record("n3", job).digest
    assert digest is not None
    assert cluster.record("n3", job).holder == other.holder
    records = cluster.nodes["n3"].entries[job].records
    assert not quorum.holds(records, other.holder, Epoch(2), digest, 3)
    cluster.start("n2", keep_memory=True)
    cluster.heal()
    cluster.tick(TTL_S + 1)
    other.claim(job, 3)
    records = cluster.nodes["n3"].entries[job].records
    assert quorum.holds(records, other.holder, Epoch(3), digest, 3)
    assert quorum.must_adopt(records, Epoch(3)) == chosen


def test_decided_and_retired_jobs_come_back_as_such() -> None:
    cluster, done, agent = with_job()
    gone = cluster.submit("n2", "gone", retention_s=1)
    for job in (done, gone):
        agent.claim(job, 1)
        agent.outcome(job, 1)
    cluster.tick(120)
    assert gone in cluster.disks["n1"].retired
    kept = cluster.disks["n1"].retired[gone]
    decision = cluster.record("n2", done)
    come_back(cluster, "n1")
    own = cluster.record("n1", done)
    assert (own.decided, own.decided_digest) == (decision.decided, decision.decided_digest)
    assert own.epoch == 1
    assert cluster.disks["n1"].retired[gone] == kept
    assert cluster.nodes["n1"].jobs_decided == 1
    cluster.submit("n1", "gone", retention_s=1)
    assert gone not in cluster.nodes["n1"].entries


def test_its_new_records_are_above_all_its_former_ones() -> None:
    cluster, job, _ = with_job()
    for _ in range(5):
        cluster.stop("n1")
        cluster.start("n1")
    former = cluster.record("n1", job).version
    come_back(cluster, "n1")
    assert cluster.record("n1", job).version > former
    assert cluster.nodes["n2"].entries[job].records[cluster.names[0]].abstains
    assert not cluster.halted


def test_a_job_that_it_took_in_reaches_those_who_missed_it() -> None:
    """The others leave the showing of a spec to the node that took it in, while that one lives."""
    cluster = Cluster(3)
    cluster.part("n3", "n1", "n2")
    job = cluster.submit("n2")
    assert cluster.down_states("pump-7", "j1")[0] == "accepted"
    cluster.lose_disk("n2")
    cluster.heal()
    cluster.start("n2")
    cluster.tick(WAY_BACK_S)
    assert cluster.record("n3", job).digest is not None
    assert cluster.nodes["n3"].entries[job].check_stored(3)


def test_agents_incarnations_are_copied() -> None:
    cluster, _, agent = with_job()
    agent.number, agent.counter = 7, 0
    agent.beat()
    come_back(cluster, "n1")
    entry = cluster.nodes["n1"].agents.get(agent.holder.client)
    assert entry is not None
    assert entry.incarnation == agent.incarnation


STEPS = [Phase.GATHERING, Phase.RAISING, Phase.COPYING, Phase.RESTING]


@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_any_step_begins_again_and_ends_well(step: Phase) -> None:
    cluster, job, agent = with_job()
    cluster.lose_disk("n1")
    if step is Phase.GATHERING:
        cluster.stop("n3")
    if step is Phase.RAISING:
        cluster.part("n1", "n3")
    if step is Phase.COPYING:
        cluster.unreadable.add("n3")
    cluster.start("n1")
    if step is Phase.RAISING:
        # What n3 had retained still reaches n1, and nothing of n1 reaches n3.
        cluster.resend("n3", "n1")
    assert phase(cluster, "n1") is step
    generation = cluster.nodes["n1"].generation
    cluster.stop("n1")
    cluster.heal()
    cluster.unreadable.clear()
    cluster.start(*sorted(cluster.down - {"n1"}))
    cluster.start("n1")
    cluster.tick(WAY_BACK_S)
    assert phase(cluster, "n1") is Phase.VOTING
    if step is not Phase.GATHERING:
        assert cluster.nodes["n1"].generation > generation
    generations = {node.generation for node in cluster.nodes.values()}
    assert generations == {cluster.nodes["n1"].generation}
    assert cluster.record("n1", job).abstains
    agent.beat()
    agent.claim(job, 1)
    agent.outcome(job, 1)
    assert cluster.record("n1", job).decided is not None


def test_with_two_of_three_disks_lost_nobody_comes_back_and_it_says_so() -> None:
    cluster, _, _ = with_job()
    cluster.lose_disk("n1")
    cluster.lose_disk("n2")
    cluster.start("n1")
    cluster.start("n2")
    cluster.tick(5 * TTL_S)
    for name in ("n1", "n2"):
        state = cluster.nodes[name].state()
        assert phase(cluster, name) is Phase.GATHERING
        assert not state.ready
        assert "2 other nodes" in state.health
        told = [f for n, f in cluster.facts if (n, f.event) == (name, "not_voting")]
        assert len(told) == 5 * TTL_S // TELL_S
    assert cluster.nodes["n3"].generation == 0
    unable = "re-admission; heard, and not voting with the same list of nodes: n2"
    assert cluster.nodes["n1"].state().health.endswith(unable)
    cluster.stop("n3")
    cluster.tick(TTL_S)
    parts = cluster.nodes["n1"].state().health.split("; ")
    assert parts[1:] == [
        "not heard: n3",
        "heard, and not voting with the same list of nodes: n2",
    ]


def test_of_five_nodes_one_may_be_dead() -> None:
    cluster, job, agent = with_job(5)
    cluster.stop("n5")
    cluster.lose_disk("n1")
    cluster.start("n1")
    cluster.tick(TTL_S - 1)
    assert phase(cluster, "n1") is Phase.GATHERING
    cluster.tick(1 + WAY_BACK_S)
    assert phase(cluster, "n1") is Phase.VOTING
    assert cluster.nodes["n5"].generation == 0
    cluster.start("n5")
    cluster.tick(2)
    assert cluster.nodes["n5"].generation == 1
    assert cluster.record("n5", job).generation == 1
    agent.beat()
    agent.claim(job, 1)
    agent.outcome(job, 1)
    assert {cluster.record(n, job).decided_digest for n in cluster.names} == {
        cluster.record("n1", job).decided_digest
    }


def test_what_a_node_that_was_away_saw_of_the_lost_disk_does_not_stop_it() -> None:
    cluster, _, _ = with_job(5)
    for number in range(3):
        cluster.submit("n1", f"more-{number}")
        cluster.tick(1)
    former = cluster.disks["n5"].seen[ClientId("n1")]
    assert former.serial > 0
    cluster.stop("n5")
    cluster.lose_disk("n1")
    cluster.start("n1")
    cluster.tick(TTL_S + WAY_BACK_S)
    assert phase(cluster, "n1") is Phase.VOTING
    cluster.start("n5")
    cluster.tick(2)
    assert not cluster.halted
    assert cluster.nodes["n5"].admission.seen[ClientId("n1")] > former


def test_without_a_higher_generation_there_is_no_way_back() -> None:
    cluster, _, _ = with_job()
    cluster.lose_disk("n1")
    forged = replace(cluster.nodes["n3"].state(), generation=NUMBER_MAX)
    cluster.feed("n2", PeerStateSeen(ClientId("n3"), forged))
    assert cluster.nodes["n3"].generation == NUMBER_MAX
    cluster.start("n1")
    cluster.tick(3 * TTL_S)
    assert phase(cluster, "n1") is Phase.GATHERING


def test_two_of_five_come_back_at_once() -> None:
    cluster, job, _ = with_job(5)
    for name in ("n1", "n4"):
        cluster.lose_disk(name)
    cluster.start("n1")
    cluster.start("n4")
    cluster.tick(3 * TTL_S)
    for name in ("n1", "n4"):
        assert phase(cluster, name) is Phase.VOTING
        assert cluster.record(name, job).abstains
    assert len({node.generation for node in cluster.nodes.values()}) == 1


def test_a_disk_lost_again_takes_a_generation_above_its_own_former_one() -> None:
    cluster, _, _ = with_job()
    come_back(cluster, "n1")
    job = cluster.submit("n1", "second")
    come_back(cluster, "n1")
    assert cluster.nodes["n2"].generation == 2
    assert cluster.record("n1", job).abstains


def test_specs_of_which_none_can_win_without_it_are_closed() -> None:
    """n2 and n3 stored different specs under one id; n1, whose vote would tell, abstains."""
    cluster = Cluster(3)
    cluster.stop("n1")
    cluster.part("n2", "n3")
    job = cluster.submit("n2", command=["one"])
    cluster.submit("n3", command=["two"])
    cluster.disks["n1"] = type(cluster.disks["n1"])()
    cluster.lose_disk("n1")
    cluster.heal()
    cluster.start("n1")
    cluster.tick(WAY_BACK_S + 8 * TTL_S)
    decided = cluster.record("n1", job).decided
    assert decided is not None
    assert decided.verdict is Verdict.EXPIRED


@pytest.mark.parametrize(
    ("lost", "kept", "origin", "rival"), [("n1", "n2", "n2", "n3"), ("n3", "n2", "n3", "n1")]
)
def test_an_accepted_spec_wins_though_one_of_its_two_votes_is_forgotten(
    lost: str, kept: str, origin: str, rival: str
) -> None:
    """Two nodes had accepted it and an agent bid for it, while *rival*, cut off, took another."""
    cluster = Cluster(3)
    agent = Agent(cluster, at=kept)
    agent.beat()
    cluster.part(rival, lost, kept)
    job = cluster.submit(origin, command=["one"])
    agent.claim(job, 1)
    cluster.submit(rival, command=["two"])
    first = cluster.record(kept, job).digest
    cluster.stop(lost)
    cluster.lose_disk(lost)
    cluster.heal()
    cluster.start(lost)
    cluster.tick(WAY_BACK_S)
    assert cluster.record(rival, job).digest == cluster.record(kept, job).digest == first
    assert "rejected" in cluster.down_states("pump-7", "j1", at=rival)
    agent.beat()
    agent.claim(job, 2)
    agent.outcome(job, 2)
    assert {cluster.record(n, job).decided for n in cluster.names} == {
        Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result="42\n")
    }


def test_a_node_that_saw_the_majority_says_so_when_one_of_its_votes_is_forgotten() -> None:
    """No agent has bid: without the word of n1 or n2 two specs would stand against two."""
    cluster = Cluster(5)
    for name in ("n1", "n2", "n3"):
        cluster.part(name, "n4", "n5")
    job = cluster.submit("n1", command=["one"])
    cluster.submit("n4", command=["two"])
    assert cluster.down_states("pump-7", "j1", at="n1")[0] == "accepted"
    cluster.stop("n3")
    cluster.lose_disk("n3")
    cluster.heal()
    cluster.start("n3")
    cluster.tick(WAY_BACK_S)
    first = cluster.record("n1", job)
    assert first.settled
    assert first.decided is None
    assert {cluster.record(n, job).digest for n in ("n1", "n2", "n4", "n5")} == {first.digest}


def test_a_job_it_abstains_on_can_be_cancelled_through_it() -> None:
    cluster, job, _ = with_job()
    come_back(cluster, "n1")
    cluster.client("n1", topics.up("pump-7", "cancel", "j1"), b"")
    cluster.tick(1)
    assert cluster.record("n2", job).decided == Outcome(
        verdict=Verdict.CANCELLED, reason="cancelled on request"
    )


def test_it_offers_no_job_that_it_abstains_on() -> None:
    cluster, job, agent = with_job()
    come_back(cluster, "n1")
    cluster.heard.clear()
    agent.beat()
    cluster.tick(3)
    assert {node for node, _, offered in cluster.offered() if offered == job} <= {"n2", "n3"}
    assert cluster.offered()


def test_it_shows_a_job_again_that_it_abstains_on_until_it_learns_the_end() -> None:
    """Peers that retired the job answer once, and the answer may be lost."""
    cluster, job, _ = with_job()
    come_back(cluster, "n1")
    cluster.stop("n1", "n2", "n3")
    cluster.start("n1")
    own = cluster.nodes["n1"].settings.incarnation
    state = replace(cluster.nodes["n2"].state(), seen={"n1": Seen(own.number, own.nonce, 0)})
    cluster.heard.clear()
    for _ in range(int(LISTEN_S + 2 * ASK_S)):
        cluster.feed("n1", PeerStateSeen(ClientId("n2"), state))
        cluster.tick(1)
    assert phase(cluster, "n1") is Phase.VOTING
    assert len(shown(cluster, "n1", job)) >= 2
    assert list(cluster.nodes["n1"].unsure) == [job]


def test_once_back_it_restarts_like_any_other() -> None:
    cluster, job, _ = with_job()
    come_back(cluster, "n1")
    assert cluster.disks["n1"].standing.rejoin is Rejoin.DONE
    cluster.stop("n1")
    cluster.start("n1")
    assert phase(cluster, "n1") is Phase.VOTING
    assert cluster.record("n1", job).abstains
    assert cluster.nodes["n2"].generation == 1


def test_peers_restamp_their_votes_before_they_show_the_generation() -> None:
    cluster, job, _ = with_job()
    cluster.heard.clear()
    cluster.lose_disk("n1")
    cluster.start("n1")
    said = [p for n, p in cluster.heard if n == "n2"]
    states = [i for i, p in enumerate(said) if getattr(p.body, "generation", 0) == 1]
    first = said[states[0]].body
    assert isinstance(first, Record)
    assert first.job == job


def test_that_a_spec_is_settled_is_not_forgotten_by_a_restart_before_another_raise() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n2")
    come_back(cluster, "n1")
    assert cluster.record("n2", job).settled
    cluster.stop("n1", "n3")
    cluster.start("n2")
    raise_generation(cluster.nodes["n2"], 7)
    assert cluster.record("n2", job).settled
