"""Winning, losing and giving back leases: scripted talks between a brain and real voters."""

from dataclasses import replace

import pytest

from edge_agent.effect import (
    Exit,
    FollowJob,
    FreezeContainer,
    PrepareStart,
    RemoveContainer,
    StartContainer,
    ThawContainer,
    UnfollowJob,
)
from edge_agent.event import BeatAnswered, ConnectionLost
from tests.unit.edge_agent.agent_talk import DIGEST, JOB, ME, OTHER, TIMING, Talk, checkpoint
from workrs.domain.ids import ClientId, Epoch, JobId
from workrs.domain.job import Outcome, Verdict
from workrs.domain.record import Accepted, Incarnation
from workrs.wire.message import AgentView, Beat, Claim, OutcomeProposal, Release


def test_nothing_is_claimed_before_a_node_told_the_size_of_the_cluster() -> None:
    talk = Talk()
    talk.offer()
    assert talk.said(Claim) == []


def test_an_offer_is_followed_and_claimed_without_a_round_trip_between() -> None:
    talk = Talk()
    talk.connect()
    talk.offer(epoch=4)
    follow = talk.done.index(FollowJob(job=JOB))
    claim = talk.said(Claim)[0]
    assert claim.epoch == 4
    assert claim.digest == DIGEST
    assert [getattr(e, "body", None) for e in talk.done].index(claim) == follow + 1


def test_a_program_starts_only_after_a_majority_has_written_its_attempt_down() -> None:
    talk = Talk()
    talk.connect()
    for node in talk.nodes[1:]:
        node.mute = True
    talk.offer()
    for node in talk.nodes[1:]:
        talk.show((node, node.vote().record))
    assert "lease_won" in talk.logs()
    talk.wait(1.0)
    assert talk.all(StartContainer) == []
    assert talk.said(Beat)[-1].held == ((JOB, 1, 1),)
    talk.nodes[1].mute = False
    talk.answer_beat()
    assert talk.last(StartContainer).attempt == 1
    assert [n.vote().record.attempt for n in talk.nodes] == [1, 1, 1]


def test_a_minority_of_grants_is_no_lease() -> None:
    talk = Talk()
    talk.connect()
    talk.nodes[1].deaf = talk.nodes[2].deaf = True
    talk.offer()
    talk.wait(1.0)
    assert "lease_won" not in talk.logs()
    assert len(talk.said(Claim)) > 2
    assert {c.epoch for c in talk.said(Claim)} == {1}


def test_a_lost_claim_is_repeated_and_the_lease_counts_from_its_first_sending() -> None:
    talk = Talk()
    talk.connect()
    talk.cut()
    sent = talk.now
    talk.offer()
    talk.wait(0.3)
    talk.cut(deaf=False)
    talk.wait(0.5)
    assert "lease_won" in talk.logs()
    assert talk.brain.roster.works[JOB].claimed_at == sent


def test_a_split_vote_is_released_and_claimed_anew_at_a_higher_epoch() -> None:
    talk = Talk()
    talk.connect()
    talk.nodes[0].grant(OTHER, 1, talk.now)
    third = replace(OTHER, client=ClientId("a3"))
    talk.nodes[1].grant(third, 1, talk.now)
    talk.offer()
    assert [r.epoch for r in talk.said(Release)] == [1]
    for node in talk.nodes[:2]:
        node.put(replace(node.vote(), lease_until=talk.now))
    talk.wait(0.5)
    assert [c.epoch for c in talk.said(Claim)] == [1, 2]
    assert "lease_won" in talk.logs()


def test_a_node_that_abstains_is_no_vote_to_wait_for() -> None:
    """Found by the simulator, seed 4274: two agents, each with one of the two votes left."""
    talk = Talk()
    talk.connect()
    talk.nodes[0].grant(OTHER, 1, talk.now)
    vote = talk.nodes[1].vote()
    talk.nodes[1].put(replace(vote, record=replace(vote.record, abstains=True)))
    talk.nodes[1].deaf = True
    talk.offer()
    talk.show(*((node, node.vote().record) for node in talk.nodes))
    assert [r.epoch for r in talk.said(Release)] == [1]
    assert "claim_split" in talk.logs()


def test_a_job_that_another_agent_holds_is_left_to_it() -> None:
    talk = Talk()
    talk.connect()
    for node in talk.nodes:
        node.grant(OTHER, 3, talk.now)
    talk.offer(epoch=3)
    talk.wait(0.1)
    assert "claim_lost" in talk.logs()
    assert talk.brain.roster.works == {}
    assert talk.all(UnfollowJob) == [UnfollowJob(job=JOB)]


