"""Goal: every job is offered to somebody who may take it, one at a time, and waiting costs nothing.

Method: a cluster in memory with agents that answer or do not; then counts and times at 10,000.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from broker.entry import Served
from broker.event import AgentHeard, BeatHeard, SubmitHeard, Ticked
from broker.pace import OFFERS_FIRST, OFFERS_MAX, OFFERS_MIN, SOON_S, Pace
from broker.turns import CLAIM_TURN_S, PATIENCE_S, TURN_S
from tests.unit.broker.cluster import TIMING, Agent, Cluster
from workrs.domain.dispatch import OFFER_S, AgentProfile, rank_nodes
from workrs.domain.ids import ClientId, Instant, JobId, LocalJobId
from workrs.domain.record import Incarnation
from workrs.wire import codec, message, topics

LAPSE_S = OFFER_S * 1.25
"""Longest an offer stands, jitter included."""


def ranked(job: JobId, cluster: Cluster) -> list[ClientId]:
    return rank_nodes(job, cluster.names)


def agent(cluster: Cluster, name: str = "edge-1", at: str = "n1", **profile: Any) -> Agent:
    made = Agent(cluster, name=name, at=at)
    made.profile = replace(made.profile, **profile)
    made.beat()
    return made


def place_of(cluster: Cluster, node: str, job: JobId) -> tuple[int, int]:
    """Return a job's place in a node's queue."""
    entry = cluster.nodes[node].entries[job]
    assert entry.stored is not None
    return -entry.stored.spec.priority, entry.arrived


def keep_alive(cluster: Cluster, *agents: Agent, seconds: float) -> None:
    for _ in range(int(seconds / 0.5)):
        cluster.tick(0.5)
        for one in agents:
            one.beat()


def test_the_first_rank_offers_with_spec_digest_and_next_epoch() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    agent(cluster)
    [(node, to, offered)] = cluster.offered()
    assert (node, to, offered) == (ranked(job, cluster)[0], "edge-1", job)
    [offer] = cluster.offers()
    assert offer.epoch == 1
    assert offer.digest == cluster.record("n1", job).digest
    assert offer.stored == cluster.nodes["n1"].entries[job].stored


def test_an_offer_that_is_taken_is_not_made_again() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    one = agent(cluster)
    one.claim(job, 1)
    keep_alive(cluster, one, seconds=5)
    assert len(cluster.offers()) == 1


def test_a_lapsed_offer_goes_to_another_agent_and_comes_back() -> None:
    cluster = Cluster(1)
    cluster.submit("n1")
    one, two = agent(cluster), agent(cluster, "edge-2")
    assert len(cluster.offers()) == 1
    cluster.now += OFFER_S - 0.01
    cluster.tick()
    assert len(cluster.offers()) == 1, "one offer at a time"
    keep_alive(cluster, one, two, seconds=2 * LAPSE_S)
    assert {to for _, to, _ in cluster.offered()[:2]} == {"edge-1", "edge-2"}
    keep_alive(cluster, one, two, seconds=2 * LAPSE_S)
    assert len(cluster.offers()) >= 3, "they may be the only ones"


def test_the_other_ranks_wait_their_turn_and_then_offer() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    first, second, third = ranked(job, cluster)
    cluster.stop(first)
    one = agent(cluster, at=second)
    assert cluster.offers() == []
    keep_alive(cluster, one, seconds=TURN_S)
    assert [node for node, _, _ in cluster.offered()] == [second]
    cluster.stop(second)
    one.at = third
    one.beat()
    keep_alive(cluster, one, seconds=2 * TURN_S)
    assert third in [node for node, _, _ in cluster.offered()]


@pytest.mark.parametrize(
    ("place", "waits_s"),
    [("before", PATIENCE_S), ("after", TURN_S)],
    ids=["a node on its way is waited for", "one that has passed the job is not"],
)
def test_a_node_that_works_through_the_queue_is_waited_for(place: str, waits_s: float) -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    first, second, _ = ranked(job, cluster)
    cluster.stop(first)
    one = agent(cluster, at=second)
    began = cluster.now
    priority, arrived = place_of(cluster, second, job)
    while not cluster.offers():
        other = (priority, arrived + (-1 if place == "before" else 1))
        for node in cluster.nodes.values():
            node.served[first] = Served(Instant(cluster.now), other)
        keep_alive(cluster, one, seconds=0.5)
    assert cluster.now - began == pytest.approx(waits_s, abs=0.51)


def test_a_lease_shows_how_far_the_node_is_that_ranks_first() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    first, second, _ = ranked(job, cluster)
    one = agent(cluster, at=first)
    one.claim(job, 1)
    places = {name: served.place for name, served in cluster.nodes[second].served.items()}
    assert places == {first: place_of(cluster, second, job)}
    assert first not in cluster.nodes[first].served


def test_a_job_is_not_offered_to_the_agent_whose_silence_ended_its_lease() -> None:
    """It has most slots free, now that nothing of it counts, and its host may be lost."""
    cluster = Cluster(1)
    lost = agent(cluster, "edge-a", slots=9)
    job = cluster.submit("n1")
    lost.claim(job, 1)
    cluster.tick(TIMING.ttl_s / 2)
    other = agent(cluster, "edge-b", slots=9)
    other.profile = replace(other.profile, load=9.0)
    keep_alive(cluster, other, seconds=TIMING.ttl_s / 2 + 0.5)
    assert [to for _, to, _ in cluster.offered()] == ["edge-a", "edge-b"]


def test_a_turn_that_passed_while_no_agent_was_free_does_not_count() -> None:
    """Otherwise every node would offer the same jobs of a long queue to every free slot."""
    cluster = Cluster(3)
    one = agent(cluster, slots=1)
    for number in range(30):
        cluster.submit("n1", f"j{number}")
    for _ in range(5):
        first = cluster.offers()[-1]
        one.claim(first.job, first.epoch)
        for _ in range(10):
            cluster.tick(0.5)
            one.beat((first.job, first.epoch))
        cluster.heard.clear()
        one.outcome(first.job, first.epoch)
        assert cluster.offers()
        for node, _, job in cluster.offered():
            assert node == ranked(JobId(job), cluster)[0]


@pytest.mark.parametrize(
    ("spec", "fitting"),
    [
        ({"constraints": {"arch": "arm64"}}, {"arch": "arm64"}),
        ({"constraints": {"labels": ["gpu"]}}, {"labels": ("gpu", "roof")}),
        ({"memory_mb": 4096}, {"memory_mb": 4096}),
        ({"checkpoint": {"mode": "memory"}}, {"rung": "memory"}),
    ],
    ids=str,
)
def test_only_an_agent_that_meets_the_constraints_is_asked(
    spec: dict[str, Any], fitting: dict[str, Any]
) -> None:
    cluster = Cluster(1)
    cluster.submit("n1", **spec)
    other = agent(cluster)
    cluster.tick(5)
    assert cluster.offers() == []
    agent(cluster, "edge-2", **fitting)
    assert [to for _, to, _ in cluster.offered()] == ["edge-2"]
    assert other


def test_an_agent_that_comes_to_fit_is_asked() -> None:
    cluster = Cluster(1)
    cluster.submit("n1", constraints={"labels": ["gpu"]})
    one = agent(cluster)
    assert cluster.offers() == []
    one.profile = replace(one.profile, labels=("gpu",))
    one.beat()
    assert len(cluster.offers()) == 1


def test_draining_gone_full_and_silent_agents_are_not_asked() -> None:
    cluster = Cluster(1)
    agent(cluster, "draining", draining=True)
    agent(cluster, "full", slots=0)
    gone = agent(cluster, "gone")
    gone.will()
    agent(cluster, "silent")
    cluster.tick(TIMING.ttl_s + 1)
    cluster.submit("n1")
    cluster.tick(5)
    assert cluster.offers() == []


def test_an_offer_to_an_agent_that_dies_goes_on_at_once() -> None:
    cluster = Cluster(1)
    cluster.submit("n1")
    one = agent(cluster)
    agent(cluster, "edge-2")
    one.will()
    assert [to for _, to, _ in cluster.offered()] == ["edge-1", "edge-2"]


def test_slots_are_filled_and_no_further() -> None:
    cluster = Cluster(1)
    for number in range(5):
        cluster.submit("n1", f"j{number}")
    agent(cluster, slots=3)
    assert len(cluster.offers()) == 3


def test_priority_then_age_order_the_queue() -> None:
    cluster = Cluster(1)
    for job, priority in (("a", 1), ("b", 9), ("c", 5), ("d", 9)):
        cluster.submit("n1", job, priority=priority)
    agent(cluster, slots=4)
    assert [offer.job[-1] for offer in cluster.offers()] == ["b", "d", "c", "a"]


def test_jobs_that_fit_nobody_hold_up_no_others() -> None:
    cluster = Cluster(1)
    for number in range(200):
        cluster.submit("n1", f"gpu{number}", priority=9, constraints={"labels": ["gpu"]})
    cluster.submit("n1", "plain", priority=0)
    agent(cluster)
    assert [offer.job for offer in cluster.offers()] == ["pump-7_plain"]


def test_a_job_that_is_cancelled_decided_or_not_stored_is_never_offered() -> None:
    cluster = Cluster(3)
    cluster.part("n1", "n2", "n3")
    cluster.submit("n1", "alone")
    one = agent(cluster)
    keep_alive(cluster, one, seconds=10)
    assert cluster.offers() == []
    cluster.client("n1", topics.up("pump-7", "cancel", "alone"), b"")
    cluster.heal()
    keep_alive(cluster, one, seconds=30)
    assert cluster.offers() == []


def test_an_orphan_is_offered_at_the_epoch_after_the_highest_seen() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    one = agent(cluster)
    one.claim(job, 1)
    one.beat((job, 1, 1))
    two = agent(cluster, "edge-2", at="n2")
    one.will()
    cluster.tick(TIMING.reconnect_grace_s, step=0.1)
    assert [(o.job, o.epoch) for o in cluster.offers()][-1] == (job, 2)
    assert cluster.offered()[-1][1] == two.name


def test_an_orphan_whose_first_rank_is_dead_waits_less_than_half_a_ttl_more() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    first, second, third = ranked(job, cluster)
    one, two = agent(cluster, at=third), agent(cluster, "edge-2", at=second)
    one.claim(job, 1)
    cluster.stop(first)
    began = cluster.now
    one.claim(job, 2)
    cluster.heard.clear()
    while not cluster.offers():
        cluster.tick(0.5)
        two.beat()
        assert cluster.now - began <= 1.5 * TIMING.ttl_s


def test_a_node_that_missed_a_claim_does_not_offer_the_job_to_another() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    first, second, third = ranked(job, cluster)
    one = Agent(cluster, at=second)
    cluster.stop(first)
    one.beat()
    one.claim(job, 1)
    cluster.start(first)
    rival = agent(cluster, "edge-2", at=third)
    for _ in range(20):
        cluster.tick(0.5)
        one.beat((job, 1))
        one.progress(job, 1, 0.1)
        rival.beat()
    assert cluster.offers() == []


def test_a_claim_that_only_a_peer_granted_may_be_repeated_before_the_job_is_offered() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    first, second, third = ranked(job, cluster)
    cluster.stop(third)
    rival, one = agent(cluster, "edge-2", at=first), agent(cluster, at=second)
    cluster.part(second, first)
    rival.claim(job, 1)
    one.claim(job, 2)
    cluster.heal()
    cluster.heard.clear()
    rival.release(job, 1)
    cluster.tick(CLAIM_TURN_S - 0.3, step=0.1)
    assert cluster.record(first, job).holder is None
    assert cluster.offers() == []
    cluster.tick(0.5, step=0.1)
    assert cluster.offers(), "a claim that is not repeated holds nobody up"


def _queue(cluster: Cluster, count: int) -> None:
    spec = codec.encode({"image": "base", "command": ["true"]})
    events = [
        SubmitHeard(ClientId("pump-7"), LocalJobId(f"j{number}"), spec) for number in range(count)
    ]
    cluster.handle("n1", list(events))


def _cost_s(cluster: Cluster, times: int = 200) -> float:
    """Return the CPU of one event; the best of five, since others run beside."""
    best = 9e9
    for _ in range(5):
        began = time.thread_time()
        for _ in range(times):
            cluster.handle("n1", [Ticked()])
        best = min(best, (time.thread_time() - began) / times)
    return best


def test_ten_thousand_waiting_jobs_cost_nothing_while_no_agent_is_free() -> None:
    idle, busy = Cluster(1), Cluster(1)
    _queue(busy, 10_000)
    assert _cost_s(busy) < 5 * _cost_s(idle) + 50e-6
    agent(busy, slots=1, memory_mb=4)
    assert busy.offers() == [], "it fits none of them"
    assert _cost_s(busy) < 5 * _cost_s(idle) + 50e-6


def test_an_agent_among_ten_thousand_jobs_gets_one_in_a_moment() -> None:
    cluster = Cluster(1)
    _queue(cluster, 10_000)
    profile = AgentProfile(slots=1, arch="amd64", memory_mb=1024, cpus=1.0)
    began = time.thread_time()
    for number in range(100):
        beat = message.Beat(
            incarnation=Incarnation(1, "a"), connection=1, counter=1, profile=profile
        )
        cluster.handle("n1", [BeatHeard(ClientId(f"edge-{number}"), beat, "")])
        incarnation = Incarnation(1, "a")
        [offer] = cluster.offers()[number:]
        claim = message.Claim(incarnation=incarnation, epoch=offer.epoch, digest=offer.digest)
        cluster.handle("n1", [AgentHeard(ClientId(f"edge-{number}"), offer.job, claim, "")])
    assert time.thread_time() - began < 2.0
    assert len(cluster.offers()) == 100


def test_a_long_queue_is_offered_a_few_jobs_at_a_time_until_they_are_taken() -> None:
    """Else a thousand idle agents claim at once, and each claim waits for all the others."""
    cluster = Cluster(1)
    _queue(cluster, 100)
    agents = [agent(cluster, f"edge-{number}", slots=1) for number in range(30)]
    assert len(cluster.offers()) == OFFERS_FIRST
    for taken in range(len(agents)):
        _, to, _ = cluster.offered()[taken]
        offer = cluster.offers()[taken]
        next(one for one in agents if one.name == to).claim(offer.job, offer.epoch)
        standing = len(cluster.offers()) - (taken + 1)
        assert standing <= cluster.nodes["n1"].pace.window
    assert len(cluster.offers()) == len(agents)


def test_late_answers_slow_the_offers_down_and_early_ones_speed_them_up() -> None:
    pace, now = Pace(), 0.0

    def answer(after_s: float, *, taken: bool = True) -> None:
        nonlocal now
        pace.offered(JobId("pump_1"), Instant(now))
        now += after_s
        pace.ended(JobId("pump_1"), Instant(now), taken=taken)

    answer(5.0, taken=False)
    assert pace.window == OFFERS_FIRST, "a dead agent says nothing of the pace"
    answer(SOON_S / 2)
    assert pace.window > OFFERS_FIRST
    for _ in range(1000):
        answer(SOON_S / 2)
    assert pace.window == OFFERS_MAX
    for _ in range(100):
        answer(SOON_S * 2)
    assert pace.window == OFFERS_MIN
    pace.offered(JobId("pump_1"), Instant(now))
    assert pace.has_room
    pace.offered(JobId("pump_2"), Instant(now))
    assert not pace.has_room
    pace.ended(JobId("pump_2"), Instant(now), taken=False)
    assert pace.has_room


def test_an_agent_that_does_not_answer_holds_up_no_more_than_its_first_offers() -> None:
    cluster = Cluster(1)
    dead = agent(cluster, "dead", slots=100)
    _queue(cluster, 50)
    living = agent(cluster, "living", slots=50, load=9.0)
    assert {to for _, to, _ in cluster.offered()} == {dead.name}
    cluster.tick(LAPSE_S, step=0.25)
    first = int(OFFERS_FIRST)
    later = cluster.offered()[first:]
    assert {to for _, to, _ in later} == {living.name}
    dead.beat()
    for _, _, job in later:
        living.claim(JobId(job), 1)
    assert dead.name in {to for _, to, _ in cluster.offered()[2 * first :]}
