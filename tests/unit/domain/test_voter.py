"""Goal: each rule of a node's vote, at its limits and on both sides of them.

Method: one vote, one rule, and the exact vote it leaves; a refusal is None and so changes
nothing. `test_refusals_leave_the_vote_alone` in properties/ says the same for any sequence.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest

from workrs.domain import voter
from workrs.domain.ids import EPOCH_MAX, ClientId, Digest, Epoch, Instant, JobId
from workrs.domain.job import REASON_MAX, Outcome, Verdict, digest_of, shortened
from workrs.domain.record import Accepted, CheckpointRef, Holder, Incarnation, Record
from workrs.domain.voter import ClaimRequest, Vote

TTL_S = 10.0
NOW = Instant(100.0)
TICK = 2**-20
JOB = JobId("pump_j1")
SPEC = digest_of(b"spec")
OTHER_SPEC = digest_of(b"other")
ME = Holder(client=ClientId("edge-1"), incarnation=Incarnation(5, "a"))
OTHER = Holder(client=ClientId("edge-2"), incarnation=Incarnation(5, "a"))
NODE = Holder(client=ClientId("n1"), incarnation=Incarnation(1, "n"))
DONE = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result="42")
FAILED = Outcome(verdict=Verdict.FAILED, exit_code=1)

FREE = Vote(record=Record(job=JOB, digest=SPEC))
HELD = Vote(
    record=Record(job=JOB, digest=SPEC, epoch=Epoch(3), holder=ME, attempt=1),
    lease_until=Instant(NOW + TTL_S),
)
DECIDED = voter.decide(HELD, DONE)
assert DECIDED is not None


def me(number: int, nonce: str = "a") -> Holder:
    return Holder(client=ME.client, incarnation=Incarnation(number, nonce))


def claim(
    vote: Vote, epoch: int, holder: Holder = ME, *, now: float = NOW, digest: Digest | None = SPEC
) -> Vote | None:
    bid = ClaimRequest(epoch=Epoch(epoch), holder=holder, digest=digest)
    return voter.claim(vote, bid, now=Instant(now), ttl_s=TTL_S)


def node_claim(vote: Vote, epoch: int, digest: Digest | None = None) -> Vote | None:
    bid = ClaimRequest(epoch=Epoch(epoch), holder=NODE, digest=digest, by_node=True)
    return voter.claim(vote, bid, now=NOW, ttl_s=TTL_S)


def ref(epoch: int, seq: int) -> CheckpointRef:
    return CheckpointRef(
        epoch=Epoch(epoch), seq=seq, manifest=SPEC, location=("http://n1",), rung="files", bytes=1
    )


# Claims.


def test_a_claim_sets_epoch_holder_and_a_lease_of_one_ttl() -> None:
    assert claim(FREE, 1) == Vote(
        record=replace(FREE.record, epoch=Epoch(1), holder=ME), lease_until=Instant(NOW + TTL_S)
    )


@pytest.mark.parametrize("epoch", [-1, 0, 1, 2, 3, EPOCH_MAX + 1, 2**64])
def test_a_claim_at_an_epoch_not_above_the_granted_one_or_beyond_all_is_refused(epoch: int) -> None:
    assert claim(HELD, epoch) is None
    assert node_claim(HELD, epoch) is None


@pytest.mark.parametrize("epoch", [4, 5, EPOCH_MAX])
def test_a_claim_may_skip_epochs(epoch: int) -> None:
    granted = claim(HELD, epoch)
    assert granted is not None
    assert granted.record.epoch == epoch


@pytest.mark.parametrize(
    ("now", "granted"),
    [
        (HELD.lease_until - TICK, False),
        (HELD.lease_until, True),
        (HELD.lease_until + TICK, True),
    ],
)
def test_another_agent_may_claim_from_the_instant_the_lease_ends(
    now: float,
    granted: bool,  # noqa: FBT001
) -> None:
    assert (claim(HELD, 4, OTHER, now=now) is not None) == granted


@pytest.mark.parametrize(
    ("holder", "granted"),
    [
        (me(5), True),
        (me(6), True),
        (me(6, "z"), True),
        (me(4), False),
        (me(5, "b"), False),
        (OTHER, False),
    ],
)
def test_while_a_lease_lives_only_the_same_agent_or_its_later_self_may_claim(
    holder: Holder,
    granted: bool,  # noqa: FBT001
) -> None:
    assert (claim(HELD, 4, holder) is not None) == granted


def test_a_released_job_waits_for_its_retry_even_for_its_former_holder() -> None:
    freed = voter.release(HELD, ME, Epoch(3), now=NOW, retry_after_s=2.0, reason="")
    assert freed is not None
    assert claim(freed, 4, ME, now=NOW + 2.0 - TICK) is None
    assert claim(freed, 4, ME, now=NOW + 2.0) is not None


@pytest.mark.parametrize(("said", "kept"), [(0, 1), (1, 1), (2, 2), (3, 2), (-1, 1)])
def test_a_release_spares_starts_up_to_as_many_as_there_were_and_never_fewer(
    said: int, kept: int
) -> None:
    held = replace(HELD, record=replace(HELD.record, attempt=2, spared=1))
    freed = voter.release(held, ME, Epoch(3), now=NOW, retry_after_s=0.0, reason="", spared=said)
    assert freed is not None
    assert freed.record.spared == kept


@pytest.mark.parametrize("digest", [OTHER_SPEC, None])
def test_a_claim_for_another_spec_is_refused(digest: Digest | None) -> None:
    assert claim(FREE, 1, digest=digest) is None


@pytest.mark.parametrize("digest", [SPEC, None])
def test_a_node_without_the_spec_grants_no_agent(digest: Digest | None) -> None:
    assert claim(Vote(record=Record(job=JOB)), 1, digest=digest) is None


def test_a_node_may_claim_over_a_live_lease_and_without_a_spec() -> None:
    granted = node_claim(HELD, 4)
    assert granted is not None
    assert granted.record.holder == NODE
    assert granted.lease_until == NOW + TTL_S
    assert node_claim(Vote(record=Record(job=JOB)), 1) is not None


def test_a_grant_keeps_what_was_accepted_checkpointed_counted_and_asked_for() -> None:
    vote = voter.outcome(HELD, ME, Epoch(3), DONE)
    vote = vote and voter.checkpoint(vote, ME, ref(3, 1))
    vote = vote and voter.cancel(vote)
    assert vote is not None
    shown = Vote(
        record=replace(vote.record, progress=0.5, note="half", reason="x"),
        lease_until=vote.lease_until,
    )
    granted = claim(shown, 4, OTHER, now=HELD.lease_until)
    assert granted is not None
    assert granted.record == replace(vote.record, epoch=Epoch(4), holder=OTHER)


# Heartbeats.


def test_a_renewal_keeps_the_epoch_and_moves_the_end() -> None:
    renewed = voter.renew(HELD, ME, Epoch(3), 1, now=Instant(NOW + 5), ttl_s=TTL_S)
    assert renewed == replace(HELD, lease_until=Instant(NOW + 5 + TTL_S))
    assert renewed.record is HELD.record


def test_a_renewal_never_shortens_a_lease() -> None:
    renewed = voter.renew(HELD, ME, Epoch(3), 1, now=Instant(NOW - 5), ttl_s=TTL_S)
    assert renewed == HELD


@pytest.mark.parametrize(
    ("holder", "epoch"),
    [
        (ME, 2),
        (ME, 4),
        (me(4), 3),
        (me(6), 3),
        (me(5, "b"), 3),
        (OTHER, 3),
    ],
)
def test_only_the_holder_at_its_epoch_may_act(holder: Holder, epoch: int) -> None:
    at = Epoch(epoch)
    assert voter.renew(HELD, holder, at, 9, now=NOW, ttl_s=TTL_S) is None
    assert voter.outcome(HELD, holder, at, DONE) is None
    assert voter.checkpoint(HELD, holder, ref(epoch, 1)) is None
    assert voter.progress(HELD, holder, at, 0.5, "") is None
    assert voter.release(HELD, holder, at, now=NOW, retry_after_s=0.0, reason="") is None


def test_an_expired_lease_is_renewed_as_long_as_nobody_else_claimed() -> None:
    late = Instant(HELD.lease_until + 100)
    renewed = voter.renew(HELD, ME, Epoch(3), 1, now=late, ttl_s=TTL_S)
    assert renewed is not None
    assert renewed.lease_until == late + TTL_S


@pytest.mark.parametrize(("attempt", "kept"), [(0, 1), (1, 1), (2, 2)])
def test_the_attempt_only_rises(attempt: int, kept: int) -> None:
    renewed = voter.renew(HELD, ME, Epoch(3), attempt, now=NOW, ttl_s=TTL_S)
    assert renewed is not None
    assert renewed.record.attempt == kept


@pytest.mark.parametrize(
    ("holder", "ended"),
    [
        (me(6), True),
        (me(6, "z"), True),
        (me(5), False),
        (me(5, "b"), False),
        (me(4), False),
        (Holder(client=OTHER.client, incarnation=Incarnation(6, "a")), False),
    ],
)
def test_a_higher_incarnation_ends_the_leases_of_lower_ones(
    holder: Holder,
    ended: bool,  # noqa: FBT001
) -> None:
    vote = voter.end_former(HELD, holder, now=NOW)
    assert vote == (replace(HELD, lease_until=NOW) if ended else None)


def test_there_is_nothing_to_end_when_the_lease_is_over_free_or_decided() -> None:
    assert voter.end_former(HELD, me(6), now=HELD.lease_until) is None
    assert voter.end_former(FREE, me(6), now=NOW) is None
    assert DECIDED is not None
    assert voter.end_former(DECIDED, me(6), now=NOW) is None


@pytest.mark.parametrize("before_end_s", [1.0, 1.0 + TICK, 5.0])
def test_a_will_brings_the_end_forward_to_the_grace(before_end_s: float) -> None:
    now = Instant(HELD.lease_until - before_end_s)
    vote = voter.shorten(HELD, ME, now=now, grace_s=1.0)
    assert vote == (None if before_end_s == 1.0 else replace(HELD, lease_until=Instant(now + 1.0)))


def test_a_will_never_makes_a_lease_longer_and_touches_no_other_lease() -> None:
    assert voter.shorten(HELD, ME, now=HELD.lease_until, grace_s=1.0) is None
    assert voter.shorten(HELD, me(6), now=NOW, grace_s=1.0) is None
    assert voter.shorten(HELD, OTHER, now=NOW, grace_s=1.0) is None
    assert DECIDED is not None
    assert voter.shorten(DECIDED, ME, now=NOW, grace_s=1.0) is None


# Checkpoints and progress.


def test_the_two_newest_checkpoints_are_kept_newest_first() -> None:
    vote: Vote | None = HELD
    for seq in (1, 2, 3):
        assert vote is not None
        vote = voter.checkpoint(vote, ME, ref(3, seq))
    assert vote is not None
    assert vote.record.checkpoints == (ref(3, 3), ref(3, 2))
    assert vote.lease_until == HELD.lease_until


@pytest.mark.parametrize(("seq", "kept"), [(4, False), (5, False), (6, True), (60, True)])
def test_a_checkpoint_that_is_not_newer_is_refused(seq: int, kept: bool) -> None:  # noqa: FBT001
    vote = voter.checkpoint(HELD, ME, ref(3, 5))
    assert vote is not None
    assert (voter.checkpoint(vote, ME, ref(3, seq)) is not None) == kept


def test_the_first_checkpoint_of_an_epoch_is_newer_than_any_of_an_older_one() -> None:
    vote = voter.checkpoint(HELD, ME, ref(3, 99))
    vote = vote and claim(vote, 4, OTHER, now=HELD.lease_until)
    assert vote is not None
    assert voter.checkpoint(vote, ME, ref(3, 100)) is None, "fenced"
    newer = voter.checkpoint(vote, OTHER, ref(4, 1))
    assert newer is not None
    assert newer.record.checkpoints == (ref(4, 1), ref(3, 99))


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (0.0, 0.0),
        (0.5, 0.5),
        (1.0, 1.0),
        (-1.0, 0.0),
        (7.0, 1.0),
        (inf, 1.0),
        (-inf, 0.0),
        (nan, 0.0),
    ],
)
def test_progress_is_a_fraction_whatever_is_said(said: float, shown: float) -> None:
    vote = voter.progress(HELD, ME, Epoch(3), said, "x" * 1000)
    assert vote is not None
    assert vote.record.progress == shown
    assert vote.record.note == "x" * voter.NOTE_MAX


# Outcomes.


def test_the_holders_outcome_is_accepted_and_the_lease_stays() -> None:
    vote = voter.outcome(HELD, ME, Epoch(3), DONE)
    accepted = Accepted(epoch=Epoch(3), outcome=DONE, digest=DONE.digest())
    assert vote == replace(HELD, record=replace(HELD.record, accepted=accepted))


def test_an_outcome_is_accepted_though_the_lease_has_run_out() -> None:
    assert voter.outcome(replace(HELD, lease_until=Instant(0.0)), ME, Epoch(3), DONE) is not None


def test_one_epoch_has_one_value_and_repeating_it_changes_nothing() -> None:
    vote = voter.outcome(HELD, ME, Epoch(3), DONE)
    assert vote is not None
    assert voter.outcome(vote, ME, Epoch(3), DONE) is vote
    assert voter.outcome(vote, ME, Epoch(3), FAILED) is None


def test_a_higher_epoch_may_bring_another_value() -> None:
    vote = voter.outcome(HELD, ME, Epoch(3), DONE)
    vote = vote and claim(vote, 4)
    vote = vote and voter.outcome(vote, ME, Epoch(4), FAILED)
    assert vote is not None
    assert vote.record.accepted == Accepted(epoch=Epoch(4), outcome=FAILED, digest=FAILED.digest())


def test_nothing_is_accepted_after_the_release_of_an_epoch() -> None:
    freed = voter.release(HELD, ME, Epoch(3), now=NOW, retry_after_s=0.0, reason="")
    assert freed is not None
    assert voter.outcome(freed, ME, Epoch(3), DONE) is None


def test_what_was_accepted_survives_release_and_disowning() -> None:
    vote = voter.outcome(HELD, ME, Epoch(3), DONE)
    assert vote is not None
    freed = voter.release(vote, ME, Epoch(3), now=NOW, retry_after_s=0.0, reason="")
    assert freed is not None
    assert freed.record.accepted == vote.record.accepted
    assert voter.disown(vote).record == replace(vote.record, holder=None)


@pytest.mark.parametrize(
    ("asked_s", "given_s"),
    [
        (0.0, 0.0),
        (2.5, 2.5),
        (3600.0, 3600.0),
        (3601.0, 3600.0),
        (inf, 3600.0),
        (nan, 0.0),
        (-5, 0.0),
    ],
)
def test_a_release_waits_as_asked_but_not_for_ever(asked_s: float, given_s: float) -> None:
    freed = voter.release(HELD, ME, Epoch(3), now=NOW, retry_after_s=asked_s, reason="r" * 9999)
    assert freed is not None
    assert freed.lease_until == NOW + given_s
    assert freed.record == replace(HELD.record, holder=None, reason="r" * REASON_MAX)


# Cancel and decision.


def test_the_wish_to_cancel_is_noted_once_and_changes_no_lease() -> None:
    vote = voter.cancel(HELD)
    assert vote == replace(HELD, record=replace(HELD.record, cancel=True))
    assert voter.cancel(vote) is None


def test_a_decision_drops_what_has_served() -> None:
    vote = voter.outcome(HELD, ME, Epoch(3), DONE)
    vote = vote and voter.decide(vote, DONE)
    assert vote is not None
    assert vote.record == replace(HELD.record, decided=DONE, decided_digest=DONE.digest())


def test_a_decision_is_noted_under_the_digest_that_was_voted_on() -> None:
    short = shortened(DONE)
    vote = voter.decide(HELD, short, DONE.digest())
    assert vote is not None
    assert (vote.record.decided, vote.record.decided_digest) == (short, DONE.digest())


def test_a_decided_vote_refuses_everything() -> None:
    vote = DECIDED
    assert vote is not None
    assert claim(vote, 9) is None
    assert node_claim(vote, 9) is None
    assert voter.renew(vote, ME, Epoch(3), 9, now=NOW, ttl_s=TTL_S) is None
    assert voter.outcome(vote, ME, Epoch(3), DONE) is None
    assert voter.checkpoint(vote, ME, ref(3, 9)) is None
    assert voter.progress(vote, ME, Epoch(3), 0.5, "") is None
    assert voter.release(vote, ME, Epoch(3), now=NOW, retry_after_s=0.0, reason="") is None
    assert voter.cancel(vote) is None
    assert voter.decide(vote, FAILED) is None
    assert voter.decide(vote, DONE) is None


def test_who_abstains_grants_and_accepts_nothing_and_learns_the_decision() -> None:
    vote = Vote(record=Record(job=JOB, abstains=True))
    assert claim(vote, 1, digest=None) is None
    assert claim(vote, 1) is None
    assert node_claim(vote, 1) is None
    assert voter.outcome(vote, ME, Epoch(0), DONE) is None
    assert voter.renew(vote, ME, Epoch(0), 1, now=NOW, ttl_s=TTL_S) is None
    assert voter.checkpoint(vote, ME, ref(0, 1)) is None
    decided = voter.decide(vote, DONE)
    assert decided is not None
    assert decided.record.abstains
