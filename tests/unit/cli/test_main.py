"""The program around the subcommands: help, exit codes, and no traceback for a mistake."""

import errno
import re
import shlex
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest

from workrs.cli import error
from workrs.cli import main as program
from workrs.cli.error import NoNodeError, NotFoundError
from workrs.cli.options import Options
from workrs.domain.errors import ConfigError, LedgerError, TimedOutError
from workrs.ports.bus import Address, BusClosedError, BusMessageError, BusUnreachableError


def with_subcommand(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    def run(_: Namespace) -> int:
        if error is not None:
            raise error
        return 0

    def options() -> Options:
        return Options("jobs", "list jobs", examples=("workrs jobs",))

    monkeypatch.setattr(program, "load", lambda _: SimpleNamespace(options=options, run=run))


CODES: list[tuple[BaseException | None, int]] = [
    (None, 0),
    (NotFoundError("there is no job x"), 1),
    (LedgerError("damaged"), 1),
    (ConfigError("wrong"), 2),
    (NoNodeError(["a", "b"]), 3),
    (BusUnreachableError(Address(host="h", port=1), "refused"), 3),
    (BusClosedError("closed"), 3),
    (BusMessageError("t", "too large"), 1),
    (TimedOutError("late"), 4),
    (KeyboardInterrupt(), 130),
    (ExceptionGroup("parts", [ExceptionGroup("more", [ConfigError("wrong")])]), 2),
]


@pytest.mark.parametrize(("error", "code"), CODES, ids=lambda value: repr(value)[:40])
def test_every_end_has_its_code_and_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException | None,
    code: int,
) -> None:
    with_subcommand(monkeypatch, error)
    assert program.main(["jobs"]) == code
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert told.startswith("workrs: ") == (code in (1, 2, 3, 4))


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, 1), (errno.EDQUOT, 1), (errno.ENOENT, 2), (errno.EACCES, 2)]
)
def test_a_full_disk_is_no_wrong_use_wherever_it_is_met(
    monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    wrong = ConfigError("cannot write x")
    wrong.__cause__ = OSError(number, "no")
    with_subcommand(monkeypatch, wrong)
    assert program.main(["jobs"]) == code


def test_a_defect_shows_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    group = ExceptionGroup("parts", [ConfigError("wrong"), ZeroDivisionError()])
    with_subcommand(monkeypatch, group)
    with pytest.raises(ExceptionGroup):
        program.main(["jobs"])


def test_the_overview_names_every_subcommand(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(f"  {name}" in told for name in program.COMMANDS)
    assert program.main([]) == 2
    assert program.main(["--version"]) == 0


def test_an_unknown_subcommand_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["frobnicate"]) == 2
    assert "frobnicate" in capsys.readouterr().err


@pytest.mark.parametrize("name", program.COMMANDS)
def test_every_help_has_a_summary_and_examples(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main([name, "--help"]) == 0
    told = capsys.readouterr().out
    _, _, examples = told.partition("examples:\n")
    assert f"workrs {name}" in examples
    assert all(len(line) <= 100 for line in told.splitlines())
    assert program.load(name).options().summary == program.COMMANDS[name]


@pytest.mark.parametrize("name", program.COMMANDS)
def test_every_example_is_taken_by_its_own_parser(name: str, tmp_path: Path) -> None:
    options = program.load(name).options()
    assert options.command == name
    text = "\n".join(options.examples).replace("\\\n", "")
    for line in text.splitlines():
        command, *_ = re.split(r" [|>] ", line)
        words = shlex.split(command, comments=True)
        if words[:1] == ["workrs"]:
            assert words[1] == name
            options.parse(words[2:], environ={}, home=tmp_path)


def test_the_overview_imports_no_subcommand_and_no_adapter() -> None:
    code = (
        "import sys; from workrs.cli.main import main; main(['--help']);"
        "sys.exit(bool({'pydantic', 'mqtt5', 'rich', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0


def test_helps_fit_a_terminal_of_80_columns() -> None:
    examples = [each for name in program.COMMANDS for each in program.load(name).options().examples]
    assert max(len(each) + 2 for each in examples) < 80
    assert max(map(len, program.overview().splitlines())) <= 80


def test_no_help_waits_for_what_only_the_work_needs() -> None:
    code = (
        "import sys; from workrs.cli.main import COMMANDS, load\n"
        "for name in COMMANDS: load(name).options().parser.format_help()\n"
        "slow = {'docker', 'requests', 'textual', 'aiohttp', 'matplotlib', 'plotext', 'obstore'}\n"
        "print(*sorted(slow & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"\n", b"")


def test_the_table_of_exit_codes_is_that_of_the_program() -> None:
    table = dict(re.findall(r"^\| (\d+) \| (.+) \|$", error.__doc__ or "", re.MULTILINE))
    names = ("OK", "FAILED", "WRONG_USE", "UNREACHABLE", "TIMED_OUT", "INTERRUPTED")
    assert [int(code) for code in table] == [getattr(error, name) for name in names]
    assert {code for _, code in CODES} == {int(code) for code in table}
    page = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
    assert all(f"| {code} | {text} |" in page for code, text in table.items())
