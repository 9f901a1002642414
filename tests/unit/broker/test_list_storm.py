"""Goal: whatever breaks while the list of nodes changes, no job is lost and none ends twice.

Method: storms (`list_storm`) in which an operator changes the list by the documented steps. And
canaries: what each rule forbids is done without it, and must break a promise.
"""

import pytest

from broker import list_copy, node_list
from broker.effect import Publish
from broker.event import Event, PeerRecordSeen
from broker.node import Node
from tests.unit.broker.cluster import Agent, Cluster
from tests.unit.broker.list_storm import Storm
from workrs.domain.errors import ConfigError
from workrs.domain.ids import ClientId, Instant
from workrs.domain.job import Outcome, Verdict
from workrs.domain.node_list import Stage

THREE, FOUR, FIVE = (tuple(f"n{n}" for n in range(1, size + 1)) for size in (3, 4, 5))
JOB = "pump-7_j1"


@pytest.mark.parametrize("seed", range(12))
def test_a_storm_loses_no_job_and_ends_none_twice(seed: int) -> None:
    Storm(seed).run()


@pytest.mark.parametrize(
    "seed",
    [
        20,  # an agent believed for ever in two nodes that were removed and named each other
        140,  # it did so in two that ran on after that
        1076,  # a node that was re-admitted in the middle, with the list before, goes no further
    ],
)
def test_a_storm_that_once_broke_something_does_not(seed: int) -> None:
    Storm(seed).run(250)


class DeafCluster(Cluster):
    """Bridges that break again and again: they bring states, and nothing of jobs to n4 and n5."""

    def _is_deaf(self, peer: str, publish: Publish) -> bool:
        return peer in ("n4", "n5") and "/state" not in publish.topic

    def _bridge(self, origin: str, publish: Publish) -> list[tuple[str, list[Event]]]:
        carried = super()._bridge(origin, publish)
        return [] if not carried else [c for c in carried if not self._is_deaf(c[0], publish)]

    def resend(self, origin: str, peer: str) -> None:
        for publish in list(self.retained[origin].values()):
            if f"/node/{origin}/" in publish.topic and not self._is_deaf(peer, publish):
                self._deliver(peer, publish)


def change(cluster: Cluster, *nodes: str) -> None:
    """Go to another list as an operator does, and wait until the change is over."""
    cluster.stop(*(set(cluster.nodes) - set(nodes)))
    for name in nodes:
        cluster.start_with(name, *nodes)
        cluster.tick(7.0)
    cluster.tick(5.0)
    stages = {cluster.disks[name].standing.stage.name for name in nodes}
    assert stages == {"OVER"}, stages


def run_job(cluster: Cluster, result: str, *, at: str = "n1", epoch: int = 1) -> None:
    """Submit the job, and have an agent run it."""
    agent = Agent(cluster, at=at, number=epoch)
    cluster.submit(at)
    agent.beat()
    if any(JOB in cluster.nodes[n].entries and cluster.record(n, JOB).digest for n in (at,)):
        agent.claim(JOB, epoch)
        agent.outcome(
            JOB, epoch, Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result=f"{result}\n")
        )


def decided_before_two_changes() -> Cluster:
    """Decide a job at n1, n2 and n3 of five; remove n1 and n2; run it again at n4 and n5."""
    cluster = DeafCluster(size=5)
    cluster.lists = dict.fromkeys(cluster.names, cluster.names)
    cluster.tick(5.0)
    run_job(cluster, "first")
    assert cluster.record("n3", JOB).decided is not None
    change(cluster, "n2", "n3", "n4", "n5")
    change(cluster, "n3", "n4", "n5")
    cluster.stop("n3")
    cluster.tick(5.0)
    cluster._is_deaf = lambda _peer, _publish: False  # type: ignore[method-assign]
    run_job(cluster, "second", at="n4", epoch=7)
    return cluster


def results(cluster: Cluster) -> set[str | None]:
    """Return what the job's device was told as its result."""
    return {
        getattr(publish.body, "result", None)
        for _, publish in cluster.heard
        if publish.topic == "workrs/1/down/pump-7/j1" and hasattr(publish.body, "result")
    } - {None}


def test_a_decision_that_no_bridge_brought_is_known_before_a_change_is_over() -> None:
    assert results(decided_before_two_changes()) == {"first\n"}


def test_canary_without_reading_what_others_decided_there_is_a_second_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask(node: Node, _now: Instant) -> None:
        if node.list_change.unread:
            node.list_change.unread.clear()

    monkeypatch.setattr(list_copy, "ask", ask)
    with pytest.raises(AssertionError, match="two outcomes"):
        decided_before_two_changes()


def two_steps_at_once() -> None:
    """Decide a job under {n1, n2, n3} where n3 does not hear of it; go on as {n3, n4, n5}."""
    cluster = Cluster()
    cluster.tick(5.0)
    cluster.part("n3", "n1", "n2")
    run_job(cluster, "first")
    for name in ("n3", "n4", "n5"):
        cluster.start_with(name, "n3", "n4", "n5")
    cluster.tick(7.0)
    run_job(cluster, "second", at="n4", epoch=7)


def test_canary_with_two_steps_at_once_there_is_a_second_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match="one node at a time"):
        two_steps_at_once()
    monkeypatch.setattr(node_list, "step", lambda _known, _stage, asked: (asked, Stage.CHANGING))
    with pytest.raises(AssertionError, match="two outcomes"):
        two_steps_at_once()


def chosen_before_two_changes() -> None:
    """Have n1, n2 and n3 of five accept an outcome that n1 alone knows for decided; remove it.

    Then n2 is removed, and n4 and n5, which heard nothing of the job, run it again.
    """
    cluster = DeafCluster(size=5)
    cluster.lists = dict.fromkeys(cluster.names, cluster.names)
    cluster.tick(5.0)
    cluster.submit("n1")
    agent = Agent(cluster)
    agent.beat()
    agent.claim(JOB, 1)
    cluster.part("n1", "n2", "n3")
    cluster.part("n2", "n3")
    first = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result="first\n")
    for at in ("n1", "n2", "n3"):
        Agent(cluster, at=at).outcome(JOB, 1, first)
    for peer in ("n2", "n3"):
        cluster.feed("n1", PeerRecordSeen(ClientId(peer), cluster.record(peer, JOB)))
    assert results(cluster) == {"first\n"}
    cluster.stop("n1")
    cluster.heal()
    change(cluster, "n2", "n3", "n4", "n5")
    change(cluster, "n3", "n4", "n5")
    cluster.stop("n3")
    cluster.tick(5.0)
    cluster._is_deaf = lambda _peer, _publish: False  # type: ignore[method-assign]
    run_job(cluster, "second", at="n4", epoch=7)


def test_canary_without_waiting_for_jobs_of_before_there_is_a_second_outcome(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(AssertionError, match="CHANGING"):
        chosen_before_two_changes()
    monkeypatch.setattr(node_list, "_is_open", lambda _node, _job: False)
    with pytest.raises(AssertionError, match="two outcomes"):
        chosen_before_two_changes()
