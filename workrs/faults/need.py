"""What a machine must have for a row."""

import os
from functools import cache

from workrs.engine.own import missing
from workrs.engine.probe import SETUP, probe_machine
from workrs.faults import netns
from workrs.faults.row import CRIU, ENGINE, NET, Row


def lacking(row: Row) -> str:
    """Return why this machine cannot play a row, or an empty string."""
    if os.geteuid() != 0:
        return "it needs root"
    if row.needs & {ENGINE, CRIU} and (why := missing()):
        return why
    if CRIU in row.needs and (why := _lacking_criu()):
        return why
    return _lacking_network() if NET in row.needs else ""


@cache
def _lacking_criu() -> str:
    criu = probe_machine().criu
    if not criu.path:
        return f"not installed: criu; type: {SETUP}"
    return f"criu check: {criu.problem}" if criu.problem else ""


@cache
def _lacking_network() -> str:
    return netns.lacking()
