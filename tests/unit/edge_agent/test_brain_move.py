"""Moving jobs on purpose: scripted talks between a brain and real voters.

Goal: nothing a program did is done again, and it never stands still for good. Method: every
step of a move is answered late, badly or not at all.
"""

import pytest

from edge_agent.effect import (
    Effect,
    Exit,
    FreezeContainer,
    Log,
    PrepareStart,
    RemoveContainer,
    StartContainer,
    TakeCheckpoint,
    ThawContainer,
)
from edge_agent.event import (
    CheckpointSaved,
    ContainerRemoved,
    LeaveWished,
    StartPrepared,
    StopRequested,
)
from tests.unit.edge_agent.agent_talk import (
    EVERY_2_S,
    JOB,
    OFF,
    OTHER,
    TIMING,
    Talk,
    checkpoint,
    failed,
    saved,
)
from workrs.domain.ids import JobId
from workrs.wire.message import Beat, Claim, OrderKind, OutcomeProposal, Release


def stored(talk: Talk, *, upload_s: float) -> None:
    """Say that the checkpoint last asked for is stored, after so long."""
    asked = talk.last(TakeCheckpoint)
    talk.wait(upload_s)
    ref = checkpoint(asked.epoch, asked.seq)
    talk.tell(CheckpointSaved(job=JOB, run=asked.run, ref=ref, frozen_s=0.1, upload_s=upload_s))


def order_of(talk: Talk, *kinds: type[Effect]) -> list[type[Effect]]:
    return [type(effect) for effect in talk.done if isinstance(effect, kinds)]


def is_open(talk: Talk) -> bool:
    profile = talk.said(Beat)[-1].profile
    assert profile is not None
    return not profile.draining


def test_a_drain_saves_while_the_program_runs_then_freezes_it_for_the_last_time() -> None:
    talk = Talk()
    talk.run()
    talk.order()
    assert talk.all(FreezeContainer) == []
    saved(talk)
    kinds = (TakeCheckpoint, FreezeContainer, RemoveContainer, ThawContainer)
    assert order_of(talk, *kinds) == [TakeCheckpoint, FreezeContainer, TakeCheckpoint]
    assert talk.said(Release) == []
    saved(talk)
    assert order_of(talk, *kinds)[3:] == [RemoveContainer]
    release = talk.said(Release)[0]
    assert (release.retry_after_s, release.reason) == (0.0, "its agent was told to drain")
    assert [n.vote().record.holder for n in talk.nodes] == [None, None, None]
    assert talk.nodes[0].vote().record.checkpoints[0].seq == 2


def test_a_draining_agent_takes_nothing_until_it_is_undrained() -> None:
    talk = Talk()
    talk.run()
    talk.order()
    talk.offer(job=JobId("pump_9"))
    talk.wait(0.2)
    assert len(talk.said(Claim)) == 1
    assert not is_open(talk)
    talk.order(OrderKind.UNDRAIN)
    talk.offer(job=JobId("pump_9"))
    assert len(talk.said(Claim)) == 2


def test_a_large_job_is_saved_twice_before_its_last_time() -> None:
    talk = Talk()
    talk.run()
    talk.order()
    stored(talk, upload_s=7.0)
    assert talk.all(FreezeContainer) == []
    stored(talk, upload_s=1.5)
    assert talk.all(FreezeContainer) == []
    talk.wait(0.8)
    assert len(talk.all(FreezeContainer)) == 1
    stored(talk, upload_s=1.0)
    assert len(talk.all(TakeCheckpoint)) == 3
    assert len(talk.said(Release)) == 1


def test_a_recent_checkpoint_that_was_quick_needs_no_other_before_the_last() -> None:
    talk = Talk()
    talk.run(checkpoint=EVERY_2_S)
    talk.wait(2.1)
    saved(talk)
    talk.wait(1.0)
    talk.order()
    assert order_of(talk, TakeCheckpoint, FreezeContainer)[1:] == [FreezeContainer, TakeCheckpoint]


def test_a_drain_during_a_checkpoint_goes_on_from_it() -> None:
    talk = Talk()
    talk.run(checkpoint=EVERY_2_S)
    talk.wait(2.1)
    talk.order()
    assert len(talk.all(TakeCheckpoint)) == 1
    saved(talk)
    assert order_of(talk, TakeCheckpoint, FreezeContainer)[1:] == [FreezeContainer, TakeCheckpoint]
    saved(talk)
    assert len(talk.said(Release)) == 1


