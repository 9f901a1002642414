"""Goal: what `workrs function` sends is what was typed, and what it shows can be added again.

Method: definitions from options and files, good and bad; every definition there and back by TOML.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given

from tests.unit.wire.values import CLIENT, FUNCTION
from workrs.cli import function
from workrs.cli.function_text import as_toml
from workrs.cli.function_view import FunctionView
from workrs.domain.errors import ConfigError
from workrs.domain.function import Function, next_record
from workrs.domain.ids import ClientId
from workrs.domain.job import Base64File, Constraints
from workrs.ports.bus import Message
from workrs.wire import codec, topics
from workrs.wire.function_file import parse_functions
from workrs.wire.message import NodeState

FILE = """
[mean]
image = "base"
command = ["mean"]
callers = ["pump-*"]

[sum]
image = "base"
command = ["sum"]
"""


def definitions(*words: str) -> dict[str, Function]:
    asked = function.options().parse(["add", *words], environ={}, home=Path("/nonexistent"))
    return function._definitions(asked)


@given(name=CLIENT, definition=FUNCTION)
def test_what_is_shown_can_be_added_again(name: str, definition: Function) -> None:
    text = as_toml(name, definition)
    assert parse_functions(text, source="shown") == {name: definition}


def test_a_program_is_shown_as_it_is_written() -> None:
    program = "import sys\nprint('a\\b', \"c\")\n"
    text = as_toml("mean", Function(image="base", command=("x",), files={"main.py": program}))
    assert f"[mean.files]\n\"main.py\" = '''\n{program}'''\n" in text


def test_a_definition_from_options(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print(1)\n")
    (tmp_path / "table").write_bytes(b"\xff\x00")
    words = ["mean", "--image", "base", "--command", "python3 '/job/in/main.py'", "--caller", "p-*"]
    words += ["--tenant", "acme", "--forecast", "2", "--attempt-timeout", "60", "--label", "gpu"]
    words += ["--file", f"main.py={tmp_path}/main.py", "--file", f"table={tmp_path}/table"]
    assert definitions(*words, "--env", "N=1", "--memory-mb", "64", "--description", "d") == {
        "mean": Function(
            image="base",
            command=("python3", "/job/in/main.py"),
            description="d",
            callers=("p-*",),
            tenants=("acme",),
            forecast_s=2.0,
            timeout_s=60.0,
            memory_mb=64,
            env={"N": "1"},
            constraints=Constraints(labels=("gpu",)),
            files={"main.py": "print(1)\n", "table": Base64File(b64="/wA=")},
        )
    }


def test_definitions_from_a_file_all_or_one_and_options_win(tmp_path: Path) -> None:
    path = tmp_path / "functions.toml"
    path.write_text(FILE)
    both = definitions("--toml", str(path))
    assert list(both) == ["mean", "sum"]
    assert definitions("sum", "--toml", str(path)) == {"sum": both["sum"]}
    changed = definitions("mean", "--toml", str(path), "--image", "new", "--caller", "press-1")
    assert (changed["mean"].image, changed["mean"].callers) == ("new", ("press-1",))


BAD = {
    "nothing": ([], "name the function, or give definitions with --toml"),
    "no image": (["mean"], r"\[mean\]: image"),
    "no such file": (["--toml", "{folder}/none.toml"], "cannot read"),
    "no TOML": (["--toml", "{folder}/bad.toml"], "not valid TOML"),
    "brackets in brackets": (["--toml", "{folder}/deep.toml"], "not valid TOML"),
    "a long number": (["--toml", "{folder}/long.toml"], "not valid TOML"),
    "an empty file": (["--toml", "{folder}/empty.toml"], "has no function: write"),
    "no such function": (["x", "--toml", "{folder}/good.toml"], r"has no function \[x\]"),
    "an unknown field": (["--toml", "{folder}/typo.toml"], r"\[mean\]: .*imgae"),
    "no table": (["--toml", "{folder}/flat.toml"], "stands outside a function"),
    "a bad name": (["Mean", "--image", "x", "--command", "y"], "'Mean' is not allowed"),
    "a bad limit": (
        ["m", "--image", "x", "--command", "y", "--memory-mb", "1"],
        "memory_mb is 1: write 4 to",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_mistake_is_told_before_anything_is_sent(what: str, tmp_path: Path) -> None:
    for name, text in {
        "bad": "[mean",
        "deep": "a = " + "[" * 100_000,
        "long": "a = " + "9" * 5000,
        "empty": "",
        "good": FILE,
        "typo": "[mean]\nimgae = 'x'\nimage = 'x'\ncommand = ['y']",
        "flat": "mean = 'x'",
    }.items():
        (tmp_path / f"{name}.toml").write_text(text)
    words, reason = BAD[what]
    with pytest.raises(ConfigError, match=reason):
        definitions(*(word.format(folder=tmp_path) for word in words))


@pytest.mark.parametrize("action", ["show", "remove"])
def test_show_and_remove_want_a_name(action: str) -> None:
    asked = function.options().parse([action], environ={}, home=Path("/nonexistent"))
    with pytest.raises(ConfigError, match=f"workrs function {action} NAME"):
        function.run(asked)


def test_a_view_is_merged_as_nodes_merge() -> None:
    view = FunctionView()
    old = next_record("mean", Function(image="base", command=("x",)), None)
    new = next_record("mean", Function(image="base", command=("y",)), old)
    state = NodeState(boot=1, nonce="", nodes=("n1", "n2", "n3"))
    for node, body in (("n1", new), ("n2", old), ("n3", new)):
        view.apply(Message(topics.node(node, "function", "mean"), codec.encode(body)))
        view.apply(Message(topics.node(node, "state"), codec.encode(state)))
    view.apply(Message(topics.node("n1", "function", "junk"), b"{"))
    view.apply(Message(topics.node("n1", "job", "pump-7_j1"), b"{}"))
    assert view.newest == {"mean": new}
    assert (view.count("mean"), view.size) == (2, 3)
    assert view.shown["mean", ClientId("n2")] == old
