"""The ledger's file: made on purpose once, checked at every opening, used by one process.

1. `create` never touches a file that is there, and a crash in it leaves none behind.
2. The schema itself refuses what no vote may do: an epoch that goes back, a decision that
   changes, an undecided job that is dropped, a retired job that comes back, a function's version
   that goes back. So neither a bug nor a hand at the database can do it unnoticed.
3. A file of an older format is brought to the present one in place, in one transaction.

Not promised: that the file itself knows it was replaced by an older copy. Its peers do, see
`workrs.domain.rollback`; still, never put a backup in a ledger's place.
"""

import fcntl
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from broker import ledger_view
from workrs.adapters.disk import sync_directory
from workrs.domain.errors import ConfigError, LedgerError
from workrs.ports.ledger import Rejoin

APPLICATION_ID: Final = 0x574B5253
"""ASCII `WKRS`, in the file's header: `file ledger.db` shows it."""
SCHEMA_VERSION: Final = 6

_FUNCTIONS: Final = """
CREATE TABLE functions (
    function TEXT PRIMARY KEY,
    version INTEGER NOT NULL,
    digest TEXT NOT NULL, -- of the definition, or 'removed'
    filed TEXT NOT NULL, -- digest of what the node's functions file said of it last, or ''
    body TEXT NOT NULL -- the record as JSON; the columns before repeat parts of it
) STRICT, WITHOUT ROWID;

CREATE TRIGGER functions_fence BEFORE UPDATE ON functions
WHEN NEW.version < OLD.version OR (NEW.version = OLD.version AND NEW.digest < OLD.digest)
BEGIN SELECT RAISE(ABORT, 'the version of a function would go back'); END;
"""
_NODE_LIST: Final = """
CREATE TABLE node_list (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    nodes TEXT NOT NULL, -- names, with spaces between
    stage INTEGER NOT NULL -- of the change to it: 0 new, 1 under way, 2 over
) STRICT;
"""
_SCHEMA: Final = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO meta VALUES ('boot', 0), ('serial', 0), ('generation', 0), ('rejoin', 0);

