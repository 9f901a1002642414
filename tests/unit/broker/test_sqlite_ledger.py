"""What only a ledger on a real disk can do wrong: files, damage, full disks, kill -9.

A writer process is killed right after it reported a commit; the tests then look at what
its disk has. A tiny tmpfs stands for a full disk.
"""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils

from broker import ledger_file
from broker.ledger import SqliteLedger, create_ledger, open_ledger
from broker.ledger_retention import HistoryLimits
from workrs.domain.errors import ConfigError, LedgerError
from workrs.domain.ids import EPOCH_MAX, NUMBER_MAX, Epoch, JobId
from workrs.domain.job import Outcome, Verdict
from workrs.domain.record import Record
from workrs.ports.ledger import NoteHistory, RetireJob, SaveRecord

ROOT = Path(__file__).parents[3]


def record(number: int) -> SaveRecord:
    return SaveRecord(record=Record(job=JobId(f"pump-7_{number}"), reason="x" * 500))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "ledger.db"
    create_ledger(path)
    return path


def test_files_belong_to_their_owner_alone(path: Path) -> None:
    ledger = open_ledger(path)
    ledger.commit([record(1)])
    modes = {entry.name: entry.stat().st_mode & 0o777 for entry in path.parent.iterdir()}
    ledger.close()
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert set(modes) == {"ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.lock"}
    assert set(modes.values()) == {0o600}


def test_opening_never_makes_a_ledger_and_says_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="workrs node --init"):
        open_ledger(tmp_path / "ledger.db")
    assert list(tmp_path.iterdir()) == []


def test_making_never_replaces_what_is_there(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="already"):
        create_ledger(path)
    assert path.read_bytes() == before


def test_a_draft_left_by_a_crash_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "ledger.db.new").write_bytes(b"half")
    create_ledger(tmp_path / "ledger.db")
    assert [entry.name for entry in tmp_path.iterdir()] == ["ledger.db"]


def test_a_ledger_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot make"):
        create_ledger(tmp_path / "file" / "ledger.db")


def test_only_one_daemon_has_a_ledger(path: Path) -> None:
    ledger = open_ledger(path)
    with pytest.raises(LedgerError, match=str(os.getpid())):
        open_ledger(path)
    ledger.close()
    open_ledger(path).close()


def filled(path: Path) -> int:
    """Fill the ledger at *path* and return its size in bytes."""
    ledger = open_ledger(path)
    ledger.commit([record(number) for number in range(500)])
    ledger.close()
    return path.stat().st_size


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.3, 0.99])
def test_a_truncated_file_is_reported_and_left_alone(path: Path, keep: float) -> None:
    size = int(filled(path) * keep)
    os.truncate(path, size)
    with pytest.raises(LedgerError, match="re-admitted"):
        open_ledger(path)
    assert path.stat().st_size == size


def test_a_corrupted_page_is_reported(path: Path) -> None:
    size = filled(path)
    with path.open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    with pytest.raises(LedgerError, match="re-admitted"):
        open_ledger(path)


def test_a_file_of_something_else_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_text("hello, " * 1000)
    with pytest.raises(LedgerError, match="cannot be read"):
        open_ledger(path)


