"""Goal: decided jobs leave the bus whoever is dead, and whoever asks later is told the same end.

Method: nodes away, links cut at the wrong moment, late submits, in a cluster in memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker import limits, retirement
from broker.effect import Publish
from broker.event import BrokerEmptied
from tests.unit.broker.cluster import Agent, Cluster
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.job import RESULT_GONE, Outcome, Verdict
from workrs.domain.record import Record
from workrs.ports.ledger import SweepJob
from workrs.wire import topics
from workrs.wire.message import JobState, Order, OrderKind, OrderReply

if TYPE_CHECKING:
    from collections.abc import Callable

DONE = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result="42\n", result_bytes=3)
FAILED = Outcome(verdict=Verdict.FAILED, exit_code=3, reason="exit code 3: no such file")
RETENTION_S = 5


def decided(
    cluster: Cluster, value: Outcome = DONE, *, name: str = "j1", **spec: object
) -> tuple[JobId, Agent]:
    """Let a job be submitted at n1, run and decided by the nodes that are there."""
    spec.setdefault("retention_s", RETENTION_S)
    job = cluster.submit("n1", name, device="pump-7", **spec)
    agent = Agent(cluster)
    agent.beat()
    agent.claim(job, 1)
    agent.outcome(job, 1, value)
    return job, agent


def leftovers(cluster: Cluster, job: JobId) -> dict[str, list[str]]:
    """Return the topics about a job that each node retains on its own broker."""
    ends = (job, job.partition("_")[2])
    return {
        name: [topic for topic in kept if set(ends) & set(topic.split("/"))]
        for name, kept in cluster.retained.items()
    }


def answers(cluster: Cluster, job: JobId) -> list[Record]:
    """Return the short forms that were said of a job."""
    bodies = (p.body for _, p in cluster.heard if isinstance(p.body, Record))
    return [body for body in bodies if body.job == job and body.retired]


@pytest.mark.parametrize(("size", "dead"), [(3, ["n3"]), (5, ["n4", "n5"])])
def test_a_node_that_is_dead_for_good_keeps_nothing_on_the_bus(size: int, dead: list[str]) -> None:
    cluster = Cluster(size)
    cluster.stop(*dead)
    job, _ = decided(cluster)
    cluster.tick(RETENTION_S + retirement.RETIRE_RETRY_S)
    for name in set(cluster.names) - set(dead):
        assert job not in cluster.nodes[name].entries
        assert job in cluster.disks[name].retired
    assert not any(leftovers(cluster, job).values())


def test_a_job_is_kept_while_a_live_node_does_not_know_its_outcome() -> None:
    cluster = Cluster(3)
    job, _ = decided(cluster)
    entry = cluster.nodes["n1"].entries[job]
    entry.knows.discard(ClientId("n3"))
    cluster.tick(RETENTION_S + 1)
    assert job in cluster.nodes["n1"].entries
    cluster.tick(retirement.RETIRE_RETRY_S)
    assert job not in cluster.nodes["n1"].entries, "asked, and answered by who has retired it"


def test_overdue_decisions_are_said_again_a_few_each_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirement, "REPEATS_PER_BEAT", 3)
    cluster = Cluster(3)
    jobs = [decided(cluster, name=f"j{number}")[0] for number in range(20)]
    for job in jobs:
        cluster.nodes["n1"].entries[job].knows.discard(ClientId("n3"))
    cluster.stop("n2")
    cluster.cut.add(frozenset(("n1", "n3")))
    peer = cluster.nodes["n1"].peers[ClientId("n3")]
    said: Counter[JobId] = Counter()
    for _ in range(int(RETENTION_S + 3 * retirement.RETIRE_RETRY_S)):
        # It lives, and never confirms anything.
        peer.seen_at = Instant(cluster.now)
        before = len(cluster.heard)
        cluster.tick(1.0, step=1.0)
        bodies = [p.body for n, p in cluster.heard[before:] if n == "n1"]
        shown = [body.job for body in bodies if isinstance(body, Record)]
        assert len(shown) <= 3
        said.update(shown)
    assert set(said) == set(jobs)
    assert set(said.values()) <= {3, 4}, "once a minute, and none is left behind"
    assert set(cluster.nodes["n1"].entries) == set(jobs)


def test_a_job_is_kept_while_only_a_minority_has_the_decision() -> None:
    cluster = Cluster(3)
    cluster.stop("n3")
    job, _ = decided(cluster)
    cluster.stop("n2")
    cluster.nodes["n1"].entries[job].knows.discard(ClientId("n2"))
    cluster.tick(300)
    assert cluster.nodes["n1"].live_nodes() == ["n1"]
    assert job in cluster.nodes["n1"].entries


def test_a_restarted_node_learns_that_its_peers_have_retired_the_job() -> None:
    cluster = Cluster(3)
    job, _ = decided(cluster)
    cluster.stop("n3")
    cluster.tick(RETENTION_S + 10)
    assert job not in cluster.nodes["n1"].entries
    cluster.start("n3")
    cluster.tick(1)
    assert job in cluster.disks["n3"].retired
    assert not any(leftovers(cluster, job).values())


@pytest.mark.parametrize("value", [DONE, FAILED])
def test_a_node_that_comes_back_undecided_is_told_the_decision(value: Outcome) -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1", retention_s=RETENTION_S)
    cluster.stop("n3")
    agent = Agent(cluster)
    agent.claim(job, 1)
    agent.outcome(job, 1, value)
    cluster.tick(RETENTION_S + 10)
    assert job not in cluster.nodes["n1"].entries
    assert cluster.disks["n3"].jobs[job].record.decided is None
    cluster.start("n3")
    cluster.tick(2)
    kept = cluster.disks["n3"].retired[job]
    assert (kept.short.verdict, kept.short.exit_code) == (value.verdict, value.exit_code)
    assert kept.outcome == value.digest(), "of the whole outcome, though its result is gone"
    known = cluster.disks["n1"].retired[job]
    assert (kept.short, kept.request) == (known.short, known.request)
    assert not any(leftovers(cluster, job).values())


def test_a_submit_at_a_node_that_never_knew_the_job_revives_nothing() -> None:
    cluster = Cluster(3)
    cluster.stop("n3")
    job, _ = decided(cluster)
    cluster.tick(RETENTION_S + 10)
    cluster.start("n3")
    cluster.submit("n3", retention_s=RETENTION_S)
    cluster.tick(2)
    assert cluster.down_states("pump-7", "j1", at="n3")[-1] == "succeeded"
    assert cluster.disks["n3"].retired[job].outcome == DONE.digest()
    assert not any(leftovers(cluster, job).values())
    assert not [o for o in cluster.offered() if o[0] == "n3"]


@pytest.mark.parametrize("value", [DONE, FAILED])
def test_whoever_submits_again_hears_the_end_and_another_spec_is_refused(value: Outcome) -> None:
    cluster = Cluster(3)
    job, _ = decided(cluster, value)
    cluster.tick(RETENTION_S + 10)
    before = len(cluster.heard)
    cluster.submit("n2", retention_s=RETENTION_S)
    cluster.submit("n2", retention_s=RETENTION_S, command=["other"])
    cluster.client("n2", topics.up("pump-7", "cancel", "j1"), b"")
    states = [p.body for _, p in cluster.heard[before:] if isinstance(p.body, JobState)]
    end, refusal, again = states
    assert (end.state.value, end.exit_code) == (value.verdict.value, value.exit_code)
    assert end.result is None
    assert end.reason == (value.reason or RESULT_GONE)
    assert refusal.state == "rejected"
    assert "used before" in str(refusal.reason)
    assert again == end
    assert not any(leftovers(cluster, job).values()), "answers are not retained"


@pytest.mark.parametrize(
    ("value", "word"), [(DONE, f"succeeded {RESULT_GONE}"), (FAILED, "failed exit code 3")]
)
def test_a_plain_device_is_told_the_end_and_why_there_is_no_result(
    value: Outcome, word: str
) -> None:
    """A refusal is no end to it: a node that does not know an accepted job yet refuses it, too."""
    cluster = Cluster(1)
    run = topics.up("pump-7", "run", "echo", "j1")
    cluster.client("n1", run, b"hello")
    agent = Agent(cluster)
    agent.claim("pump-7_j1", 1)
    agent.outcome("pump-7_j1", 1, value)
    cluster.tick(86_401, step=3_600)
    assert not cluster.nodes["n1"].entries
    cluster.client("n1", run, b"hello")
    assert cluster.down_states("pump-7", "j1", "state")[-1].startswith(word)


def test_agents_and_operators_are_answered_about_retired_jobs() -> None:
    cluster = Cluster(3)
    job, agent = decided(cluster)
    digest = cluster.record("n1", job).digest
    cluster.tick(RETENTION_S + 10)
    requests: list[Callable[[], None]] = [
        lambda: agent.claim(job, 9, digest),
        lambda: agent.outcome(job, 1, FAILED),
        lambda: agent.release(job, 1),
    ]
    for say in requests:
        before = len(answers(cluster, job))
        say()
        said = answers(cluster, job)[before:]
        assert len(said) == 3
        assert {r.decided_digest for r in said} == {DONE.digest()}
    order = Order(order=OrderKind.CANCEL, job="pump-7/j1")
    cluster.client("n1", topics.up("op", "order", "o1"), order)
    [reply] = [p.body for _, p in cluster.heard if isinstance(p.body, OrderReply)]
    assert reply == OrderReply(ok=False, text="pump-7/j1 has ended already: succeeded")


def test_nodes_that_have_both_retired_a_job_do_not_answer_each_other_for_ever() -> None:
    cluster = Cluster(3)
    job, agent = decided(cluster)
    cluster.tick(RETENTION_S + 10)
    agent.release(job, 1)
    assert len(answers(cluster, job)) == 3


def test_what_a_broken_link_swallowed_is_emptied_on_the_next_connection() -> None:
    cluster = Cluster(3)
    job, _ = decided(cluster)
    kept = dict(cluster.retained["n1"])
    cluster.tick(RETENTION_S + 2)
    assert job not in cluster.nodes["n1"].entries
    cluster.retained["n1"] = {**kept, **cluster.retained["n1"]}
    assert leftovers(cluster, job)["n1"]
    cluster.feed("n1", BrokerEmptied())
    cluster.tick(2)
    assert not leftovers(cluster, job)["n1"]
    cluster.tick(retirement.SWEPT_S + retirement.COPIES_S + 2)
    assert not cluster.disks["n1"].unswept


@pytest.mark.parametrize(("plain", "ends"), [(False, 1), (True, 2)])
def test_each_node_empties_its_own_topics_and_no_others(*, plain: bool, ends: int) -> None:
    cluster = Cluster(3)
    job, _ = decided(cluster)
    for node in cluster.nodes.values():
        entry = node.entries[job]
        assert entry.stored is not None
        entry.stored = replace(entry.stored, plain=plain)
    before = len(cluster.heard)
    cluster.tick(RETENTION_S + retirement.SWEPT_S + retirement.COPIES_S + 3)
    emptied = Counter(p.topic for _, p in cluster.heard[before:] if p.body == b"")
    own = {topics.record(name, job): 1 for name in cluster.names}
    told = {topic: 3 for topic in emptied if "/down/" in topic}
    assert emptied == {**own, topics.node("n1", "spec", job): 1, **told}
    assert len(told) == ends
    assert not any(node.sweep.left or node.sweep.said for node in cluster.nodes.values())


@pytest.mark.parametrize("topic", ["submit/j1", "run/echo/j1"])
def test_who_told_the_end_before_it_had_the_spec_takes_the_wrong_form_back(topic: str) -> None:
    cluster = Cluster(3)
    cluster.stop("n3")
    spec = b'{"image": "base", "command": ["true"]}' if topic == "submit/j1" else b"input"
    cluster.client("n1", topics.up("pump-7", *topic.split("/")), spec)
    job, agent = JobId("pump-7_j1"), Agent(cluster)
    agent.beat()
    agent.claim(job, 1)
    agent.outcome(job, 1, DONE)
    before = len(cluster.heard)
    cluster.start("n3", keep_memory=True)
    told = {p.topic for name, p in cluster.heard[before:] if name == "n3" and "/down/" in p.topic}
    assert len(told) == 3, "the records came before the specs"
    assert cluster.nodes["n3"].entries[job].stored is not None
    kept = {name: {t for t in all_ if "/down/" in t} for name, all_ in cluster.retained.items()}
    assert kept["n3"] == kept["n1"]


def test_what_a_device_was_told_of_a_spec_that_lost_is_taken_back_in_its_form() -> None:
    cluster = Cluster(3)
    cluster.part("n1", "n2", "n3")
    cluster.submit("n1")
    cluster.client("n2", topics.up("pump-7", "run", "echo", "j1"), b"winner")
    cluster.tick(5)
    assert topics.down("pump-7", "j1") in cluster.retained["n1"], "it waits for a majority"
    cluster.heal()
    assert cluster.nodes["n1"].entries[JobId("pump-7_j1")].stored.plain  # type: ignore[union-attr]
    assert topics.down("pump-7", "j1") not in cluster.retained["n1"]


def test_a_record_that_came_before_this_node_voted_does_not_stay() -> None:
    cluster = Cluster(3)
    job, _ = decided(cluster)
    shown = cluster.retained["n2"][topics.record("n2", job)]
    cluster.stop("n3")
    cluster.tick(RETENTION_S + 10)
    cluster.stop("n1", "n2")
    cluster.start("n3")
    # Its emptying is lost while the bridge takes over from the stand-in.
    cluster._deliver("n3", shown)
    assert not cluster.nodes["n3"].admission.votes
    cluster.start("n2", keep_memory=True)
    assert answers(cluster, job)
    assert not cluster.nodes["n3"].admission.votes
    cluster.start("n1", keep_memory=True)
    cluster.tick(3 * retirement.SWEPT_S)
    assert cluster.nodes["n3"].admission.votes
    assert not leftovers(cluster, job)["n3"]


def test_a_record_of_a_node_that_knows_nothing_of_a_retired_job_is_emptied_too() -> None:
    cluster = Cluster(3)
    job, _ = decided(cluster)
    cluster.tick(RETENTION_S + 10)
    cluster._deliver("n1", Publish(topics.record("n3", job), Record(job=job)))
    assert not leftovers(cluster, job)["n1"]


def test_what_a_dead_peer_left_at_the_own_broker_is_emptied_after_a_while() -> None:
    cluster = Cluster(3)
    job, _ = decided(cluster)
    cluster.stop("n3")
    while job in cluster.nodes["n1"].entries:
        cluster.tick(0.5)
    assert leftovers(cluster, job)["n1"] == [topics.record("n3", job)]
    cluster.tick(retirement.COPIES_S + 1)
    assert not leftovers(cluster, job)["n1"]
    assert cluster.disks["n1"].unswept, "believed only on a connection that held"
    cluster.tick(retirement.SWEPT_S + 2)
    assert not cluster.disks["n1"].unswept


def test_a_given_broker_is_swept_after_a_restart_of_the_daemon() -> None:
    cluster = Cluster(3)
    job, _ = decided(cluster)
    kept = dict(cluster.retained["n1"])
    cluster.tick(RETENTION_S + 2)
    assert job in cluster.disks["n1"].unswept
    cluster.stop("n1")
    cluster.start("n1")
    cluster.retained["n1"] = {**kept, **cluster.retained["n1"]}
    cluster.tick(2)
    assert not leftovers(cluster, job)["n1"]


def test_sweeping_goes_on_in_small_steps() -> None:
    cluster = Cluster(1)
    node = cluster.nodes["n1"]
    node.sweep.load(JobId(f"pump-7_k{n}") for n in range(250))
    said = []
    for _ in range(3):
        cluster.now += 1.0
        before = len(cluster.heard)
        cluster.feed("n1")
        said.append(sum(1 for _, p in cluster.heard[before:] if "/job/" in p.topic))
    assert said == [100, 100, 50]
    cluster.now += retirement.SWEPT_S + retirement.COPIES_S + 3
    effects = cluster.handle("n1", [])
    assert sum(isinstance(change, SweepJob) for change in effects.changes) == 250


def test_beyond_the_limit_the_oldest_are_retired_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirement, "DECIDED_MAX", 3)
    cluster = Cluster(3)
    jobs = [decided(cluster, name=f"j{n}", retention_s=3600)[0] for n in range(5)]
    cluster.tick(3)
    for node in cluster.nodes.values():
        assert list(node.decided) == jobs[2:]
    cluster.submit("n1", "j0", retention_s=3600)
    assert cluster.down_states("pump-7", "j0", at="n1")[-1] == "succeeded"


def test_results_count_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retirement, "DECIDED_MAX_BYTES", 100_000)
    cluster = Cluster(1)
    large = replace(DONE, result="x" * 30_000, result_bytes=30_000)
    for number in range(3):
        decided(cluster, large, name=f"j{number}", retention_s=3600)
    cluster.tick(2)
    node = cluster.nodes["n1"]
    assert list(node.decided) == ["pump-7_j2"]
    assert 60_000 < node.decided_bytes < 70_000


def test_a_decided_job_keeps_no_spec_in_memory_and_shows_it_again_from_disk() -> None:
    cluster = Cluster(3)
    job, _ = decided(cluster, files={"main.py": "x" * 10_000})
    topic = topics.node("n1", "spec", job)
    spec = cluster.retained["n1"][topic].body
    entry = cluster.nodes["n1"].entries[job]
    assert entry.payload is None
    assert entry.stored is not None
    assert not entry.stored.spec.files
    assert set(entry.records) == {"n1"}
    cluster.retained["n1"] = {}
    cluster.feed("n1", BrokerEmptied())
    assert cluster.retained["n1"][topic].body == spec
    assert cluster.nodes["n1"].open_bytes == 0


def test_late_progress_never_goes_back() -> None:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    agent = Agent(cluster)
    agent.beat()
    agent.claim(job, 1)
    for seq, done in ((1, 0.1), (3, 0.5), (2, 0.3), (3, 0.4)):
        agent.progress(job, 1, done, seq=seq)
    assert cluster.record("n1", job).progress == 0.5
    agent.progress(job, 1, 0.2)
    assert cluster.record("n1", job).progress == 0.2, "one without a number is taken as it comes"
    assert cluster.record("n1", job).epoch == Epoch(1)


def test_the_limits_leave_room_for_each_other() -> None:
    assert limits.OPEN_MAX_BYTES + limits.DECIDED_MAX_BYTES < 1 << 30, "a broker's memory limit"
    assert limits.AGENT_FORGET_S < limits.VIEW_EXPIRY_S
