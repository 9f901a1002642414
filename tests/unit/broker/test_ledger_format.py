"""Goal: a ledger of an older format is brought to the present one, in place, with all it had.

Method: files made with the schemas of then, which stand beside this test.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from broker import ledger_file, ledger_view
from broker.ledger import create_ledger, open_ledger
from workrs.domain.errors import LedgerError
from workrs.domain.ids import Epoch, JobId
from workrs.domain.job import Outcome, Verdict, digest_of
from workrs.domain.record import Record
from workrs.ports.ledger import Rejoin, RetireJob, SaveRecord, Standing
from workrs.wire import codec

JOB, OLD = JobId("pump-7_sum"), JobId("pump-7_old")
RECORD = Record(job=JOB, epoch=Epoch(4), digest=digest_of(b"spec"))
DONE = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a ledger of format 1 at its third start, with an open and a retired job."""
    path = tmp_path / "ledger.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(Path(__file__).with_name("ledger_format_1.sql").read_text())
        database.execute("UPDATE meta SET value = 2")
        row = (JOB, "queued", 4, codec.encode(RECORD).decode())
        database.execute("INSERT INTO records (job, state, epoch, body) VALUES (?,?,?,?)", row)
        database.execute("INSERT INTO retired VALUES (?,?,?,?)", (OLD, "aa", "bb", 1.0))
    return path


def schema(path: Path) -> dict[str, set[tuple[object, ...]]]:
    with closing(sqlite3.connect(path)) as database:
        names = [row[0] for row in database.execute("SELECT name FROM sqlite_schema")]
        tables = [n for n in names if database.execute(f"PRAGMA table_info({n})").fetchall()]
        found: dict[str, set[tuple[object, ...]]] = {name: set() for name in names}
        for table in tables:
            for _, name, kind, required, _, key in database.execute(f"PRAGMA table_info({table})"):
                found[table].add((name, kind, required, key))
        return found


def test_a_file_of_format_1_keeps_what_it_had(path: Path) -> None:
    ledger = open_ledger(path)
    assert ledger.standing == Standing(boot=3, serial=0, generation=0, rejoin=Rejoin.NEVER)
    assert [saved.record for saved in ledger.load()] == [RECORD]
    kept = ledger.retired(OLD)
    assert kept is not None
    assert (kept.request, kept.outcome) == ("aa", "bb")
    decided = Record(job=JOB, epoch=Epoch(4), decided=DONE, decided_digest=DONE.digest())
    ledger.commit([SaveRecord(record=decided), RetireJob(job=JOB)])
    ledger.close()
    ledger = open_ledger(path)
    assert ledger.standing.serial == 1
    assert ledger.retired(JOB) is not None
    ledger.close()


def test_a_file_of_format_2_gets_the_table_that_it_lacks(path: Path, tmp_path: Path) -> None:
    open_ledger(path).close()
    drops = " ".join(f"DROP VIEW {name};" for name in ledger_view.NAMES)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.executescript(
            "DROP TABLE functions; DROP TABLE node_list; DROP INDEX history_lost; "
            f"{drops} PRAGMA user_version = 2;"
        )
    ledger = open_ledger(path)
    assert list(ledger.functions()) == []
    assert [saved.record for saved in ledger.load()] == [RECORD]
    ledger.close()
    create_ledger(tmp_path / "new.db")
    assert schema(path) == schema(tmp_path / "new.db")


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_file_of_a_version_before_keeps_what_it_had_and_gets_the_views(
    tmp_path: Path, version: int
) -> None:
    former = tmp_path / "former.db"
    scripts = [4, 5] if version == 5 else [version]
    with closing(sqlite3.connect(former, isolation_level=None)) as database:
        for each in scripts:
            script = Path(__file__).with_name(f"ledger_format_{each}.sql").read_text()
            database.executescript(script)
        row = (JOB, "queued", 4, codec.encode(RECORD).decode())
        database.execute("INSERT INTO records (job, state, epoch, body) VALUES (?,?,?,?)", row)
    ledger = open_ledger(former)
    assert [saved.record for saved in ledger.load()] == [RECORD]
    ledger.close()
    create_ledger(tmp_path / "new.db")
    assert schema(former) == schema(tmp_path / "new.db")
    with closing(sqlite3.connect(former)) as database:
        assert database.execute("SELECT device, id, epoch FROM jobs").fetchall() == [
            ("pump-7", "sum", 4)
        ]
        (made,) = database.execute("SELECT sql FROM sqlite_schema WHERE name = 'takeovers'")
    with closing(sqlite3.connect(tmp_path / "new.db")) as database:
        (new,) = database.execute("SELECT sql FROM sqlite_schema WHERE name = 'takeovers'")
    assert made == new


def test_there_is_a_file_of_the_version_before() -> None:
    before = Path(__file__).with_name(f"ledger_format_{ledger_file.SCHEMA_VERSION - 1}.sql")
    assert f"user_version = {ledger_file.SCHEMA_VERSION - 1};" in before.read_text()


def test_it_has_the_tables_and_columns_of_a_new_one(path: Path, tmp_path: Path) -> None:
    open_ledger(path).close()
    create_ledger(tmp_path / "new.db")
    assert schema(path) == schema(tmp_path / "new.db")


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE peers (node TEXT)")
    before = schema(path)
    with pytest.raises(LedgerError, match="peers"):
        open_ledger(path)
    assert schema(path) == before
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (1,)
        assert ledger_file.SCHEMA_VERSION == 6
