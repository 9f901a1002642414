"""Goal: every node counts the same losses, and nothing that was none.

Method: agents of a cluster in memory that die, stop, come back, and are hidden by a partition.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker.fault_count import SAVE_S, TELL_S
from tests.unit.broker.cluster import TIMING, Agent, Cluster
from workrs.wire.message import NodeTerms

if TYPE_CHECKING:
    from workrs.domain.fault_history import FaultHistory


def losses(cluster: Cluster) -> list[int]:
    return [node.faults.history.losses for node in cluster.nodes.values()]


def watched_s(cluster: Cluster) -> list[float]:
    return [node.faults.history.agent_s for node in cluster.nodes.values()]


def told(cluster: Cluster, name: str) -> list[FaultHistory]:
    """Return what a node's terms said after its start, one after the other."""
    bodies = [publish.body for by, publish in cluster.heard if by == name]
    return [body.faults for body in bodies if isinstance(body, NodeTerms)][1:]


def live_for(cluster: Cluster, seconds: float, *agents: Agent) -> None:
    for _ in range(round(seconds / 5)):
        for agent in agents:
            agent.beat()
        cluster.tick(5.0)


def test_the_lives_of_agents_are_counted_by_every_node() -> None:
    cluster = Cluster(3)
    agents = [Agent(cluster, name=f"edge-{n}") for n in range(4)]
    live_for(cluster, 100.0, *agents)
    assert losses(cluster) == [0, 0, 0]
    assert all(4 * 95 <= seconds <= 4 * 105 for seconds in watched_s(cluster))


def test_a_death_is_a_loss_and_is_on_disk_at_once() -> None:
    cluster = Cluster(3)
    agent = Agent(cluster)
    agent.beat()
    agent.will()
    cluster.tick(2.0)
    assert losses(cluster) == [1, 1, 1]
    cluster.stop("n2")
    cluster.start("n2")
    assert losses(cluster) == [1, 1, 1]


def test_silence_is_a_loss_and_the_one_that_comes_back_lost_its_jobs() -> None:
    cluster = Cluster(3)
    agent = Agent(cluster)
    agent.beat()
    cluster.tick(TIMING.ttl_s + 3.0)
    agent.beat()
    assert losses(cluster) == [1, 1, 1]


def test_a_connection_that_comes_back_in_time_is_no_loss() -> None:
    cluster = Cluster(3)
    agent = Agent(cluster)
    agent.beat()
    agent.will()
    cluster.tick(TIMING.reconnect_grace_s / 2, step=TIMING.reconnect_grace_s / 2)
    assert losses(cluster) == [1, 1, 1]
    agent.beat(connection=2)
    assert losses(cluster) == [0, 0, 0]
    agent.will(connection=2)
    cluster.tick(TIMING.reconnect_grace_s + 2.0)
    agent.beat(connection=3)
    assert losses(cluster) == [1, 1, 1]


def test_an_agent_that_drains_is_not_lost() -> None:
    cluster = Cluster(3)
    agent = Agent(cluster)
    agent.beat(profile=replace(agent.profile, draining=True))
    cluster.tick(TIMING.ttl_s + 3.0)
    assert losses(cluster) == [0, 0, 0]


def test_a_storm_of_wills_is_no_loss() -> None:
    cluster = Cluster(3)
    agents = [Agent(cluster, name=f"edge-{n}") for n in range(8)]
    for agent in agents:
        agent.beat()
    for agent in agents[:4]:
        agent.will()
    assert losses(cluster) == [4, 4, 4]
    agents[4].will()
    assert losses(cluster) == [0, 0, 0]


def test_a_storm_that_lasts_longer_than_the_grace_is_no_loss_either() -> None:
    cluster = Cluster(3)
    agents = [Agent(cluster, name=f"edge-{n}") for n in range(8)]
    for agent in agents:
        agent.beat()
    for agent in agents[:4]:
        agent.will()
    cluster.tick(TIMING.reconnect_grace_s + 2.0)
    assert losses(cluster) == [4, 4, 4]
    agents[4].will()
    assert losses(cluster) == [0, 0, 0]


def test_a_node_without_a_majority_counts_nothing() -> None:
    cluster = Cluster(3)
    agent = Agent(cluster, at="n1")
    live_for(cluster, 20.0, agent)
    cluster.part("n3", "n1", "n2")
    before = watched_s(cluster)[2]
    live_for(cluster, 30.0, agent)
    assert losses(cluster) == [0, 0, 0]
    assert watched_s(cluster)[2] <= before + 5.0


def test_quiet_time_is_saved_now_and_then() -> None:
    cluster = Cluster(1)
    agent = Agent(cluster)
    live_for(cluster, SAVE_S + 20.0, agent)
    assert cluster.disks["n1"].faults.agent_s >= SAVE_S - 10.0


def test_terms_tell_agents_what_changes_a_plan_and_not_often() -> None:
    cluster = Cluster(3)
    agents = [Agent(cluster, name=f"edge-{n}") for n in range(20)]
    live_for(cluster, TELL_S / 2, *agents)
    assert told(cluster, "n1") == []
    live_for(cluster, TELL_S, *agents)
    assert len(told(cluster, "n1")) == 1
    assert told(cluster, "n1")[0].agent_s >= 20 * (TELL_S - 10.0)
    live_for(cluster, 20 * TELL_S, *agents)
    assert len(told(cluster, "n1")) <= 10
    assert not cluster.nodes["n1"].faults.history.differs(told(cluster, "n1")[-1])
