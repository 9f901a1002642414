"""Goal: what stands in for a rule lacks that rule and nothing else.

Method: the rule refuses where its canary does not, and both agree where the rule has no say.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.agents import AgentEntry, AgentTable
from broker.storm import StormGuard, Will
from edge_agent.heart import Heart
from workrs.domain import quorum, rollback, voter
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.job import Outcome, Verdict, digest_of
from workrs.domain.lease import LeaseTiming
from workrs.domain.quorum import Tally
from workrs.domain.record import Accepted, CheckpointRef, Holder, Incarnation, Record, Version
from workrs.domain.voter import ClaimRequest, Vote
from workrs.testing.canaries import CANARIES
from workrs.wire.message import AgentView, Beat, Held

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

JOB = JobId("pump_j1")
DIGEST, OTHER = digest_of(b"spec"), digest_of(b"other")
ME = Holder(client=ClientId("a1"), incarnation=Incarnation(1, "a"))
YOU = Holder(client=ClientId("a2"), incarnation=Incarnation(1, "b"))
DONE = Outcome(verdict=Verdict.SUCCEEDED, result="done")
NOW = Instant(100.0)
BY_RULE = {canary.rule: canary for canary in CANARIES}


def without(rule: str) -> AbstractContextManager[object]:
    return BY_RULE[rule].leave_out()


def held(**fields: object) -> Vote:
    record = Record(job=JOB, digest=DIGEST, epoch=Epoch(2), holder=ME, version=Version(1, 1))
    return Vote(record=replace(record, **fields), lease_until=Instant(0.0))  # type: ignore[arg-type]


def accepted(epoch: int, outcome: Outcome = DONE) -> Accepted:
    return Accepted(epoch=Epoch(epoch), outcome=outcome, digest=outcome.digest())


def reference(epoch: int, seq: int = 1) -> CheckpointRef:
    return CheckpointRef(
        epoch=Epoch(epoch), seq=seq, manifest=DIGEST, location=("http://n1",), rung="files", bytes=1
    )


def test_every_canary_has_a_name_of_its_own_and_breaks_something() -> None:
    assert len(BY_RULE) == len(CANARIES)
    assert all(canary.breaks for canary in CANARIES)


def test_an_outcome_of_a_lower_epoch_is_refused_by_the_rule_alone() -> None:
    assert voter.outcome(held(), YOU, Epoch(1), DONE) is None
    with without("epoch check on outcome"):
        assert voter.outcome(held(), YOU, Epoch(1), DONE) is not None
        decided = held(decided=DONE, decided_digest=DONE.digest())
        assert voter.outcome(decided, ME, Epoch(2), DONE) is None
    assert voter.outcome(held(), YOU, Epoch(1), DONE) is None


def test_a_checkpoint_of_a_lower_epoch_is_refused_by_the_rule_alone() -> None:
    assert voter.checkpoint(held(), YOU, reference(1)) is None
    with without("epoch check on checkpoint"):
        kept = voter.checkpoint(held(), YOU, reference(1))
        assert kept is not None
        assert kept.record.checkpoints == (reference(1),)


def test_one_node_is_a_majority_only_without_the_rule() -> None:
    def count() -> bool:
        tally = Tally()
        for step in (1, 2):
            record = held(accepted=accepted(2), version=Version(1, step)).record
            tally.add(ClientId("n1"), record)
        return tally.decided(3) is not None

    assert not count()
    with without("majority counted over distinct nodes"):
        assert count()


def test_what_was_accepted_is_adopted_by_the_rule_alone() -> None:
    records = {ClientId("n1"): held(accepted=accepted(1)).record}
    assert quorum.must_adopt(records, Epoch(2)) == accepted(1)
    with without("adoption of an accepted outcome by the next holder"):
        assert quorum.must_adopt(records, Epoch(2)) is None


def test_another_spec_is_granted_and_counted_only_without_the_rule() -> None:
    claim = ClaimRequest(epoch=Epoch(3), holder=YOU, digest=OTHER)
    records = {ClientId(name): held().record for name in ("n1", "n2")}
    for blind in (False, True):
        with BY_RULE["digest in the vote"].leave_out() if blind else pytest.MonkeyPatch.context():
            assert (voter.claim(held(), claim, now=NOW, ttl_s=10.0) is not None) == blind
            assert quorum.holds(records, ME, Epoch(2), OTHER, 3) == blind
            assert quorum.holds(records, ME, Epoch(2), DIGEST, 3)
            stale = replace(claim, epoch=Epoch(2), digest=DIGEST)
            assert voter.claim(held(), stale, now=NOW, ttl_s=10.0) is None


def test_an_older_will_counts_only_without_the_rule() -> None:
    def is_admitted(connection: int) -> bool:
        table = AgentTable(10.0)
        table.entries[ME.client] = AgentEntry(ME.client, ME.incarnation, connection=2)
        will = Beat(incarnation=ME.incarnation, connection=connection, gone=True)
        return table.admit(ME.client, will) is not None

    assert (is_admitted(1), is_admitted(2)) == (False, True)
    with without("a later connection beats an older will"):
        assert (is_admitted(1), is_admitted(2)) == (True, True)


def test_a_storm_is_believed_only_without_the_rule() -> None:
    def is_storm() -> bool:
        guard = StormGuard()
        for _ in range(4):
            guard.believe(ClientId("n1"), Will(NOW, ME, ()))
        return guard.breaks(ClientId("n1"), 4, NOW, 10.0) is not None

    assert is_storm()
    with without("storm guard"):
        assert not is_storm()


def test_a_refused_lease_is_renewed_only_without_the_rule() -> None:
    def renewed() -> int:
        heart = Heart()
        heart.beat((Held(JOB, Epoch(2), 1),), NOW)
        view = AgentView(
            incarnation=ME.incarnation, connection=1, counter=1, refused=((JOB, Epoch(2)),)
        )
        return len(heart.hear(ClientId("n1"), view, 1, NOW)[0])

    assert renewed() == 0
    with without("acknowledgement lease by lease"):
        assert renewed() == 1


def test_a_lease_is_used_to_its_end_only_without_the_margin() -> None:
    timing = LeaseTiming()
    assert timing.holding_s == timing.ttl_s - timing.margin_s
    with without("margin on the agent's side"):
        assert timing.holding_s == timing.ttl_s


def test_a_disk_is_older_by_the_rule_alone() -> None:
    own, seen = Incarnation(2, "a"), rollback.Seen(5, "b", 9)
    assert rollback.is_older(own, 1, 1, seen)
    with without("generation at re-admission"):
        assert not rollback.is_older(own, 1, 1, seen)
