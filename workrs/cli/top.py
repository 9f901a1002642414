"""`workrs top`: the cluster on one screen, anew every second; once where there is no terminal."""

import asyncio
import os
import shutil
import sys
import termios
import tty
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from tui.model.cluster import Model
from workrs.cli import top_view
from workrs.cli.connection import add_node_options, caller
from workrs.cli.error import OK
from workrs.cli.model_feed import fed_model, settle
from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.cli.table import colours, output_width, print_json
from workrs.domain.errors import ConfigError, TimedOutError
from workrs.domain.ids import Instant

_LOOK_S = 0.1
_COMPLETE_S = 15.0
_RATES_S = 3.5
"""A rate needs two of a node's states, which it says every second."""
_WIDTH = 120
"""Of a screen that nobody sees, but may read later."""


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "top",
        "the cluster on one screen, live; q ends it",
        examples=("workrs top", "workrs top --once | head -3", "workrs top --json | jq .jobs"),
    )
    it.flag("--once", help="print it once, as where the output is no terminal")
    it.value(
        "--interval",
        convert=seconds,
        default=1.0,
        metavar="SECONDS",
        help="between two pictures",
    )
    it.flag("--json", help="print it once, as JSON")
    add_node_options(it)
    return it


def run(asked: Namespace) -> int:
    """Look, draw."""
    if asked.interval < _LOOK_S:
        raise ConfigError(f"--interval is {asked.interval:g}: write {_LOOK_S:g} or more")
    live = sys.stdin.isatty() and sys.stdout.isatty() and not (asked.once or asked.json)
    return asyncio.run(_draw(asked) if live else _print_once(asked))


async def _print_once(asked: Namespace) -> int:
    clock = asyncio.get_running_loop().time
    async with fed_model(caller(asked)) as model:
        await _completed(model)
        until = clock() + _RATES_S
        while clock() < until and not _has_rates(model):
            await asyncio.sleep(_LOOK_S)
            await settle(model)
        now = Instant(clock())
        if asked.json:
            print_json(top_view.as_json(model, now))
        else:
            width = output_width() or _WIDTH
            shown = top_view.lines(model, now, width=width, height=None, is_coloured=colours())
            print("\n".join(shown))
    return OK


async def _completed(model: Model) -> None:
    """Wait for all that the node retains.

    Raises:
        TimedOutError: it does not come.
    """
    try:
        async with asyncio.timeout(_COMPLETE_S):
            while not model.is_complete:  # noqa: ASYNC110 (the feed sets it, in a fold)
                await asyncio.sleep(_LOOK_S)
            await settle(model)
    except TimeoutError:
        why = f": {model.trouble}" if model.trouble else ""
        raise TimedOutError(f"the nodes did not show all they have in time{why}") from None


def _has_rates(model: Model) -> bool:
    live = [node for node in model.nodes.values() if node.state is None or node.state.live]
    return bool(live) and all(node.rate is not None for node in live)


async def _draw(asked: Namespace) -> int:
    from rich.console import Console  # noqa: PLC0415 (60 ms that a pipe need not wait for)
    from rich.text import Text  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    console = Console()
    async with fed_model(caller(asked)) as model:
        await _completed(model)
        with _key_pressed(loop, ended), console.screen() as screen:
            while not ended.is_set():
                await settle(model)
                size = shutil.get_terminal_size()
                shown = top_view.lines(
                    model,
                    Instant(loop.time()),
                    width=size.columns,
                    height=size.lines,
                    is_coloured=colours(),
                )
                screen.update(Text.from_ansi("\n".join(shown), no_wrap=True))
                await _paused(model, ended, asked.interval)
    return OK


async def _paused(model: Model, ended: asyncio.Event, interval_s: float) -> None:
    """Wait for the next picture, while what comes is taken in."""
    try:
        async with asyncio.timeout(interval_s):
            while not ended.is_set():
                try:
                    async with asyncio.timeout(_LOOK_S):
                        await ended.wait()
                except TimeoutError:
                    await settle(model)
    except TimeoutError:
        return


@contextmanager
def _key_pressed(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> Iterator[None]:
    """Set *ended* when q is pressed; other keys leave no trace on the screen."""
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    tty.setcbreak(handle)

    def read() -> None:
        # No byte at all: the terminal is gone.
        if set(os.read(handle, 64) or b"q") & set(b"qQ"):
            ended.set()

    loop.add_reader(handle, read)
    try:
        yield
    finally:
        loop.remove_reader(handle)
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
