"""`workrs export`: a node's ledger as CSV or JSON lines, for other programs.

1. Everything of one call is from one instant: a job that is decided meanwhile is open in all files.
2. No cell of a CSV file is a formula: spreadsheets run text that begins like one, and reasons are
   the words of programs. Such a text gets an apostrophe before it, as people write it there.

3. An empty text is `""` in CSV, and NULL is nothing, as PostgreSQL has it.

Written by hand: before Python 3.13 the csv module leaves a lone carriage return without quotes, and
its readers then see two rows.
"""

import re
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TextIO

from broker.ledger_reader import LedgerReader
from broker.ledger_view import NAMES
from workrs.cli.error import OK
from workrs.cli.history import line, plain
from workrs.cli.ledger_options import add_ledger_options, asked_ledger
from workrs.cli.options import Options
from workrs.domain.errors import ConfigError

_TABLES: Final = (*NAMES, "history")
_FORMATS: Final = ("csv", "jsonl")
_QUOTED: Final = re.compile(r'^$|^\s|\s$|[,"\r\n]')
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a text begins with that a spreadsheet may take for a formula."""


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "export",
        "write a node's history as CSV or JSON lines",
        examples=(
            "workrs export jobs > jobs.csv",
            "workrs export checkpoints --format jsonl | gzip > checkpoints.jsonl.gz",
            "workrs export --into /backup/today    # all of them, a file each",
        ),
    )
    it.argument(
        "table", nargs="?", choices=_TABLES, help=f"{', '.join(_TABLES)}: see docs/ledger.md"
    )
    it.value("--format", choices=_FORMATS, default="csv", metavar="FORMAT", help="csv or jsonl")
    it.value("--into", convert=Path, metavar="DIR", help="write files there, of all tables")
    add_ledger_options(it)
    return it


def run(asked: Namespace) -> int:
    """Write the table to the standard output, or all into a folder."""
    if (asked.table is None) == (asked.into is None):
        raise ConfigError("name one table, or a folder with --into for a file of each")
    with asked_ledger(asked) as ledger:
        if asked.into is None:
            _write(ledger, asked.table, asked.format, sys.stdout)
            return OK
        for table in _TABLES:
            with _file(asked.into / f"{table}.{asked.format}") as out:
                count = _write(ledger, table, asked.format, out)
            print(f"{asked.into / table}.{asked.format}  {count} rows", file=sys.stderr)
    return OK


@contextmanager
def _file(path: Path) -> Iterator[TextIO]:
    """Open a file that has its name only once it is whole."""
    draft = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8", newline="") as out:
            yield out
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _write(ledger: LedgerReader, table: str, form: str, out: TextIO) -> int:
    """Write one table; return its rows."""
    order = "id" if table == "history" else "1, 2, 3"
    columns, rows = ledger.rows(f"SELECT * FROM {table} ORDER BY {order}")  # noqa: S608 (a choice)
    count = 0
    if form == "csv":
        print(",".join(columns), file=out)
    for row in rows:
        count += 1
        if form == "csv":
            print(",".join(map(csv_cell, row)), file=out)
        else:
            print(line(columns, row), file=out)
    return count


def csv_cell(value: object) -> str:
    """Return one value as a cell of CSV that no spreadsheet runs; numbers stay what they are."""
    found = plain(value)
    if found is None:
        return ""
    if not isinstance(found, str):
        return str(found["b64"]) if isinstance(found, dict) else repr(found)
    text = f"'{found}" if found.startswith(_FORMULA) else found
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text
