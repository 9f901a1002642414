"""Goal: `workrs show` says why nobody gets a job that waits, and nothing where somebody may.

Method: each way an agent may not get a job, told by what agents say of themselves; then agents that
may, with room and without.
"""

from dataclasses import replace
from typing import Any

import pytest

from tests.unit.cli.test_move_watch import JOB, Shown
from workrs.cli.waiting import reasons
from workrs.domain.ids import Digest, Epoch
from workrs.domain.job import CheckpointMode, CheckpointPolicy, Constraints, JobSpec
from workrs.domain.record import CheckpointRef

ASKED = JobSpec(
    image="i",
    command=("true",),
    constraints=Constraints(arch="amd64", labels=("gpu",)),
    memory_mb=512,
    checkpoint=CheckpointPolicy(mode=CheckpointMode.MEMORY),
)
SAVED = CheckpointRef(
    epoch=Epoch(1), seq=1, manifest=Digest("0" * 64), location=("http://u",), rung="memory", bytes=1
)


def told(shown: Shown) -> list[str]:
    return reasons(shown.view, next(job for job in shown.view.jobs() if job.job == JOB))


def waiting(**record: object) -> Shown:
    shown = Shown()
    shown.spec(ASKED)
    shown.record(**record)
    return shown


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"arch": "arm64"}, "arm64, not amd64"),
        ({"labels": ("fast",)}, "no label gpu"),
        ({"memory_mb": 256}, "256 MiB of memory, not 512"),
        ({"rung": "files"}, "rung files, not memory"),
        ({"draining": True}, "told to drain"),
    ],
)
def test_what_an_agent_misses_is_told(changes: dict[str, Any], why: str) -> None:
    shown = waiting()
    shown.agent("a1", **{"labels": ("gpu",), **changes})
    assert told(shown) == [f"a1: {why}"]
    shown.agent("a1", labels=("gpu",))
    assert told(shown) == []


def test_why_a_checkpoint_cannot_be_restored_is_told() -> None:
    shown = waiting(checkpoints=(SAVED,))
    shown.spec(replace(ASKED, checkpoint=CheckpointPolicy()))
    shown.agent("a1", labels=("gpu",), rung="files")
    miss = "a1: cannot restore its checkpoint: it restores no memory"
    later = "if none that can restore it takes it within 30 s, it goes to "
    assert told(shown) == [miss, f"{later}a1, and begins with less"]
    shown.agent("a1", labels=("gpu",), rung="files", slots=0)
    assert told(shown) == [miss, f"{later}a1, where every slot is taken, and begins with less"]
    shown.agent("a2", labels=("gpu",), slots=0)
    shown.agent("a3", labels=("gpu",), rung="files")
    assert told(shown) == ["every slot of a2 is taken", f"{later}a1, a3, and begins with less"]
    shown.agent("a2", labels=("gpu",))
    assert told(shown) == []


def test_a_checkpoint_changes_nothing_where_no_agent_meets_the_other_needs() -> None:
    shown = waiting(checkpoints=(SAVED,))
    assert told(shown) == ["no agent is there"]
    shown.agent("a1")
    assert told(shown) == ["a1: no label gpu"]


def test_many_agents_that_miss_the_same_are_counted_and_those_that_are_gone_left_out() -> None:
    shown = waiting()
    assert told(shown) == ["no agent is there"]
    for number in range(1, 6):
        shown.agent(f"a{number}")
    shown.agent("a6", gone=True)
    assert told(shown) == ["a1, a2, a3 and 2 more: no label gpu"]


def test_that_all_slots_are_taken_is_told() -> None:
    shown = waiting()
    shown.agent("a1", labels=("gpu",), slots=0)
    shown.agent("a2")
    assert told(shown) == ["every slot of a1 is taken"]


def test_a_job_that_runs_waits_for_nobody() -> None:
    shown = waiting()
    shown.held_by("a1", 1)
    assert told(shown) == []
