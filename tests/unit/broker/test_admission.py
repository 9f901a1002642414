"""Goal: a node votes only from a disk that is as new as its peers saw it, and loses no request.

Method: clusters of brains; disks are copied, put back and emptied between starts.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

from broker import backlog
from broker.admission import LISTEN_S, TELL_S, Phase
from broker.event import PeerRecordSeen, PeerSpecSeen, PeerStateSeen
from tests.unit.broker.cluster import Agent, Cluster
from workrs.domain.ids import ClientId
from workrs.domain.record import Record
from workrs.domain.rollback import Seen
from workrs.testing.ledger import MemoryDisk
from workrs.wire import topics
from workrs.wire.message import Order, OrderKind, OrderReply

if TYPE_CHECKING:
    import pytest

N1, N2, N3 = (ClientId(f"n{i}") for i in (1, 2, 3))


def phase(cluster: Cluster, name: str) -> Phase:
    return cluster.nodes[name].admission.phase


def facts(cluster: Cluster, name: str, event: str) -> list[dict[str, object]]:
    return [dict(f.fields) for n, f in cluster.facts if (n, f.event) == (name, event)]


def test_a_cluster_of_one_votes_at_once() -> None:
    assert phase(Cluster(1), "n1") is Phase.VOTING


def test_a_restarted_node_votes_as_soon_as_it_has_heard_every_peer() -> None:
    cluster = Cluster(3)
    cluster.stop("n1")
    cluster.start("n1")
    assert phase(cluster, "n1") is Phase.VOTING


def test_with_a_majority_it_waits_for_the_others_for_a_while() -> None:
    cluster = Cluster(3)
    cluster.stop("n1", "n3")
    cluster.start("n1")
    cluster.tick(LISTEN_S - 0.5)
    assert phase(cluster, "n1") is Phase.LISTENING
    cluster.tick(0.5)
    assert phase(cluster, "n1") is Phase.VOTING


def test_alone_it_never_votes_and_says_why() -> None:
    cluster = Cluster(3)
    cluster.stop("n1", "n2", "n3")
    cluster.start("n1")
    cluster.tick(3 * TELL_S)
    state = cluster.nodes["n1"].state()
    assert (state.ready, state.live) == (False, True)
    assert "n2, n3" in state.health
    assert len(facts(cluster, "n1", "not_voting")) == 3


def test_a_node_that_lost_its_disk_is_no_witness() -> None:
    """Of three nodes n3 is away and n2 has forgotten what it saw of n1."""
    cluster = Cluster(3)
    cluster.stop("n1", "n3")
    cluster.lose_disk("n2")
    cluster.start("n2")
    cluster.start("n1")
    cluster.tick(3 * LISTEN_S)
    assert phase(cluster, "n1") is Phase.LISTENING


def test_what_devices_send_meanwhile_is_done_in_order_afterwards() -> None:
    cluster = Cluster(3)
    cluster.stop("n1", "n2", "n3")
    cluster.start("n1")
    job = cluster.submit("n1")
    cluster.client("n1", topics.up("pump-7", "cancel", "j1"), b"")
    second = cluster.submit("n1", "j2")
    assert not cluster.nodes["n1"].entries
    assert cluster.disks["n1"].standing.serial == cluster.nodes["n1"].admission.serial_at_start
    cluster.start("n2", "n3")
    assert cluster.record("n1", job).cancel
    assert cluster.record("n2", second).digest is not None
    assert cluster.down_states("pump-7", "j2", at="n1")[0] == "accepted"


def test_of_too_many_requests_the_last_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "HELD_BACK_MAX", 2)
    cluster = Cluster(3)
    cluster.stop("n1", "n2", "n3")
    cluster.start("n1")
    cluster.submit("n1", "j1")
    cluster.submit("n1", "j1")
    cluster.submit("n1", "j2")
    cluster.submit("n1", "j3")
    cluster.client("n1", topics.up("pump-7", "cancel", "j1"), b"")
    order = Order(order=OrderKind.CANCEL, job="pump-7/j1")
    cluster.client("n1", topics.up("ops", "order", "o1"), order)
    assert cluster.down_states("pump-7", "j3") == ["rejected"]
    assert cluster.down_states("pump-7", "j1") == ["rejected"]
    (reply,) = [p.body for _, p in cluster.heard if isinstance(p.body, OrderReply)]
    assert not reply.ok
    assert "does not vote yet" in reply.text
    assert not cluster.down_states("pump-7", "j2")


def test_what_is_held_back_is_bounded_by_bytes_and_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backlog, "HELD_BACK_MAX_BYTES", 50_000)
    monkeypatch.setattr(backlog, "AGENTS_MAX", 2)
    cluster = Cluster(3)
    cluster.stop("n1", "n2", "n3")
    cluster.start("n1")
    job = cluster.submit("n1", "j1", input="x" * 30_000)
    cluster.submit("n1", "j2", input="x" * 30_000)
    assert cluster.down_states("pump-7", "j1") == []
    assert cluster.down_states("pump-7", "j2") == ["rejected"]
    for name in ("a1", "a2", "a3", "a1"):
        Agent(cluster, name=name).beat()
    stranger = ClientId("elsewhere")
    cluster.feed("n1", PeerRecordSeen(stranger, Record(job=job)), PeerSpecSeen(stranger, job, b""))
    assert len(cluster.nodes["n1"].admission.held_back) == 3
    assert cluster.nodes["n1"].dropped >= 4
    cluster.start("n2", "n3")
    assert set(cluster.nodes["n1"].agents.entries) == {"a1", "a2"}
    assert cluster.record("n2", job).digest is not None
    assert cluster.nodes["n1"].admission.held_back_bytes == 0


def test_a_lease_is_kept_by_the_heartbeat_heard_while_waiting() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    agent = Agent(cluster)
    agent.beat()
    agent.claim(job, 1)
    cluster.stop("n1", "n3")
    cluster.start("n1")
    cluster.tick(LISTEN_S - 1)
    agent.beat((job, 1))
    cluster.tick(1)
    assert cluster.lease_left_s("n1", job) > LISTEN_S + 1


def test_an_older_copy_of_a_disk_ends_the_daemon() -> None:
    cluster = Cluster(3)
    cluster.submit("n1")
    old = deepcopy(cluster.disks["n1"])
    cluster.submit("n1", "j2")
    cluster.tick(2)
    cluster.stop("n1")
    behind = cluster.disks["n1"].standing.serial
    cluster.disks["n1"] = old
    cluster.start("n1")
    why = cluster.halted["n1"]
    assert f"commit {old.standing.serial}" in why
    assert f"commit {behind} of it" in why
    assert "workrs node --rejoin" in why
    assert facts(cluster, "n1", "disk_is_older")[0]["peer"] in ("n2", "n3")


def test_a_disk_that_lost_its_last_commit_is_found_by_the_record_it_had_shown() -> None:
    """No state was shown after that commit, only the vote itself."""
    cluster = Cluster(3)
    cluster.submit("n1")
    old = deepcopy(cluster.disks["n1"])
    cluster.submit("n1", "j2")
    cluster.stop("n1")
    assert cluster.disks["n1"].standing.serial == old.standing.serial + 1
    cluster.disks["n1"] = old
    cluster.start("n1")
    assert "n1" in cluster.halted


def test_an_empty_disk_ends_the_daemon() -> None:
    cluster = Cluster(3)
    cluster.stop("n1")
    cluster.disks["n1"] = MemoryDisk()
    cluster.start("n1")
    assert "n1" in cluster.halted


def test_a_state_from_before_its_start_is_no_answer() -> None:
    cluster = Cluster(3)
    before = [PeerStateSeen(n, cluster.nodes[n].state()) for n in (N2, N3)]
    cluster.stop("n1", "n2", "n3")
    cluster.start("n1")
    cluster.feed("n1", *before)
    assert phase(cluster, "n1") is Phase.LISTENING
    cluster.start("n2", "n3")
    assert phase(cluster, "n1") is Phase.VOTING


def test_two_daemons_on_copies_of_a_disk_do_not_both_vote() -> None:
    cluster = Cluster(3)
    cluster.submit("n1")
    node = cluster.nodes["n1"]
    other = Seen(node.settings.incarnation.number, "another", 0)
    state = replace(cluster.nodes["n2"].state(), seen={"n1": other})
    cluster.feed("n1", PeerStateSeen(N2, state))
    assert "n1" in cluster.halted


def test_what_was_seen_of_a_peer_survives_a_restart_of_everything() -> None:
    cluster = Cluster(3)
    cluster.submit("n1")
    old = deepcopy(cluster.disks["n1"])
    cluster.submit("n2", "j2")
    cluster.tick(1)
    cluster.submit("n3", "j3")
    cluster.stop("n1", "n2", "n3")
    cluster.disks["n1"] = old
    for name in cluster.names:
        cluster.retained[name] = {}
    cluster.start("n2", "n3")
    cluster.start("n1")
    assert "n1" in cluster.halted


def test_a_peers_new_start_is_on_disk_at_once() -> None:
    cluster = Cluster(3)
    cluster.stop("n1")
    cluster.start("n1")
    cluster.tick(2)
    assert cluster.disks["n2"].seen[N1].boot == 2


def test_a_sound_disk_is_never_found_too_old() -> None:
    cluster = Cluster(3)
    for n in range(3):
        for name in cluster.names:
            cluster.submit(name, f"{name}-{n}")
            cluster.stop(name)
            cluster.tick(1)
            cluster.start(name)
            cluster.tick(1)
    assert not cluster.halted
    assert all(phase(cluster, name) is Phase.VOTING for name in cluster.names)
