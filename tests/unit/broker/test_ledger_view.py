"""Goal: people's questions have right answers, beside a running node, and change nothing.

Method: a ledger is written as a node does it, and read by our reader and by sqlite-utils.
"""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlite_utils

from broker import ledger_file, ledger_view
from broker.ledger import SqliteLedger, create_ledger, open_ledger
from broker.ledger_reader import open_reader
from workrs.domain.errors import ConfigError, LedgerError, TimedOutError
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.domain.job import JobSpec, Outcome, StoredSpec, Verdict, digest_of
from workrs.domain.record import Holder, Incarnation, Record
from workrs.ports.ledger import NoteHistory, RetireJob, SaveRecord, SaveSpec
from workrs.wire import codec

JOB, DONE = JobId("pump-7_sum"), JobId("pump-7_done")
A1 = Holder(client=ClientId("a1"), incarnation=Incarnation(1, "aa"))
END = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result_bytes=7)


class Clock:
    """Unix time that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_ledger(tmp_path / "ledger.db")
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    """Return a ledger that is in use, with the story of one job that two agents ran."""
    clock = Clock()
    ledger = open_ledger(path, wall=clock)
    stored = StoredSpec(job=JOB, request=digest_of(b"r"), spec=JobSpec(image="i", command=("c",)))
    ledger.commit([SaveSpec(job=JOB, digest=Digest("d" * 64), payload=codec.encode(stored))])
    story: tuple[tuple[float, str, JobId | None, dict[str, Any]], ...] = (
        (1.0, "agent_lost", None, {"agent": "a1", "jobs": 0, "why": "w"}),
        (2.0, "granted", JOB, {"agent": "a1", "epoch": 1, "former": None}),
        (3.0, "checkpointed", JOB, {"agent": "a1", "epoch": 1, "seq": 1, "bytes": 10}),
        (4.0, "granted", DONE, {"agent": "a2", "epoch": 1, "former": None}),
        (
            5.0,
            "checkpointed",
            JOB,
            {"agent": "a1", "epoch": 1, "seq": 2, "bytes": 20, "rung": "memory", "frozen_s": 0.1},
        ),
        (6.0, "agent_lost", None, {"agent": "a1", "jobs": 1, "why": "w"}),
        (7.0, "taken_over", JOB, {"agent": "a2", "epoch": 2, "former": "a1"}),
        (8.0, "decided", DONE, {"verdict": "succeeded", "epoch": 1}),
        (9.0, "released", JOB, {"agent": "a2", "epoch": 2, "reason": "engine gone"}),
        (10.0, "granted", JOB, {"agent": "a1", "epoch": 3, "former": None}),
    )
    for wall_s, event, job, facts in story:
        clock.now_s = wall_s
        ledger.commit([NoteHistory(event=event, job=job, facts=facts)])
    record = Record(job=JOB, epoch=Epoch(3), holder=A1, attempt=3)
    end = Record(job=DONE, epoch=Epoch(1), attempt=1, decided=END, decided_digest=END.digest())
    ledger.commit([SaveRecord(record=record), SaveRecord(record=end)])
    yield ledger
    ledger.close()


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with open_reader(path, within_s=10.0) as reader:
        return list(reader.rows(sql)[1])


def test_jobs_are_found_while_open_decided_and_retired(ledger: SqliteLedger, path: Path) -> None:
    sql = "SELECT job, state, agent, attempt, image, exit_code, result_bytes FROM jobs ORDER BY 1"
    opened = (JOB, "running", "a1", 3, "i", None, None)
    assert ask(path, sql) == [(DONE, "succeeded", None, 1, None, 0, 7), opened]
    ledger.commit([RetireJob(job=DONE)])
    assert ask(path, sql) == [(DONE, "succeeded", None, 1, None, 0, None), opened]
    found = ask(path, "SELECT job FROM jobs WHERE retired_wall IS NOT NULL")
    assert found == [(DONE,)]


@pytest.mark.usefixtures("ledger")
def test_an_attempt_ends_with_what_came_next(path: Path) -> None:
    assert ask(path, "SELECT * FROM attempts ORDER BY job DESC, epoch") == [
        (JOB, 1, "a1", "granted", 2.0, "taken_over", 7.0, ""),
        (JOB, 2, "a2", "taken_over", 7.0, "released", 9.0, "engine gone"),
        (JOB, 3, "a1", "granted", 10.0, None, None, None),
        (DONE, 1, "a2", "granted", 4.0, "decided", 8.0, "succeeded"),
    ]


@pytest.mark.usefixtures("ledger")
def test_a_takeover_knows_the_loss_before_it_and_the_checkpoint_it_began_from(path: Path) -> None:
    assert ask(path, "SELECT * FROM takeovers") == [(7.0, JOB, 2, "a2", "a1", 6.0, 1, 2)]


def test_a_loss_from_before_the_grant_is_not_the_takeovers(
    ledger: SqliteLedger, path: Path
) -> None:
    # a1 was lost twice before it was granted epoch 3; a silent lease ends without a word.
    facts = {"agent": "a2", "epoch": 4, "former": "a1"}
    ledger.commit([NoteHistory(event="taken_over", job=JOB, facts=facts)])
    assert ask(path, "SELECT lost_wall FROM takeovers WHERE epoch = 4") == [(None,)]


@pytest.mark.usefixtures("ledger")
def test_takeovers_of_one_job_are_found_without_the_other_jobs(path: Path) -> None:
    every, one = "SELECT * FROM takeovers", "SELECT * FROM takeovers WHERE job = '-'"
    with closing(sqlite3.connect(path)) as database:
        plan = " ".join(row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {every}"))
        # Steps of SQLite's machine, not seconds: the same on a busy machine.
        steps = [_steps(database, each) for each in (every, one)]
    assert "history_lost" in plan
    assert steps[1] < steps[0] / 2


def _steps(database: sqlite3.Connection, sql: str) -> int:
    count = 0

    def step() -> None:
        nonlocal count
        count += 1

    database.set_progress_handler(step, 1)
    database.execute(sql).fetchall()
    database.set_progress_handler(None, 1)
    return count


@pytest.mark.usefixtures("ledger")
def test_checkpoints_have_what_was_said_of_them(path: Path) -> None:
    assert ask(path, "SELECT * FROM checkpoints") == [
        (3.0, JOB, 1, 1, "a1", 10, None, None, None),
        (5.0, JOB, 1, 2, "a1", 20, "memory", 0.1, None),
    ]


@pytest.mark.usefixtures("ledger")
def test_agents_are_summed_up(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        rows = list(sqlite_utils.Database(connection).query("SELECT * FROM agents"))
    assert rows[0] == {
        "agent": "a1",
        "first_wall": 1.0,
        "last_wall": 10.0,
        "running": 1,
        "grants": 2,
        "takeovers": 0,
        "checkpoints": 2,
        "checkpoint_bytes": 30,
        "releases": 0,
        "losses": 2,
    }
    assert [row["agent"] for row in rows] == ["a1", "a2"]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM history",
        "UPDATE meta SET value = 0",
        "CREATE TABLE t (x)",
        "ATTACH 'other.db' AS other",
        "PRAGMA user_version = 1",
        "COMMIT",
        "VACUUM INTO 'other.db'",
        "CREATE TEMP TABLE t AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
        "DROP VIEW jobs",
        "REPLACE INTO meta VALUES ('boot', 0)",
        "WITH x AS (SELECT 1) DELETE FROM history",
        "EXPLAIN DELETE FROM history",
        "DETACH main",
        "REINDEX",
        "ANALYZE",
        "BEGIN EXCLUSIVE",
        "SAVEPOINT s",
        "ROLLBACK",
        "PRAGMA writable_schema = 1",
        "PRAGMA query_only = 0",
        "PRAGMA temp_store_directory = '/tmp'",
        "SELECT * FROM pragma_database_list",
        "SELECT * FROM pragma_user_version",
        "SELECT load_extension('/tmp/x.so')",
        "SELECT writefile('other.db', 'x')",
        "SELECT zeroblob(1 << 30)",
        "SELECT 1; SELECT 2",
        "",
    ],
)
def test_only_questions_are_answered(ledger: SqliteLedger, path: Path, sql: str) -> None:
    before = ledger.standing
    with pytest.raises(ConfigError):
        ask(path, sql)
    assert ledger.standing == before
    assert {entry.name for entry in path.parent.iterdir()} <= {
        "ledger.db",
        "ledger.db-wal",
        "ledger.db-shm",
        "ledger.db.lock",
    }


@pytest.mark.usefixtures("ledger")
def test_text_that_is_no_json_is_the_askers_mistake_and_no_damage(path: Path) -> None:
    with pytest.raises(ConfigError, match="SQLite says: malformed JSON"):
        ask(path, "SELECT json_extract('NaN', '$')")


@pytest.mark.usefixtures("ledger")
def test_a_question_without_end_is_ended(path: Path) -> None:
    forever = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    with pytest.raises(TimedOutError, match="time"), open_reader(path, within_s=0.05) as reader:
        list(reader.rows(forever)[1])


def test_the_node_writes_on_beside_a_reader_that_sees_one_instant(
    ledger: SqliteLedger, path: Path
) -> None:
    with open_reader(path, within_s=10.0) as reader:
        count = list(reader.rows("SELECT count(*) FROM history")[1])
        ledger.commit([NoteHistory(event="rejoined", job=None)])
        assert list(reader.rows("SELECT count(*) FROM history")[1]) == count
    assert ask(path, "SELECT count(*) FROM history") == [(count[0][0] + 1,)]


@pytest.mark.parametrize("version", [1, 3, 4])
def test_a_ledger_of_an_older_format_is_answered_for_and_left_as_it_is(
    tmp_path: Path, version: int
) -> None:
    path = tmp_path / "old.db"
    script = Path(__file__).with_name(f"ledger_format_{version}.sql").read_text()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(script)
        database.execute(
            "INSERT INTO history (wall, event, job, facts) VALUES (1, 'granted', ?, ?)",
            (JOB, '{"agent": "a1", "epoch": 1}'),
        )
    assert ask(path, "SELECT job, epoch, agent FROM attempts") == [(JOB, 1, "a1")]
    assert ask(path, "SELECT count(*) FROM jobs") == [(0,)]
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (version,)


def test_what_is_no_ledger_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no ledger"), open_reader(tmp_path / "x", within_s=1):
        pass
    (tmp_path / "text").write_text("no database at all, and long enough to be read as one" * 20)
    with pytest.raises(LedgerError, match="text"), open_reader(tmp_path / "text", within_s=1):
        pass


def test_the_document_names_every_view_and_column(path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "ledger.md").read_text()
    with closing(sqlite3.connect(path)) as database:
        for view in ledger_view.NAMES:
            (row,) = [line for line in page.splitlines() if line.startswith(f"| `{view}` |")]
            for _, column, *_ in database.execute(f"PRAGMA table_info({view})"):
                assert f"`{column}`" in row, f"{view}.{column}"
    assert ledger_file.SCHEMA_VERSION == 6


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("view", ledger_view.NAMES)
def test_sqlite_utils_answers_as_we_do_beside_the_node(path: Path, view: str) -> None:
    program = Path(sys.executable).with_name("sqlite-utils")
    done = subprocess.run(
        [program, "rows", path, view, "--nl"], check=True, capture_output=True, timeout=60
    )
    theirs = [json.loads(line) for line in done.stdout.splitlines()]
    with open_reader(path, within_s=10.0) as reader:
        columns, rows = reader.rows(f"SELECT * FROM {view}")
        assert theirs == [dict(zip(columns, row, strict=True)) for row in rows]
    assert theirs
