"""Goal: what was said once and is said again, by whoever overheard it, changes nothing.

Method: an honest job in a cluster of brains (tests/unit/broker/cluster.py); what its agent and its
device said is recorded as it travelled, and said again after the job has gone on without them.
Each replay is played twice (tests/hostile/twice.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from broker import intake
from broker.agents import AgentTable
from broker.limits import EPOCHS_AHEAD_MAX
from tests.hostile.twice import played_twice
from tests.unit.broker.cluster import Agent, Cluster
from workrs.domain import voter
from workrs.domain.ids import ClientId, Epoch
from workrs.domain.job import Outcome, Verdict
from workrs.testing.canaries.of_node import admit_any_will, submit_anew
from workrs.testing.canaries.of_vote import checkpoint_of_any_epoch, outcome_of_any_epoch
from workrs.wire import message, topics

if TYPE_CHECKING:
    from collections.abc import Callable

    from workrs.domain.ids import Instant, JobId
    from workrs.domain.record import Holder
    from workrs.domain.voter import ClaimRequest, Vote
    from workrs.wire.message import Beat

LIE = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result="what it had before\n")


@dataclass
class Takeover:
    """A job that `one` held at epoch 1 and `two` holds at epoch 2."""

    cluster: Cluster
    job: JobId
    one: Agent
    two: Agent

    def told(self) -> list[str]:
        """Return what of the job the nodes hold for true, without what a replay may count."""
        records = [self.cluster.record(name, self.job) for name in self.cluster.names]
        return [str(replace(record, version=records[0].version)) for record in records]

    def left_s(self) -> set[float]:
        return {self.cluster.lease_left_s(name, self.job) for name in self.cluster.names}


def taken_over() -> Takeover:
    cluster = Cluster(3)
    job = cluster.submit("n1")
    one, two = Agent(cluster), Agent(cluster, name="edge-2", at="n2")
    one.claim(job, 1)
    one.beat((job, 1))
    one.checkpoint(job, 1, 1)
    one.will()
    cluster.now += 1
    two.claim(job, 2)
    two.beat((job, 2))
    return Takeover(cluster, job, one, two)


def grant_anything(vote: Vote, request: ClaimRequest, *, now: Instant, ttl_s: float) -> Vote:
    """Grant a claim, whatever was granted before."""
    assert now
    assert ttl_s
    record = replace(vote.record, epoch=Epoch(vote.record.epoch + 1), holder=request.holder)
    return replace(vote, record=record)


def release_anything(vote: Vote, holder: Holder, epoch: Epoch, **_: object) -> Vote:
    """Take whoever says it for the holder."""
    assert holder
    assert epoch
    return replace(vote, record=replace(vote.record, holder=None))


def admit_anything(table: AgentTable, client: ClientId, beat: Beat) -> object:
    """Believe a heartbeat of whichever number."""
    entry = table.entries.get(client)
    if entry is None or beat.gone:
        return _admit(table, client, beat)
    entry.counter = 0
    return entry


_admit = AgentTable.admit
REPLAYS: dict[str, tuple[Callable[[Takeover], None], object, str, object]] = {
    "claim": (lambda it: it.one.claim(it.job, 1), voter, "claim", grant_anything),
    "outcome": (
        lambda it: it.one.outcome(it.job, 1, LIE),
        voter,
        "outcome",
        outcome_of_any_epoch,
    ),
    "checkpoint": (
        lambda it: ignore(it.one.checkpoint(it.job, 1, 2)),
        voter,
        "checkpoint",
        checkpoint_of_any_epoch,
    ),
    "release": (lambda it: it.one.release(it.job, 1), voter, "release", release_anything),
    "submit": (
        lambda it: ignore(it.cluster.submit("n1", command=["sh", "-c", "other"])),
        intake,
        "on_submit",
        submit_anew,
    ),
}


def ignore(_: object) -> None:
    """Take what a call returns."""


@played_twice
@pytest.mark.parametrize("name", REPLAYS)
def test_what_a_former_holder_said_is_said_again_in_vain(
    monkeypatch: pytest.MonkeyPatch, name: str, *, control: bool
) -> None:
    """By itself, which woke up, or by somebody who had recorded it; of a submit, with a change."""
    attack, module, rule, blind = REPLAYS[name]
    it = taken_over()
    before = it.told()
    if not control:
        monkeypatch.setattr(module, rule, blind)
    attack(it)
    assert (it.told() == before) is control


def test_the_same_said_again_is_the_same_and_its_sender_is_answered() -> None:
    it = taken_over()
    before, heard = it.told(), len(it.cluster.heard)
    for _ in range(3):
        it.cluster.submit("n1")
        it.two.claim(it.job, 2)
    assert it.told() == before
    assert len(it.cluster.heard) > heard


@played_twice
def test_an_overheard_heartbeat_keeps_no_lease_alive(
    monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """Else whoever replays it keeps a dead agent's jobs from all others."""
    it = taken_over()
    overheard = it.two.counter
    it.two.beat((it.job, 2))
    it.cluster.now += 5
    left_s = it.left_s()
    if not control:
        monkeypatch.setattr(AgentTable, "admit", admit_anything)
    it.two.beat((it.job, 2), counter=overheard)
    assert (it.left_s() == left_s) is control


@played_twice
def test_an_overheard_will_ends_no_later_connection(
    monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    it = taken_over()
    it.two.connection += 1
    it.two.beat((it.job, 2))
    left_s = it.left_s()
    if not control:
        monkeypatch.setattr(AgentTable, "admit", admit_any_will)
    it.two.will(connection=1)
    assert (it.left_s() == left_s) is control


@played_twice
def test_an_agent_cannot_use_up_the_epochs_of_a_job(
    monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """Above the highest there is nobody could bid, and the job would be its for good."""
    if not control:
        monkeypatch.setattr("broker.brain.EPOCHS_AHEAD_MAX", EPOCHS_AHEAD_MAX * 10)
    cluster = Cluster(3)
    job = cluster.submit("n1")
    Agent(cluster).claim(job, EPOCHS_AHEAD_MAX + 1)
    epochs = {cluster.record(name, job).epoch for name in cluster.names}
    assert epochs == ({0} if control else {EPOCHS_AHEAD_MAX + 1})


@played_twice
def test_a_word_that_came_by_no_node_is_nobodys(*, control: bool) -> None:
    """Of an agent's death, say, below a name that is no node's."""
    it = taken_over()
    node = it.cluster.nodes["n1"]
    if not control:
        names = (*node.settings.nodes, ClientId("n9"))
        node.settings = replace(node.settings, nodes=names)
    will = message.Beat(incarnation=it.two.incarnation, connection=1, gone=True)
    left_s = it.left_s()
    it.cluster.client("n1", f"{topics.ROOT}/relay/n9/{it.two.name}/beat", will, relays=False)
    assert (it.left_s() == left_s) is control