def test_nothing_is_given_back_before_a_majority_names_the_last_checkpoint() -> None:
    talk = Talk()
    talk.run()
    talk.order()
    saved(talk)
    talk.cut()
    saved(talk)
    talk.wait(1.0)
    assert talk.all(RemoveContainer) == []
    talk.cut(deaf=False)
    talk.wait(1.0)
    assert len(talk.all(RemoveContainer)) == 1
    assert talk.all(ThawContainer) == []


def test_an_older_checkpoint_that_is_named_late_ends_nothing() -> None:
    talk = Talk()
    talk.run()
    talk.order()
    talk.cut()
    saved(talk)
    assert len(talk.all(FreezeContainer)) == 1
    talk.cut(deaf=False)
    talk.wait(1.0)
    assert talk.nodes[0].vote().record.checkpoints[0].seq == 1
    assert talk.all(RemoveContainer) == []


def test_a_last_checkpoint_that_fails_lets_the_program_go_on_and_is_tried_again() -> None:
    talk = Talk()
    talk.run()
    talk.order()
    saved(talk)
    failed(talk)
    assert order_of(talk, FreezeContainer, ThawContainer) == [FreezeContainer, ThawContainer]
    talk.wait(4.9)
    assert len(talk.all(TakeCheckpoint)) == 2
    talk.wait(0.2)
    assert len(talk.all(TakeCheckpoint)) == 3
    while talk.said(Release) == []:
        saved(talk)
    assert order_of(talk, FreezeContainer, ThawContainer)[-1] is FreezeContainer


def test_a_renewal_past_the_deadline_thaws_no_program_that_has_parted() -> None:
    talk = Talk()
    talk.run()
    talk.order()
    saved(talk)
    talk.cut()
    talk.wait(8.5)
    assert "lease_late" in talk.logs()
    talk.cut(deaf=False)
    talk.connect()
    talk.wait(0.5)
    assert talk.brain.roster.works[JOB].parted
    assert talk.all(ThawContainer) == []
    saved(talk)
    assert len(talk.said(Release)) == 1


def test_a_lease_claimed_anew_meanwhile_makes_the_last_checkpoint_be_taken_again() -> None:
    talk = Talk()
    talk.run()
    talk.order()
    saved(talk)
    old = talk.last(TakeCheckpoint)
    talk.nodes[2].deaf = True
    passed = talk.nodes[0]
    talk.show((passed, passed.grant(OTHER, 2, talk.now, ttl_s=0.5)))
    talk.wait(TIMING.ttl_s)
    work = talk.brain.roster.works[JOB]
    assert work.epoch > old.epoch
    talk.tell(
        CheckpointSaved(
            job=JOB, run=old.run, ref=checkpoint(old.epoch, old.seq), frozen_s=0.1, upload_s=0.2
        )
    )
    talk.wait(1.0)
    assert talk.last(TakeCheckpoint).epoch == work.epoch
    assert talk.said(Release) == []
    assert talk.all(ThawContainer) == []
    saved(talk)
    assert len(talk.said(Release)) == 1


def test_a_drain_lets_a_job_finish_that_cannot_be_saved() -> None:
    talk = Talk()
    talk.run(checkpoint=OFF)
    talk.order()
    talk.wait(60.0)
    assert talk.all(RemoveContainer) == []
    talk.exits(0)
    assert talk.decided() is not None


def test_a_move_uses_up_no_attempt() -> None:
    talk = Talk()
    talk.run(attempts_max=1)
    talk.wait(0.2)
    talk.order()
    saved(talk)
    saved(talk)
    assert talk.said(Release)[0].spared == 1
    assert [n.vote().record.spared for n in talk.nodes] == [1, 1, 1]
    talk.order(OrderKind.UNDRAIN)
    talk.offer(epoch=2, attempts_max=1)
    talk.wait(0.2)
    assert talk.said(OutcomeProposal) == []
    talk.wait(0.2)
    assert talk.brain.roster.works[JOB].attempt == 2


def test_a_start_that_nodes_have_written_down_is_spared_though_nothing_ran() -> None:
    talk = Talk()
    talk.connect()
    for node in talk.nodes:
        node.mute = True
    talk.offer(attempts_max=1)
    talk.show(*((node, node.vote().record) for node in talk.nodes))
    talk.wait(0.1)
    assert [n.vote().record.attempt for n in talk.nodes] == [1, 1, 1]
    talk.order()
    assert talk.said(Release) == []
    for node in talk.nodes:
        node.mute = False
    talk.wait(2.1)
    assert talk.all(StartContainer) == []
    assert [n.vote().record.spared for n in talk.nodes] == [1, 1, 1]


