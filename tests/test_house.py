"""Goal: the rules of the house that a machine can check, so that no review has to.

Method: sizes, names and imports of every module; the import contracts; the packages installed.
"""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("workrs", "broker", "edge_agent", "device_client", "tui", "mosquitto")
CODE = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LINES_MAX = 400
COPIED_WHOLE = {"device_client/micropython/workrs.py": 600}
"""Where a second module would be a second file to copy to a board, and cost it heap."""
TEST_LINES_MAX = 500
FUNCTION_LINES_MAX = 60
NAMES_OF_NOTHING = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
RETIRED = {"zombie", "master", "slave", "worker", "task"}
"""Words the glossary has replaced: stray, agent, job. Names that libraries gave do not count."""
OTHER_THINGS = {
    "worker": "edge_agent/checkpoint/",  # a pool of threads inside an agent
    "task": "workrs/cli/",  # a bar of rich's progress display
}


def where(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def words(identifier: str) -> set[str]:
    """Take an identifier apart, plurals made singular: `holdLeases_of` is hold, lease, of."""
    parts = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", identifier).lower().split("_")
    return {part.removesuffix("s") for part in parts}


def given_names(path: Path) -> set[str]:
    """Return every name that the module itself gives: to a class, function, argument, value."""
    found = {path.stem}
    for node in ast.walk(tree(path)):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                found.add(name)
            case ast.AsyncFunctionDef(name=name) | ast.arg(arg=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name)
            case _:
                pass
    return found


def imports(path: Path) -> set[str]:
    """Return the modules that the module imports whole."""
    return {
        alias.name
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Import)
        for alias in node.names
    }


def sleeps(node: ast.AST, *, polling: bool = False) -> list[str]:
    """Return the calls of sleep below *node* that are not steps of a loop that looks each time."""
    found = []
    if isinstance(node, ast.Call) and not polling:
        name = ast.unparse(node.func)
        is_yield = ast.unparse(node) == "asyncio.sleep(0)"
        if name in ("time.sleep", "asyncio.sleep", "sleep") and not is_yield:
            found.append(ast.unparse(node))
    polling = polling or isinstance(node, ast.While | ast.For)
    for child in ast.iter_child_nodes(node):
        found += sleeps(child, polling=polling)
    return found


@pytest.mark.parametrize("path", [*CODE, *TESTS], ids=where)
def test_a_module_fits_a_head(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    lines_max = COPIED_WHOLE.get(where(path), LINES_MAX)
    assert lines <= (TEST_LINES_MAX if path in TESTS else lines_max)


@pytest.mark.parametrize("path", CODE, ids=where)
def test_a_function_fits_a_screen(path: Path) -> None:
    long = [
        f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > FUNCTION_LINES_MAX
    ]
    assert long == []


@pytest.mark.parametrize("path", CODE, ids=where)
def test_a_module_is_named_after_what_it_is_and_says_so(path: Path) -> None:
    assert path.stem not in NAMES_OF_NOTHING
    assert ast.get_docstring(tree(path)) is not None or not path.read_text().strip()


@pytest.mark.parametrize("path", CODE, ids=where)
def test_retired_words_stay_retired(path: Path) -> None:
    retired = {
        word for word in RETIRED if not where(path).startswith(OTHER_THINGS.get(word, "nowhere"))
    }
    if "asyncio" in imports(path):
        retired -= {"task"}
    assert {name for name in given_names(path) if words(name) & retired} == set()


@pytest.mark.parametrize("path", TESTS, ids=where)
def test_no_test_sleeps_but_to_poll(path: Path) -> None:
    assert sleeps(tree(path)) == []


@pytest.mark.parametrize("path", TESTS, ids=where)
def test_a_test_module_says_its_goal_first(path: Path) -> None:
    assert ast.get_docstring(tree(path))


def test_no_other_distribution_owns_our_packages() -> None:
    """The names `broker` and `edge_agent` exist on package indexes: ours must be the ones found."""
    owners = importlib.metadata.packages_distributions()
    for name in PACKAGES:
        assert set(owners.get(name, [])) <= {"workrs"}, name


def test_this_distribution_cannot_be_uploaded_by_mistake() -> None:
    assert "Private :: Do Not Upload" in (ROOT / "pyproject.toml").read_text()


def test_the_layers_hold() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("module", ["device_client", "workrs.domain.job", "workrs.wire.topics"])
def test_what_a_device_carries_needs_paho_alone(module: str) -> None:
    allowed = {"paho", *PACKAGES}
    program = (
        "import sys; before = set(sys.modules)\n"
        f"import {module}\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) - set(sys.stdlib_module_names) <= allowed
