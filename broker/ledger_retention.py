"""What leaves the ledger with time: history, and the ids of retired jobs.

1. No piece of work is long: at most `PIECE` rows go at once, so that no commit waits behind it.
2. The history is cut at its old end only. Neither its age nor its length touches what votes hang
   on: records, specs, decisions, and the ids of retired jobs, which have a time of their own.
3. Within a commit at most twice the rows go that came since the last cut: the history never grows
   far beyond its limit, and a limit that was lowered is reached without one long commit.

Not promised: that the file shrinks. SQLite uses the room of what went for what comes.
"""

import sqlite3
from dataclasses import dataclass
from typing import Final

from workrs.domain.errors import ConfigError

PIECE: Final = 10_000
"""Rows that go at once: some 10 ms."""
CUT_EVERY: Final = 1_000
"""Rows of history between two cuts of what is beyond its limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLimits:
    """How much of the history is kept; whatever is reached first."""

    keep_s: float = 30 * 86400.0
    """Rows older than this go, within about an hour."""
    rows_max: int = 1_000_000
    """Beyond, the oldest go. A job leaves about five rows, and one for each checkpoint."""

    def __post_init__(self) -> None:
        """Refuse what would keep nothing."""
        if not self.keep_s >= 60.0:
            raise ConfigError(f"--history-keep is {self.keep_s:g} s: keep a minute at least")
        if self.rows_max < 1_000:
            raise ConfigError(f"--history-max is {self.rows_max}: keep 1,000 rows at least")


def drop_old(database: sqlite3.Connection, before_wall_s: float) -> int:
    """Drop rows of history from before then, PIECE at most; return how many went."""
    # Oldest first, so it looks at no more rows than it may remove.
    return database.execute(
        "DELETE FROM history WHERE wall < ? AND id <= "
        "(SELECT max(id) FROM (SELECT id FROM history ORDER BY id LIMIT ?))",
        (before_wall_s, PIECE),
    ).rowcount


def drop_beyond(database: sqlite3.Connection, rows_max: int, most: int = PIECE) -> int:
    """Drop the oldest rows of history beyond *rows_max*, *most* of them; return how many went."""
    return database.execute(
        "DELETE FROM history WHERE id <= (SELECT max(id) FROM history) - ?"
        " AND id < (SELECT min(id) FROM history) + ?",
        (rows_max, most),
    ).rowcount


def forget_retired(database: sqlite3.Connection, before_wall_s: float) -> int:
    """Drop ids that were retired before then, PIECE at most; return how many went."""
    return database.execute(
        "DELETE FROM retired WHERE job IN "
        "(SELECT job FROM retired WHERE wall < ? ORDER BY wall LIMIT ?)",
        (before_wall_s, PIECE),
    ).rowcount