def test_a_start_that_waits_for_its_record_is_kept_by_an_undrain() -> None:
    talk = Talk()
    talk.connect()
    for node in talk.nodes:
        node.mute = True
    talk.offer()
    talk.show(*((node, node.vote().record) for node in talk.nodes))
    talk.wait(0.1)
    talk.order()
    talk.order(OrderKind.UNDRAIN)
    for node in talk.nodes:
        node.mute = False
    talk.wait(2.1)
    assert len(talk.all(StartContainer)) == 1
    assert talk.said(Release) == []


def test_an_attempt_that_failed_is_counted_after_a_move() -> None:
    talk = Talk()
    talk.run(attempts_max=1)
    for node in talk.nodes:
        node.change(attempt=2, spared=1)
    talk.exits(1)
    assert talk.decided() is not None


def test_undrained_in_time_a_job_stays() -> None:
    talk = Talk()
    talk.run(checkpoint=EVERY_2_S)
    talk.order()
    talk.order(OrderKind.UNDRAIN)
    saved(talk)
    talk.wait(1.0)
    assert talk.all(FreezeContainer) == []
    talk.wait(1.5)
    assert len(talk.all(TakeCheckpoint)) == 2


def test_undrained_during_its_last_checkpoint_a_job_stays_if_that_fails() -> None:
    talk = Talk()
    talk.run(checkpoint=EVERY_2_S)
    talk.order()
    saved(talk)
    talk.order(OrderKind.UNDRAIN)
    failed(talk)
    assert order_of(talk, FreezeContainer, ThawContainer) == [FreezeContainer, ThawContainer]
    talk.wait(12.0)
    saved(talk)
    assert len(talk.all(FreezeContainer)) == 1
    assert talk.said(Release) == []


def test_undrained_during_its_last_checkpoint_a_job_leaves_if_that_succeeds() -> None:
    talk = Talk()
    talk.run()
    talk.order()
    saved(talk)
    talk.order(OrderKind.UNDRAIN)
    saved(talk)
    assert len(talk.said(Release)) == 1


def test_drained_again_during_its_last_checkpoint_a_job_leaves_though_that_fails() -> None:
    talk = Talk()
    talk.run()
    talk.order()
    saved(talk)
    talk.order(OrderKind.UNDRAIN)
    talk.order()
    failed(talk)
    talk.wait(5.1)
    while talk.said(Release) == []:
        saved(talk)


def test_a_program_that_asked_to_be_started_again_leaves_after_that() -> None:
    talk = Talk()
    talk.run()
    talk.exits(85)
    talk.order()
    saved(talk)
    talk.tell(StartPrepared(job=JOB, run=talk.last(PrepareStart).run))
    talk.started()
    while talk.said(Release) == []:
        saved(talk)
    assert talk.said(Release)[0].spared == 1


def test_a_hook_drains_and_only_a_hook_takes_that_back() -> None:
    talk = Talk()
    talk.run(checkpoint=OFF)
    talk.tell(LeaveWished(leave=True, why="battery at 9 %"))
    talk.order(OrderKind.UNDRAIN)
    talk.wait(2.1)
    assert not is_open(talk)
    assert any("battery at 9 %" in str(line.fields) for line in talk.all(Log))
    talk.tell(LeaveWished(leave=False))
    talk.wait(0.1)
    assert is_open(talk)


def test_a_hook_that_is_content_does_not_undo_an_operators_drain() -> None:
    talk = Talk()
    talk.connect()
    talk.order()
    talk.tell(LeaveWished(leave=True, why=""))
    talk.tell(LeaveWished(leave=False))
    talk.wait(2.1)
    assert not is_open(talk)


# Stops


def test_a_stop_hands_over_and_then_ends() -> None:
    talk = Talk()
    talk.run()
    talk.tell(StopRequested())
    saved(talk)
    assert talk.all(Exit) == []
    saved(talk)
    assert talk.said(Release)[0].reason == "its agent stops"
    assert talk.last(Exit).code == 0


@pytest.mark.parametrize(("memory_mb", "first"), [(256, TakeCheckpoint), (2048, FreezeContainer)])
def test_a_stop_with_little_time_saves_once(memory_mb: int, first: type[Effect]) -> None:
    talk = Talk()
    talk.run(memory_mb=memory_mb)
    talk.tell(StopRequested())
    assert order_of(talk, TakeCheckpoint, FreezeContainer)[0] is first


def test_at_the_end_of_the_grace_nothing_is_started_again() -> None:
    talk = Talk()
    talk.run()
    talk.exits(85)
    talk.auto_remove = False
    saved(talk)
    talk.tell(StopRequested())
    talk.wait(30.1)
    gone = talk.last(RemoveContainer)
    talk.tell(ContainerRemoved(job=JOB, run=gone.run))
    assert talk.all(PrepareStart) == []
    assert talk.said(Release)[0].spared == 1
    assert talk.last(Exit).code == 0
