"""Which ledger a subcommand reads: the node's folder, found or named."""

import os
from argparse import Namespace
from pathlib import Path

from workrs.cli.node import state_home
from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.domain.errors import ConfigError


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
