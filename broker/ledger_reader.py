"""Reading a ledger beside the daemon that has it: questions that can change nothing.

1. The file is opened read-only, and SQL that is no question is refused before it runs.
2. A file of an older format is read as it would be after its migration, in a private copy;
   the file itself is brought to the present format by its daemon alone, at its next start.
3. A question ends at its deadline: while it is read, the daemon cannot fold its log into the
   file, which grows meanwhile.
4. No value has more than VALUE_MAX_BYTES, and answers are read row by row: a question takes no
   more memory than its reader keeps.

Not promised: that one call of a function ends at the deadline. A pattern for LIKE with many `%` on
a long text is looked at as one step, as long as it takes.
"""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from broker import ledger_file
from workrs.domain.errors import ConfigError, LedgerError, TimedOutError, WorkrsError

VALUE_MAX_BYTES: Final = 64 << 20
"""Far above the largest spec that travels, and below what would hurt the node beside."""
Value = str | int | float | bytes | None
_STEPS: Final = 10_000
"""Of SQLite's machine between two looks at the clock: well under a millisecond."""
_OF_THE_FILE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_ALLOWED: Final = frozenset(
    {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
)


class LedgerReader:
    """Answers questions from one snapshot: what is committed later is not seen."""

    def __init__(self, database: sqlite3.Connection, path: Path, until: float) -> None:
        """Take an open connection to the ledger at *path*; see `open_reader`."""
        self._database = database
        self._path = path
        self._until = until
        """When the time for questions is up."""

    def rows(
        self, sql: str, values: Sequence[Value] = ()
    ) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
        """Return the columns of a question's answer, and its rows as they are read.

        Raises:
            ConfigError: it is no question, or none that SQLite understands.
            LedgerError: the file cannot be read; also while reading.
            TimedOutError: the time is up; also while reading.
        """
        try:
            cursor = self._database.execute(sql, values)
        except (sqlite3.Error, sqlite3.Warning) as error:
            raise self._translated(error, sql) from error
        if cursor.description is None:
            raise ConfigError("there is nothing to answer in that: write one SELECT")
        return [column[0] for column in cursor.description], self._read(cursor, sql)

    def _read(self, cursor: sqlite3.Cursor, sql: str) -> Iterator[tuple[Any, ...]]:
        try:
            # Not `yield from`: it would close the cursor of a database that is closed already.
            for row in cursor:  # noqa: UP028 (as said)
                yield row
        except sqlite3.Error as error:
            raise self._translated(error, sql) from error

    def _translated(self, error: Exception, sql: str) -> WorkrsError:
        text = str(error)
        if text == "interrupted":
            if time.monotonic() <= self._until:
                # Somebody pressed Ctrl-C: SQLite stopped at it, and has not passed it on.
                raise KeyboardInterrupt
            return TimedOutError(
                "the time for this question is up (--timeout): while one is read, the node's log "
                "grows. Ask for less, or ask a copy: sqlite3 ledger.db '.backup copy.db'"
            )
        if text == "not authorized" or "prohibited" in text:
            return ConfigError(f"only questions (SELECT …) are answered here, not {sql[:60]!r}")
        # By its code: SQLite says "malformed" of text that is no JSON, too.
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _OF_THE_FILE:
            return ledger_file.damaged(self._path, error)
        return ConfigError(f"SQLite says: {text}")


@contextmanager
def open_reader(path: Path, *, within_s: float) -> Iterator[LedgerReader]:
    """Open the ledger at *path* for questions that together may take *within_s*.

    Raises:
        ConfigError: there is no such file, or this user may not read it.
        LedgerError: it is damaged, no ledger, of a newer format, or of an older one and there is
            no room for a copy.
    """
    if not path.exists():
        raise ConfigError(f"no ledger at {path}: name the node's folder with --state")
    try:
        database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None
        )
        with closing(database):
            version = ledger_file.version_of(database, path)
            if version == ledger_file.SCHEMA_VERSION:
                yield _guarded(database, path, within_s)
                return
            with closing(sqlite3.connect("", isolation_level=None)) as copy:
                _copy(database, copy, path, version)
                yield _guarded(copy, path, within_s)
    except sqlite3.OperationalError as error:
        raise ConfigError(
            f"cannot read the ledger {path} ({error}): it belongs to the user that runs the node"
        ) from error
    except sqlite3.DatabaseError as error:
        raise ledger_file.damaged(path, error) from error


def _copy(database: sqlite3.Connection, copy: sqlite3.Connection, path: Path, version: int) -> None:
    """Make *copy* what the ledger of an older format will be after its migration."""
    try:
        database.backup(copy)
        ledger_file.migrate(copy, version)
    except sqlite3.OperationalError as error:
        raise LedgerError(
            f"the ledger {path} has the older format {version}, and no private copy of it could be "
            f"made to read it ({error}): make room in the folder of temporary files, or name "
            "another one by SQLITE_TMPDIR"
        ) from error


def _guarded(database: sqlite3.Connection, path: Path, within_s: float) -> LedgerReader:
    until = time.monotonic() + within_s
    # One transaction for all questions: what an export writes belongs together.
    database.execute("BEGIN")
    database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, VALUE_MAX_BYTES)
    database.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
    database.set_authorizer(
        lambda action, *_: sqlite3.SQLITE_OK if action in _ALLOWED else sqlite3.SQLITE_DENY
    )
    return LedgerReader(database, path, until)