CREATE TABLE peers (
    node TEXT PRIMARY KEY,
    boot INTEGER NOT NULL, -- the most that this node saw of that one's disk
    nonce TEXT NOT NULL,
    serial INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE specs (
    job TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    payload BLOB NOT NULL -- JSON, exactly the bytes that travel
) STRICT;

CREATE TABLE records (
    job TEXT PRIMARY KEY,
    state TEXT NOT NULL, -- queued, running, cancelling, abstaining, or the verdict; for queries
    epoch INTEGER NOT NULL,
    holder TEXT,
    decided TEXT, -- digest of the decided outcome
    decided_wall REAL, -- unix time at which this node noted the decision
    body TEXT NOT NULL -- the record as JSON; the columns before repeat parts of it
) STRICT, WITHOUT ROWID;

CREATE TABLE history (
    id INTEGER PRIMARY KEY,
    wall REAL NOT NULL,
    event TEXT NOT NULL,
    job TEXT,
    facts TEXT NOT NULL -- JSON
) STRICT;

CREATE TABLE retired (
    job TEXT PRIMARY KEY,
    request TEXT NOT NULL, -- digest of what the device sent; '' when the spec never came
    outcome TEXT NOT NULL, -- digest of the outcome that was voted on, result included
    verdict TEXT NOT NULL,
    exit_code INTEGER,
    reason TEXT NOT NULL, -- its beginning
    epoch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    swept INTEGER NOT NULL DEFAULT 0, -- 1: what the own broker kept of it is known to be gone
    wall REAL NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX retired_wall ON retired (wall);
CREATE INDEX retired_unswept ON retired (job) WHERE swept = 0;

CREATE TRIGGER records_retired BEFORE INSERT ON records
WHEN EXISTS (SELECT 1 FROM retired WHERE job = NEW.job)
BEGIN SELECT RAISE(ABORT, 'a retired job would come back'); END;

CREATE TRIGGER records_fence BEFORE UPDATE ON records
WHEN NEW.epoch < OLD.epoch
BEGIN SELECT RAISE(ABORT, 'the epoch of a record would go back'); END;

CREATE TRIGGER records_decided BEFORE UPDATE ON records
WHEN OLD.decided IS NOT NULL AND NEW.decided IS NOT OLD.decided
BEGIN SELECT RAISE(ABORT, 'a decision would change'); END;

CREATE TRIGGER records_kept BEFORE DELETE ON records
WHEN OLD.decided IS NULL
BEGIN SELECT RAISE(ABORT, 'an undecided job would be forgotten'); END;

CREATE TRIGGER specs_retired BEFORE INSERT ON specs
WHEN EXISTS (SELECT 1 FROM retired WHERE job = NEW.job)
BEGIN SELECT RAISE(ABORT, 'a retired job would come back'); END;

CREATE TRIGGER specs_kept BEFORE DELETE ON specs
WHEN NOT EXISTS (SELECT 1 FROM retired WHERE job = OLD.job)
BEGIN SELECT RAISE(ABORT, 'an undecided job would be forgotten'); END;
"""
_FROM_1: Final = """
INSERT INTO meta VALUES ('serial', 0), ('generation', 0), ('rejoin', 0);

CREATE TABLE peers (
    node TEXT PRIMARY KEY,
    boot INTEGER NOT NULL,
    nonce TEXT NOT NULL,
    serial INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What became of jobs that were retired before is not known any more.
ALTER TABLE retired ADD COLUMN verdict TEXT NOT NULL DEFAULT 'expired';
ALTER TABLE retired ADD COLUMN exit_code INTEGER;
ALTER TABLE retired ADD COLUMN reason TEXT NOT NULL DEFAULT 'its verdict was not kept';
ALTER TABLE retired ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE retired ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;
ALTER TABLE retired ADD COLUMN swept INTEGER NOT NULL DEFAULT 0;
CREATE INDEX retired_unswept ON retired (job) WHERE swept = 0;
"""


_FROM_4: Final = f"DROP VIEW takeovers; {ledger_view.TAKEOVERS}"


_OF_THE_DISK: Final = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
    }
)
"""Errors that say nothing of the file itself."""


def create(path: Path, rejoin: Rejoin = Rejoin.NEVER) -> None:
    """Make an empty ledger at *path*, readable by its owner alone.

    Args:
        path: where.
        rejoin: what it says of itself: made for a new node, or for one that lost its disk.

    Raises:
        ConfigError: there is something at *path* already.
        LedgerError: the file cannot be written.
    """
    if path.exists():
        raise ConfigError(
            f"there is a ledger at {path} already: start without --init; to begin anew as a "
            "node that lost its disk, move the file away first"
        )
    draft = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _write_schema(draft, rejoin)
        # A link instead of a rename: it fails when somebody else was faster.
        path.hardlink_to(draft)
        draft.unlink()
        sync_directory(path.parent)
    except (OSError, sqlite3.Error) as error:
        raise LedgerError(f"cannot make a ledger at {path}: {error}") from error


def _write_schema(path: Path, rejoin: Rejoin) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    try:
        # WAL stays set in the file; it is switched on while the schema is still in memory,
        # so the closing checkpoint leaves one complete, synced file and no journal.
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        database.executescript(
            f"BEGIN; {_SCHEMA} {_FUNCTIONS} {_NODE_LIST} {ledger_view.SCHEMA} COMMIT;"
        )
        database.execute("UPDATE meta SET value = ? WHERE key = 'rejoin'", (rejoin,))
    finally:
        database.close()


def migrate(database: sqlite3.Connection, version: int) -> None:
    """Bring a file of format *version* to the present one. A crash leaves it as it was."""
    views = {4: _FROM_4, 5: ""}.get(version, ledger_view.SCHEMA)
    steps = "".join((*(_FROM_1, _FUNCTIONS)[version - 1 :], views, _NODE_LIST))
    try:
        database.executescript(f"BEGIN; {steps} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
    except sqlite3.Error:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def require(path: Path) -> None:
    """Refuse to go on without a file at *path*. It is never made silently.

    Raises:
        ConfigError: there is no file; the text says what to type.
    """
    if not path.exists():
        raise ConfigError(
            f"no ledger at {path}. If this node is new, make one on purpose: "
            "workrs node --init … . If its disk was lost, have it re-admitted by the others: "
            "workrs node --rejoin … (docs/ledger.md)"
        )


def connect(path: Path) -> sqlite3.Connection:
    """Open the ledger at *path* for writing and check it as a whole.

    Raises:
        LedgerError: it is damaged, or no ledger, or of another version of the software, or its disk
            is full.
    """
    try:
        database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
        )
    except sqlite3.Error as error:
        raise LedgerError(f"cannot open the ledger {path}: {error}") from error
    try:
        version = _check(database, path)
        database.execute("PRAGMA synchronous = FULL")
        if version < SCHEMA_VERSION:
            migrate(database, version)
        # 16 MB of log before it is folded in: one checkpoint every few thousand rows.
        database.execute("PRAGMA wal_autocheckpoint = 4000")
        database.execute("PRAGMA journal_size_limit = 67108864")
        database.execute("PRAGMA cache_size = -32768")
    except sqlite3.Error as error:
        database.close()
        raise unusable(path, error) from error
    except LedgerError:
        database.close()
        raise
    return database


def unusable(path: Path, error: sqlite3.Error) -> LedgerError:
    """Return the error that says what to do when SQLite cannot use the file.

    A file on a full disk is sound, and its votes count: whoever moved it away would lose them.
    """
    if getattr(error, "sqlite_errorcode", 0) & 0xFF not in _OF_THE_DISK:
        return damaged(path, error)
    return LedgerError(
        f"the ledger {path} cannot be used ({error}). Nothing was changed, and nothing says "
        "that it is damaged: make room on its disk, see that this user may write there, and start "
        "again"
    )


def damaged(path: Path, error: object) -> LedgerError:
    """Return the error that says what to do with a damaged file."""
    return LedgerError(
        f"the ledger {path} cannot be read ({error}). Nothing was changed. To go on without it, "
        "move it away and have the node re-admitted by the others: workrs node --rejoin … "
        "(docs/ledger.md)"
    )


def version_of(database: sqlite3.Connection, path: Path) -> int:
    """Return the format of the ledger at *path*.

    Raises:
        LedgerError: it is none, or of a format that this software does not know.
    """
    (application,) = database.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        raise damaged(path, "it is not a Workrs ledger, or its beginning is gone")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if not 1 <= version <= SCHEMA_VERSION:
        raise LedgerError(
            f"the ledger {path} has format {version}, this software reads 1 to {SCHEMA_VERSION}: "
            "run the version that made it"
        )
    return int(version)


def _check(database: sqlite3.Connection, path: Path) -> int:
    """Return the format of a sound ledger, or raise LedgerError."""
    version = version_of(database, path)
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise damaged(path, verdict)
    return version


def lock(path: Path) -> int:
    """Take the ledger for this process; return the handle that keeps it until closed.

    The lock lies beside the database: closing any other handle of the database file
    itself would drop SQLite's own locks.

    Raises:
        LedgerError: another process has it, or the lock's file cannot be made.
    """
    place = path.with_name(path.name + ".lock")
    try:
        handle = os.open(place, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise LedgerError(f"cannot lock the ledger {path}: {error}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(handle, 20, 0).decode(errors="replace").strip() or "unknown"
        os.close(handle)
        raise LedgerError(
            f"the ledger {path} is in use by process {owner}: one daemon per ledger"
        ) from None
    # The number is only there to be named above; a full disk must not keep it from us.
    with suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle
