"""Which ledger a subcommand reads, and for how long: the node's folder, found or named."""

import os
import signal
import threading
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from broker.ledger_reader import LedgerReader, open_reader
from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.cli.state_folder import state_home
from workrs.domain.errors import ConfigError, TimedOutError

_LATER_S: Final = 0.5
"""Between the end of the time for questions and that of whoever reads the answers."""


def add_ledger_options(options: Options) -> None:
    """Add where the ledger is and how long may be read from it."""
    options.value(
        "--state",
        convert=Path,
        metavar="DIR",
        help="the node's files; default the only node's below /var/lib/workrs for root, else "
        "below ~/.local/state/workrs",
    )
    options.value(
        "--timeout",
        convert=seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long it may be read: meanwhile the log of a running node grows",
    )


def ledger_path(asked: Namespace) -> Path:
    """Return the ledger that was meant.

    Raises:
        ConfigError: there is none, or several.
    """
    given: Path | None = asked.state
    if given is not None:
        return given / "ledger.db"
    home = state_home()
    found = sorted({*home.glob("*/ledger.db"), *home.glob("up/*/ledger.db")})
    if len(found) == 1:
        return found[0]
    if not found:
        raise ConfigError(f"no node has its files below {home}: name its folder with --state")
    folders = ", ".join(os.fspath(path.parent) for path in found)
    raise ConfigError(f"several nodes have files here: choose one with --state ({folders})")


@contextmanager
def asked_ledger(asked: Namespace) -> Iterator[LedgerReader]:
    """Open the ledger that was meant, for as long as it may be read.

    Raises:
        ConfigError: there is none, or several.
        LedgerError: it cannot be read.
        TimedOutError: the time is up, also while nobody takes the answers: behind `| less` that
            would be for hours.
    """
    with (
        _alarm(asked.timeout + _LATER_S),
        open_reader(ledger_path(asked), within_s=asked.timeout) as ledger,
    ):
        yield ledger


@contextmanager
def _alarm(after_s: float) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not ours there; questions end by themselves all the same
        return
    before = signal.signal(signal.SIGALRM, _late)
    rest = signal.setitimer(signal.ITIMER_REAL, after_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *rest)
        signal.signal(signal.SIGALRM, before)


def _late(*_: object) -> None:
    raise TimedOutError(
        "the time for reading the ledger is up (--timeout), and not all that was asked for was "
        "taken: write it to a file first"
    )