def test_a_format_of_the_future_is_refused(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute(f"PRAGMA user_version = {ledger_file.SCHEMA_VERSION + 1}")
    database.close()
    with pytest.raises(LedgerError, match="run the version that made it"):
        open_ledger(path)


def test_a_row_that_is_no_record_is_reported(path: Path) -> None:
    filled(path)
    database = sqlite3.connect(path)
    database.execute("""UPDATE records SET body = '{"job": 7}' WHERE job = 'pump-7_77'""")
    database.commit()
    database.close()
    ledger = open_ledger(path)
    with pytest.raises(LedgerError, match="pump-7_77"):
        list(ledger.load())
    ledger.close()


def test_the_error_after_a_failed_opening_keeps_no_lock(path: Path) -> None:
    good = path.read_bytes()
    path.write_bytes(b"")
    with pytest.raises(LedgerError):
        open_ledger(path)
    path.write_bytes(good)
    open_ledger(path).close()


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """Return a directory on a file system of 512 KB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tiny file system needs root")
    place = tmp_path / "tiny"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_number_too_large_for_the_file_leaves_no_half_commit(path: Path) -> None:
    ledger = open_ledger(path)
    too_large = SaveRecord(record=Record(job=JobId("pump-7_j"), epoch=Epoch(2**64)))
    with pytest.raises(LedgerError, match="too large"):
        ledger.commit([record(1), too_large])
    ledger.commit([record(2)])
    assert [saved.record.job for saved in ledger.load()] == [JobId("pump-7_2")]
    assert ledger.standing.serial == 1
    ledger.close()


def test_the_largest_numbers_that_are_taken_can_be_retired(path: Path) -> None:
    job = JobId("pump-7_1")
    end = Outcome(verdict=Verdict.FAILED, exit_code=-NUMBER_MAX)
    done = Record(
        job=job, epoch=EPOCH_MAX, attempt=NUMBER_MAX, decided=end, decided_digest=end.digest()
    )
    ledger = open_ledger(path)
    ledger.commit([SaveRecord(record=done)])
    ledger.commit([RetireJob(job=job)])
    kept = ledger.retired(job)
    assert kept is not None
    assert (kept.short.exit_code, kept.attempt, kept.epoch) == (-NUMBER_MAX, NUMBER_MAX, EPOCH_MAX)
    ledger.close()


def test_commits_go_on_while_many_jobs_are_read(path: Path) -> None:
    """A peer that copies a large ledger holds up no vote, and misses no job that it had."""
    ledger = open_ledger(path)
    names = {f"pump-7_{number}" for number in range(2_500)}
    ledger.commit([record(number) for number in range(2_500)])
    reading = ledger.load()
    found = [next(reading).record.job]
    ledger.commit([record(9_999), SaveRecord(record=Record(job=JobId("pump-7_7"), epoch=Epoch(1)))])
    found += [saved.record.job for saved in reading]
    assert set(found) - {"pump-7_9999"} == names
    assert len(found) == len(set(found))
    ledger.close()


def tens(ledger: SqliteLedger, number: int) -> bool:
    """Commit ten records; return whether there was room."""
    try:
        ledger.commit([record(number * 10 + part) for part in range(10)])
    except LedgerError:
        return False
    return True


def test_a_full_disk_refuses_whole_commits_and_recovers(tiny: Path) -> None:
    path = tiny / "ledger.db"
    create_ledger(path)
    ledger = open_ledger(path)
    kept = 0
    while tens(ledger, kept):
        kept += 1
    assert kept > 0
    with pytest.raises(LedgerError, match="full"):
        ledger.commit([record(number) for number in range(100_000, 101_000)])
    assert len(list(ledger.load())) == kept * 10
    subprocess.run(["mount", "-o", "remount,size=4m", tiny], check=True)
    ledger.commit([record(999_999)])
    ledger.close()
    ledger = open_ledger(path)
    assert len(list(ledger.load())) == kept * 10 + 1
    ledger.close()


def test_a_full_disk_at_the_start_is_an_error_of_ours(tiny: Path) -> None:
    path = tiny / "ledger.db"
    create_ledger(path)
    with pytest.raises(OSError, match="No space"):
        (tiny / "filler").write_bytes(bytes(1 << 20))
    # Never the advice for a damaged file: it is sound, and whoever moves it away loses its votes.
    with pytest.raises(LedgerError, match="make room"):
        open_ledger(path)
    (tiny / "filler").unlink()
    ledger = open_ledger(path)
    ledger.close()


WRITER = """
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from broker.ledger import open_ledger
from workrs.domain.record import Record
from workrs.ports.ledger import SaveRecord
ledger = open_ledger(Path(sys.argv[1]))
number = 0
while True:
    jobs = range(number, number + 7)
    ledger.commit([SaveRecord(record=Record(job=f"pump-7_{n}", reason="x" * 900)) for n in jobs])
    number += 7
    print(number, flush=True)
"""


@pytest.mark.parametrize("commits", [1, 2, 40])
def test_whatever_was_committed_before_kill_9_is_there(path: Path, commits: int) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert writer.stdout is not None
    said = 0
    for _ in range(commits):
        said = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    # What it still said before the signal came counts as well.
    said = int((writer.stdout.read().splitlines() or [str(said)])[-1])
    writer.stdout.close()
    ledger = open_ledger(path)
    found = {saved.record.job for saved in ledger.load()}
    ledger.close()
    assert ledger.boot == 2
    assert found >= {f"pump-7_{number}" for number in range(said)}
    assert len(found) % 7 == 0, "a commit is there whole or not at all"


def test_sqlite_utils_reads_the_columns_that_queries_need(path: Path) -> None:
    done = Outcome(verdict=Verdict.FAILED, exit_code=3)
    ledger = open_ledger(path, wall=lambda: 5.0)
    ledger.commit(
        [
            record(1),
            SaveRecord(
                record=Record(
                    job=JobId("pump-7_2"),
                    epoch=Epoch(4),
                    decided=done,
                    decided_digest=done.digest(),
                )
            ),
            SaveRecord(record=Record(job=JobId("pump-7_3"), cancel=True)),
            NoteHistory(event="agent_lost", job=None, facts={"agent": "a1", "jobs": 3}),
        ]
    )
    # The daemon runs on: reading beside it must work.
    database = sqlite_utils.Database(sqlite3.connect(path))
    rows = list(
        database.query("SELECT job, state, epoch, holder, decided, decided_wall FROM records")
    )
    history = list(database["history"].rows)
    database.conn.close()
    ledger.close()
    assert [tuple(row.values()) for row in rows] == [
        ("pump-7_1", "queued", 0, None, None, None),
        ("pump-7_2", "failed", 4, None, done.digest(), 5.0),
        ("pump-7_3", "cancelling", 0, None, None, None),
    ]
    facts = '{"agent": "a1", "jobs": 3}'
    assert history == [{"id": 1, "wall": 5.0, "event": "agent_lost", "job": None, "facts": facts}]


def test_history_is_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.ledger_retention.CUT_EVERY", 40)
    ledger = open_ledger(path, history=HistoryLimits(rows_max=1_000))
    for number in range(400):
        ledger.commit([NoteHistory(event="granted", job=None, facts={"n": number})] * 10)
    ledger.close()
    assert history(path) == (1_000, 4_000)


def test_a_limit_that_was_lowered_is_reached_in_small_pieces(path: Path) -> None:
    ledger = open_ledger(path)
    note = NoteHistory(event="granted", job=None)
    ledger.commit([note] * 20_000)
    ledger.close()
    ledger = open_ledger(path, history=HistoryLimits(rows_max=1_000))
    ledger.commit([note] * 1_000)
    assert history(path) == (19_000, 21_000), "a commit drops twice of what it brings, no more"
    assert [ledger.cut_history() for _ in range(3)] == [10_000, 8_000, 0]
    assert history(path) == (1_000, 21_000)
    ledger.close()


def test_history_ends_by_age_and_what_votes_hang_on_stays(path: Path) -> None:
    now = 100.0
    ledger = open_ledger(path, wall=lambda: now, history=HistoryLimits(keep_s=3600.0))
    done = Outcome(verdict=Verdict.FAILED)
    ended, opened = JobId("pump-7_1"), JobId("pump-7_2")
    decided = SaveRecord(record=Record(job=ended, decided=done, decided_digest=done.digest()))
    ledger.commit([decided, RetireJob(job=ended), NoteHistory(event="retired", job=ended)])
    ledger.commit([SaveRecord(record=Record(job=opened)), NoteHistory(event="granted", job=opened)])
    now = 3700.0
    ledger.commit([NoteHistory(event="rejoined", job=None)])
    assert ledger.cut_history() == 0, "an hour old, to the second"
    now = 3700.1
    assert ledger.cut_history() == 2
    assert history(path)[0] == 1
    assert ledger.retired(ended) is not None
    assert [saved.record.job for saved in ledger.load()] == [opened]
    ledger.close()


@pytest.mark.parametrize("limits", [{"keep_s": 59.9}, {"keep_s": float("nan")}, {"rows_max": 999}])
def test_a_history_of_nothing_is_refused(limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="--history-"):
        HistoryLimits(**limits)


def history(path: Path) -> tuple[int, int]:
    """Return how many rows there are, and the number of the newest."""
    with closing(sqlite3.connect(path)) as database:
        rows, newest = database.execute("SELECT count(*), max(id) FROM history").fetchone()
    return rows, newest


def test_forgotten_ids_count_as_new(path: Path) -> None:
    now = 100.0
    ledger = open_ledger(path, wall=lambda: now)
    done = Outcome(verdict=Verdict.FAILED)
    job = JobId("pump-7_1")
    decided = SaveRecord(record=Record(job=job, decided=done, decided_digest=done.digest()))
    ledger.commit([decided, RetireJob(job=job), NoteHistory(event="retired", job=job)])
    assert ledger.forget(older_than_s=0.0) == 0
    now = 200.0
    assert ledger.forget(older_than_s=99.0) == 1
    assert ledger.retired(job) is None
    ledger.commit([record(1)])
    ledger.close()
