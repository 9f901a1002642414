"""Goal: a job that too few disks hold is seen, and a blob that one holds for nothing.

Method: ledgers as nodes make them, by SQL; a node's own folder of blobs.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from broker.blob_directory import BlobDirectory
from broker.blob_name import checkpoint_name
from broker.ledger_file import create
from workrs.domain.ids import JobId
from workrs.faults.disks import Disk, leftovers, lost, read_disk, torn


def disk(*jobs: str, **outcomes: str) -> Disk:
    return Disk(frozenset(jobs) | frozenset(outcomes), outcomes)


def ledger(folder: Path) -> Path:
    """Make a ledger with an open and a retired job."""
    path = folder / "ledger.db"
    create(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("INSERT INTO specs VALUES ('d_open', 'digest', x'7b7d')")
        database.execute(
            "INSERT INTO retired (job, request, outcome, verdict, reason, epoch, attempt, wall)"
            " VALUES ('d_old', '', 'x', 'succeeded', '', 1, 1, 0)"
        )
        database.commit()
    return path


def test_an_accepted_job_must_be_on_a_majority_of_disks() -> None:
    disks = {"n1": disk("j"), "n2": disk("j"), "n3": disk()}
    assert list(lost(["j"], disks)) == []
    assert len(list(lost(["j"], {**disks, "n2": None}))) == 1
    assert len(list(lost(["j", "k"], disks))) == 1


def test_two_disks_must_not_differ_on_an_outcome() -> None:
    assert list(torn({"n1": disk(j="x"), "n2": disk("j"), "n3": disk(j="x")})) == []
    assert len(list(torn({"n1": disk(j="x"), "n2": None, "n3": disk(j="y")}))) == 1


def test_a_ledger_is_read_as_it_lies_there(tmp_path: Path) -> None:
    path = ledger(tmp_path)
    assert read_disk(path) == Disk(frozenset({"d_open", "d_old"}), {"d_old": "x"})


def test_a_file_that_is_no_ledger_is_no_disk(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"rubbish" * 1000)
    assert read_disk(tmp_path / "ledger.db") is None
    assert read_disk(tmp_path / "none.db") is None


def test_blobs_of_a_retired_job_are_left_over(tmp_path: Path) -> None:
    ledger(tmp_path)
    blobs = BlobDirectory(tmp_path / "blobs")
    assert leftovers("n1", tmp_path) == {}
    for job in ("d_open", "d_old", "d_unknown"):
        name = checkpoint_name(job, "1", "0" * 64)
        draft = tmp_path / job
        draft.write_bytes(b"x")
        assert blobs.publish(name, draft, 1)
    assert leftovers("n1", tmp_path) == {
        ("n1", "d_old"): "L4 n1 has blobs of d_old, which it retired"
    }
    blobs.drop(JobId("d_old"))
    assert leftovers("n1", tmp_path) == {}
