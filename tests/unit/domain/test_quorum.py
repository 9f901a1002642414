"""Goal: what a majority says, counted over distinct nodes, one epoch and one generation.

Method: small sets of records, each one vote away from the opposite answer.
"""

from __future__ import annotations

import pytest

from workrs.domain import quorum
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.domain.job import Outcome, Verdict, digest_of, shortened
from workrs.domain.quorum import Tally
from workrs.domain.record import Accepted, CheckpointRef, Holder, Incarnation, Record

JOB = JobId("pump_j1")
SPEC = digest_of(b"spec")
OTHER_SPEC = digest_of(b"other")
ME = Holder(client=ClientId("edge-1"), incarnation=Incarnation(1, "a"))
OTHER = Holder(client=ClientId("edge-2"), incarnation=Incarnation(1, "a"))
DONE = Outcome(verdict=Verdict.SUCCEEDED, result="42")
FAILED = Outcome(verdict=Verdict.FAILED, exit_code=1)


def rec(
    epoch: int = 0,
    holder: Holder | None = None,
    *,
    digest: Digest | None = SPEC,
    accepted: tuple[int, Outcome] | None = None,
    **more: object,
) -> Record:
    vote = accepted and Accepted(
        epoch=Epoch(accepted[0]), outcome=accepted[1], digest=accepted[1].digest()
    )
    return Record(  # type: ignore[arg-type]
        job=JOB, epoch=Epoch(epoch), holder=holder, digest=digest, accepted=vote, **more
    )


def shown(*records: Record) -> dict[ClientId, Record]:
    return {ClientId(f"n{i + 1}"): record for i, record in enumerate(records)}


@pytest.mark.parametrize(("nodes", "votes"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (7, 4)])
def test_a_majority_is_more_than_half(nodes: int, votes: int) -> None:
    assert quorum.majority(nodes) == votes
    assert 2 * votes > nodes >= 2 * (votes - 1)


@pytest.mark.parametrize("nodes", [1, 3, 5])
def test_a_spec_is_stored_once_a_majority_names_its_digest(nodes: int) -> None:
    enough = quorum.majority(nodes)
    others = [rec(digest=OTHER_SPEC)] * (nodes - enough)
    assert quorum.is_stored(shown(*[rec()] * enough, *others), SPEC, nodes)
    assert not quorum.is_stored(shown(*[rec()] * (enough - 1), *others), SPEC, nodes)
    assert not quorum.is_stored(shown(*[rec(digest=None)] * nodes), SPEC, nodes)


def test_where_a_node_forgot_its_vote_the_spec_that_an_agent_bid_for_is_settled() -> None:
    forgot = rec(digest=None, abstains=True)
    rival = rec(digest=OTHER_SPEC)
    saved = CheckpointRef(
        epoch=Epoch(1), seq=1, manifest=SPEC, location=("http://n1",), rung="files", bytes=1
    )
    for worked_on in (rec(1, ME), rec(1, attempt=1), rec(1, checkpoints=(saved,))):
        assert quorum.is_settled(shown(worked_on, rival, forgot), SPEC, 3)
        assert not quorum.is_settled(shown(worked_on, rival, forgot), OTHER_SPEC, 3)
        assert not quorum.is_settled(shown(worked_on, rival, rec(digest=None)), SPEC, 3)
    assert not quorum.is_settled(shown(rec(), rival, forgot), SPEC, 3)
    assert quorum.is_settled(shown(rec(), rec(), rival), SPEC, 3)


def test_a_node_that_claims_in_order_to_end_a_job_settles_no_spec() -> None:
    canceller = Holder(client=ClientId("n0"), incarnation=Incarnation(1, "n"))
    records = {
        ClientId("n0"): rec(1, canceller),
        ClientId("n1"): rec(digest=OTHER_SPEC),
        ClientId("n2"): rec(digest=None, abstains=True),
    }
    assert not quorum.is_settled(records, SPEC, 3)


def test_votes_of_two_generations_are_never_counted_together() -> None:
    mixed = shown(rec(1, ME), rec(1, ME, generation=1))
    assert not quorum.is_stored(mixed, SPEC, 3)
    assert not quorum.holds(mixed, ME, Epoch(1), SPEC, 3)
    assert quorum.leader(mixed, 3) is None
    same = shown(rec(1, ME, generation=1), rec(1, ME, generation=1), rec(1, ME))
    assert quorum.is_stored(same, SPEC, 3)
    assert quorum.holds(same, ME, Epoch(1), SPEC, 3)
    assert quorum.leader(same, 3) == (1, ME)


