"""Checkpoints of running jobs: scripted talks between a brain and real voters."""

from edge_agent.effect import (
    DiscardCheckpoint,
    TakeCheckpoint,
)
from tests.unit.edge_agent.agent_talk import (
    EVERY_2_S,
    JOB,
    OFF,
    OTHER,
    Talk,
    failed,
    saved,
)
from workrs.domain.job import CheckpointPolicy
from workrs.wire.message import (
    CheckpointReport,
)


def test_checkpoints_are_taken_at_the_interval_and_reported_until_a_majority_names_them() -> None:
    talk = Talk()
    talk.run(checkpoint=EVERY_2_S)
    talk.wait(1.9)
    assert talk.all(TakeCheckpoint) == []
    talk.wait(0.2)
    for node in talk.nodes[1:]:
        node.deaf = True
    saved(talk)
    talk.wait(1.0)
    assert len(talk.said(CheckpointReport)) > 1
    assert "checkpoint_kept" not in talk.logs()
    talk.cut(deaf=False)
    talk.wait(3.0)
    assert "checkpoint_kept" in talk.logs()
    assert [t.seq for t in talk.all(TakeCheckpoint)] == [1, 2]


def test_a_checkpoint_is_deleted_only_when_two_newer_ones_are_in_a_majority() -> None:
    talk = Talk()
    talk.run(checkpoint=EVERY_2_S)
    refs = []
    for _ in range(3):
        assert talk.all(DiscardCheckpoint) == []
        talk.wait(2.1)
        refs.append(saved(talk))
    doomed = talk.all(DiscardCheckpoint)
    assert [d.ref for d in doomed] == [refs[0]]
    assert doomed[0].keep == (refs[2], refs[1])


def test_no_checkpoint_is_taken_where_it_is_off_or_impossible() -> None:
    talk = Talk()
    talk.run(checkpoint=OFF)
    talk.wait(100.0)
    bare = Talk(rung="none")
    bare.run()
    bare.wait(100.0)
    assert talk.all(TakeCheckpoint) == bare.all(TakeCheckpoint) == []


def test_a_failed_checkpoint_is_tried_again_later() -> None:
    talk = Talk()
    talk.run(checkpoint=EVERY_2_S)
    talk.wait(2.1)
    failed(talk)
    talk.wait(9.0)
    assert len(talk.all(TakeCheckpoint)) == 1
    talk.wait(1.1)
    assert len(talk.all(TakeCheckpoint)) == 2


def test_a_checkpoint_that_fell_due_while_frozen_is_taken_after_the_thaw() -> None:
    talk = Talk()
    talk.run(checkpoint=CheckpointPolicy(interval_s=9.0))
    talk.wait(9.1)
    saved(talk)
    talk.cut()
    talk.wait(10.0)
    assert talk.brain.roster.works[JOB].frozen
    assert len(talk.all(TakeCheckpoint)) == 1
    talk.cut(deaf=False)
    talk.connect()
    talk.wait(1.1)
    assert len(talk.all(TakeCheckpoint)) == 2


def test_a_decided_job_leaves_no_checkpoint() -> None:
    talk = Talk()
    talk.run(checkpoint=EVERY_2_S)
    talk.wait(2.1)
    ref = saved(talk)
    talk.exits(0)
    assert [d.ref for d in talk.all(DiscardCheckpoint)] == [ref]


def test_a_fenced_agent_deletes_what_no_record_names() -> None:
    talk = Talk()
    talk.run(checkpoint=EVERY_2_S)
    talk.wait(2.1)
    talk.cut()
    ref = saved(talk)
    talk.show(*((n, n.grant(OTHER, 2, talk.now)) for n in talk.nodes[:2]))
    assert [d.ref for d in talk.all(DiscardCheckpoint)] == [ref]


def test_a_job_given_back_leaves_a_checkpoint_whose_report_may_still_arrive() -> None:
    """No record names it yet; one that did after it was deleted would lead nowhere."""
    talk = Talk()
    talk.run(checkpoint=EVERY_2_S)
    talk.wait(2.1)
    talk.cut()
    saved(talk)
    talk.exits(1)
    talk.wait(40.0)
    assert JOB not in talk.brain.roster.works
    assert talk.all(DiscardCheckpoint) == []
