"""What the demo claims, checked against the nodes' disks after everything has stopped."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What the ledgers of all nodes say together."""

    lost: int
    """Jobs that were accepted and that no majority has as decided."""
    doubled: int
    """Jobs for which two nodes have different outcomes."""


def audit(ledgers: Iterable[Path], jobs: Iterable[str]) -> Audit:
    """Compare the outcomes that the nodes have on disk.

    Args:
        ledgers: of all nodes, closed.
        jobs: ids on the bus of all jobs that were accepted.
    """
    paths = list(ledgers)
    outcomes: dict[str, list[str]] = {job: [] for job in jobs}
    for path in paths:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT job, decided FROM records WHERE decided IS NOT NULL")
            for job, digest in rows:
                outcomes.setdefault(job, []).append(digest)
    return Audit(
        lost=sum(1 for found in outcomes.values() if len(found) <= len(paths) // 2),
        doubled=sum(1 for found in outcomes.values() if len(set(found)) > 1),
    )
