"""What the nodes have on disk: ledgers, read by SQL beside the daemons that use them, and blobs.

- S1: a job that its device heard to be accepted is on the disks of a majority.
- S2: all disks that have an outcome of a job have the same.
- L4: no disk has blobs of a job that its ledger has retired.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple


class Disk(NamedTuple):
    """One node's ledger."""

    jobs: frozenset[str]
    """With a spec, or decided."""
    outcomes: Mapping[str, str]
    """Job to the digest of its decided outcome."""


def read_disk(path: Path) -> Disk | None:
    """Return what the ledger at *path* holds, or None when it cannot be read."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            specs = {job for (job,) in database.execute("SELECT job FROM specs")}
            rows = database.execute(
                "SELECT job, decided FROM records WHERE decided IS NOT NULL"
                " UNION SELECT job, outcome FROM retired"
            )
            outcomes = dict(rows)
    except sqlite3.Error:
        return None
    return Disk(frozenset(specs | outcomes.keys()), outcomes)


def leftovers(node: str, folder: Path) -> dict[tuple[str, str], str]:
    """Return the blobs of jobs that a node's ledger has retired, by node and job.

    Args:
        node: its name.
        folder: of its state.
    """
    # The ledger first: a job that is retired in between may have its blobs.
    retired = read_retired(folder / "ledger.db")
    jobs = {entry.name for entry in (folder / "blobs" / "blobs").iterdir()}
    return {
        (node, job): f"L4 {node} has blobs of {job}, which it retired" for job in jobs & retired
    }


def read_retired(path: Path) -> frozenset[str]:
    """Return the jobs that the ledger at *path* has retired; one that is not there has none."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as database:
            return frozenset(job for (job,) in database.execute("SELECT job FROM retired"))
    except sqlite3.Error:
        return frozenset()


def lost(accepted: Iterable[str], disks: Mapping[str, Disk | None]) -> Iterator[str]:
    """Yield the accepted jobs that fewer than a majority of disks hold.

    A disk that cannot be read counts as one that has nothing: it may be one that a fault
    has taken, and then the others must do.
    """
    for job in accepted:
        copies = sum(1 for disk in disks.values() if disk is not None and job in disk.jobs)
        if copies <= len(disks) // 2:
            yield f"S1 {job} was accepted and is on {copies} of {len(disks)} disks"


def torn(disks: Mapping[str, Disk | None]) -> Iterator[str]:
    """Yield the jobs of which two disks have different outcomes."""
    digests: dict[str, set[str]] = {}
    for disk in disks.values():
        for job, digest in disk.outcomes.items() if disk is not None else ():
            digests.setdefault(job, set()).add(digest)
    for job, found in digests.items():
        if len(found) > 1:
            yield f"S2 {job} has {len(found)} outcomes on disk: {sorted(found)}"
