"""The outbox: jobs on the device's own disk until the nodes are known to have ended them.

1. `keep` returns after the job is on disk (SQLite, WAL, synchronous=FULL): a process
   killed at any instant, or a device that lost power, has the whole job or none of it.
2. Same id and same bytes is the same job; same id and other bytes is refused.
3. Marks (`mark_accepted`, `forget`) are not synced, only ordered: losing one costs a
   repeated message, which is idempotent, and syncing would double the writes to flash.

Not promised: protection from two processes that use one file at a time. Both would send
the same jobs, which the nodes take as one, but each hears only of those it knew at start.
"""

import os
import threading
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from device_client.error import JobIdReusedError, OutboxError, OutboxFullError
from device_client.submission import Submission

if TYPE_CHECKING:
    import sqlite3

JOBS_MAX = 10_000
"""Jobs that may wait for acceptance; `keep` then raises OutboxFullError."""
ACCEPTED_KEEP_S = 7 * 86400
"""An accepted job whose end was never heard leaves the file at the next start after this:
long before the nodes forget the id (30 days), when asking again would run it again."""

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE device(name TEXT NOT NULL);
CREATE TABLE job(
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  job TEXT NOT NULL UNIQUE,
  accepted INTEGER NOT NULL DEFAULT 0,
  cancel INTEGER NOT NULL DEFAULT 0,
  kept_wall INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER)),
  digest BLOB NOT NULL,
  topic TEXT NOT NULL,
  payload BLOB NOT NULL,
  blob BLOB                           -- an input to upload before the payload is sent
);
CREATE INDEX job_waiting ON job(accepted) WHERE accepted = 0;
"""


class KeptJob(NamedTuple):
    """A job found in the outbox at the start."""

    job: str
    accepted: bool
    cancel: bool
    has_blob: bool


class Outbox(Protocol):
    """Where jobs wait.

    All methods may be called from any thread, and raise OutboxError when the disk, or a
    close, has ended their service.
    """

    durable: bool
    """Whether jobs outlive the process."""

    def load(self) -> list[KeptJob]:
        """Return all jobs, oldest first."""

    def keep(self, submission: Submission) -> bool:
        """Keep the job; return False if it was there. Must be durable when it returns.

        Raises:
            JobIdReusedError: The id is there with other bytes.
            OutboxFullError: As many jobs as may wait for acceptance.
        """

    def message(self, job: str) -> tuple[str, bytes] | None:
        """Return topic and payload of the job, or None when it is gone."""

    def blob(self, job: str) -> bytes | None:
        """Return the input to upload, or None."""

    def mark_accepted(self, job: str) -> None:
        """Note that the nodes have the job and its input."""

    def mark_cancel(self, job: str) -> None:
        """Note durably that the job is to be cancelled; nothing if it is not there."""

    def forget(self, job: str) -> None:
        """Delete the job; nothing if it is not there."""

    def close(self) -> None:
        """Release what is held. Idempotent."""


class MemoryOutbox:
    """An outbox that ends with the process."""

    durable = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: dict[str, Submission] = {}
        self._open: set[str] = set()
        """Not accepted yet."""

    def load(self) -> list[KeptJob]:
        """Return nothing: it begins empty."""
        return []

    def keep(self, submission: Submission) -> bool:
        """See Outbox."""
        with self._lock:
            known = self._jobs.get(submission.job)
            if known is not None:
                _require_same(submission.job, known.digest(), submission.digest())
                return False
            _require_room(len(self._open))
            self._jobs[submission.job] = submission
            self._open.add(submission.job)
            return True

    def message(self, job: str) -> tuple[str, bytes] | None:
        """See Outbox."""
        with self._lock:
            known = self._jobs.get(job)
            return None if known is None else (known.topic, known.payload)

    def blob(self, job: str) -> bytes | None:
        """See Outbox."""
        with self._lock:
            known = self._jobs.get(job)
            return None if known is None else known.blob

    def mark_accepted(self, job: str) -> None:
        """See Outbox."""
        with self._lock:
            self._open.discard(job)
            if job in self._jobs:
                self._jobs[job] = self._jobs[job]._replace(blob=None)

    def mark_cancel(self, job: str) -> None:
        """Do nothing: the brain remembers as long as this does."""

    def forget(self, job: str) -> None:
        """See Outbox."""
        with self._lock:
            self._jobs.pop(job, None)
            self._open.discard(job)

    def close(self) -> None:
        """See Outbox."""


class FileOutbox:
    """An outbox in one SQLite file, readable by its owner alone."""

    durable = True

    def __init__(self, path: str | os.PathLike[str], *, device: str) -> None:
        import sqlite3  # noqa: PLC0415 (2 ms and 1 MiB for those who want no file)

        self._lock = threading.RLock()
        self._error = sqlite3.Error
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._synced = self._connect(path, "FULL")
        except (sqlite3.Error, OSError) as error:
            raise OutboxError(f"outbox {os.fspath(path)}: {error}") from error
        try:
            self._prepare(path, device)
            # In WAL mode NORMAL syncs at checkpoints only. Its frames still come after
            # those of the other connection, so a mark never outlives its job.
            self._relaxed = self._connect(path, "NORMAL")
        except sqlite3.Error as error:
            self._synced.close()
            raise OutboxError(f"outbox {os.fspath(path)}: {error}") from error
        except OutboxError:
            self._synced.close()
            raise

    def _connect(self, path: str | os.PathLike[str], synchronous: str) -> "sqlite3.Connection":
        import sqlite3  # noqa: PLC0415 (as above)

        connection = sqlite3.connect(
            path, timeout=5.0, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {synchronous}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _prepare(self, path: str | os.PathLike[str], device: str) -> None:
        database = self._synced
        database.execute("BEGIN IMMEDIATE")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
            database.execute("INSERT INTO device(name) VALUES (?)", (device,))
            database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        elif version != _SCHEMA_VERSION:
            raise OutboxError(
                f"outbox {os.fspath(path)} has version {version}, this program knows "
                f"{_SCHEMA_VERSION}"
            )
        (owner,) = database.execute("SELECT name FROM device").fetchone()
        if owner != device:
            raise OutboxError(f"outbox {os.fspath(path)} belongs to device {owner}, not {device}")
        database.execute(
            "DELETE FROM job WHERE accepted = 1 AND kept_wall + ? < strftime('%s', 'now') + 0",
            (ACCEPTED_KEEP_S,),
        )
        database.execute("COMMIT")

    def load(self) -> list[KeptJob]:
        """See Outbox."""
        rows = self._run(
            self._synced, "SELECT job, accepted, cancel, blob IS NOT NULL FROM job ORDER BY number"
        )
        return [
            KeptJob(job, bool(acc), bool(cancel), bool(blob)) for job, acc, cancel, blob in rows
        ]

    def keep(self, submission: Submission) -> bool:
        """See Outbox."""
        digest, job = submission.digest(), submission.job
        with self._lock:
            known = self._run(self._synced, "SELECT digest FROM job WHERE job = ?", job)
            if known:
                _require_same(job, known[0][0], digest)
                return False
            waiting = self._run(self._synced, "SELECT count(*) FROM job WHERE accepted = 0")
            _require_room(waiting[0][0])
            self._run(
                self._synced,
                "INSERT INTO job(job, topic, payload, digest, blob) VALUES (?, ?, ?, ?, ?)",
                *(job, submission.topic, submission.payload, digest, submission.blob),
            )
            return True

    def message(self, job: str) -> tuple[str, bytes] | None:
        """See Outbox."""
        rows = self._run(self._synced, "SELECT topic, payload FROM job WHERE job = ?", job)
        return (rows[0][0], bytes(rows[0][1])) if rows else None

    def blob(self, job: str) -> bytes | None:
        """See Outbox."""
        rows = self._run(self._synced, "SELECT blob FROM job WHERE job = ?", job)
        return None if not rows or rows[0][0] is None else bytes(rows[0][0])

    def mark_accepted(self, job: str) -> None:
        """See Outbox."""
        self._run(self._relaxed, "UPDATE job SET accepted = 1, blob = NULL WHERE job = ?", job)

    def mark_cancel(self, job: str) -> None:
        """See Outbox."""
        self._run(self._synced, "UPDATE job SET cancel = 1 WHERE job = ?", job)

    def forget(self, job: str) -> None:
        """See Outbox."""
        self._run(self._relaxed, "DELETE FROM job WHERE job = ?", job)

    def close(self) -> None:
        """See Outbox."""
        with self._lock:
            self._relaxed.close()
            self._synced.close()

    def _run(
        self, connection: "sqlite3.Connection", statement: str, *values: object
    ) -> list[tuple[Any, ...]]:
        """Run one statement, which is one transaction, and return its rows."""
        with self._lock:
            try:
                return connection.execute(statement, values).fetchall()
            except self._error as error:
                raise OutboxError(f"outbox: {error}") from error


def _require_same(job: str, kept: bytes, given: bytes) -> None:
    if kept != given:
        raise JobIdReusedError(f"job id {job!r} already belongs to another job")


def _require_room(waiting: int) -> None:
    if waiting >= JOBS_MAX:
        raise OutboxFullError(f"{waiting} jobs wait for a node to accept them")
