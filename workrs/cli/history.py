"""`workrs history`: what a node's ledger knows of the past, by SQL if it is asked so."""

import json
import math
from argparse import Namespace
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from broker.ledger_reader import LedgerReader, open_reader
from workrs.cli.error import OK
from workrs.cli.ledger_options import add_ledger_options, ledger_path
from workrs.cli.number import count
from workrs.cli.options import Options
from workrs.cli.table import json_text, print_table
from workrs.domain.errors import ConfigError

_EVENTS = """
SELECT * FROM (
    SELECT id, wall, event, job, facts FROM history
    WHERE (?1 IS NULL OR job = ?1) AND (?2 IS NULL OR event = ?2)
        AND (?3 IS NULL OR json_extract(facts, '$.agent') = ?3)
    ORDER BY id DESC LIMIT ?4
) ORDER BY id
"""
_STAMP = "wall"
"""Columns whose last word this is have unix times."""


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "history",
        "what a node's ledger knows of the past",
        examples=(
            "workrs history --job pump-7/sum",
            "workrs history --event taken_over --last 5",
            'workrs history --sql "SELECT agent, grants, losses FROM agents"',
            'workrs history --json --sql "SELECT * FROM takeovers" | jq .agent',
        ),
    )
    it.value("--sql", metavar="QUERY", help="one SELECT; docs/ledger.md lists views and columns")
    it.value("--job", metavar="JOB", help="only this job, as DEVICE/ID")
    it.value("--event", metavar="KEY", help="only this event, for example taken_over")
    it.value("--agent", metavar="NAME", help="only events of this agent")
    it.value("--last", convert=count, default=40, metavar="COUNT", help="at most so many events")
    it.flag("--json", help="print one JSON object a line")
    add_ledger_options(it)
    return it


def run(asked: Namespace) -> int:
    """Ask, print."""
    if asked.sql is not None and (asked.job or asked.event or asked.agent):
        raise ConfigError("--sql is a question of its own: put what is wanted into its WHERE")
    with open_reader(ledger_path(asked), within_s=asked.timeout) as ledger:
        if asked.sql is not None:
            columns, rows = ledger.rows(asked.sql)
        else:
            columns, rows = _events(ledger, asked)
        if asked.json:
            for row in rows:
                print(line(columns, row))
        elif asked.sql is not None:
            cells = [
                [cell(name, value) for name, value in zip(columns, r, strict=True)] for r in rows
            ]
            print_table(columns, cells, empty="no rows")
        else:
            print_table(
                ("time", "event", "job", "facts"), [_event(row) for row in rows], empty="no events"
            )
    return OK


def _events(ledger: LedgerReader, asked: Namespace) -> tuple[list[str], Any]:
    job = None if asked.job is None else asked.job.replace("/", "_", 1)
    return ledger.rows(_EVENTS, (job, asked.event, asked.agent, asked.last))


def _event(row: Sequence[Any]) -> list[str]:
    _, wall_s, event, job, facts = row
    told = json.loads(facts)
    text = " ".join(f"{name}={value}" for name, value in told.items() if value is not None)
    return [clock(wall_s), event, (job or "").replace("_", "/", 1), " ".join(text.split())]


def clock(wall_s: float) -> str:
    """Return a unix time in UTC, to the second; what no calendar has as a number."""
    try:
        return datetime.fromtimestamp(wall_s, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return f"{wall_s:.6g}"


def cell(column: str, value: object) -> str:
    """Return one value of an answer for the eye."""
    if value is None:
        return ""
    if isinstance(value, float):
        return clock(value) if column.rpartition("_")[2] == _STAMP else f"{value:.6g}"
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value)


def plain(value: object) -> object:
    """Return one value of an answer as JSON has it: bytes as text, and no infinite numbers."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def line(columns: Sequence[str], row: Sequence[object]) -> str:
    """Return a row as one line of JSON."""
    named = {name: plain(value) for name, value in zip(columns, row, strict=True)}
    return json_text(named)
