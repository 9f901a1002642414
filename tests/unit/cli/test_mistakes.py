"""Goal: whatever a person types, or has in a file or variable, is answered with a sentence.

Method: the program in this process, no node there; words that parsers, files, SQL and terminals
choke on, alone and mixed. Subcommands that would start something are stopped before they do.
"""

import io
import os
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workrs.cli import agent, node
from workrs.cli import main as program
from workrs.cli.options import Options

CODES = {0, 1, 2, 3, 4}
STARTING = {"up", "demo", "doctor", "image", "init", "tui"}
"""Not run here: they start programs, or make a folder wherever they are told to."""
JUNK = (
    *("", "-", "--", "---", "-x", "--=", "a", "0", "-1", "nan", "1e999", "9" * 400, "x" * 5000),
    *("/", "..", "../../etc/passwd", "/dev/null", "/proc/self/mem", "a/b/c", "pump-7/sum", "p_7/x"),
    *("\udcff", "\x1b[31m", "💥", "日本", "%s %n {0}", "a b", "a=b", "=", "@x", "1:2:3", "[::1"),
    *("SELECT 1", "SELECT", "DROP TABLE jobs", "' OR 1", "{}", "[", "h:0", "127.0.0.1:1"),
)
VALUES = ("", "-1", "nan", "9" * 400, "..", "/proc/self/mem", "\udcff", "\x1b[31m", "a=b", "[::1")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Work in an empty folder of a person without a configuration, whose node is not there."""
    place = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        for name in [name for name in os.environ if name.startswith("WORKRS_")]:
            patch.delenv(name)
        patch.setenv("HOME", str(place))
        patch.setenv("XDG_STATE_HOME", str(place))
        patch.setenv("WORKRS_NODES", "127.0.0.1:1")
        patch.setattr("workrs.cli.ledger_options.state_home", lambda: place)
        for name in STARTING:
            patch.setattr(program.load(name), "run", lambda _: 0)
        patch.setattr(node, "run", lambda asked: node.config(asked) and 0)
        patch.setattr(agent, "run", lambda asked: agent.config(asked) and 0)
        yield place


def answer(*words: str, given: bytes = b"") -> tuple[int, str]:
    """Return code and error text of a command; an exception is the test's failure."""
    told, said = io.StringIO(), io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", told)
        patch.setattr(sys, "stdout", said)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        code = program.main(words)
    return code, told.getvalue()


def flags(name: str) -> list[str]:
    actions = program.load(name).options().parser._actions
    return [flag for action in actions for flag in action.option_strings]


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    name = draw(st.sampled_from(sorted(program.COMMANDS)))
    # A time limit, or a wait for a node that is not there would be the test's.
    word = st.sampled_from(JUNK) | st.text(max_size=20) | st.sampled_from(flags(name))
    return [name, *draw(st.lists(word.filter(lambda text: "\0" not in text), max_size=6))]


@settings(max_examples=200)
@given(words=command_lines())
@pytest.mark.usefixtures("home")
def test_no_line_is_answered_with_a_trace(words: list[str]) -> None:
    code, told = answer(*words)
    assert code in CODES
    assert code == 0 or told.startswith("workrs: "), told
    assert "Traceback" not in told
    assert "\x1b" not in told


@pytest.mark.parametrize("word", VALUES, ids=lambda word: ascii(word)[:20])
@pytest.mark.usefixtures("home")
def test_every_option_says_what_is_wrong_with_its_value(word: str) -> None:
    for name in program.COMMANDS:
        for flag in flags(name):
            if flag not in ("-h", "--help"):
                code, told = answer(name, f"{flag}={word}")
                assert code in CODES, (name, flag)
                assert code == 0 or told.startswith("workrs: "), (name, flag, told)


FILES = {
    "no TOML": b"= 1",
    "no text": b"\xff\xfe",
    "deep": b"a = " + b"[" * 100_000,
    "a long number": b"slots = " + b"9" * 5000,
    "a word for a list": b"nodes = 'x'",
    "numbers for a list": b"nodes = [1, 2]",
    "a list for a word": b"[jobs]\ndevice = [1]",
    "a table for a word": b"[jobs]\ndevice = {a = 1}",
    "a word for a table": b"jobs = 3\n[agents]\nall = 'maybe'",
    "an unknown key": b"[jobs]\ncolour = 1\n[agents]\nal = true",
    "a zero byte": b'credential = "a\\u0000b"\n',
    "a time": b"[watch]\ntimeout = 2020-01-01",
    "not a number": b"[watch]\ntimeout = nan",
}


