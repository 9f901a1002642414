"""Goal: what is left on a node's disk for good fails the site's end, and nothing else does.

Method: the judge's last look at folders as nodes make them; everything else about it is replaced.
"""

import sqlite3
from collections.abc import Callable
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker.blob_directory import BlobDirectory
from broker.ledger_file import create
from workrs.domain.lease import LeaseTiming
from workrs.faults.judge import Judge
from workrs.faults.row import RowError

LOOKS = 3


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Judge:
    """Judge a site of one node, whose ledger has retired `d_old` and `d_older`."""
    folder = tmp_path / "n1"
    folder.mkdir()
    BlobDirectory(folder / "blobs")
    create(folder / "ledger.db")
    with closing(sqlite3.connect(folder / "ledger.db")) as database:
        for job in ("d_old", "d_older"):
            database.execute(
                "INSERT INTO retired (job, request, outcome, verdict, reason, epoch, attempt, wall)"
                " VALUES (?, '', 'x', 'succeeded', '', 1, 1, 0)",
                (job,),
            )
        database.commit()
    monkeypatch.setattr(Judge, "look", lambda _self: ())
    monkeypatch.setattr(Judge, "_differences", lambda _self: {})

    def until(what: str, look: Callable[[], bool], _timeout_s: float) -> None:
        if not any(look() for _ in range(LOOKS)):
            raise RowError(what)

    site = SimpleNamespace(
        cluster=SimpleNamespace(plan=SimpleNamespace(root=tmp_path)),
        load=SimpleNamespace(paused=nullcontext, open_jobs=list),
        nodes=["n1"],
        timing=LeaseTiming(),
        trace=SimpleNamespace(path=tmp_path / "trace.jsonl", now_s=0.0),
        until=until,
    )
    return Judge(site)  # type: ignore[arg-type]


def blobs(judge: Judge) -> Path:
    return judge.site.cluster.plan.root / "n1" / "blobs" / "blobs"


def test_blobs_of_a_retired_job_that_stay_fail_the_site(judge: Judge) -> None:
    assert judge.finish() == ()
    for job in ("d_old", "d_open"):
        (blobs(judge) / job / "1").mkdir(parents=True)
    assert judge.finish() == ("L4 n1 has blobs of d_old, which it retired",)


def test_blobs_that_are_just_being_removed_do_not(
    judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look finds another job's: the node is at it."""
    left = ["d_older", "d_old"]
    read = judge._leftovers

    def look() -> dict[tuple[str, str], str]:
        for folder in blobs(judge).iterdir():
            folder.rmdir()
        if left:
            (blobs(judge) / left.pop()).mkdir()
        return read()

    monkeypatch.setattr(Judge, "_leftovers", lambda _self: look())
    assert judge.finish() == ()
    assert left == []
