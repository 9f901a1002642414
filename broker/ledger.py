"""The node's ledger in SQLite: what the port `workrs.ports.ledger` promises, on disk.

1. `commit` returns only after an fsync (WAL, synchronous=FULL). When it raises, nothing of
   it happened and a later one may succeed, for example when a full disk has room again.
2. Of several records of one job in one commit only the last is written.
3. History is for humans: the newest `HISTORY_MAX` rows are kept, at most 1,000 commits more.

Rows go in by the hundred per statement. SQLite's binding gives the interpreter lock away
at every step, and while the event loop's thread is busy each return can cost the switch
interval (5 ms), so the number of steps of a commit is kept small, not only their cost.
"""

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final, assert_never

from broker import ledger_file
from workrs.domain.errors import LedgerError, WireError
from workrs.domain.ids import Digest, JobId
from workrs.domain.record import Record
from workrs.ports.ledger import Change, NoteHistory, RetireJob, SavedJob, SaveRecord, SaveSpec
from workrs.wire import codec

HISTORY_MAX: Final = 1_000_000
_TRIM_EVERY: Final = 1_000
"""Commits between two trims of the history."""
_CHUNKS: Final = (128, 16, 4, 1)
"""Rows per statement. Few sizes, so that the binding's statement cache holds them all."""

_Row = tuple[str | int | float | bytes | None, ...]
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
    INSERT OR IGNORE INTO retired (job, request, outcome, wall)
    SELECT r.job, coalesce(json_extract(CAST(s.payload AS TEXT), '$.request'), ''), r.decided, ?2
    FROM records r LEFT JOIN specs s USING (job)
    WHERE r.job IN (SELECT value FROM json_each(?1)) AND r.decided IS NOT NULL
    """,
    "DELETE FROM records WHERE job IN (SELECT value FROM json_each(?1))",
    "DELETE FROM specs WHERE job IN (SELECT value FROM json_each(?1))",
)
_LOAD: Final = """
    SELECT r.job, r.body, s.digest, s.payload, r.decided_wall
    FROM records r LEFT JOIN specs s USING (job)
    UNION ALL
    SELECT s.job, NULL, s.digest, s.payload, NULL FROM specs s
    WHERE s.job NOT IN (SELECT job FROM records)