@pytest.mark.parametrize(
    "odd_one",
    [rec(2, ME), rec(0), rec(1, OTHER), rec(1, ME, digest=OTHER_SPEC), rec(1, ME, digest=None)],
)
def test_a_lease_needs_one_epoch_holder_and_spec_at_a_majority(odd_one: Record) -> None:
    assert quorum.holds(shown(rec(1, ME), rec(1, ME), odd_one), ME, Epoch(1), SPEC, 3)
    assert not quorum.holds(shown(rec(1, ME), odd_one), ME, Epoch(1), SPEC, 3)
    assert not quorum.holds(shown(rec(1, ME), odd_one, odd_one), ME, Epoch(1), SPEC, 3)


def test_no_records_say_nothing() -> None:
    assert not quorum.holds({}, ME, Epoch(1), SPEC, 1)
    assert not quorum.is_stored({}, SPEC, 1)
    assert quorum.leader({}, 1) is None
    assert quorum.highest_epoch({}) == 0
    assert quorum.next_attempt({}) == 1
    assert quorum.newest_checkpoints({}) == []
    assert quorum.must_adopt({}, Epoch(1)) is None
    assert not quorum.is_fenced({}, Epoch(1), 3)
    assert not quorum.is_cancelled({})
    assert quorum.decision({}, Tally(), 1) is None


def test_released_records_lead_nobody() -> None:
    assert quorum.leader(shown(rec(1), rec(1), rec(1, ME)), 3) is None


@pytest.mark.parametrize(
    ("higher", "nodes", "fenced"),
    [
        (0, 1, False),
        (1, 1, True),
        (1, 3, False),
        (2, 3, True),
        (2, 5, False),
        (3, 5, True),
    ],
)
def test_an_epoch_is_fenced_when_too_few_are_left_to_show_it(
    higher: int,
    nodes: int,
    fenced: bool,  # noqa: FBT001
) -> None:
    records = shown(*[rec(2, OTHER)] * higher, *[rec(1, ME)] * (nodes - higher))
    assert quorum.is_fenced(records, Epoch(1), nodes) == fenced
    assert not quorum.is_fenced(records, Epoch(2), nodes)


def test_the_highest_lower_acceptance_must_be_adopted() -> None:
    records = shown(rec(5, ME, accepted=(2, DONE)), rec(5, ME, accepted=(4, FAILED)), rec(5, ME))
    adopted = quorum.must_adopt(records, Epoch(5))
    assert adopted is not None
    assert adopted.outcome == FAILED
    adopted = quorum.must_adopt(records, Epoch(4))
    assert adopted is not None
    assert adopted.outcome == DONE
    assert quorum.must_adopt(records, Epoch(2)) is None


def test_a_decided_record_has_dropped_what_it_accepted_and_is_adopted_all_the_same() -> None:
    decided = rec(5, ME, decided=DONE, decided_digest=DONE.digest())
    adopted = quorum.must_adopt(shown(rec(5, ME, accepted=(4, FAILED)), decided), Epoch(5))
    assert adopted is not None
    assert (adopted.outcome, adopted.digest) == (DONE, DONE.digest())


def test_one_wish_to_cancel_is_enough_to_know_of_it() -> None:
    assert quorum.is_cancelled(shown(rec(), rec(cancel=True)))
    assert not quorum.is_cancelled(shown(rec(), rec()))


def test_attempts_and_epochs_count_on_from_the_highest_seen() -> None:
    records = shown(rec(3, attempt=2), rec(7, attempt=1))
    assert quorum.next_attempt(records) == 3
    assert quorum.highest_epoch(records) == 7


def test_checkpoints_are_listed_newest_first_and_once_even_if_a_minority_has_them() -> None:
    def ref(epoch: int, seq: int) -> CheckpointRef:
        return CheckpointRef(
            epoch=Epoch(epoch), seq=seq, manifest=SPEC, location=(), rung="files", bytes=1
        )

    records = shown(
        rec(checkpoints=(ref(1, 9), ref(1, 8))), rec(checkpoints=(ref(2, 1), ref(1, 9))), rec()
    )
    assert quorum.newest_checkpoints(records) == [ref(2, 1), ref(1, 9), ref(1, 8)]


# The tally.