def test_an_epoch_given_up_is_never_used_again() -> None:
    talk = Talk()
    talk.connect()
    for node in talk.nodes:
        node.grant(OTHER, 3, talk.now)
    talk.offer(epoch=3)
    talk.offer(epoch=3)
    talk.wait(5.0)
    epochs = [c.epoch for c in talk.said(Claim)]
    assert epochs[0] < epochs[-1]
    assert [r.epoch for r in talk.said(Release)] == sorted({*epochs})


def test_an_accepted_outcome_of_a_lower_epoch_is_proposed_and_nothing_is_run() -> None:
    talk = Talk()
    talk.connect()
    value = Outcome(verdict=Verdict.SUCCEEDED, result="theirs")
    accepted = Accepted(epoch=Epoch(1), outcome=value, digest=value.digest())
    talk.nodes[0].grant(OTHER, 1, talk.now, ttl_s=-1.0)
    talk.nodes[0].change(accepted=accepted)
    talk.offer(epoch=2)
    assert talk.said(OutcomeProposal)[0].outcome == value
    assert talk.said(OutcomeProposal)[0].epoch == 2
    assert talk.all(StartContainer) == []
    assert talk.decided() == value


def test_the_highest_epochs_outcome_is_the_one_adopted() -> None:
    talk = Talk()
    talk.connect()
    for node, epoch in zip(talk.nodes, (1, 2), strict=False):
        value = Outcome(verdict=Verdict.SUCCEEDED, result=f"of {epoch}")
        node.grant(OTHER, epoch, talk.now, ttl_s=-1.0)
        node.change(accepted=Accepted(epoch=Epoch(epoch), outcome=value, digest=value.digest()))
    talk.offer(epoch=3)
    assert {p.outcome.result for p in talk.said(OutcomeProposal)} == {"of 2"}


def test_a_cancelled_job_is_closed_without_running() -> None:
    talk = Talk()
    talk.connect()
    talk.nodes[1].change(cancel=True)
    talk.offer()
    assert talk.all(StartContainer) == []
    decided = talk.decided()
    assert decided is not None
    assert decided.verdict is Verdict.CANCELLED


def test_attempts_that_ended_without_a_word_are_counted() -> None:
    talk = Talk()
    talk.connect()
    talk.nodes[0].change(attempt=3)
    talk.offer(attempts_max=3)
    decided = talk.decided()
    assert decided is not None
    assert decided.verdict is Verdict.FAILED
    assert "3 starts" in decided.reason
    assert talk.all(StartContainer) == []


def test_an_offer_beyond_the_slots_waits_for_one_second() -> None:
    talk = Talk(slots=1)
    talk.run()
    talk.offer(job=JobId("pump_2"))
    talk.offer(job=JobId("pump_3"))
    talk.wait(0.9)
    assert len(talk.said(Claim)) == 1
    talk.exits(0)
    assert [c.epoch for c in talk.said(Claim)] == [1, 1]
    assert set(talk.brain.roster.works) == {"pump_2"}
    talk.wait(0.2)
    assert set(talk.brain.roster.works) == {"pump_2"}


def test_a_silent_node_is_left_for_the_next_and_everything_is_said_again() -> None:
    talk = Talk()
    talk.connect()
    talk.cut()
    talk.offer()
    talk.wait(TIMING.silence_s + 0.01)
    assert talk.brain.uplink.node == 1
    assert talk.brain.uplink.connection == 2
    talk.cut(deaf=False)
    talk.connect()
    talk.wait(0.0)
    assert "lease_won" in talk.logs()
    assert talk.said(Beat)[-1].connection == 2


def test_a_lost_connection_leads_to_the_next_node_at_once_and_then_waits() -> None:
    talk = Talk()
    talk.connect()
    for connection in (1, 2, 3):
        talk.tell(ConnectionLost(connection=connection, reason="reset"))
    assert talk.brain.uplink.connection == 3
    assert talk.brain.uplink.retry_at > talk.now
    talk.wait(0.2)
    assert talk.brain.uplink.connection == 4


# Keeping a lease


def deadline(talk: Talk) -> float:
    return talk.brain.roster.works[JOB].safe_until


def test_a_container_is_frozen_at_its_deadline_and_not_a_tick_before() -> None:
    talk = Talk()
    talk.run()
    talk.cut()
    end = deadline(talk)
    talk.wait(end - talk.now - 1e-6)
    assert talk.all(FreezeContainer) == []
    talk.wait(2e-6)
    assert len(talk.all(FreezeContainer)) == 1


def test_a_renewed_lease_thaws_the_container() -> None:
    talk = Talk()
    talk.run()
    talk.cut()
    talk.wait(TIMING.holding_s + 1)
    assert talk.brain.roster.works[JOB].frozen
    talk.cut(deaf=False)
    if not talk.connected:
        talk.connect()
    talk.wait(TIMING.heartbeat_period_s)
    assert not talk.brain.roster.works[JOB].frozen
    assert len(talk.all(ThawContainer)) == 1


