"""Goal: what is read late is read in the end, and nothing but progress is read late.

Method: records as nodes send them, with one field changed at a time; a made-up cluster told at once
and told late.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tui.stage import Stage
from tui.model import cluster
from tui.model.deferred import Deferred, besides_progress
from tui.scene import Scene
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.domain.record import CheckpointRef, Holder, Incarnation, Record, Version
from workrs.wire import codec

JOB = JobId("cam-2_sum-1")
MARK = CheckpointRef(
    epoch=Epoch(2),
    seq=1,
    manifest=Digest("a" * 64),
    rung="memory",
    progress=0.25,
    location=(),
    bytes=9,
)
RECORD = Record(
    job=JOB,
    version=Version(3, 7),
    digest=Digest("b" * 64),
    epoch=Epoch(2),
    holder=Holder(client=ClientId("a1"), incarnation=Incarnation(1, "9f2c4be1a0d35c77")),
    checkpoints=(MARK,),
    attempt=1,
    progress=0.5,
    note="row 3",
    serial=9,
)
LATER = replace(RECORD, version=Version(3, 8), progress=0.75, note="row 4", serial=10)


def test_another_report_of_progress_waits() -> None:
    deferred = Deferred()
    assert not deferred.defer("t/cam-2_sum-1", codec.encode(RECORD))
    assert deferred.defer("t/cam-2_sum-1", codec.encode(LATER))
    assert list(deferred.take([JOB], 0)) == [("t/cam-2_sum-1", codec.encode(LATER))]
    assert list(deferred.take([JOB], 9)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": Epoch(3)},
        {"attempt": 2},
        {"holder": None},
        {"cancel": True},
        {"checkpoints": ()},
        {"checkpoints": (replace(MARK, progress=0.26),)},
        {"reason": "why"},
        {"settled": True},
        {"abstains": True},
        {"progress": None},
        {"note": 'a "quoted" one'},
    ],
    ids=str,
)
def test_whatever_else_is_new_is_read_at_once(change: dict[str, object]) -> None:
    deferred = Deferred()
    deferred.defer("t/cam-2_sum-1", codec.encode(RECORD))
    changed = replace(LATER, **change)  # type: ignore[arg-type]
    assert not deferred.defer("t/cam-2_sum-1", codec.encode(changed))


def test_what_is_read_at_once_takes_the_place_of_what_waits() -> None:
    deferred = Deferred()
    deferred.defer("t/cam-2_sum-1", codec.encode(RECORD))
    deferred.defer("t/cam-2_sum-1", codec.encode(LATER))
    deferred.defer("t/cam-2_sum-1", codec.encode(replace(LATER, epoch=Epoch(3))))
    assert list(deferred.take([JOB], 9)) == []


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b'{"job":"x"}', b',"progress":1}', b'{"job":"a_b","version":[1,2],"progress":}'],
)
def test_what_is_no_record_is_read_at_once(payload: bytes) -> None:
    assert besides_progress(payload) is None


def test_a_cluster_told_late_is_the_one_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(others_max: int) -> dict[JobId, tuple[str, float | None, str]]:
        monkeypatch.setattr(cluster, "UNWATCHED_MAX", others_max)
        stage = Stage(Scene(agents=4, jobs=12, speed=0.05, seed=5), quiet_s=30)
        monkeypatch.setattr(cluster, "UNWATCHED_MAX", 1000)
        stage.settle()
        return {key: (job.state, job.progress, job.note) for key, job in stage.model.jobs.items()}

    assert told(0) == told(1000)


def test_progress_in_view_is_read_with_the_next_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "UNWATCHED_MAX", 0)
    stage = Stage(Scene(agents=2, jobs=2, slots=1, speed=0.001, refill=False), quiet_s=1)
    seen, unseen = stage.model.jobs.values()
    stage.model.watched = [seen.view.job]
    before = seen.progress, unseen.progress
    stage.pass_s(2)
    assert seen.progress != before[0]
    assert unseen.progress == before[1]
