"""`workrs history`: what a node's ledger knows of the past, by SQL if it is asked so."""

import base64
import json
import math
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from broker.ledger_reader import LedgerReader
from workrs.cli.error import OK
from workrs.cli.ledger_options import add_ledger_options, asked_ledger
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
ROWS_MAX: Final = 100_000
"""Of a table, which is laid out as a whole: about 100 MB of memory. Lines of JSON have no limit."""
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
    with asked_ledger(asked) as ledger:
        if asked.sql is not None:
            columns, rows = ledger.rows(asked.sql)
        else:
            columns, rows = _events(ledger, asked)
        if asked.json:
            for row in rows:
                print(line(columns, row))
        elif asked.sql is not None:
            cells = [
                [cell(name, value) for name, value in zip(columns, r, strict=True)]
                for r in _bounded(rows)
            ]
            print_table(columns, cells, empty="no rows")
        else:
            print_table(
                ("time", "event", "job", "facts"),
                [_event(row) for row in _bounded(rows)],
                empty="no events",
            )
    return OK


def _events(ledger: LedgerReader, asked: Namespace) -> tuple[list[str], Any]:
    job = None if asked.job is None else asked.job.replace("/", "_", 1)
    return ledger.rows(_EVENTS, (job, asked.event, asked.agent, asked.last))


def _bounded(rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """Yield *rows* as long as a table can have them. Nobody is to take a part for the whole."""
    for number, row in enumerate(rows):
        if number == ROWS_MAX:
            raise ConfigError(
                f"more than {ROWS_MAX:,} rows, which is too much for a table: ask for less (LIMIT, "
                "--last), or take --json, which prints a row as it comes"
            )
        yield row


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
        text = _text(value)
        return (
            f"{len(value)} bytes, base64 {base64.b64encode(value).decode()}"
            if text is None
            else text
        )
    return str(value)


def plain(value: object) -> object:
    """Return one value of an answer as JSON has it.

    There are no infinite numbers in JSON, and no bytes: what is not UTF-8 is `{"b64": …}`, as in
    a job's files.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if not isinstance(value, bytes):
        return value
    text = _text(value)
    return {"b64": base64.b64encode(value).decode()} if text is None else text


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def line(columns: Sequence[str], row: Sequence[object]) -> str:
    """Return a row as one line of JSON."""
    named = {name: plain(value) for name, value in zip(columns, row, strict=True)}
    return json_text(named)
