"""Tables: fitted to the terminal, or plain aligned text where the output is a file or pipe."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from workrs.cli.harmless import harmless

_STYLES: Final[Mapping[str, str]] = {
    "running": "cyan",
    "live": "green",
    "ok": "green",
    "succeeded": "green",
    "yes": "green",
    "failed": "red",
    "gone": "red",
    "no": "red",
    "expired": "red",
    "cancelling": "yellow",
    "cancelled": "yellow",
    "draining": "yellow",
    "arriving": "dim",
}
"""Words that stand out, wherever they stand alone in a cell."""
_NEVER_CUT: Final = 12
"""Columns up to this width keep it, however narrow the terminal."""


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str, wrap: bool = False
) -> None:
    """Print *rows* under *columns*, or the sentence *empty* on standard error.

    On a terminal, columns without content are left out and long cells are cut, or wrapped.
    """
    rows = [[harmless(cell) for cell in row] for row in rows]
    if not rows:
        print(empty, file=sys.stderr)
    elif sys.stdout.isatty():
        _print_fitted(columns, rows, wrap=wrap)
    else:
        print(plain(columns, rows))


def plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the table as text; nothing is cut, columns are two spaces apart."""
    lines = [[column.upper() for column in columns], *(list(row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _print_fitted(columns: Sequence[str], rows: Sequence[Sequence[str]], *, wrap: bool) -> None:
    from rich.console import Console  # noqa: PLC0415 (60 ms that a pipe need not wait for)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    shown = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    for place in shown:
        width = max(len(columns[place]), *(len(row[place]) for row in rows))
        if width <= _NEVER_CUT:
            table.add_column(columns[place], no_wrap=True, min_width=width)
        elif wrap or place == 0:
            # The first column is what one types next, so it is folded and never cut.
            table.add_column(columns[place], overflow="fold", min_width=_NEVER_CUT)
        else:
            table.add_column(columns[place], overflow="ellipsis", no_wrap=True, min_width=8)
    for row in rows:
        table.add_row(*(Text(row[place], style=_STYLES.get(row[place], "")) for place in shown))
    Console().print(table)


def print_json(value: object) -> None:
    """Print plain JSON values, indented for a terminal."""
    print(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False))


def percent(progress: float | None) -> str:
    """Return 0 to 1 as per cent; nothing when it is unknown."""
    return "" if progress is None else f"{progress * 100:.0f} %"


def size(count_bytes: int) -> str:
    """Return a size for humans, in powers of 1024."""
    amount = float(count_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