def tally(*seen: tuple[str, Record]) -> Tally:
    found = Tally()
    for node, record in seen:
        found.add(ClientId(node), record)
    return found


def test_one_node_counts_once_however_often_it_says_so() -> None:
    one = rec(1, ME, accepted=(1, DONE))
    assert tally(("n1", one), ("n1", one), ("n1", one)).decided(3) is None
    assert tally(("n1", one), ("n2", one)).decided(3) == DONE.digest()


def test_the_same_value_at_two_epochs_does_not_count_together() -> None:
    first, second = rec(1, ME, accepted=(1, DONE)), rec(2, ME, accepted=(2, DONE))
    assert tally(("n1", first), ("n2", second)).decided(3) is None
    assert tally(("n1", first), ("n2", second), ("n1", second)).decided(3) == DONE.digest()


def test_acceptances_of_two_generations_do_not_count_together() -> None:
    first, second = rec(accepted=(1, DONE)), rec(accepted=(1, DONE), generation=1)
    assert tally(("n1", first), ("n2", second)).decided(3) is None


def test_an_acceptance_counts_though_its_record_has_moved_on() -> None:
    accepted, moved = rec(1, ME, accepted=(1, DONE)), rec(2, OTHER, accepted=(2, FAILED))
    assert tally(("n1", accepted), ("n1", moved), ("n2", accepted)).decided(3) == DONE.digest()


def test_two_values_at_one_epoch_are_a_conflict() -> None:
    one, two = rec(1, ME, accepted=(1, DONE)), rec(1, ME, accepted=(1, FAILED))
    assert tally(("n1", one), ("n2", two)).conflict() == 1
    assert tally(("n1", one), ("n2", rec(2, ME, accepted=(2, FAILED)))).conflict() is None
    assert Tally().conflict() is None


def test_records_without_an_acceptance_leave_no_trace() -> None:
    assert tally(("n1", rec()), ("n2", rec(4, ME))).seen == {}


# The decision.


def decide(*records: Record) -> Outcome | None:
    found = shown(*records)
    return quorum.decision(found, tally(*found.items()), 3)


def test_a_majority_at_one_epoch_decides() -> None:
    accepted = rec(1, ME, accepted=(1, DONE))
    assert decide(accepted, accepted) == DONE
    assert decide(accepted, rec(1, ME)) is None
    assert decide(accepted, rec(1, ME, accepted=(1, FAILED))) is None


def test_a_decision_is_taken_from_any_one_record() -> None:
    assert decide(rec(decided=DONE, decided_digest=DONE.digest())) == DONE


def test_a_decision_without_its_result_keeps_the_digest_that_was_voted_on() -> None:
    whole = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result="42")
    short = rec(2, ME, decided=shortened(whole), decided_digest=whole.digest(), retired=True)
    found = shown(rec(1), short)
    decision = quorum.decided(found, tally(*found.items()), 3)
    assert decision == (shortened(whole), whole.digest())
    adopted = quorum.must_adopt(found, Epoch(5))
    assert adopted is not None
    assert adopted.digest == whole.digest()
    both = shown(short, rec(2, ME, decided=whole, decided_digest=whole.digest()))
    assert quorum.decided(both, tally(*both.items()), 3) == (whole, whole.digest())


def test_a_decision_whose_digest_is_not_named_is_known_by_its_own() -> None:
    found = shown(rec(decided=DONE))
    assert quorum.decided(found, tally(*found.items()), 3) == (DONE, DONE.digest())


def test_a_digest_alone_is_no_outcome_yet() -> None:
    accepted = rec(1, ME, accepted=(1, DONE))
    seen = tally(("n1", accepted), ("n2", accepted))
    assert quorum.decision(shown(rec(), rec()), seen, 3) is None
    assert quorum.decision(shown(rec(), accepted), seen, 3) == DONE


def test_a_checkpoint_is_named_by_a_majority_of_one_generation() -> None:
    ref = CheckpointRef(
        epoch=Epoch(1), seq=1, manifest=SPEC, location=("http://n1",), rung="files", bytes=1
    )
    one, raised = rec(checkpoints=(ref,)), rec(checkpoints=(ref,), generation=1)
    assert quorum.is_named(shown(one, one, rec()), ref, 3)
    assert not quorum.is_named(shown(one, rec(), rec()), ref, 3)
    assert not quorum.is_named(shown(one, raised, rec()), ref, 3)
