"""What a shell is told when Tab is pressed: subcommands, options, files, and names in the cluster.

1. Names are asked for at a node as any command would, for ASK_S in all. Nobody there, a wrong
   configuration, a slow line: then there are no names, and never a word on the screen.
2. The program is loaded as far as the typed subcommand needs, no further.
"""

import argparse
import asyncio
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import argcomplete
from argcomplete.completers import DirectoriesCompleter, FilesCompleter

from workrs.cli.connection import Caller, add_node_options, caller, connected
from workrs.cli.main import COMMANDS, load
from workrs.cli.options import Options
from workrs.domain.errors import WorkrsError
from workrs.domain.function import FunctionRecord
from workrs.domain.ids import JobId, split_job_id
from workrs.ports.bus import Bus, Message, Subscription
from workrs.wire import codec, topics

ASK_S: Final = 1.0
"""How long a person may wait for names after Tab. What came by then is offered."""
NAMES_MAX: Final = 1_000
_KINDS: Final[Mapping[str, str]] = {"job": "job/#", "agent": "agent/+", "function": "function/+"}
"""Topics that have the names, below each node's."""

Completer = Callable[..., Any]


def complete(words: Sequence[str]) -> None:
    """Answer the shell that asks by argcomplete's variables, and end this process.

    Args:
        words: of the line that is typed, the program's name first.
    """
    program = argparse.ArgumentParser(prog="workrs", add_help=True)
    program.add_argument("--version", action="store_true")
    commands = program.add_subparsers()
    for name, summary in COMMANDS.items():
        options = load(name).options() if name in words[1:2] else None
        parents = [] if options is None else [_with_completers(options)]
        commands.add_parser(name, help=summary, parents=parents, add_help=options is None)
    argcomplete.autocomplete(program, always_complete_options=False)


def _with_completers(options: Options) -> argparse.ArgumentParser:
    for action in options.parser._actions:  # noqa: SLF001 (argparse has no other list of them)
        if action.choices is not None:
            continue
        kind = options.completed.get(action.dest, "")
        # argcomplete's own way to say who completes an argument.
        action.completer = _completer(kind)  # type: ignore[attr-defined]
    return options.parser


def _completer(kind: str) -> Completer:
    match kind:
        case "file":
            return FilesCompleter()
        case "folder":
            return DirectoriesCompleter()
        case "":
            return lambda **_: ()
        case _:
            return partial(names, kind)


def names(kind: str, prefix: str, parsed_args: Namespace, **_: object) -> list[str]:
    """Return what there is of *kind* and begins with *prefix*; nothing when nobody can be asked.

    Args:
        kind: job, agent or function.
        prefix: what is typed so far.
        parsed_args: the options that are typed so far, not converted.
    """
    # A completer that raises would only be silent later: there is nobody to tell.
    with suppress(WorkrsError, OSError, TimeoutError, ExceptionGroup):
        found = asyncio.run(_ask(kind, _caller(parsed_args)))
        return sorted(name for name in found if name.startswith(prefix))[:NAMES_MAX]
    return []


def _caller(typed: Namespace) -> Caller:
    """Return who asks, by what is typed, the variables and the file."""
    options = Options("completion", "names after Tab", examples=())
    add_node_options(options)
    words: list[str] = []
    for name in ("config", "credential", "user"):
        if (value := getattr(typed, name, None)) is not None:
            words += [f"--{name}", str(value)]
    for value in getattr(typed, "node", None) or ():
        words += ["--node", str(value)]
    words += ["--insecure"] if getattr(typed, "insecure", False) else []
    return caller(options.parse(words, home=Path.home()))


async def _ask(kind: str, who: Caller) -> set[str]:
    found: set[str] = set()
    with suppress(TimeoutError):
        async with asyncio.timeout(ASK_S):
            for node in who.nodes:
                with suppress(WorkrsError):
                    async with connected(replace(who, nodes=(node,))) as bus:
                        await _read(kind, bus, found)
                        break
    return found


async def _read(kind: str, bus: Bus, found: set[str]) -> None:
    """Put the names into *found* as they come, so that some are there when the time is up."""
    pattern = Subscription(pattern=f"{topics.ROOT}/node/+/{_KINDS[kind]}")
    echo = f"{topics.ROOT}/echo/{bus.client_id}"
    await bus.subscribe(pattern, Subscription(pattern=echo))
    bus.publish(Message(echo, b"end"))
    while True:
        for message in await bus.receive():
            if message.topic == echo:
                return
            parsed = topics.parse_node(message.topic)
            if parsed is None or not message.payload:
                continue
            if kind == "function" and _is_removed(message.payload):
                continue
            is_job = kind == "job"
            found.add("/".join(split_job_id(JobId(parsed.name))) if is_job else parsed.name)


def _is_removed(payload: bytes) -> bool:
    """Return whether a function is only shown so that it does not come back."""
    return codec.decode(FunctionRecord, payload).definition is None
