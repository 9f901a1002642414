"""Goal: what docs/security.md says is shown by a test, is.

Method: its table of controls, read from the page; each test is looked up in its file,
and so is what shows that it is able to fail.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
SHOWN = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
TWICE = "played twice"
SAID = ("without", "taken away")
"""A test that takes a control away in its own manner says so."""


class Control(NamedTuple):
    """A row of the table."""

    threat: str
    control: str
    shown: str
    canary: str


def controls() -> list[Control]:
    text = PAGE.read_text(encoding="utf-8")
    table = text.partition("<!-- controls:")[2].partition("<!-- end of controls -->")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return [Control(*row) for row in rows[1:]]


def function(file: str, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef:
    """Return a test that the table names."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return node
    pytest.fail(f"{file} has no {name}")


def is_played_twice(test: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return "played_twice" in map(ast.unparse, test.decorator_list)


def test_there_is_a_table() -> None:
    assert len(controls()) > 40


@pytest.mark.parametrize("row", controls(), ids=lambda row: row.threat[:40])
def test_every_control_is_shown_by_a_test_that_exists(row: Control) -> None:
    assert row.threat
    assert row.control
    found = SHOWN.findall(row.shown)
    assert found
    assert row.shown.count("`") == 2 * len(found), "something there is no test"
    for file, name in found:
        function(file, name)


@pytest.mark.parametrize("row", controls(), ids=lambda row: row.threat[:40])
def test_every_attack_succeeds_somewhere_without_its_control(row: Control) -> None:
    if row.canary == TWICE:
        tests = [function(*found) for found in SHOWN.findall(row.shown)]
        assert any(map(is_played_twice, tests)), "none of them is played twice"
        return
    if row.canary.startswith("none: "):
        return
    found = SHOWN.findall(row.canary)
    assert found
    for file, name in found:
        text = ast.get_source_segment((ROOT / file).read_text("utf-8"), function(file, name))
        assert text
        assert any(word in text for word in SAID) or "missing" in name, name


def test_few_controls_have_no_such_test_and_say_why() -> None:
    reasons = [row.canary for row in controls() if row.canary.startswith("none: ")]
    assert len(reasons) <= 5
    assert all(len(reason.split()) > 3 for reason in reasons)


def test_no_program_has_a_switch_for_it() -> None:
    """What takes a control away is in tests alone."""
    for package in ("broker", "edge_agent", "workrs", "device_client", "tui"):
        for path in (ROOT / package).rglob("*.py"):
            assert "tests.hostile" not in path.read_text(encoding="utf-8"), path
