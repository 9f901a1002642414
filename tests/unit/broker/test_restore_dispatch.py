"""Goal: a checkpoint is offered to agents that can restore it, and no job waits for ever for one.

Method: a job that was saved on one machine is given back to a cluster of other machines; one with
the right CPU comes, or does not come.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.turns import TURN_S
from tests.unit.broker.cluster import Agent, Cluster
from workrs.domain.dispatch import OFFER_S, RESTORE_WAIT_S, rank_nodes
from workrs.domain.host import HostFacts
from workrs.domain.ids import Digest, Epoch, JobId
from workrs.domain.record import CheckpointRef
from workrs.wire import topics
from workrs.wire.message import CheckpointReport, JobState, Order, OrderKind, OrderReply

HERE = HostFacts(arch="amd64", cpu="c1", kernel="6.1", criu="4.1")
THERE = replace(HERE, cpu="c2")


def agent(cluster: Cluster, name: str, host: HostFacts, **fields: Any) -> Agent:
    made = Agent(cluster, name=name)
    made.profile = replace(made.profile, rung="memory", host=host, slots=1, **fields)
    made.beat()
    return made


def saved_and_given_back(cluster: Cluster) -> JobId:
    """Let a job be saved by an agent that leaves."""
    job = cluster.submit("n1")
    former = agent(cluster, "former", HERE)
    former.claim(job, 1)
    save(former, job)
    former.beat(profile=replace(former.profile, draining=True))
    former.release(job, 1, reason="its agent was told to drain")
    return job


def save(
    former: Agent, job: JobId, seq: int = 1, *, key: str = "", location: str = "http://n1"
) -> CheckpointRef:
    ref = CheckpointRef(
        epoch=Epoch(1),
        seq=seq,
        manifest=Digest(f"{seq:064x}"),
        location=(location,),
        rung="memory",
        bytes=100,
        host=HERE,
        key=key,
    )
    former.say("checkpoint", job, CheckpointReport(incarnation=former.incarnation, checkpoint=ref))
    return ref


def keep_alive(cluster: Cluster, *agents: Agent, seconds: float) -> None:
    for _ in range(int(seconds / 0.5)):
        cluster.tick(0.5)
        for one in agents:
            one.beat()


def asked(cluster: Cluster, job: JobId) -> list[str]:
    """Return the agents that were offered the job again, in order."""
    return [name for _, name, offered in cluster.offered() if offered == job][1:]


def notes(cluster: Cluster) -> list[str]:
    topic = topics.down("pump-7", "j1")
    states = [p.body for _, p in cluster.heard if p.topic == topic]
    return [body.note or "" for body in states if isinstance(body, JobState)]


def test_an_agent_of_another_cpu_is_not_offered_it_and_one_of_the_same_is() -> None:
    cluster = Cluster(1)
    other = agent(cluster, "other", THERE)
    other.profile = replace(other.profile, draining=True)
    other.beat()
    job = saved_and_given_back(cluster)
    other.profile = replace(other.profile, draining=False)
    keep_alive(cluster, other, seconds=RESTORE_WAIT_S / 2)
    assert asked(cluster, job) == []
    assert "waits for an agent that can restore checkpoint 1.1 (memory), 30 s at most" in notes(
        cluster
    )
    same = agent(cluster, "same", HERE)
    keep_alive(cluster, other, same, seconds=1)
    assert asked(cluster, job)[0] == "same"


def test_after_a_while_anybody_is_offered_it() -> None:
    cluster = Cluster(1)
    job = saved_and_given_back(cluster)
    other = agent(cluster, "other", THERE)
    keep_alive(cluster, other, seconds=RESTORE_WAIT_S - 1)
    assert asked(cluster, job) == []
    keep_alive(cluster, other, seconds=2)
    assert asked(cluster, job) == ["other"]
    assert notes(cluster)[-1] == "its agent was told to drain"


def test_a_job_that_fell_and_was_held_again_waits_anew() -> None:
    cluster = Cluster(1)
    job = saved_and_given_back(cluster)
    other = agent(cluster, "other", THERE)
    keep_alive(cluster, other, seconds=RESTORE_WAIT_S + 1)
    other.claim(job, 2)
    other.beat((job, 2))
    other.release(job, 2)
    before = len(asked(cluster, job))
    keep_alive(cluster, other, seconds=RESTORE_WAIT_S - 2)
    assert len(asked(cluster, job)) == before


def test_other_jobs_do_not_wait_behind_it() -> None:
    cluster = Cluster(1)
    job = saved_and_given_back(cluster)
    other = agent(cluster, "other", THERE)
    keep_alive(cluster, other, seconds=2)
    free = cluster.submit("n1", "j2")
    keep_alive(cluster, other, seconds=OFFER_S)
    assert asked(cluster, job) == []
    assert ("n1", "other", free) in cluster.offered()


def test_a_job_that_was_queued_before_it_was_saved_takes_no_others_aside() -> None:
    cluster = Cluster(1)
    busy = agent(cluster, "busy", THERE)
    held = cluster.submit("n1", "j0")
    busy.claim(held, 1)
    busy.beat((held, 1))
    job, free = cluster.submit("n1", "j1"), cluster.submit("n1", "j2")
    former = Agent(cluster, name="former")
    former.beat(profile=replace(former.profile, draining=True))
    former.claim(job, 1)
    save(former, job)
    former.release(job, 1)
    busy.outcome(held, 1)
    keep_alive(cluster, busy, seconds=OFFER_S)
    assert ("n1", "busy", free) in cluster.offered()
    keep_alive(cluster, busy, seconds=RESTORE_WAIT_S - 2 * OFFER_S)
    assert ("n1", "busy", job) not in cluster.offered()
    keep_alive(cluster, busy, seconds=4 * OFFER_S)
    assert ("n1", "busy", job) in cluster.offered()


def test_a_node_that_missed_the_lease_waits_as_long_for_a_restorer() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    first, second, _ = rank_nodes(job, cluster.names)
    cluster.stop(first)
    former = Agent(cluster, name="former", at=second)
    former.beat(profile=replace(former.profile, rung="memory", host=HERE))
    former.claim(job, 1)
    cluster.start(first)
    save(former, job)
    other = agent(cluster, "other", THERE)
    for _ in range(int(2 * RESTORE_WAIT_S)):
        keep_alive(cluster, other, seconds=0.5)
        former.beat((job, 1))
        former.progress(job, 1, 0.1)
    former.beat((job, 1), profile=replace(former.profile, draining=True))
    former.release(job, 1)
    keep_alive(cluster, other, seconds=RESTORE_WAIT_S - 1)
    assert [name for _, name, _ in cluster.offered()] == []
    keep_alive(cluster, other, seconds=1 + 2 * TURN_S)
    assert [name for _, name, _ in cluster.offered()][:1] == ["other"]


def hints(cluster: Cluster) -> list[tuple[str, Order]]:
    """Return who was told to fetch what, in order."""
    return [
        (p.topic.rsplit("/", 1)[1], p.body)
        for _, p in cluster.heard
        if isinstance(p.body, Order) and p.body.order is OrderKind.FETCH
    ]


def test_as_its_holder_leaves_the_next_agent_fetches_ahead_and_is_offered_the_job() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    former = agent(cluster, "former", HERE)
    former.claim(job, 1)
    others = [agent(cluster, f"other-{number}", HERE) for number in range(3)]
    unable = agent(cluster, "unable", THERE)
    save(former, job)
    assert hints(cluster) == []
    former.profile = replace(former.profile, draining=True)
    former.beat((job, 1))
    refs = [save(former, job, 2), save(former, job, 3)]
    told = hints(cluster)
    assert [order.checkpoint for _, order in told] == refs
    (expecting,) = {name for name, _ in told}
    assert expecting != "unable"
    busier = next(one for one in others if one.name == expecting)
    busier.profile = replace(busier.profile, load=9.0)
    keep_alive(cluster, *others, unable, seconds=0.5)
    former.beat((job, 1))
    former.release(job, 1)
    assert asked(cluster, job)[0] == expecting


def leaving(cluster: Cluster, *jobs: JobId) -> Agent:
    """Return an agent that drains, with these jobs in hand."""
    former = agent(cluster, "former", HERE)
    for job in jobs:
        former.claim(job, 1)
    former.profile = replace(former.profile, draining=True)
    former.beat(*((job, 1) for job in jobs))
    return former


def test_several_jobs_that_move_are_expected_by_agents_with_room_for_them() -> None:
    cluster = Cluster(1)
    jobs = [cluster.submit("n1", f"j{number}") for number in range(3)]
    former = leaving(cluster, *jobs)
    _, two = (agent(cluster, name, HERE) for name in ("one", "two"))
    two.profile = replace(two.profile, slots=2)
    two.beat()
    for seq in (1, 2):
        for job in jobs:
            save(former, job, seq)
    told = {job: {name for name, order in hints(cluster) if order.job == job} for job in jobs}
    assert all(len(names) == 1 for names in told.values()), "each job keeps the agent it was told"
    expecting = [name for names in told.values() for name in names]
    assert sorted(expecting) == ["one", "two", "two"]


def test_nothing_is_expected_of_a_job_that_stays_is_taken_or_ends() -> None:
    cluster = Cluster(1)
    job = cluster.submit("n1")
    former = leaving(cluster, job)
    other = agent(cluster, "other", HERE)
    node = cluster.nodes["n1"]
    save(former, job)
    assert node.expected == {job: "other"}
    former.profile = replace(former.profile, draining=False)
    former.beat((job, 1))
    assert node.expected == {}
    former.profile = replace(former.profile, draining=True)
    former.beat((job, 1))
    save(former, job, 2)
    assert node.expected == {job: "other"}
    former.release(job, 1)
    other.claim(job, 2)
    assert node.expected == {}
    other.profile = replace(other.profile, draining=True)
    other.beat((job, 2))
    former.profile = replace(former.profile, draining=False)
    former.beat()
    other.checkpoint(job, 2, 1)
    assert node.expected == {job: "former"}
    other.outcome(job, 2)
    assert node.expected == {}


def test_without_another_agent_nobody_is_told() -> None:
    cluster = Cluster(1)
    job = cluster.submit("n1")
    former = agent(cluster, "former", HERE)
    former.claim(job, 1)
    former.profile = replace(former.profile, draining=True)
    former.beat((job, 1))
    save(former, job)
    assert hints(cluster) == []


def test_an_operator_cannot_order_it() -> None:
    cluster = Cluster(1)
    cluster.client("n1", topics.up("ann", "order", "o1"), Order(order=OrderKind.FETCH))
    [reply] = [p.body for _, p in cluster.heard if isinstance(p.body, OrderReply)]
    assert not reply.ok


@pytest.mark.parametrize(
    ("lacks", "has", "saved"),
    [
        ({"keys": ("old",)}, {"keys": ("old", "new")}, {"key": "new"}),
        ({"stores": ()}, {"stores": ("s3://b/p",)}, {"location": "s3://b/p"}),
    ],
)
def test_who_has_not_its_key_or_its_store_is_not_offered_it_for_a_while(
    lacks: dict[str, Any], has: dict[str, Any], saved: dict[str, Any]
) -> None:
    cluster = Cluster(1)
    job = cluster.submit("n1")
    former = agent(cluster, "former", HERE)
    former.claim(job, 1)
    save(former, job, **saved)
    former.beat(profile=replace(former.profile, draining=True))
    former.release(job, 1)
    other = agent(cluster, "other", HERE, **lacks)
    keep_alive(cluster, other, seconds=RESTORE_WAIT_S / 2)
    assert asked(cluster, job) == []
    # Its operator brings it what it lacked.
    other.profile = replace(other.profile, **has)
    keep_alive(cluster, other, seconds=2)
    assert asked(cluster, job)[0] == "other"
