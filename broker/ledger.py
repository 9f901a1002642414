"""The node's ledger in SQLite: what the port `workrs.ports.ledger` promises, on disk.

1. `commit` returns only after an fsync (WAL, synchronous=FULL). When it raises, nothing of
   it happened and a later one may succeed, for example when a full disk has room again.
2. Of several records of one job in one commit only the last is written.
3. History is for humans, and is kept within limits: see `broker.ledger_retention`.

Rows go in by the hundred per statement. SQLite's binding gives the interpreter lock away
at every step, and while the event loop's thread is busy each return can cost the switch
interval (5 ms), so the number of steps of a commit is kept small, not only their cost.
"""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Final

from broker import ledger_file, ledger_function, ledger_retention, ledger_standing
from broker.ledger_batch import Batch, Row, retired_job
from broker.ledger_retention import HistoryLimits
from workrs.domain.errors import LedgerError, WireError
from workrs.domain.fault_history import FaultHistory
from workrs.domain.ids import ClientId, Digest, JobId
from workrs.domain.job import SHORT_REASON_MAX
from workrs.domain.record import Record
from workrs.domain.rollback import Seen
from workrs.ports.ledger import (
    Change,
    Rejoin,
    RetiredJob,
    SavedJob,
    SaveFunction,
    SaveRetired,
    Standing,
)
from workrs.wire import codec

_CHUNKS: Final = (128, 16, 4, 1)
"""Rows per statement. Few sizes, so that the binding's statement cache holds them all."""

_Insert = tuple[str, str, str]
"""A statement before its rows, one row, and after them."""

_RECORDS: Final[_Insert] = (
    "INSERT INTO records (job, state, epoch, holder, decided, decided_wall, body) VALUES ",
    "(?,?,?,?,?,?,?)",
    (
        " ON CONFLICT (job) DO UPDATE SET state = excluded.state, epoch = excluded.epoch,"
        " holder = excluded.holder, decided = excluded.decided,"
        " decided_wall = coalesce(decided_wall, excluded.decided_wall), body = excluded.body"
    ),
)
_SPECS: Final[_Insert] = (
    "INSERT INTO specs (job, digest, payload) VALUES ",
    "(?,?,?)",
    " ON CONFLICT (job) DO UPDATE SET digest = excluded.digest, payload = excluded.payload",
)
_HISTORY: Final[_Insert] = (
    "INSERT INTO history (wall, event, job, facts) VALUES ",
    "(?,?,?,?)",
    "",
)
_RETIRE: Final = (
    """
    INSERT OR IGNORE INTO retired
        (job, request, outcome, verdict, exit_code, reason, epoch, attempt, wall)
    SELECT r.job, coalesce(json_extract(CAST(s.payload AS TEXT), '$.request'), ''), r.decided,
        r.state, json_extract(r.body, '$.decided.exit_code'),
        substr(coalesce(json_extract(r.body, '$.decided.reason'), ''), 1, ?3), r.epoch,
        coalesce(json_extract(r.body, '$.attempt'), 0), ?2
    FROM records r LEFT JOIN specs s USING (job)
    WHERE r.job IN (SELECT value FROM json_each(?1)) AND r.decided IS NOT NULL
    """,
    "DELETE FROM records WHERE job IN (SELECT value FROM json_each(?1))",
    "DELETE FROM specs WHERE job IN (SELECT value FROM json_each(?1))",
)
_TAKE_RETIRED: Final[_Insert] = (
    (
        "INSERT OR IGNORE INTO retired"
        " (job, request, outcome, verdict, exit_code, reason, epoch, attempt, wall)"
        " SELECT * FROM (VALUES "
    ),
    "(?,?,?,?,?,?,?,?,?)",
    ") WHERE column1 NOT IN (SELECT job FROM records)",
)
_KEPT: Final = "request, outcome, verdict, exit_code, reason, epoch, attempt"
_RETIRED: Final = f"SELECT {_KEPT} FROM retired WHERE job = ?"  # noqa: S608 (constant)
_SWEEP: Final = (
    "UPDATE retired SET swept = 1 WHERE job IN (SELECT value FROM json_each(?1)) AND swept = 0"
)
_PAGE: Final = 1_000
"""Rows of many that are read at a time: 10 ms, for which commits wait. The look for specs without
a record takes 1.5 us for each that has one."""
_LOAD: Final = (
    f"""
    SELECT r.job, r.body, s.digest, s.payload, r.decided_wall
    FROM records r LEFT JOIN specs s USING (job) WHERE r.job > ? ORDER BY r.job LIMIT {_PAGE}
    """,  # noqa: S608 (constant)
    f"""
    SELECT s.job, NULL, s.digest, s.payload, NULL FROM specs s
    WHERE s.job > ? AND s.job NOT IN (SELECT job FROM records) ORDER BY s.job LIMIT {_PAGE}
    """,  # noqa: S608 (constant)
)
_LOAD_RETIRED: Final = f"SELECT job, {_KEPT} FROM retired WHERE job > ? ORDER BY job LIMIT {_PAGE}"  # noqa: S608 (constant)