"""


def create_ledger(path: Path) -> None:
    """Make an empty ledger at *path*, on purpose: `workrs node --init`, `workrs up`.

    Raises:
        ConfigError: there is something at *path* already.
        LedgerError: the file cannot be written.
    """
    ledger_file.create(path)


def open_ledger(
    path: Path,
    *,
    wall: Callable[[], float] = time.time,  # noqa: TID251 (no machine acts on it but retention)
) -> "SqliteLedger":
    """Open the ledger at *path* for this process alone, and begin its next boot.

    Args:
        path: a file that `create_ledger` made.
        wall: unix time, for stamps that humans and retention read.

    Raises:
        ConfigError: there is no such file.
        LedgerError: it is damaged, of another format, full, or in use by another process.
    """
    return SqliteLedger(path, wall)


@dataclass(slots=True)
class _Batch:
    """The rows of one commit, the last of each job."""

    wall_s: float
    specs: dict[JobId, _Row] = field(default_factory=dict)
    records: dict[JobId, _Row] = field(default_factory=dict)
    history: list[_Row] = field(default_factory=list)
    retired: dict[JobId, None] = field(default_factory=dict)

    def add(self, change: Change) -> None:
        match change:
            case SaveRecord(record=record):
                self._refuse_retired(record.job)
                self.records[record.job] = _record_row(record, self.wall_s)
            case SaveSpec(job=job, digest=digest, payload=payload):
                self._refuse_retired(job)
                self.specs[job] = (job, digest, payload)
            case NoteHistory(event=event, job=job, facts=facts):
                self.history.append((self.wall_s, event, job, json.dumps(dict(facts))))
            case RetireJob(job=job):
                self.retired[job] = None
            case _:
                assert_never(change)

    def _refuse_retired(self, job: JobId) -> None:
        if job in self.retired:
            raise LedgerError(f"job {job}: a retired job would come back")


def _record_row(record: Record, wall_s: float) -> _Row:
    decided = record.decided
    if decided is not None:
        state = str(decided.verdict)
    elif record.cancel:
        state = "cancelling"
    else:
        state = "queued" if record.holder is None else "running"
    return (
        record.job,
        state,
        record.epoch,
        None if record.holder is None else record.holder.client,
        record.decided_digest,
        None if decided is None else wall_s,
        codec.encode(record).decode(),
    )


class SqliteLedger:
    """A `Ledger` in one SQLite file. Safe to call from any thread; calls take turns."""

    def __init__(self, path: Path, wall: Callable[[], float]) -> None:
        """Open and begin the next boot; see `open_ledger`."""
        self._path = path
        self._wall = wall
        self._turn = Lock()
        self._commits = 0
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

    def _begin_boot(self) -> int:
        try:
            row = self._database.execute(
                "UPDATE meta SET value = value + 1 WHERE key = 'boot' RETURNING value"
            ).fetchall()
            return int(row[0][0])
        except sqlite3.Error as error:
            raise LedgerError(f"cannot write to the ledger {self._path}: {error}") from error

    def load(self) -> Iterable[SavedJob]:
        """Return every job that is not retired. Reads all of them into memory.

        Raises:
            LedgerError: a page or a row cannot be read.
        """
        try:
            with self._turn:
                rows = self._database.execute(_LOAD).fetchall()
        except sqlite3.Error as error:
            raise ledger_file.damaged(self._path, error) from error
        return [self._saved_job(*row) for row in rows]

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
        batch = _Batch(wall_s=self._wall())
        for change in changes:
            batch.add(change)
        with self._turn:
            self._require_open()
            try:
                self._database.execute("BEGIN IMMEDIATE")
                self._write(batch)
                self._database.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                raise LedgerError(f"cannot write to the ledger {self._path}: {error}") from error

    def _write(self, batch: _Batch) -> None:
        self._insert(_SPECS, list(batch.specs.values()))
        self._insert(_RECORDS, list(batch.records.values()))
        self._insert(_HISTORY, batch.history)
        if batch.retired:
            jobs = json.dumps(list(batch.retired))
            for statement in _RETIRE:
                self._database.execute(statement, (jobs, batch.wall_s)[: statement.count("?")])
        self._commits += 1
        if self._commits % _TRIM_EVERY == 0:
            self._database.execute(
                "DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ?", (HISTORY_MAX,)
            )

    def _insert(self, insert: _Insert, rows: Sequence[_Row]) -> None:
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

    def retired(self, job: JobId) -> tuple[Digest, Digest] | None:
        """Return (request digest, outcome digest) of a retired job, or None.

        The request digest is empty when the job was closed without its spec.

        Raises:
            LedgerError: the file cannot be read.
        """
        with self._turn:
            self._require_open()
            try:
                row = self._database.execute(
                    "SELECT request, outcome FROM retired WHERE job = ?", (job,)
                ).fetchone()
            except sqlite3.Error as error:
                raise ledger_file.damaged(self._path, error) from error
        return None if row is None else (Digest(row[0]), Digest(row[1]))

    def forget(self, *, older_than_s: float) -> int:
        """Drop retired jobs and history older than that; such an id counts as new again.

        Returns:
            How many retired jobs were dropped. At most 10,000 a call, and as many rows of
            history, so that no commit waits long behind it: call it until it returns 0.

        Raises:
            LedgerError: the file cannot be written.
        """
        before = self._wall() - older_than_s
        with self._turn:
            self._require_open()
            try:
                # Oldest first, so neither looks at more rows than it may remove.
                self._database.execute(
                    "DELETE FROM history WHERE wall < ? AND id <= "
                    "(SELECT max(id) FROM (SELECT id FROM history ORDER BY id LIMIT 10000))",
                    (before,),
                )
                dropped = self._database.execute(
                    "DELETE FROM retired WHERE job IN "
                    "(SELECT job FROM retired WHERE wall < ? ORDER BY wall LIMIT 10000)",
                    (before,),
                )
            except sqlite3.Error as error:
                raise LedgerError(f"cannot write to the ledger {self._path}: {error}") from error
        return dropped.rowcount

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
