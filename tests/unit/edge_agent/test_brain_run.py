"""Running and ending jobs: scripted talks between a brain and real voters."""

from collections.abc import Callable
from typing import Any

import pytest

from edge_agent.effect import (
    Exit,
    FreezeContainer,
    Log,
    MoveDeadline,
    PrepareStart,
    RemoveContainer,
    StartContainer,
    StoreResult,
    TakeCheckpoint,
    ThawContainer,
)
from edge_agent.event import (
    Blame,
    ContainerRemoved,
    ContainerStarted,
    ProgressMade,
    ResultRefused,
    ResultStored,
    StartFailed,
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
from workrs.domain.job import Verdict
from workrs.wire.message import (
    Beat,
    Claim,
    OutcomeProposal,
    Progress,
    Release,
)

# Ends


def test_a_result_is_proposed_until_decided_and_then_forgotten() -> None:
    talk = Talk()
    talk.run()
    talk.cut()
    talk.exits(0, result=b"42")
    talk.wait(1.0)
    assert len(talk.said(OutcomeProposal)) == 3
    talk.cut(deaf=False)
    talk.wait(2.0)
    decided = talk.decided()
    assert decided is not None
    assert decided.result == "42"
    assert talk.brain.roster.works == {}
    said = len(talk.said(OutcomeProposal))
    talk.wait(10.0)
    assert len(talk.said(OutcomeProposal)) == said


def test_a_large_result_is_stored_before_it_is_proposed() -> None:
    talk = Talk()
    asked = talk.run()
    talk.exits(0, result=None, result_bytes=99_999)
    assert talk.last(StoreResult).stores == ("u-n1", "u-n2", "u-n3")
    talk.tell(ResultRefused(job=JOB, run=asked.run, reason="no answer"))
    talk.wait(2.0)
    assert len(talk.all(StoreResult)) == 2
    assert talk.said(OutcomeProposal) == []
    talk.tell(ResultStored(job=JOB, run=asked.run, url="workrs:sha256/0", size_bytes=99_999))
    assert talk.said(OutcomeProposal)[0].outcome.result_url == "workrs:sha256/0"


def test_a_failed_attempt_is_given_back_with_a_delay_after_its_container_is_gone() -> None:
    talk = Talk()
    talk.auto_remove = False
    asked = talk.run()
    talk.exits(1, stderr_tail="Traceback")
    assert talk.said(Release) == []
    talk.tell(ContainerRemoved(job=JOB, run=asked.run))
    released = talk.said(Release)[0]
    assert (released.epoch, released.retry_after_s) == (1, 1.0)
    assert released.reason == "exit code 1\nTraceback"
    assert talk.nodes[0].vote().record.holder is None
    assert talk.said(OutcomeProposal) == []


def test_a_lost_release_is_said_again() -> None:
    talk = Talk()
    talk.run()
    talk.cut()
    talk.exits(1)
    talk.cut(deaf=False)
    talk.wait(0.3)
    assert [n.vote().record.holder for n in talk.nodes] == [None, None, None]
    assert talk.brain.roster.works == {}


@pytest.mark.parametrize(
    ("code", "fields", "words"),
    [
        (1, {"stderr_tail": "boom"}, "exit code 1\nboom"),
        (75, {}, "tried later"),
        (137, {}, "signal 9"),
        (137, {"oom_killed": True}, "out of memory: it needed more than its 256 MB"),
        (1, {"problem": "wrote too much"}, "wrote too much"),
    ],
)
def test_the_last_attempt_fails_the_job_with_a_reason(
    code: int, fields: dict[str, Any], words: str
) -> None:
    talk = Talk()
    talk.run(attempts_max=1)
    talk.exits(code, **fields)
    decided = talk.decided()
    assert decided is not None
    assert (decided.verdict, decided.exit_code) == (Verdict.FAILED, code)
    assert words in decided.reason


def test_exit_78_fails_at_once() -> None:
    talk = Talk()
    talk.run()
    talk.exits(78)
    decided = talk.decided()
    assert decided is not None
    assert decided.verdict is Verdict.FAILED


def test_exit_85_goes_on_from_the_files_in_the_same_attempt() -> None:
    talk = Talk()
    first = talk.run()
    talk.exits(85)
    ref = saved(talk)
    assert talk.last(PrepareStart).checkpoint == ref
    talk.tell(StartPrepared(job=JOB, run=talk.last(PrepareStart).run))
    again = talk.started()
    assert again.restore
    assert (again.attempt, again.run) == (first.attempt, first.run + 1)
    talk.exits(0)
    assert talk.decided() is not None


@pytest.mark.parametrize("become", [saved, failed])
def test_a_checkpoint_under_way_at_a_programs_end_does_not_change_how_it_ended(
    become: Callable[[Talk, TakeCheckpoint], object],
) -> None:
    talk = Talk()
    talk.run(checkpoint=EVERY_2_S, attempts_max=1)
    talk.wait(2.1)
    talk.exits(0, result=None, result_bytes=40_000)
    become(talk, talk.last(TakeCheckpoint))
    assert talk.all(RemoveContainer) == []
    run = talk.last(StartContainer).run
    talk.tell(ResultStored(job=JOB, run=run, url="u", size_bytes=40_000))
    decided = talk.decided()
    assert decided is not None
    assert decided.verdict is Verdict.SUCCEEDED


@pytest.mark.parametrize("become", [saved, failed])
def test_exit_85_during_a_checkpoint_goes_on_from_the_one_taken_after_it(
    become: Callable[[Talk, TakeCheckpoint], object],
) -> None:
    talk = Talk()
    talk.run(checkpoint=EVERY_2_S, attempts_max=1)
    talk.wait(2.1)
    early = talk.last(TakeCheckpoint)
    talk.exits(85)
    assert talk.last(TakeCheckpoint).seq == early.seq + 1
    become(talk, early)
    assert talk.all(PrepareStart) == []
    ref = saved(talk)
    assert talk.last(PrepareStart).checkpoint == ref


def test_a_checkpoint_under_way_at_exit_85_holds_the_work_until_it_was_begun() -> None:
    talk = Talk()
    talk.run(checkpoint=EVERY_2_S, attempts_max=1)
    talk.wait(2.1)
    early = talk.last(TakeCheckpoint)
    talk.wait(5.0)
    talk.exits(85)
    saved(talk, early)
    saved(talk)
    told = [log.fields for log in talk.all(Log) if log.key == "checkpoint_taken"]
    held = {fields["seq"]: fields["work_s"] for fields in told}
    assert held[early.seq] < 2.5
    assert held[early.seq + 1] > 6.5


def test_a_lease_claimed_anew_after_exit_85_has_the_files_saved_again() -> None:
    talk = Talk()
    talk.run()
    talk.exits(85)
    early = talk.last(TakeCheckpoint)
    talk.nodes[2].deaf = True
    passed = talk.nodes[0]
    talk.show((passed, passed.grant(OTHER, 2, talk.now, ttl_s=0.5)))
    talk.wait(TIMING.ttl_s)
    late = talk.last(TakeCheckpoint)
    assert late.epoch == talk.brain.roster.works[JOB].epoch > early.epoch
    saved(talk, early)
    assert talk.all(PrepareStart) == []
    ref = saved(talk)
    assert talk.last(PrepareStart).checkpoint == ref


def test_a_timeout_kills_and_counts_as_a_failed_attempt() -> None:
    talk = Talk()
    talk.run(timeout_s=30.0, checkpoint=OFF)
    talk.wait(29.9)
    assert talk.all(RemoveContainer) == []
    talk.wait(0.2)
    assert len(talk.all(RemoveContainer)) == 1
    assert talk.said(Release)[0].reason == "timed out after 30 s"


def test_a_program_that_was_slow_to_start_has_all_its_time_and_then_no_more() -> None:
    talk = Talk()
    talk.connect()
    talk.offer(timeout_s=2.0, checkpoint=OFF)
    talk.wait(5.0)
    talk.started()
    talk.wait(1.9)
    assert talk.all(RemoveContainer) == []
    talk.wait(0.2)
    assert len(talk.all(RemoveContainer)) == 1
    assert talk.said(Release)[0].reason == "timed out after 2 s"


def test_an_exit_after_the_deadline_is_still_proposed_because_epochs_decide() -> None:
    talk = Talk()
    talk.run()
    talk.cut()
    talk.wait(TIMING.holding_s + 0.5)
    assert talk.all(FreezeContainer)
    talk.exits(0)
    assert talk.said(OutcomeProposal)


def test_nothing_is_proposed_after_a_release() -> None:
    talk = Talk()
    talk.run()
    talk.exits(1)
    talk.wait(20.0)
    assert talk.said(OutcomeProposal) == []


def test_what_a_former_container_says_late_is_dropped() -> None:
    talk = Talk()
    talk.auto_remove = False
    asked = talk.run()
    talk.show(*((n, n.grant(OTHER, 2, talk.now)) for n in talk.nodes[:2]))
    talk.exits(0)
    assert talk.said(OutcomeProposal) == []
    talk.tell(ContainerRemoved(job=JOB, run=asked.run))
    assert talk.brain.roster.works == {}


def test_an_offer_for_a_job_whose_container_is_still_going_waits_for_it() -> None:
    talk = Talk()
    talk.auto_remove = False
    asked = talk.run()
    talk.show(*((n, n.grant(OTHER, 2, talk.now, ttl_s=0)) for n in talk.nodes[:2]))
    talk.offer(epoch=3)
    assert len(talk.said(Claim)) == 1
    talk.tell(ContainerRemoved(job=JOB, run=asked.run))
    assert talk.said(Claim)[-1].epoch == 3


def test_an_offer_that_has_to_wait_does_not_hold_up_the_next() -> None:
    talk = Talk(slots=2)
    talk.auto_remove = False
    talk.run()
    talk.offer(job=JobId("pump_2"))
    talk.show(*((n, n.grant(OTHER, 2, talk.now, ttl_s=0)) for n in talk.nodes[:2]))
    talk.offer(epoch=3)
    talk.offer(job=JobId("pump_3"))
    work = talk.brain.roster.works[JobId("pump_2")]
    talk.tell(StartFailed(job=work.job, run=work.run, blame=Blame.CONTAINER, reason="no image"))
    talk.tell(ContainerRemoved(job=work.job, run=work.run))
    assert set(talk.brain.roster.works) == {JOB, "pump_3"}


# Starts


def test_a_start_tries_checkpoints_from_the_newest_and_then_the_beginning() -> None:
    talk = Talk()
    talk.nodes[0].change(checkpoints=(checkpoint(2, 1), checkpoint(1, 4)))
    talk.nodes[1].change(checkpoints=(checkpoint(1, 4), checkpoint(1, 3)))
    talk.connect()
    talk.offer(epoch=3)
    tried = []
    for _ in range(3):
        asked = talk.last(PrepareStart)
        assert asked.checkpoint is not None
        tried.append((asked.checkpoint.epoch, asked.checkpoint.seq))
        talk.tell(StartFailed(job=JOB, run=asked.run, blame=Blame.CHECKPOINT, reason="bad hash"))
    talk.wait(0.1)
    assert tried == [(2, 1), (1, 4), (1, 3)]
    assert not talk.last(StartContainer).restore


def test_a_restore_that_fails_steps_back_without_a_new_attempt() -> None:
    talk = Talk()
    talk.nodes[0].change(checkpoints=(checkpoint(1, 1),))
    talk.connect()
    talk.offer(epoch=2)
    talk.tell(StartPrepared(job=JOB, run=talk.last(PrepareStart).run))
    talk.wait(0.1)
    asked = talk.last(StartContainer)
    assert asked.restore
    talk.tell(StartFailed(job=JOB, run=asked.run, blame=Blame.CHECKPOINT, reason="CRIU"))
    again = talk.last(StartContainer)
    assert (again.restore, again.attempt) == (False, asked.attempt)


def test_a_silent_store_gives_the_job_back_and_costs_no_attempt() -> None:
    talk = Talk()
    talk.nodes[0].change(checkpoints=(checkpoint(1, 1),), attempt=1)
    talk.connect()
    talk.offer(epoch=2)
    asked = talk.last(PrepareStart)
    talk.tell(StartFailed(job=JOB, run=asked.run, blame=Blame.STORE, reason="no answer"))
    assert talk.said(Release)[0].retry_after_s == 1.0
    assert {n.vote().record.attempt for n in talk.nodes} == {0, 1}


def test_a_program_that_cannot_be_started_is_a_failed_attempt() -> None:
    talk = Talk()
    talk.connect()
    talk.offer(attempts_max=1)
    talk.wait(0.1)
    asked = talk.last(StartContainer)
    talk.tell(StartFailed(job=JOB, run=asked.run, blame=Blame.CONTAINER, reason="no image i"))
    decided = talk.decided()
    assert decided is not None
    assert decided.reason == "could not be started: no image i"


def test_a_deadline_that_moved_during_the_start_thaws_what_the_warden_may_have_frozen() -> None:
    talk = Talk()
    talk.connect()
    talk.offer()
    talk.wait(0.1)
    asked = talk.last(StartContainer)
    talk.wait(TIMING.holding_s + 1)
    talk.tell(ContainerStarted(job=JOB, run=asked.run))
    moved = talk.last(MoveDeadline)
    assert moved.deadline > asked.deadline
    assert talk.all(ThawContainer) == [ThawContainer(job=JOB, run=asked.run)]


def test_a_renewal_at_the_last_moment_thaws_because_the_warden_may_have_been_quicker() -> None:
    talk = Talk()
    talk.run()
    for node in talk.nodes:
        node.mute = True
    talk.wait(talk.brain.roster.works[JOB].safe_until - talk.now - 0.01)
    assert talk.all(FreezeContainer) == []
    for node in talk.nodes:
        node.mute = False
    talk.answer_beat()
    assert len(talk.all(ThawContainer)) == 1


# Progress and stop


def test_progress_is_told_once_a_second_and_only_when_new() -> None:
    talk = Talk()
    run = talk.run().run
    for fraction in (0.1, 0.1, 0.2, 0.3):
        talk.tell(ProgressMade(job=JOB, run=run, fraction=fraction, note=""))
        talk.wait(0.1)
    assert [p.progress for p in talk.said(Progress)] == [0.1]
    talk.wait(1.0)
    assert [p.progress for p in talk.said(Progress)] == [0.1, 0.3]
    assert [p.seq for p in talk.said(Progress)] == [1, 2]


def test_a_stop_ends_at_once_with_nothing_in_hand() -> None:
    talk = Talk()
    talk.connect()
    talk.tell(StopRequested())
    farewell = talk.last(Exit).farewell
    assert farewell is not None
    assert farewell.gone


def test_a_stop_kills_and_releases_at_the_end_of_its_grace() -> None:
    talk = Talk()
    talk.run(checkpoint=OFF)
    talk.tell(StopRequested())
    talk.wait(29.9)
    assert talk.all(RemoveContainer) == []
    talk.wait(0.2)
    assert len(talk.said(Release)) == 1
    assert talk.last(Exit).code == 0


def test_a_second_request_to_stop_is_obeyed_at_once() -> None:
    talk = Talk()
    talk.run(checkpoint=OFF)
    talk.tell(StopRequested())
    talk.tell(StopRequested())
    talk.wait(0.0)
    assert talk.last(Exit).code == 0


def test_heartbeats_come_at_once_and_then_at_most_twenty_a_second() -> None:
    talk = Talk(slots=100)
    talk.connect()
    talk.wait(1.0)
    before = len(talk.said(Beat))
    for place in range(50):
        talk.offer(job=JobId(f"pump_{place}"))
        talk.wait(0.002)
    talk.wait(0.05)
    assert 2 <= len(talk.said(Beat)) - before <= 4
    assert len(talk.said(Beat)[-1].held) == 50
