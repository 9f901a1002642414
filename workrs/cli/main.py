"""The `workrs` program: finds the subcommand, runs it, turns errors into text and a code.

A subcommand is a module `workrs.cli.NAME` with `options() -> Options` and
`run(asked: Namespace) -> int`. It is imported when it is asked for, so `workrs --help`
needs 0.1 s and a device's machine needs none of what a node does.
"""

import importlib
import io
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

from workrs.domain.errors import ConfigError, WorkrsError

if TYPE_CHECKING:
    from workrs.cli.options import Options

COMMANDS: Final[Mapping[str, str]] = {
    "up": "run a local cluster in the foreground; Ctrl-C ends it",
    "demo": "play the main job: agent and broker are killed, no job is lost",
    "doctor": "what this machine can do, and what to type for the rest",
    "node": "run a node: broker, votes, blob store",
    "agent": "run an agent: claim jobs and run them",
    "init": "make the certificates of a new cluster",
    "enrol": "let a device, an agent, an operator or a node into a cluster",
    "revoke": "shut a member out of a cluster",
    "key": "make or change the keys that agents seal checkpoints with",
    "image": "make a job image from this machine's Python",
    "submit": "publish a job as a device",
    "tui": "watch and steer the cluster in the terminal",
    "top": "the cluster on one screen, live; q ends it",
    "nodes": "list nodes, their health and their bridges",
    "jobs": "list jobs",
    "show": "one job in full",
    "watch": "follow a job to its end; the exit code is its outcome",
    "logs": "what a running job prints",
    "result": "write a job's result to the standard output",
    "cancel": "cancel a job",
    "retry": "submit an ended job's spec again, as a new job",
    "events": "what happens in the cluster, as it happens",
    "agents": "list agents",
    "drain": "move an agent's jobs to others and give it no new ones",
    "undrain": "give an agent jobs again after a drain",
    "function": "add, list, show or remove functions that devices call by name",
    "history": "what a node's ledger knows of the past",
    "export": "write a node's history as CSV or JSON lines",
    "completion": "print what makes a shell complete subcommands, options and names",
    "plan": "how often to checkpoint a job, and how long it then takes",
}
"""Subcommands by what one needs first, with the line that `workrs --help` has for them."""

_FAILED: Final = 1
_INTERRUPTED: Final = 130


class Subcommand(Protocol):
    """What a module of a subcommand has."""

    def options(self) -> "Options":
        """Describe what it can be told."""

    def run(self, asked: Namespace) -> int:
        """Do it; return the exit code, or raise an error of ours."""


def load(name: str) -> Subcommand:
    """Return the module of a subcommand.

    Raises:
        ConfigError: what it needs is not installed.
    """
    try:
        return cast("Subcommand", importlib.import_module(f"workrs.cli.{name}"))
    except ModuleNotFoundError as error:
        both = "agent,node"
        extra = {"node": "node", "agent": "agent", "key": "agent", "tui": "tui"}
        extra |= {"up": both, "demo": both, "init": both, "enrol": "node", "revoke": "node"}
        raise ConfigError(
            f"workrs {name} needs the package {error.name!r}, which is not installed: "
            f"pip install 'workrs[{extra.get(name, 'bus')}]', or ./run setup in a checkout"
        ) from error


def main(words: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    if "_ARGCOMPLETE" in os.environ:
        # A shell asks what may follow; its line stands in variables, not in the arguments.
        from workrs.cli.complete import complete  # noqa: PLC0415

        complete(os.environ.get("COMP_LINE", "").split())
    _open_streams()
    code = _run(sys.argv[1:] if words is None else words)
    try:
        # Here, where a closed pipe or a full disk is still an error with a handler.
        sys.stdout.flush()
    except OSError as error:
        return _report_system(error) or code
    return code


def _open_streams() -> None:
    """Have an input, and outputs that can say everything: names come from other machines."""
    nowhere = Path(os.devnull)
    sys.stdin = sys.stdin or nowhere.open(encoding="utf-8")
    sys.stdout = sys.stdout or nowhere.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or nowhere.open("w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(words: Sequence[str]) -> int:
    try:
        return _dispatch(words)
    except (WorkrsError, OSError) as error:
        return _report(error)
    except ExceptionGroup as group:
        # Parts run side by side; what ends one of them comes in a group.
        found = _first_expected(group)
        if found is None:
            raise
        return _report(found)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _report(error: WorkrsError | OSError) -> int:
    if isinstance(error, OSError):
        return _report_system(error)
    from workrs.cli.error import exit_code  # noqa: PLC0415 (only where something failed)

    _say(str(error))
    return exit_code(error)


def _report_system(error: OSError) -> int:
    """Tell what the machine refused, unless it is only that nobody reads on (`| head`)."""
    if isinstance(error, BrokenPipeError) or error.filename is None:
        # Nothing more can be said there, and the interpreter is not to try at its end.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return 0
    what = "cannot write the output" if error.filename is None else f"cannot use {error.filename}"
    _say(f"{what}: {error.strerror or error}")
    return _FAILED


def _say(text: str) -> None:
    from workrs.cli.harmless import harmless  # noqa: PLC0415 (only where something failed)

    with suppress(OSError):
        print(f"workrs: {harmless(text)}", file=sys.stderr)


def _first_expected(group: BaseExceptionGroup[BaseException]) -> WorkrsError | OSError | None:
    """Return an error of ours or the machine's when the group has nothing else.

    A defect must show its trace.
    """
    expected, others = group.split((WorkrsError, OSError))
    if others is not None or expected is None:
        return None
    found: BaseException = expected
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if isinstance(found, WorkrsError | OSError) else None


def _dispatch(words: Sequence[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if words else 2
    if words[0] == "--version":
        from workrs import __version__  # noqa: PLC0415

        print(f"workrs {__version__}")
        return 0
    if words[0] not in COMMANDS:
        from workrs.cli.near import near  # noqa: PLC0415

        hint = near(words[0], COMMANDS) or "; workrs --help lists them"
        raise ConfigError(f"no subcommand {words[0]!r}{hint}")
    command = load(words[0])
    try:
        asked = command.options().parse(words[1:])
    except SystemExit as ended:  # argparse has printed a help text
        return ended.code if isinstance(ended.code, int) else 0
    with _colours(wanted=not asked.no_color):
        return command.run(asked)


@contextmanager
def _colours(*, wanted: bool) -> Iterator[None]:
    """Tell libraries, too, that no colours are wanted, as long as the command runs."""
    before = os.environ.get("NO_COLOR")
    if not wanted:
        os.environ["NO_COLOR"] = "1"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("NO_COLOR", None)
        else:
            os.environ["NO_COLOR"] = before


def overview() -> str:
    """Return the text of `workrs --help`."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "usage: workrs SUBCOMMAND [OPTIONS]",
            "",
            "Devices publish jobs over MQTT; agents claim, checkpoint and finish them.",
            "",
            "subcommands:",
            *lines,
            "",
            "workrs SUBCOMMAND --help has options and examples. Options also come from",
            "WORKRS_… variables and from workrs.toml. SECONDS may have a unit: 15m, 12h.",
            "Exit codes: 0 done, 1 failed, 2 wrong use, 3 no node reachable, 4 timed out.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
