"""Goal: leases are granted, kept, shortened and lost exactly as the agents are told.

Method: agents that say what a test wants, in a cluster in memory; boundaries on both sides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.effect import Publish
from broker.event import AgentHeard, BeatHeard, SubmitHeard
from broker.limits import EPOCHS_AHEAD_MAX
from tests.unit.broker.cluster import TIMING, Agent, Cluster
from workrs.domain import quorum
from workrs.domain.ids import EPOCH_MAX, ClientId, Epoch, JobId, LocalJobId
from workrs.domain.job import digest_of
from workrs.domain.record import Incarnation, Record
from workrs.ports.ledger import SaveRecord
from workrs.wire import message
from workrs.wire.message import AgentView, Held

if TYPE_CHECKING:
    from broker.event import Event
    from broker.node import Node

TICK = 2**-20


def views(cluster: Cluster, agent: str, at: str) -> list[AgentView]:
    return [
        p.body
        for name, p in cluster.heard
        if name == at and isinstance(p.body, AgentView) and p.topic.endswith(f"/agent/{agent}")
    ]


def holders(cluster: Cluster, job: str) -> list[tuple[int, str | None]]:
    records = [cluster.record(name, job) for name in cluster.names]
    return [(r.epoch, r.holder.client if r.holder else None) for r in records]


def with_job(size: int = 3, **spec: object) -> tuple[Cluster, JobId, Agent, Agent]:
    cluster = Cluster(size)
    job = cluster.submit("n1", **spec)
    return cluster, job, Agent(cluster), Agent(cluster, name="edge-2", at="n2")


def test_a_claim_is_granted_by_every_node_and_a_rival_by_none() -> None:
    cluster, job, one, two = with_job()
    one.claim(job, 1)
    two.claim(job, 1)
    two.claim(job, 2)
    assert holders(cluster, job) == [(1, "edge-1")] * 3
    assert {cluster.lease_left_s(n, job) for n in cluster.names} == {TIMING.ttl_s}


def test_an_agent_cannot_use_up_the_epochs_of_a_job() -> None:
    cluster, job, one, two = with_job()
    for epoch in (EPOCH_MAX, EPOCHS_AHEAD_MAX + 1):
        one.claim(job, epoch)
        assert holders(cluster, job) == [(0, None)] * 3
    assert all(node.dropped for node in cluster.nodes.values())
    two.claim(job, EPOCHS_AHEAD_MAX)
    assert holders(cluster, job) == [(EPOCHS_AHEAD_MAX, "edge-2")] * 3


def test_a_refused_or_repeated_claim_is_answered_by_the_record_as_it_was() -> None:
    cluster, job, one, two = with_job()
    one.claim(job, 1)
    shown = {name: cluster.record(name, job) for name in cluster.names}
    for rival in (one, two):
        before = len(cluster.heard)
        rival.claim(job, 1)
        said = {name: p.body for name, p in cluster.heard[before:]}
        assert said == {name: cluster.record(name, job) for name in cluster.names}
        assert said == shown


def test_a_claim_of_another_spec_is_refused() -> None:
    cluster, job, one, _ = with_job()
    one.claim(job, 1, digest_of(b"something else"))
    assert holders(cluster, job) == [(0, None)] * 3


def test_a_claim_of_an_unknown_job_is_answered_and_leaves_no_trace() -> None:
    cluster = Cluster(3)
    before = len(cluster.heard)
    Agent(cluster).claim("pump-7_j9", 1, digest_of(b"x"))
    said = dict(cluster.heard[before:])
    assert set(said) == set(cluster.names)
    for publish in said.values():
        assert isinstance(publish.body, Record)
        assert (publish.body.epoch, publish.body.holder, publish.body.digest) == (0, None, None)
        assert not publish.retain
    assert not any(node.entries for node in cluster.nodes.values())


def test_a_job_that_comes_in_the_batch_of_a_claim_of_it_is_shown_and_not_denied() -> None:
    cluster, job = Cluster(1), JobId("pump-7_j9")
    claim = message.Claim(incarnation=Incarnation(1, "a"), epoch=Epoch(1), digest=digest_of(b"x"))
    spec = b'{"image": "base", "command": ["true"]}'
    batch: list[Event] = [
        AgentHeard(ClientId("edge-1"), job, claim, ""),
        SubmitHeard(ClientId("pump-7"), LocalJobId("j9"), spec),
    ]
    effects = cluster.handle("n1", batch)
    shown = [p.body.digest for p in effects.publishes if isinstance(p.body, Record)]
    assert shown == [cluster.record("n1", job).digest]


def test_a_node_never_holds_a_lease_as_an_agent() -> None:
    cluster, job, _, _ = with_job()
    Agent(cluster, name="n2").claim(job, 1)
    Agent(cluster, name="n2").beat()
    assert holders(cluster, job) == [(0, None)] * 3
    assert not any(node.agents.entries for node in cluster.nodes.values())


@pytest.mark.parametrize(("after_s", "won"), [(10.0 - TICK, False), (10.0, True)])
def test_a_silent_agents_job_is_free_after_one_ttl(after_s: float, won: bool) -> None:  # noqa: FBT001
    cluster, job, one, two = with_job()
    one.claim(job, 1)
    cluster.now += after_s
    two.claim(job, 2)
    assert (holders(cluster, job)[0][1] == "edge-2") == won


def test_a_heartbeat_renews_what_it_lists_and_names_what_it_cannot() -> None:
    cluster, job, one, _ = with_job()
    other = cluster.submit("n1", "j2")
    one.claim(job, 1)
    one.claim(other, 1)
    cluster.now += 4
    one.beat((job, 1), (other, 2), ("pump-7_j9", 1))
    for name in cluster.names:
        assert cluster.lease_left_s(name, job) == TIMING.ttl_s
        assert cluster.lease_left_s(name, other) == TIMING.ttl_s - 4
        view = views(cluster, "edge-1", name)[-1]
        assert view.refused == ((other, 2), ("pump-7_j9", 1))
        assert (view.counter, view.held) == (1, 2)


def test_a_granted_lease_that_is_not_listed_runs_out() -> None:
    cluster, job, one, two = with_job()
    one.claim(job, 1)
    for _ in range(6):
        cluster.tick(2)
        one.beat()
    two.claim(job, 2)
    assert holders(cluster, job) == [(2, "edge-2")] * 3


def test_a_heartbeat_that_is_not_newer_is_ignored() -> None:
    cluster, job, one, _ = with_job()
    one.claim(job, 1)
    one.beat((job, 1))
    cluster.now += 4
    one.counter -= 1
    one.beat((job, 1))
    assert cluster.lease_left_s("n1", job) == TIMING.ttl_s - 4
    assert len(views(cluster, "edge-1", "n1")) == 1


def test_an_attempt_is_on_disk_before_its_receipt_leaves() -> None:
    cluster, job, one, _ = with_job()
    one.claim(job, 1)
    held = (Held(job, Epoch(1), 1),)
    beat = message.Beat(
        incarnation=one.incarnation, connection=1, counter=1, held=held, profile=one.profile
    )
    effects = cluster.handle("n1", [BeatHeard(ClientId("edge-1"), beat, "")])
    [saved] = [c.record for c in effects.changes if isinstance(c, SaveRecord)]
    assert saved.attempt == 1
    [receipt] = [p for p in effects.publishes if isinstance(p.body, AgentView)]
    assert receipt.body == views(cluster, "edge-1", "n1")[-1]


def test_the_next_attempt_counts_on_from_the_starts_that_were_reported() -> None:
    cluster, job, one, two = with_job()
    one.claim(job, 1)
    one.beat((job, 1, 1))
    one.will()
    cluster.now += TIMING.reconnect_grace_s
    two.claim(job, 2)
    records = {name: cluster.record(name, job) for name in cluster.names}
    assert quorum.next_attempt(records) == 2
    assert {r.attempt for r in cluster.nodes["n3"].entries[job].records.values()} == {1}


# Wills.


@pytest.mark.parametrize(("after_s", "won"), [(1.0 - TICK, False), (1.0, True)])
def test_a_dead_agents_job_is_taken_over_after_the_grace(after_s: float, won: bool) -> None:  # noqa: FBT001
    cluster, job, one, two = with_job()
    one.claim(job, 1)
    one.beat((job, 1, 1))
    one.will()
    assert {cluster.lease_left_s(n, job) for n in cluster.names} == {TIMING.reconnect_grace_s}
    assert views(cluster, "edge-1", "n3")[-1].gone
    cluster.now += after_s
    two.claim(job, 2)
    assert (holders(cluster, job) == [(2, "edge-2")] * 3) == won


def test_a_strict_job_waits_for_the_ttl_whatever_the_will_says() -> None:
    cluster, job, one, two = with_job(takeover="strict")
    one.claim(job, 1)
    one.beat((job, 1, 1))
    one.will()
    cluster.now += TIMING.ttl_s - TICK
    two.claim(job, 2)
    assert holders(cluster, job) == [(1, "edge-1")] * 3
    cluster.now += TICK
    two.claim(job, 2)
    assert holders(cluster, job) == [(2, "edge-2")] * 3


def test_a_later_connection_beats_an_older_will() -> None:
    cluster, job, one, _ = with_job()
    one.claim(job, 1)
    one.beat((job, 1))
    one.connection, one.at = 2, "n2"
    one.beat((job, 1))
    one.connection, one.at = 1, "n1"
    one.will()
    assert {cluster.lease_left_s(n, job) for n in cluster.names} == {TIMING.ttl_s}
    assert not views(cluster, "edge-1", "n1")[-1].gone


def test_an_agent_back_within_the_grace_keeps_its_leases() -> None:
    cluster, job, one, two = with_job()
    one.claim(job, 1)
    one.beat((job, 1))
    one.will()
    cluster.now += TIMING.reconnect_grace_s
    one.connection = 2
    one.beat((job, 1))
    two.claim(job, 2)
    assert holders(cluster, job) == [(1, "edge-1")] * 3
    assert not views(cluster, "edge-1", "n1")[-1].gone


def test_an_older_incarnations_will_and_heartbeat_change_nothing() -> None:
    cluster, job, one, _ = with_job()
    one.number = 2
    one.claim(job, 1)
    one.beat((job, 1))
    one.number = 1
    one.will(connection=99)
    one.beat((job, 1), counter=99)
    assert {cluster.lease_left_s(n, job) for n in cluster.names} == {TIMING.ttl_s}
    assert views(cluster, "edge-1", "n1")[-1].incarnation.number == 2


def test_the_same_number_with_another_nonce_is_nobody() -> None:
    cluster, job, one, _ = with_job()
    one.claim(job, 1)
    one.beat((job, 1))
    stranger = one.incarnation._replace(nonce="copy")
    one.beat((job, 1), incarnation=stranger, counter=99)
    one.will(incarnation=stranger)
    assert len(views(cluster, "edge-1", "n1")) == 1
    assert cluster.lease_left_s("n1", job) == TIMING.ttl_s


def test_a_will_before_any_heartbeat_is_believed() -> None:
    cluster, job, one, _ = with_job()
    one.claim(job, 1)
    one.will()
    assert {cluster.lease_left_s(n, job) for n in cluster.names} == {TIMING.reconnect_grace_s}


def test_a_higher_incarnation_ends_the_leases_of_the_one_before() -> None:
    cluster, job, one, two = with_job()
    one.claim(job, 1)
    one.beat((job, 1))
    one.number = 2
    one.beat()
    two.claim(job, 2)
    assert holders(cluster, job) == [(2, "edge-2")] * 3


def test_an_agent_silent_for_a_ttl_is_gone() -> None:
    cluster, job, one, _ = with_job()
    one.beat()
    cluster.tick(TIMING.ttl_s)
    assert not views(cluster, "edge-1", "n1")[-1].gone
    cluster.tick(1)
    assert views(cluster, "edge-1", "n1")[-1].gone
    assert cluster.nodes["n1"].agents.count_live() == 0
    assert job


# Checkpoints, progress, releases.


def test_checkpoints_keep_the_two_newest_and_are_fenced_after_a_takeover() -> None:
    cluster, job, one, two = with_job()
    one.claim(job, 1)
    refs = [one.checkpoint(job, 1, seq) for seq in (1, 2, 3)]
    one.checkpoint(job, 1, 2)
    assert {cluster.record(n, job).checkpoints for n in cluster.names} == {(refs[2], refs[1])}
    one.will()
    cluster.now += 1
    two.claim(job, 2)
    one.checkpoint(job, 1, 4)
    assert {cluster.record(n, job).checkpoints for n in cluster.names} == {(refs[2], refs[1])}
    told = [fact.fields for _, fact in cluster.facts if fact.event == "fenced"]
    who = {"agent": one.name, "job": job, "what": "CheckpointReport", "epoch": 1, "at": 2}
    assert told == [who] * cluster.size
    newest = two.checkpoint(job, 2, 1)
    assert {cluster.record(n, job).checkpoints for n in cluster.names} == {(newest, refs[2])}


def test_progress_is_published_by_the_agents_own_node_and_saved_by_none() -> None:
    cluster, job, one, _ = with_job()
    one.claim(job, 1)
    before = len(cluster.heard)
    one.progress(job, 1, 0.5, "half way")
    shown = [n for n, p in cluster.heard[before:] if isinstance(p.body, Record)]
    assert shown == ["n1"]
    assert {d.jobs[job].record.progress for d in cluster.disks.values()} == {None}
    state = [p.body for _, p in cluster.heard if "/down/" in p.topic][-1]
    assert (state.progress, state.note) == (0.5, "half way")  # type: ignore[attr-defined]
    one.progress(job, 2, 0.9)
    assert cluster.record("n1", job).progress == 0.5


def test_a_release_frees_the_job_after_its_retry_time() -> None:
    cluster, job, one, two = with_job()
    one.claim(job, 1)
    one.release(job, 1, 2.0, "exit code 1")
    one.outcome(job, 1)
    assert holders(cluster, job) == [(1, None)] * 3
    assert {cluster.record(n, job).accepted for n in cluster.names} == {None}
    cluster.now += 2.0 - TICK
    two.claim(job, 2)
    assert holders(cluster, job) == [(1, None)] * 3
    cluster.now += TICK
    two.claim(job, 2)
    assert holders(cluster, job) == [(2, "edge-2")] * 3


def test_the_device_reads_why_an_attempt_ended() -> None:
    cluster, job, one, _ = with_job()
    one.claim(job, 1)
    one.beat((job, 1, 1))
    one.release(job, 1, 2.0, "exit code 1")
    state = [p.body for _, p in cluster.heard if "/down/" in p.topic][-1]
    assert (state.state, state.attempt, state.note) == ("queued", 1, "exit code 1")  # type: ignore[attr-defined]


# After a restart of the daemon.


def test_after_a_restart_every_lease_lives_one_full_ttl() -> None:
    cluster, job, one, two = with_job(1)
    one.claim(job, 1)
    two.at = "n1"
    cluster.now += 9
    cluster.stop("n1")
    cluster.start("n1")
    cluster.now += TIMING.ttl_s - TICK
    two.claim(job, 2)
    assert holders(cluster, job) == [(1, "edge-1")]
    cluster.now += TICK
    two.claim(job, 2)
    assert holders(cluster, job) == [(2, "edge-2")]


def test_after_a_restart_of_all_a_will_still_frees_the_job_within_the_grace() -> None:
    cluster, job, one, two = with_job()
    one.claim(job, 1)
    one.beat((job, 1, 1))
    cluster.stop(*cluster.names)
    cluster.start(*cluster.names)
    one.connection = 2
    one.beat((job, 1, 1))
    one.will()
    cluster.now += TIMING.reconnect_grace_s
    two.claim(job, 2)
    assert holders(cluster, job) == [(2, "edge-2")] * 3


def test_after_a_restart_of_all_a_new_incarnation_ends_the_old_leases() -> None:
    cluster, job, one, two = with_job()
    one.claim(job, 1)
    cluster.stop(*cluster.names)
    cluster.start(*cluster.names)
    one.number = 2
    one.beat()
    two.claim(job, 2)
    assert holders(cluster, job) == [(2, "edge-2")] * 3


def test_after_a_restart_old_leases_count_as_load_and_are_no_live_agents() -> None:
    cluster, job, one, _ = with_job(1)
    one.claim(job, 1)
    cluster.stop("n1")
    cluster.start("n1")
    node = cluster.nodes["n1"]
    assert node.agents.count_live() == 0
    assert views(cluster, "edge-1", "n1") == []
    one.beat((job, 1))
    assert views(cluster, "edge-1", "n1")[-1].held == 1
    cluster.tick(30)
    assert node.agents.count_live() == 0


def test_a_lease_that_comes_alive_again_is_watched_again() -> None:
    cluster, job, one, _ = with_job(1)
    one.claim(job, 1)
    cluster.tick(11)
    one.beat((job, 1))
    node = cluster.nodes["n1"]
    assert node._due[job] <= cluster.now + TIMING.ttl_s


def test_what_a_rule_refuses_is_neither_saved_nor_newly_published() -> None:
    cluster, job, one, two = with_job()
    one.claim(job, 1)
    shown = cluster.record("n1", job)
    node: Node = cluster.nodes["n1"]
    for request in (
        message.Claim(incarnation=two.incarnation, epoch=Epoch(1), digest=digest_of(b"")),
        message.Release(incarnation=two.incarnation, epoch=Epoch(1)),
        message.Progress(incarnation=two.incarnation, epoch=Epoch(1), progress=1.0),
        message.Release(incarnation=one.incarnation, epoch=Epoch(2)),
    ):
        effects = cluster.handle("n1", [AgentHeard(ClientId("edge-2"), job, request, "")])
        assert effects.changes == []
        assert [p for p in effects.publishes if "/job/" in p.topic] == [
            Publish(f"workrs/1/node/n1/job/{job}", shown)
        ]
    assert node.entries[job].record == shown
