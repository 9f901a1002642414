"""Goal: CRIU's reasons are found in a log of any size, at the cost of a small one.

Method: logs written here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workrs import oci

if TYPE_CHECKING:
    from pathlib import Path


def test_the_reasons_at_both_ends_of_a_huge_log_are_found(tmp_path: Path) -> None:
    assert oci.restore_errors(tmp_path) == []
    (tmp_path / "work").mkdir()
    log = tmp_path / "work" / "restore.log"
    log.write_text("begun\nError (a): first\nthen\nError (b): second\n")
    assert oci.restore_errors(tmp_path) == ["Error (a): first", "Error (b): second"]
    with log.open("r+b") as file:
        file.seek(4 << 20)
        file.write(b"\nError (c): in the middle\n")
        file.seek(8 << 30)
        file.write(b"\nError (d): last\n")
    assert oci.restore_errors(tmp_path) == [
        "Error (a): first",
        "Error (b): second",
        "Error (d): last",
    ]
