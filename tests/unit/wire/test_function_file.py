"""functions.toml: what it gives, and that every mistake is told with its place."""

from pathlib import Path

import pytest

from workrs.domain.errors import ConfigError
from workrs.domain.function import Function
from workrs.wire.function_file import load_functions, parse_functions

GOOD = """
[sum]
image = "workrs/python:1"
command = ["python3", "/job/in/main.py"]
description = "adds numbers"
callers = ["pump-7"]
timeout_s = 60
memory_mb = 64

[sum.files]
"main.py" = '''
print(1)
'''

[noop]
image = "busybox"
command = ["true"]
"""


def test_every_table_is_a_function(tmp_path: Path) -> None:
    path = tmp_path / "functions.toml"
    path.write_text(GOOD)
    assert load_functions(path) == {
        "sum": Function(
            image="workrs/python:1",
            command=("python3", "/job/in/main.py"),
            description="adds numbers",
            callers=("pump-7",),
            timeout_s=60.0,
            memory_mb=64,
            files={"main.py": "print(1)\n"},
        ),
        "noop": Function(image="busybox", command=("true",)),
    }


def test_an_empty_file_has_no_functions() -> None:
    assert parse_functions("", source="f.toml") == {}


BAD = {
    "[sum": "not valid TOML",
    'image = "x"': "outside a function",
    "[sum]\nimage = 'x'": r"\[sum\].*command",
    "[sum]\ncommand = ['x']": r"\[sum\].*image",
    "[sum]\nimage = 'x'\ncommand = ['y']\nimgae = 'z'": r"\[sum\].*imgae",
    "[sum]\nimage = 'x'\ncommand = 'y'": r"\[sum\].*command",
    "[sum]\nimage = 'x'\ncommand = []": r"\[sum\].*command is empty",
    "[sum]\nimage = 'x'\ncommand = ['y']\nmemory_mb = 1": r"\[sum\].*memory_mb is 1",
    "[sum]\nimage = 'x'\ncommand = ['y']\nmemory_mb = 2026-01-01": r"\[sum\]",
    "[sum]\nimage = 'x'\ncommand = ['y']\n[sum.files]\n'a/b' = ''": r"\[sum\].*file name",
    "[sum]\nimage = 'x'\ncommand = ['y']\n[sum.files]\na = '"
    + 98_304 * "x"
    + "'": r"\[sum\].*at most 98304",
    "[Sum]\nimage = 'x'\ncommand = ['y']": r"\[Sum\].*'Sum' is not allowed",
    "[sum]\nimage = 'x'\ncommand = ['y']\ncallers = ['a_b']": r"\[sum\].*'a_b'",
}


@pytest.mark.parametrize("text", BAD)
def test_a_mistake_is_told_with_its_place(text: str) -> None:
    with pytest.raises(ConfigError, match=BAD[text]) as caught:
        parse_functions(text, source="f.toml")
    assert "f.toml" in str(caught.value)


def test_a_file_that_cannot_be_read_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_functions(tmp_path / "functions.toml")
    (tmp_path / "functions.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot read"):
        load_functions(tmp_path / "functions.toml")


@pytest.mark.parametrize("text", ["a = " + "[" * 100_000, "a = " + "9" * 5000])
def test_a_file_that_a_parser_chokes_on_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(ConfigError, match="the file is not valid TOML"):
        parse_functions(text, source="the file")
