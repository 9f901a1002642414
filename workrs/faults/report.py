"""The report."""

from collections.abc import Sequence
from pathlib import Path

from workrs.faults.play import Played
from workrs.faults.row import Row


def write_report(folder: Path, rows: Sequence[Row], played: Sequence[Played], *, seed: int) -> Path:
    """Write the report into *folder* and return its path."""
    return folder / "report.md"