def create_ledger(path: Path, rejoin: Rejoin = Rejoin.NEVER) -> None:
    """Make an empty ledger at *path*, on purpose: `workrs node --init` or `--rejoin`.

    Raises:
        ConfigError: there is something at *path* already.
        LedgerError: the file cannot be written.
    """
    ledger_file.create(path, rejoin)


def open_ledger(
    path: Path,
    *,
    wall: Callable[[], float] = time.time,  # noqa: TID251 (no machine acts on it but retention)
    history: HistoryLimits | None = None,
) -> "SqliteLedger":
    """Open the ledger at *path* for this process alone, and begin its next boot.

    Args:
        path: a file that `create_ledger` made.
        wall: unix time, for stamps that humans and retention read.
        history: how much of it is kept.

    Raises:
        ConfigError: there is no such file.
        LedgerError: it is damaged, of another format, full, or in use by another process.
    """
    return SqliteLedger(path, wall, history or HistoryLimits())


class SqliteLedger:
    """A `Ledger` in one SQLite file. Safe to call from any thread; calls take turns."""

    def __init__(self, path: Path, wall: Callable[[], float], history: HistoryLimits) -> None:
        """Open and begin the next boot; see `open_ledger`."""
        self._path = path
        self._wall = wall
        self._turn = Lock()
        self._history = history
        self._noted = 0
        """Rows of history since it was last cut."""
        self._open = False
        # The check for the file comes before the lock file is made beside it.
        ledger_file.require(path)
        self._process_lock = ledger_file.lock(path)
        try:
            self._database = ledger_file.connect(path)
        except BaseException:
            os.close(self._process_lock)
            raise
        self._open = True
        try:
            self._boot = self._begin_boot()
        except BaseException:
            self.close()
            raise

    @property
    def boot(self) -> int:
        """Starts of the daemon on this ledger, this one included. From 1."""
        return self._boot

    @property
    def standing(self) -> Standing:
        """What is on disk of the node as a voter, this start included.

        Raises:
            LedgerError: the file cannot be read.
        """
        return ledger_standing.standing_of(
            self._read(ledger_standing.READ_STANDING), self._read(ledger_standing.READ_LIST)
        )

    def seen(self) -> Mapping[ClientId, Seen]:
        """Return the most that each peer was seen to have on its disk.

        Raises:
            LedgerError: the file cannot be read.
        """
        return ledger_standing.seen_of(self._read(ledger_standing.READ_SEEN))

    def faults(self) -> FaultHistory:
        """Return how many agents were lost in how much time, as it was noted last.

        Raises:
            LedgerError: the file cannot be read, or says what nobody counted.
        """
        try:
            return ledger_standing.faults_of(self._read(ledger_standing.READ_STANDING))
        except WireError as error:
            raise ledger_file.damaged(self._path, str(error)) from error

    def functions(self) -> Iterable[SaveFunction]:
        """Return every function as it was saved last, removed ones too.

        Raises:
            LedgerError: the file, or a row of it, cannot be read.
        """
        return ledger_function.functions_of(self._read(ledger_function.READ), self._path)

    def _begin_boot(self) -> int:
        try:
            row = self._database.execute(
                "UPDATE meta SET value = value + 1 WHERE key = 'boot' RETURNING value"
            ).fetchall()
            return int(row[0][0])
        except sqlite3.Error as error:
            raise LedgerError(f"cannot write to the ledger {self._path}: {error}") from error

    def load(self) -> Iterator[SavedJob]:
        """Return every job that is not retired, read a thousand at a time.

        Raises:
            LedgerError: a page or a row cannot be read.
        """
        for page in _LOAD:
            for row in self._read_pages(page):
                yield self._saved_job(*row)

    def _read_pages(self, page: str) -> Iterator[tuple[Any, ...]]:
        """Return the rows of a statement that begins behind a job. Commits go in between."""
        after = ""
        while rows := self._read(page, after):
            yield from rows
            after = rows[-1][0]

    def _saved_job(
        self,
        job: JobId,
        body: str | None,
        digest: Digest | None,
        payload: bytes | None,
        decided_wall_s: float | None,
    ) -> SavedJob:
        try:
            record = Record(job=job) if body is None else codec.decode(Record, body.encode())
        except WireError as error:
            raise ledger_file.damaged(self._path, f"job {job}: {error}") from error
        return SavedJob(
            record=record, digest=digest, payload=payload, decided_wall_s=decided_wall_s
        )

    def commit(self, changes: Sequence[Change]) -> None:
        """Make all changes in one transaction that is on disk when this returns.

        Raises:
            LedgerError: nothing was changed; the disk is full, or fails, or a change would
                break a rule of the ledger (an epoch back, a decision changed, an undecided
                job retired, a retired job revived).
        """
        if not changes:
            return
        batch = Batch(wall_s=self._wall())
        for change in changes:
            batch.add(change)
        with self._turn:
            self._require_open()
            try:
                self._database.execute("BEGIN IMMEDIATE")
                self._write(batch)
                self._database.execute("COMMIT")
            except (sqlite3.Error, OverflowError) as error:
                self._roll_back()
                raise LedgerError(f"cannot write to the ledger {self._path}: {error}") from error

    def _write(self, batch: Batch) -> None:
        self._insert(_SPECS, list(batch.specs.values()))
        self._insert(_RECORDS, list(batch.records.values()))
        self._insert(_HISTORY, batch.history)
        if batch.retired:
            jobs = json.dumps(list(batch.retired))
            values = (jobs, batch.wall_s, SHORT_REASON_MAX)
            for statement in _RETIRE:
                self._database.execute(statement, values[: statement.count("?")])
        if batch.swept:
            self._database.execute(_SWEEP, (json.dumps(list(batch.swept)),))
        self._insert(_TAKE_RETIRED, batch.taken)
        self._insert(ledger_function.INSERT, list(batch.functions.values()))
        ledger_standing.write(self._database, batch.seen, batch.standings, batch.faults)
        self._noted += len(batch.history)
        if self._noted >= ledger_retention.CUT_EVERY:
            most = 2 * self._noted
            ledger_retention.drop_beyond(self._database, self._history.rows_max, most)
            self._noted = 0

    def _insert(self, insert: _Insert, rows: Sequence[Row]) -> None:
        done = 0
        before, row, after = insert
        for size in _CHUNKS:
            statement = f"{before}{','.join([row] * size)}{after}"
            while len(rows) - done >= size:
                values = [value for one in rows[done : done + size] for value in one]
                self._database.execute(statement, values)
                done += size

    def _roll_back(self) -> None:
        # SQLite has rolled back by itself after some errors (a full disk) and not after
        # others (a trigger); a second ROLLBACK would be an error.
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")

    def retired(self, job: JobId) -> RetiredJob | None:
        """Return what is kept of a retired job, or None.

        Raises:
            LedgerError: the file cannot be read.
        """
        found = self._read(_RETIRED, job)
        return retired_job(found[0]) if found else None

    def payload(self, job: JobId) -> bytes | None:
        """Return the stored spec's bytes of a job that is not retired, or None.

        Raises:
            LedgerError: the file cannot be read.
        """
        found = self._read("SELECT payload FROM specs WHERE job = ?", job)
        return found[0][0] if found else None

    def unswept(self) -> Iterable[JobId]:
        """Return the retired jobs that were never noted as swept.

        Raises:
            LedgerError: the file cannot be read.
        """
        return [row[0] for row in self._read("SELECT job FROM retired WHERE swept = 0")]

    def _read(self, statement: str, *values: str) -> list[tuple[Any, ...]]:
        with self._turn:
            self._require_open()
            try:
                return self._database.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                raise ledger_file.damaged(self._path, error) from error

    def load_retired(self) -> Iterator[SaveRetired]:
        """Return every retired job, read a thousand at a time.

        Raises:
            LedgerError: the file cannot be read.
        """
        for job, *kept in self._read_pages(_LOAD_RETIRED):
            yield SaveRetired(job=job, kept=retired_job(kept))

    def forget(self, *, older_than_s: float) -> int:
        """Drop retired jobs older than that, some; such an id counts as new again.

        Returns:
            How many were dropped. Call it until it returns 0.

        Raises:
            LedgerError: the file cannot be written.
        """
        before_s = self._wall() - older_than_s
        return self._drop(partial(ledger_retention.forget_retired, before_wall_s=before_s))

    def cut_history(self) -> int:
        """Drop some history beyond its limits; return how many rows. As `forget`, else."""
        before_s = self._wall() - self._history.keep_s
        old = self._drop(partial(ledger_retention.drop_old, before_wall_s=before_s))
        rows_max = self._history.rows_max
        return old or self._drop(partial(ledger_retention.drop_beyond, rows_max=rows_max))

    def _drop(self, drop: Callable[[sqlite3.Connection], int]) -> int:
        with self._turn:
            self._require_open()
            try:
                return drop(self._database)
            except sqlite3.Error as error:
                raise LedgerError(f"cannot write to the ledger {self._path}: {error}") from error

    def _require_open(self) -> None:
        if not self._open:
            raise LedgerError(f"the ledger {self._path} is closed")

    def close(self) -> None:
        """Release the file and the lock beside it. Idempotent."""
        with self._turn:
            if not self._open:
                return
            self._open = False
            try:
                self._database.close()
            except sqlite3.Error as error:
                raise LedgerError(f"cannot close the ledger {self._path}: {error}") from error
            finally:
                os.close(self._process_lock)