@pytest.mark.parametrize("what", FILES)
def test_a_wrong_file_is_named_with_what_is_wrong(what: str, home: Path) -> None:
    path = home / "wrong.toml"
    path.write_bytes(FILES[what])
    for name in program.COMMANDS:
        code, told = answer(name, "--config", str(path))
        assert code in CODES, name
        assert code == 0 or told.startswith("workrs: "), (name, told)


@pytest.mark.parametrize("path", [".", "absent.toml", "/proc/self/mem", "/dev/fd/99", "\udcff"])
@pytest.mark.usefixtures("home")
def test_a_file_that_cannot_be_read_is_named(path: str) -> None:
    code, told = answer("jobs", "--config", path)
    assert code == 2
    assert "cannot read" in told


def test_variables_are_judged_as_options_are(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del home
    for variable, text in (("NODES", "h:x"), ("TIMEOUT", "soon"), ("JSON", "perhaps")):
        with monkeypatch.context() as patch:
            patch.setenv(f"WORKRS_{variable}", text)
            code, told = answer("watch", "pump-7/sum")
        assert code == 2
        assert f"WORKRS_{variable}" in told


HINTS = {
    ("job",): "did you mean jobs?",
    ("jobs", "--jsn"): "did you mean --json?",
    ("jobs", "pump-7"): "one argument too many: 'pump-7'",
    ("show",): "required: JOB",
    ("history", "--last", "0"): "--last: '0' is not right: write a whole number from 1",
    ("watch", "x", "--timeout", "-5"): "write seconds",
    ("watch", "x", "--timeout", "soon"): "--timeout: 'soon' is not right: write seconds",
    ("jobs", "--node", "h:x"): "write HOST:PORT",
    ("jobs", "--node", "a..b", "--insecure"): "no host can have such a name",
    ("jobs", "--node", "10.0.0.1"): "--credential",
    ("result", "p/x", "--node", "127.0.0.1:1"): "Is the cluster up?",
    ("completion", "tcsh"): "none of bash, zsh, fish",
}


@pytest.mark.parametrize("words", HINTS, ids=" ".join)
@pytest.mark.usefixtures("home")
def test_the_sentence_says_what_to_do(words: tuple[str, ...]) -> None:
    code, told = answer(*words)
    assert code in (2, 3)
    assert HINTS[words] in told
    assert told.count("\n") == 1, "one line: what follows a mistake is read on a small screen"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (OSError(28, "No space left on device"), 1, "cannot write the output: No space left"),
        (PermissionError(13, "Permission denied", "/x"), 1, "cannot use /x: Permission denied"),
        (ExceptionGroup("p", [OSError(28, "No space left on device")]), 1, "No space left"),
        (BrokenPipeError(32, "Broken pipe"), 0, ""),
        (ExceptionGroup("p", [BrokenPipeError(32, "Broken pipe")]), 0, ""),
    ],
)
def test_what_the_machine_refuses_is_told(
    error: Exception, code: int, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Namespace) -> int:
        raise error

    monkeypatch.setattr(program.load("completion"), "run", refuse)
    found, told = answer("completion", "bash")
    assert found == code
    assert text in told
    assert bool(told) == bool(text)


def test_an_option_is_noted_by_its_words_alone() -> None:
    it = Options("sample", "try things", examples=("workrs sample",))
    assert it.parse(["--no-color"], environ={}, home=Path("/nonexistent")).no_color is True
    assert it.parse([], environ={}, home=Path("/nonexistent")).no_color is False


def test_a_command_without_colours_leaves_those_of_the_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert program.main(("plan", "--work", "60", "--cost", "2", "--mtbf", "600", "--no-color")) == 0
    assert capsys.readouterr().out
    assert "NO_COLOR" not in os.environ
