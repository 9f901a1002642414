"""Goal: what docs/security.md says is shown by a test, is.

Method: its table of controls, read from the page; each test is looked up in its file.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
SHOWN = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def controls() -> list[tuple[str, str, str]]:
    """Return threat, control and evidence of every row."""
    text = PAGE.read_text(encoding="utf-8")
    table = text.partition("<!-- controls:")[2].partition("<!-- end of controls -->")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return [(row[0], row[1], row[2]) for row in rows[1:]]


def test_there_is_a_table() -> None:
    assert len(controls()) > 20


@pytest.mark.parametrize(("threat", "control", "evidence"), controls(), ids=lambda text: text[:40])
def test_every_control_is_shown_by_a_test_that_exists(
    threat: str, control: str, evidence: str
) -> None:
    assert threat
    assert control
    found = SHOWN.findall(evidence)
    assert found
    assert evidence.count("`") == 2 * len(found), "something there is no test"
    for file, name in found:
        tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
        named = {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert not name or name in named, f"{file} has no {name}"
