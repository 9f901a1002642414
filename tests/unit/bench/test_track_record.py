"""Goal: whoever wants to see a bug of docs/track-record.md finds what its row names.

Method: its rows are read; files and tests that they name have to be there. That a test
tells the code before a fix from the code after it is `bench/track_record.py`'s to show.
"""

import re
from pathlib import Path

import pytest

from bench.track_record import RECORD, bugs
from tests.simulation.test_scenarios import SCENARIOS

ROOT = Path(__file__).parents[3]
TEXT = RECORD.read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`(?! of)")
"""A test of this tree: those of an older one have its commit behind them."""
PYTEST = re.compile(r"pytest ((?:tests/[\w/.]+ ?)+)(?:-k (\"[^\"]+\"|\w+))?")


def names_in(path: Path) -> list[str]:
    """Return the names of tests, with those of the scenarios that one of them is given."""
    files = path.rglob("test_*.py") if path.is_dir() else [path]
    found = [n for file in files for n in re.findall(r"def (test_\w+)", file.read_text())]
    return [*found, *SCENARIOS] if path.name == "test_scenarios.py" else found


def is_meant(name: str, wanted: str) -> bool:
    """Return whether pytest's -k would choose it; only `and` and `or` are in use."""
    return any(
        all(word in name for word in part.split(" and "))
        for part in wanted.strip('"').split(" or ")
    )


@pytest.mark.parametrize(("file", "test"), sorted(set(TEST.findall(TEXT))))
def test_a_test_that_a_row_names_is_there(file: str, test: str) -> None:
    assert test in names_in(ROOT / file)


@pytest.mark.parametrize(("files", "wanted"), sorted(set(PYTEST.findall(TEXT))))
def test_a_command_of_a_row_runs_something(files: str, wanted: str) -> None:
    found = [name for file in files.split() for name in names_in(ROOT / file)]
    assert any(is_meant(name, wanted) for name in found)


def test_rows_are_read() -> None:
    assert len(bugs()) > 30
    assert len(TEST.findall(TEXT)) > 30
    assert len(PYTEST.findall(TEXT)) > 50
    assert is_meant("a_b", '"a and b or c"')
    assert not is_meant("a_b", '"a and c or d"')
