"""Goal: a job ends once, the same everywhere, and everybody who asks learns how.

Method: outcomes, cancellations and decisions over a cluster in memory with nodes cut off.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.admission import LISTEN_S
from broker.event import AgentHeard, CancelHeard, PeerRecordSeen, PeerStateSeen, SubmitHeard
from broker.proposer import TURN_S, TURNS_MAX, wait_turns
from tests.unit.broker.cluster import TIMING, Agent, Cluster
from workrs.domain.dispatch import rank_nodes
from workrs.domain.ids import ClientId, Epoch, JobId, LocalJobId
from workrs.domain.job import Outcome, Verdict
from workrs.domain.record import Accepted, Holder, Incarnation, Record, Version
from workrs.domain.rollback import Seen
from workrs.wire import message, topics
from workrs.wire.message import JobState, Order, OrderKind, OrderReply

if TYPE_CHECKING:
    from broker.effect import Fact

DONE = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result="42\n")
FAILED = Outcome(verdict=Verdict.FAILED, exit_code=1, reason="exit code 1")


def with_lease(size: int = 3, **spec: object) -> tuple[Cluster, JobId, Agent]:
    cluster = Cluster(size)
    job = cluster.submit("n1", **spec)
    agent = Agent(cluster)
    agent.claim(job, 1)
    return cluster, job, agent


def decided(cluster: Cluster, job: str) -> list[Verdict | None]:
    found = [cluster.record(name, job).decided for name in cluster.names]
    return [outcome.verdict if outcome else None for outcome in found]


def ranked(job: JobId, cluster: Cluster) -> list[ClientId]:
    return rank_nodes(job, cluster.names)


def cancel(cluster: Cluster, at: str, job: str = "j1") -> None:
    cluster.client(at, topics.up("pump-7", "cancel", job), b"")


@pytest.mark.parametrize("size", [1, 3, 5])
def test_an_outcome_is_decided_everywhere_and_told_by_every_node(size: int) -> None:
    cluster, job, agent = with_lease(size)
    agent.outcome(job, 1)
    assert decided(cluster, job) == [Verdict.SUCCEEDED] * size
    for name in cluster.names:
        state = [p.body for n, p in cluster.heard if n == name and "/down/" in p.topic][-1]
        assert isinstance(state, JobState)
        assert (state.state, state.result, state.exit_code) == ("succeeded", "42\n", 0)
    kept = [p for _, p in cluster.heard if "/down/" in p.topic and p.expiry_s]
    assert {p.expiry_s for p in kept} == {86400}


def test_a_node_that_missed_the_last_start_tells_the_same_number_of_attempts() -> None:
    cluster, job, agent = with_lease()
    agent.at = "n2"
    agent.beat((job, 1, 1))
    cluster.part("n1", "n2", "n3")
    agent.beat((job, 1, 2))
    cluster.heal()
    assert [cluster.record(name, job).attempt for name in cluster.names] == [1, 2, 2]
    agent.outcome(job, 1, FAILED)
    for name in cluster.names:
        state = [p.body for n, p in cluster.heard if n == name and "/down/" in p.topic][-1]
        assert isinstance(state, JobState)
        assert (name, state.state, state.attempt) == (name, "failed", 2)


def test_an_outcome_of_an_older_epoch_changes_nothing() -> None:
    cluster, job, agent = with_lease()
    agent.will()
    cluster.now += 1
    other = Agent(cluster, name="edge-2")
    other.claim(job, 2)
    agent.outcome(job, 1, FAILED)
    agent.outcome(job, 2, FAILED)
    assert {cluster.record(n, job).accepted for n in cluster.names} == {None}
    other.outcome(job, 2)
    assert decided(cluster, job) == [Verdict.SUCCEEDED] * 3


def test_one_acceptance_is_no_decision() -> None:
    cluster, job, agent = with_lease()
    cluster.stop("n2", "n3")
    agent.outcome(job, 1)
    assert cluster.record("n1", job).accepted is not None
    assert cluster.record("n1", job).decided is None
    assert "succeeded" not in cluster.down_states("pump-7", "j1")


def test_the_second_value_at_one_epoch_is_refused() -> None:
    cluster, job, agent = with_lease()
    cluster.stop("n2", "n3")
    agent.outcome(job, 1, DONE)
    cluster.start("n2", "n3", keep_memory=True)
    agent.at = "n2"
    agent.outcome(job, 1, FAILED)
    assert cluster.record("n1", job).accepted.outcome == DONE  # type: ignore[union-attr]


def test_two_values_accepted_at_one_epoch_stop_all_votes_on_the_job() -> None:
    cluster, job, agent = with_lease()
    node = cluster.nodes["n1"]
    theirs = replace(
        cluster.record("n2", job),
        version=Version(9, 9),
        accepted=Accepted(epoch=Epoch(1), outcome=FAILED, digest=FAILED.digest()),
    )
    body = message.OutcomeProposal(incarnation=agent.incarnation, epoch=Epoch(1), outcome=DONE)
    cluster.handle("n1", [AgentHeard(ClientId("edge-1"), job, body, "")])
    effects = cluster.handle("n1", [PeerRecordSeen(ClientId("n2"), theirs)])
    assert [f.event for f in effects.facts] == ["protocol_violation"]
    before = node.entries[job].vote
    cluster.now += 20
    agent.claim(job, 2)
    cancel(cluster, "n1")
    cluster.tick(60)
    facts: list[Fact] = cluster.handle("n1", [PeerRecordSeen(ClientId("n2"), theirs)]).facts
    assert "protocol_violation" not in [f.event for f in facts], "alarmed once"
    after = node.entries[job].vote
    assert (after.record.epoch, after.record.holder) == (before.record.epoch, before.record.holder)


def test_a_node_that_was_away_adopts_the_decision_and_tells_it() -> None:
    cluster, job, agent = with_lease()
    cluster.stop("n3")
    agent.outcome(job, 1)
    cluster.start("n3")
    assert decided(cluster, job) == [Verdict.SUCCEEDED] * 3
    assert cluster.down_states("pump-7", "j1", at="n3")[-1] == "succeeded"
    assert cluster.disks["n3"].jobs[job].record.decided == DONE


def test_a_peer_that_does_not_know_is_told_even_if_it_asks_too_soon() -> None:
    cluster, job, agent = with_lease()
    agent.outcome(job, 1)
    n1 = cluster.nodes["n1"]
    topic = topics.record("n1", job)

    def ask(step: int) -> list[object]:
        behind = Record(job=job, version=Version(2, step), epoch=Epoch(1))
        effects = cluster.handle("n1", [PeerRecordSeen(ClientId("n2"), behind)])
        return [p.body for p in effects.publishes if p.topic == topic]

    assert ask(1) == [], "said a moment ago"
    assert n1.wake_at() <= cluster.now + 1.0
    before = len(cluster.heard)
    cluster.tick(1.0)
    said = [p.body for n, p in cluster.heard[before:] if n == "n1" and p.topic == topic]
    assert said == [n1.entries[job].record]
    cluster.now += 5
    assert ask(2) == [n1.entries[job].record], "at once when it was long ago"


def test_every_request_for_a_decided_job_is_answered_by_the_record() -> None:
    cluster, job, agent = with_lease()
    agent.outcome(job, 1)
    for say in (
        lambda: agent.claim(job, 9),
        lambda: agent.outcome(job, 1, FAILED),
        lambda: agent.checkpoint(job, 1, 9),
        lambda: agent.release(job, 1),
        lambda: agent.progress(job, 1, 0.1),
    ):
        before = len(cluster.heard)
        say()
        said = {n: p.body for n, p in cluster.heard[before:]}
        assert said == {n: cluster.record(n, job) for n in cluster.names}


# Adoption.


def test_the_next_holder_finds_the_outcome_it_has_to_adopt() -> None:
    cluster, job, agent = with_lease()
    cluster.stop("n2", "n3")
    agent.outcome(job, 1)
    cluster.start("n2", "n3")
    other = Agent(cluster, name="edge-2")
    cluster.tick(TIMING.ttl_s)
    other.claim(job, 2)
    record = cluster.record("n1", job)
    assert record.epoch == 2
    assert record.accepted == Accepted(epoch=Epoch(1), outcome=DONE, digest=DONE.digest())


def test_a_node_that_cancels_adopts_what_was_accepted_before() -> None:
    cluster, job, agent = with_lease()
    cluster.part("n1", "n2", "n3")
    agent.outcome(job, 1)
    cancel(cluster, "n2")
    assert (
        decided(cluster, job) == [None, Verdict.CANCELLED, Verdict.CANCELLED]
        or decided(cluster, job) == [None] * 3
    )
    cluster.heal()
    cluster.tick(60)
    assert len(set(decided(cluster, job))) == 1


def test_an_accepted_outcome_wins_over_a_later_cancel() -> None:
    cluster, job, agent = with_lease()
    # Node n1 and n2 accept, but no bridge carries their votes.
    cluster.part("n1", "n2", "n3")
    cluster.part("n2", "n3")
    agent.outcome(job, 1)
    agent.at = "n2"
    agent.outcome(job, 1)
    cluster.heal()
    cancel(cluster, "n3")
    cluster.tick(60)
    assert decided(cluster, job) == [Verdict.SUCCEEDED] * 3


# Cancel.


@pytest.mark.parametrize("at", ["n1", "n2", "n3"])
def test_a_queued_job_is_cancelled_at_any_node(at: str) -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    cancel(cluster, at)
    assert decided(cluster, job) == [Verdict.CANCELLED] * 3
    assert cluster.down_states("pump-7", "j1")[-1] == "cancelled"


def test_a_cluster_of_one_cancels_alone() -> None:
    cluster, job, _ = with_lease(1)
    cancel(cluster, "n1")
    assert decided(cluster, job) == [Verdict.CANCELLED]


def test_a_running_job_is_cancelled_over_its_lease_and_its_agent_fenced() -> None:
    cluster, job, agent = with_lease()
    cancel(cluster, "n2")
    assert decided(cluster, job) == [Verdict.CANCELLED] * 3
    agent.outcome(job, 1)
    assert decided(cluster, job) == [Verdict.CANCELLED] * 3


def test_a_decided_job_stays_as_it_is_and_says_so() -> None:
    cluster, job, agent = with_lease()
    agent.outcome(job, 1)
    before = len(cluster.heard)
    cancel(cluster, "n2")
    assert decided(cluster, job) == [Verdict.SUCCEEDED] * 3
    said = [p.body for n, p in cluster.heard[before:] if n == "n2" and "/down/" in p.topic]
    assert [s.state for s in said] == ["succeeded"]  # type: ignore[attr-defined]


def test_with_the_first_rank_dead_the_next_one_cancels_after_a_turn() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    first, second, _ = ranked(job, cluster)
    cluster.stop(first)
    cancel(cluster, second)
    cluster.tick(TURN_S - 0.5)
    alive = [n for n in cluster.names if n != first]
    assert {cluster.record(n, job).decided for n in alive} == {None}
    cluster.tick(0.5)
    assert {cluster.record(n, job).decided.verdict for n in alive} == {Verdict.CANCELLED}  # type: ignore[union-attr]


def test_with_the_first_rank_known_to_be_dead_the_next_one_cancels_at_once() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    first, second, _ = ranked(job, cluster)
    cluster.stop(first)
    cluster.tick(5)
    cancel(cluster, second)
    assert cluster.record(second, job).decided is not None


def test_a_cancel_without_a_majority_waits_for_it() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    first, *others = ranked(job, cluster)
    cluster.part(first, *others)
    cluster.stop(*others)
    cancel(cluster, first)
    cluster.tick(100, step=1.0)
    assert cluster.record(first, job).decided is None
    cluster.start(*others)
    cluster.heal()
    cluster.tick(60)
    assert decided(cluster, job) == [Verdict.CANCELLED] * 3


def test_a_proposer_that_won_and_lost_its_voters_claims_anew_without_haste() -> None:
    """The first rank wins with one peer, which dies before it accepts."""
    cluster = Cluster(3)
    job = cluster.submit("n1")
    first, second, third = ranked(job, cluster)
    cluster.stop(second, third)
    cancel(cluster, first)
    node = cluster.nodes[first]
    granted = replace(
        cluster.record(second, job),
        version=Version(1, 99),
        epoch=Epoch(1),
        holder=node.holder,
        cancel=True,
    )
    cluster.feed(first, PeerRecordSeen(second, granted))
    assert node.entries[job].record.accepted is not None
    cluster.tick(31 * TURN_S + 1)
    assert cluster.record(first, job).epoch == 6, "after 1, 2, 4, 8 and 16 turns"
    cluster.tick(2 * TURNS_MAX * TURN_S)
    assert cluster.record(first, job).epoch == 8, "and then every 16"
    cluster.start(third)
    cluster.tick(LISTEN_S)
    assert cluster.record(third, job).decided == cluster.record(first, job).decided
    assert cluster.record(first, job).decided is not None


def test_a_restarted_proposer_never_proposes_at_its_old_epoch() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    first, *others = ranked(job, cluster)
    cluster.stop(*others)
    cancel(cluster, first)
    assert cluster.record(first, job).epoch == 1
    cluster.stop(first)
    cluster.start(first)
    for other in others:
        incarnation = cluster.nodes[first].settings.incarnation
        state = cluster.nodes[other].state()
        answer = replace(state, seen={first: Seen(*incarnation, serial=0)})
        cluster.feed(first, PeerStateSeen(ClientId(other), answer))
    assert cluster.record(first, job).accepted is None
    cluster.tick(1)
    again = cluster.record(first, job)
    assert (again.epoch, again.holder) == (2, cluster.nodes[first].holder)
    cluster.start(*others)
    cluster.tick(60)
    assert decided(cluster, job) == [Verdict.CANCELLED] * 3


def test_a_cancel_that_races_an_outcome_ends_as_one_of_both_everywhere() -> None:
    for first_to_hear in ("n1", "n2", "n3"):
        cluster, job, agent = with_lease()
        agent.at = first_to_hear
        cluster.part(first_to_hear, *({*cluster.names} - {first_to_hear}))
        agent.outcome(job, 1)
        cancel(cluster, next(n for n in cluster.names if n != first_to_hear))
        cluster.tick(15)
        cluster.heal()
        cluster.tick(60)
        assert len(set(decided(cluster, job))) == 1
        assert decided(cluster, job)[0] is not None


def test_the_winner_of_an_agents_claim_sees_the_wish_to_cancel() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    first, *others = ranked(job, cluster)
    cluster.stop(first)
    cancel(cluster, others[0])
    Agent(cluster, at=others[0]).claim(job, 1)
    shown = [cluster.record(name, job) for name in others]
    assert all(r.cancel and r.epoch == 1 for r in shown)


def test_operators_cancel_and_are_answered() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")

    def order(text: str) -> OrderReply:
        body = Order(order=OrderKind.CANCEL, job=text)
        cluster.client("n2", topics.up("ops", "order", "o1"), body)
        replies = [p.body for _, p in cluster.heard if p.topic == topics.down("ops", "o1")]
        assert isinstance(replies[-1], OrderReply)
        return replies[-1]

    assert order("pump-7/nope") == OrderReply(ok=False, text="there is no job pump-7/nope")
    assert not order("pump-7/../x").ok
    assert len(order("x" * 10_000).text) < 200
    assert order("pump-7/j1") == OrderReply(ok=True, text="pump-7/j1 is being cancelled")
    assert decided(cluster, job) == [Verdict.CANCELLED] * 3
    again = OrderReply(ok=True, text="pump-7/j1 has ended already: cancelled")
    assert order("pump-7/j1") == again, "the first answer may be lost"
    done = cluster.submit("n1", "j2")
    agent = Agent(cluster)
    agent.claim(done, 1)
    agent.outcome(done, 1)
    assert order(done) == OrderReply(ok=False, text="pump-7_j2 has ended already: succeeded")


# Retirement.


def test_a_decided_job_leaves_the_bus_after_its_retention_and_is_not_revived() -> None:
    cluster, job, agent = with_lease(retention_s=60)
    agent.outcome(job, 1)
    cluster.tick(59)
    assert all(job in node.entries for node in cluster.nodes.values())
    cluster.tick(2)
    for name in cluster.names:
        assert job not in cluster.nodes[name].entries
        assert job in cluster.disks[name].retired
        left = [t for t in cluster.retained[name] if "j1" in t]
        assert left == []
    before = len(cluster.heard)
    cluster.submit("n1", retention_s=60)
    agent.claim(job, 9, DONE.digest())
    assert not any(node.entries for node in cluster.nodes.values())
    [answer] = [p for _, p in cluster.heard[before:] if "/down/" in p.topic]
    assert isinstance(answer.body, JobState)
    assert (answer.body.state, answer.body.exit_code, answer.body.result) == ("succeeded", 0, None)
    assert "no longer kept" in str(answer.body.reason)
    assert not answer.retain
    assert sum(node.jobs_decided for node in cluster.nodes.values()) == 0


def test_a_late_cancel_retires_nothing_that_the_rest_of_its_batch_would_revive() -> None:
    cluster, job, agent = with_lease(size=1, retention_s=5)
    agent.outcome(job, 1)
    cluster.now += 6
    device, local = ClientId("pump-7"), LocalJobId("j1")
    again = SubmitHeard(device, local, b'{"image": "base", "command": ["true"]}')
    cluster.feed("n1", CancelHeard(device, local, ""), again)
    assert job in cluster.disks["n1"].retired
    cluster.feed("n1", again)
    assert job not in cluster.nodes["n1"].entries


def test_a_node_that_learns_the_decision_before_the_spec_keeps_the_result() -> None:
    cluster = Cluster(3)
    cluster.stop("n3")
    job = cluster.submit("n1")
    agent = Agent(cluster)
    agent.claim(job, 1)
    agent.outcome(job, 1)
    cluster.down.discard("n3")
    record = cluster.retained["n1"][topics.record("n1", job)].body
    spec = cluster.retained["n1"][topics.node("n1", "spec", job)]
    assert isinstance(record, Record)
    cluster.feed("n3", PeerRecordSeen(ClientId("n1"), record))
    cluster.feed("n3", PeerRecordSeen(ClientId("n2"), record))
    assert job in cluster.nodes["n3"].entries, "retired before anybody could read its result"
    assert cluster.down_states("pump-7", "j1", at="n3") == ["succeeded"]
    cluster._deliver("n3", spec)
    assert cluster.nodes["n3"].entries[job].stored is not None
    assert cluster.disks["n3"].jobs[job].payload == spec.body
    cluster.submit("n3")
    assert cluster.down_states("pump-7", "j1", at="n3")[-1] == "succeeded"
    cluster.submit("n3", command=["other"])
    assert cluster.down_states("pump-7", "j1", at="n3")[-1] == "rejected"
    cluster.stop("n3")
    cluster.start("n3")
    assert cluster.record("n3", job).decided == DONE


def test_a_stale_copy_of_a_retired_job_is_swept_from_the_own_broker() -> None:
    cluster, job, agent = with_lease(retention_s=5)
    agent.outcome(job, 1)
    shown = cluster.retained["n1"][topics.record("n1", job)]
    spec = cluster.retained["n1"][topics.node("n1", "spec", job)]
    cluster.tick(70)
    assert job not in cluster.nodes["n2"].entries
    for stale in (shown, spec):
        before = len(cluster.heard)
        cluster._deliver("n2", stale)
        swept, answer = [(n, p.topic, p.body) for n, p in cluster.heard[before:]]
        assert swept == ("n2", stale.topic, b"")
        assert isinstance(answer[2], Record)
        assert (answer[2].retired, answer[2].decided_digest) == (True, DONE.digest())
    assert job not in cluster.nodes["n2"].entries


def test_a_vote_for_a_forgotten_holder_is_no_obstacle() -> None:
    cluster, job, _ = with_lease()
    ghost = Holder(client=ClientId("ghost"), incarnation=Incarnation(1, "g"))
    record = replace(cluster.record("n2", job), version=Version(9, 1), epoch=Epoch(7), holder=ghost)
    cluster.feed("n1", PeerRecordSeen(ClientId("n2"), record))
    cluster.feed("n3", PeerRecordSeen(ClientId("n2"), record))
    assert cluster.record("n1", job).epoch == 1, "an agent's grant at a peer binds only that peer"


@pytest.mark.parametrize("nodes", [3, 5])
def test_no_two_ranks_wait_equally_long_however_often_each_has_claimed(nodes: int) -> None:
    """Found by the simulator, seed 1027: two claims of one node met one of the other's."""
    first = [wait_turns(0, rank, nodes) for rank in range(nodes)]
    assert first == list(range(nodes))
    later = [wait_turns(2**n, rank, nodes) for n in range(5) for rank in range(nodes)]
    assert len(set(later)) == len(later)
    assert min(later) >= 1, "a round has time to end"
