"""Goal: a broker that only slept costs no live agent its jobs, and dead agents still lose theirs.

Method: many agents behind one broker of a cluster in memory, and their wills, true and false.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.storm import STORM_S
from tests.unit.broker.cluster import TIMING, Agent, Cluster

if TYPE_CHECKING:
    from workrs.domain.ids import JobId


def with_agents(count: int, at: str = "n1") -> tuple[Cluster, list[Agent], list[JobId]]:
    """Return a cluster with *count* agents at one node, each of which holds a job."""
    cluster = Cluster(3)
    agents = [Agent(cluster, name=f"edge-{n}", at=at) for n in range(count)]
    jobs = [cluster.submit("n1", f"j{n}") for n in range(count)]
    for agent, job in zip(agents, jobs, strict=True):
        agent.claim(job, 1)
        agent.beat((job, 1, 1))
    return cluster, agents, jobs


def left_s(cluster: Cluster, jobs: list[JobId]) -> set[float]:
    return {cluster.lease_left_s(name, job) for name in cluster.names for job in jobs}


@pytest.mark.parametrize(
    ("agents", "wills", "believed"),
    [
        (4, 4, True),
        (5, 4, True),
        (5, 5, False),
        (25, 5, True),
        (24, 5, False),
        (40, 8, True),
        (40, 9, False),
    ],
)
def test_more_than_a_fifth_and_at_least_five_are_a_storm(
    agents: int,
    wills: int,
    believed: bool,  # noqa: FBT001
) -> None:
    cluster, all_agents, jobs = with_agents(agents)
    for agent in all_agents[:wills]:
        agent.will()
    assert left_s(cluster, jobs[:wills]) == {TIMING.reconnect_grace_s if believed else TIMING.ttl_s}
    live = {node.agents.count_live() for node in cluster.nodes.values()}
    assert live == {agents - wills if believed else agents}


def test_wills_that_come_slowly_are_deaths() -> None:
    cluster, agents, jobs = with_agents(6)
    for agent in agents:
        agent.will()
        cluster.now += STORM_S / 4
        for other in agents[agents.index(agent) + 1 :]:
            other.beat((jobs[agents.index(other)], 1, 1))
    assert cluster.nodes["n3"].agents.count_live() == 0


def test_after_a_storm_a_broker_is_not_believed_for_a_ttl_and_then_again() -> None:
    cluster, agents, jobs = with_agents(10)
    for agent in agents[:5]:
        agent.will()
    cluster.now += TIMING.ttl_s - 1
    for agent, job in zip(agents, jobs, strict=True):
        agent.beat((job, 1, 1))
    agents[9].will()
    assert left_s(cluster, jobs) == {TIMING.ttl_s}
    cluster.now += 1
    agents[9].will()
    assert left_s(cluster, jobs[9:]) == {TIMING.reconnect_grace_s}


def test_another_brokers_wills_are_believed_all_the_same() -> None:
    cluster, agents, jobs = with_agents(10)
    agents[9].at = "n2"
    for agent in agents[:5]:
        agent.will()
    agents[9].will()
    assert left_s(cluster, jobs[9:]) == {TIMING.reconnect_grace_s}


def test_what_was_granted_meanwhile_is_not_taken_back() -> None:
    cluster, agents, jobs = with_agents(6)
    agents[0].will()
    cluster.now += TIMING.reconnect_grace_s
    agents[5].claim(jobs[0], 2)
    for agent in agents[1:5]:
        agent.will()
    record = cluster.record("n1", jobs[0])
    assert record.holder is not None
    assert (record.epoch, record.holder.client) == (2, "edge-5")
    assert left_s(cluster, jobs[1:5]) == {TIMING.ttl_s - TIMING.reconnect_grace_s}


def test_an_orphan_that_a_storm_gives_back_is_offered_to_nobody() -> None:
    cluster, agents, jobs = with_agents(6)
    agents[0].will()
    cluster.tick(TIMING.reconnect_grace_s)
    for agent in agents[1:5]:
        agent.will()
    cluster.heard.clear()
    for agent, job in zip(agents, jobs, strict=True):
        agent.beat((job, 1, 1))
    cluster.tick(1.5)
    assert cluster.offers() == []


def test_agents_that_died_in_the_storm_are_missed_after_a_ttl() -> None:
    cluster, agents, jobs = with_agents(6)
    for agent in agents:
        agent.will()
    for _ in range(12):
        cluster.tick(1)
        agents[0].beat((jobs[0], 1, 1))
    assert {node.agents.count_live() for node in cluster.nodes.values()} == {1}
    agents[0].claim(jobs[3], 2)
    assert {cluster.record(name, jobs[3]).epoch for name in cluster.names} == {2}