def test_a_late_receipt_moves_the_deadline_by_the_sending_not_by_the_answer() -> None:
    talk = Talk()
    talk.run()
    for node in talk.nodes:
        node.mute = True
    talk.wait(TIMING.heartbeat_period_s)
    sent = talk.brain.heart.sent_at
    talk.wait(1.5)
    talk.answer_beat()
    assert deadline(talk) == sent + TIMING.holding_s


def test_a_receipt_of_one_node_moves_nothing() -> None:
    talk = Talk()
    talk.run()
    before = deadline(talk)
    talk.nodes[1].deaf = talk.nodes[2].deaf = True
    talk.wait(2 * TIMING.heartbeat_period_s)
    assert deadline(talk) == before


def test_a_lease_named_as_refused_is_not_renewed() -> None:
    talk = Talk()
    talk.run()
    before = deadline(talk)
    for node in talk.nodes[:2]:
        node.votes.clear()
        node.deaf = False
        node.change(digest=None)
    talk.wait(2 * TIMING.heartbeat_period_s)
    assert deadline(talk) == before


def test_a_node_that_lost_a_grant_gets_the_claim_again() -> None:
    talk = Talk()
    talk.connect()
    talk.nodes[2].deaf = True
    talk.offer()
    talk.nodes[2].deaf = False
    talk.wait(3.0)
    assert talk.nodes[2].vote().record.holder == ME


def test_a_record_that_was_missed_is_asked_for_when_a_lease_is_refused() -> None:
    talk = Talk()
    talk.run()
    for node in talk.nodes[:2]:
        node.grant(OTHER, 2, talk.now)
    talk.wait(TIMING.heartbeat_period_s)
    assert "lease_lost" in talk.logs()


def test_a_fenced_container_is_killed_and_the_job_forgotten() -> None:
    talk = Talk()
    asked = talk.run()
    talk.show(*((n, n.grant(OTHER, 2, talk.now)) for n in talk.nodes[:2]))
    assert talk.all(RemoveContainer) == [RemoveContainer(job=JOB, run=asked.run)]
    assert talk.brain.roster.works == {}
    assert talk.said(OutcomeProposal) == []


def test_one_node_past_the_epoch_fences_nothing() -> None:
    talk = Talk()
    talk.run()
    talk.show((talk.nodes[0], talk.nodes[0].grant(OTHER, 2, talk.now)))
    assert talk.all(RemoveContainer) == []


def test_a_lease_short_of_voters_is_claimed_anew_over_the_running_container() -> None:
    talk = Talk()
    talk.run()
    talk.nodes[2].deaf = True
    passed = talk.nodes[0]
    talk.show((passed, passed.grant(OTHER, 2, talk.now, ttl_s=0.5)))
    talk.wait(TIMING.ttl_s)
    assert talk.brain.roster.works[JOB].epoch == 3
    assert "lease_reclaimed" in talk.logs()
    assert talk.all(RemoveContainer) == []
    assert talk.said(Release) == []
    assert len(talk.all(StartContainer)) == 1
    assert not talk.brain.roster.works[JOB].frozen
    talk.exits(0)
    assert talk.said(OutcomeProposal)[0].epoch == 3


def test_a_container_that_others_went_past_is_not_kept_by_a_new_claim() -> None:
    talk = Talk()
    talk.run()
    talk.nodes[2].deaf = True
    passed = talk.nodes[0]
    passed.grant(OTHER, 2, talk.now, ttl_s=0.5)
    talk.show((passed, passed.change(attempt=2, checkpoints=(checkpoint(2, 1),))))
    talk.wait(TIMING.ttl_s)
    assert "container_outdated" in talk.logs()
    assert talk.last(PrepareStart).checkpoint == checkpoint(2, 1)


@pytest.mark.parametrize("number", [1, 2])
def test_a_later_incarnation_of_this_agent_ends_it(number: int) -> None:
    talk = Talk()
    talk.connect()
    view = AgentView(incarnation=Incarnation(number, "ff"), connection=1, counter=1)
    talk.tell(BeatAnswered(node=talk.nodes[0].name, view=view))
    assert talk.last(Exit).code == 1


def test_a_node_that_abstains_is_not_asked_again_and_again() -> None:
    talk = Talk()
    talk.nodes[2].change(digest=None, abstains=True)
    talk.run()
    before = len(talk.said(Claim))
    talk.wait(4 * TIMING.heartbeat_period_s)
    assert len(talk.said(Claim)) == before
    assert deadline(talk) > talk.now
