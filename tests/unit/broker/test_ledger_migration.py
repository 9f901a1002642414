"""Goal: whatever ends a migration in its middle, the ledger is as it was or as it is to be.

Method: a ledger of each older format, with a history that takes pages; a program that kills itself
with SIGKILL at a chosen step of SQLite's machine; a tiny tmpfs stands for a full disk.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from broker import ledger_file
from broker.ledger import create_ledger, open_ledger
from broker.ledger_reader import open_reader
from workrs.cli.main import main
from workrs.domain.errors import LedgerError
from workrs.domain.ids import Epoch, JobId
from workrs.domain.job import digest_of
from workrs.domain.record import Record
from workrs.wire import codec

ROOT = Path(__file__).parents[3]
RECORD = Record(job=JobId("pump-7_sum"), epoch=Epoch(4), digest=digest_of(b"spec"))
FORMATS = [version for version in range(1, ledger_file.SCHEMA_VERSION) if version != 2]
"""Format 2 was format 1 with columns; its step is among those of format 1."""
LOSSES = 2_000


def make(path: Path, version: int) -> None:
    """Make a ledger of *version* with a vote and a history, as its daemon left it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        for each in [4, 5] if version == 5 else [version]:
            script = Path(__file__).with_name(f"ledger_format_{each}.sql").read_text()
            database.executescript(script)
        row = (RECORD.job, "queued", 4, codec.encode(RECORD).decode())
        database.execute("INSERT INTO records (job, state, epoch, body) VALUES (?,?,?,?)", row)
        database.executemany(
            "INSERT INTO history (wall, event, job, facts) VALUES (?, 'agent_lost', NULL, ?)",
            [(number, f'{{"agent": "a{number}"}}') for number in range(LOSSES)],
        )


def everything(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA quick_check").fetchone() == ("ok",)
        return list(database.iterdump())


def is_brought_to_the_present(path: Path) -> None:
    """Open the ledger as its daemon does, and find all that it had."""
    ledger = open_ledger(path)
    assert [saved.record for saved in ledger.load()] == [RECORD]
    ledger.close()
    with open_reader(path, within_s=30.0) as reader:
        assert list(reader.rows("SELECT count(*) FROM history")[1]) == [(LOSSES,)]
        assert list(reader.rows("SELECT losses FROM agents WHERE agent = 'a7'")[1]) == [(1,)]


MIGRATING = """
import os, signal, sqlite3, sys
from broker import ledger_file
path, version, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
database = sqlite3.connect(path, isolation_level=None)
# So little in memory that pages go to the disk before the commit.
database.execute("PRAGMA cache_size = 5")
step = 0
def count():
    global step
    step += 1
    if step == last:
        os.kill(os.getpid(), signal.SIGKILL)
database.set_progress_handler(count, 1)
ledger_file.migrate(database, version)
print(step, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def migrate_until(path: Path, version: int, step: int) -> int:
    """Migrate in a program that dies at *step*, or after all; return the steps it counted."""
    done = subprocess.run(
        [sys.executable, "-c", MIGRATING, str(path), str(version), str(step)],
        check=False,
        capture_output=True,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    return int(done.stdout or 0)


@pytest.mark.parametrize("version", FORMATS)
def test_kill_9_in_the_middle_of_a_migration_is_harmless(tmp_path: Path, version: int) -> None:
    whole = tmp_path / "whole.db"
    make(whole, version)
    steps = migrate_until(whole, version, step=0)
    after = everything(whole)
    is_brought_to_the_present(whole)
    for number, step in enumerate((steps // 3, steps * 9 // 10, steps)):
        path = tmp_path / f"{number}.db"
        make(path, version)
        before = everything(path)
        assert migrate_until(path, version, step) == 0, "it was to die on the way"
        # The last steps are those of the commit.
        assert everything(path) in ([before, after] if step == steps else [before])
        is_brought_to_the_present(path)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """Return a directory on a file system of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tiny file system needs root")
    place = tmp_path / "tiny"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.mark.parametrize("version", FORMATS)
def test_a_migration_on_a_full_disk_is_an_error_that_loses_nothing(
    tiny: Path, version: int
) -> None:
    make(tiny.parent / "ledger.db", version)
    path = tiny / "ledger.db"
    shutil.copy(tiny.parent / "ledger.db", path)
    before = everything(path)
    with pytest.raises(OSError, match="No space"):
        (tiny / "filler").write_bytes(bytes(1 << 20))
    # The beginning of a log finds room; the migration does not.
    os.truncate(tiny / "filler", (tiny / "filler").stat().st_size - (40 << 10))
    with pytest.raises(LedgerError, match="make room"):
        open_ledger(path)
    (tiny / "filler").unlink()
    assert everything(path) == before
    is_brought_to_the_present(path)


def test_a_private_copy_that_finds_no_room_is_told_as_that(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    make(path, 3)
    with closing(sqlite3.connect(path)) as database:
        filler = "INSERT INTO history (wall, event, facts) VALUES (1, 'rejoined', ?)"
        database.execute(filler, ('{"why": "' + "x" * (16 << 20) + '"}',))
        database.commit()
    done = subprocess.run(
        [sys.executable, "-m", "workrs.cli.main", "history", "--state", tmp_path],
        check=False,
        capture_output=True,
        cwd=ROOT,
        # SQLite looks at it once, when it is loaded.
        env={**os.environ, "SQLITE_TMPDIR": str(tiny)},
        timeout=60,
    )
    told = done.stderr.decode()
    assert done.returncode == 1, told
    assert "SQLITE_TMPDIR" in told
    assert "older format 3" in told


def test_a_ledger_of_a_newer_version_is_refused_by_daemon_and_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ledger.db"
    create_ledger(path)
    newer = ledger_file.SCHEMA_VERSION + 1
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {newer}")
    before = path.read_bytes()
    with pytest.raises(LedgerError, match=f"has format {newer}, this software reads 1 to"):
        open_ledger(path)
    for words in (["history"], ["export", "jobs"], ["history", "--sql", "SELECT 1"]):
        assert main([*words, "--state", str(tmp_path)]) == 1
        assert f"format {newer}" in capsys.readouterr().err
    assert path.read_bytes() == before
