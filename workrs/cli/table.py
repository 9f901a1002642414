"""Tables: fitted to the terminal, or plain aligned text where the output is a file or pipe.

1. A line of a table is one line of output, whatever stands in a cell, unless it is to be wrapped.
2. Nothing is cut where the output is a file or pipe and nobody set COLUMNS.
3. A table that is fitted loses, in this order: empty columns, the ends of its longest cells, whole
   columns from the right. The first column is what one types next: it is cut last.
"""

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Final

from workrs.cli.harmless import harmless

_COLOURS: Final = {"dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
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
    "silent": "red",
    "minority": "red",
    "cancelling": "yellow",
    "cancelled": "yellow",
    "draining": "yellow",
    "arriving": "dim",
}
"""Words that stand out, wherever they stand alone in a cell."""
_GAP: Final = 2
_NEVER_CUT: Final = 12
"""Columns up to this width keep it, however narrow the terminal."""
_CUT_TO: Final = 8
"""The least that is left of a longer one."""
_FIRST: Final = 48
"""The same of the first column: a device and a UUID."""
_ESCAPED: Final = {code: f"\\u{code:04x}" for code in (*range(127, 160), 0x2028, 0x2029)}
_BREAKS: Final = str.maketrans("\n\t", "  ")


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str, wrap: bool = False
) -> None:
    """Print *rows* under *columns*, or the sentence *empty* on standard error.

    With *wrap* long cells go on in further lines, where they would be cut: advice is read whole.
    """
    columns, *rows = ([harmless(cell).translate(_BREAKS) for cell in r] for r in (columns, *rows))
    width = output_width()
    if not rows:
        print(empty, file=sys.stderr)
    elif width is None:
        print(plain(columns, rows))
    else:
        print(fitted(columns, rows, width, is_coloured=colours(), wrap=wrap))


def output_width() -> int | None:
    """Return how many characters a line may have; None where there is no limit."""
    if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit():
        return max(1, shutil.get_terminal_size().columns)
    return None


def colours() -> bool:
    """Return whether the output may be coloured."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and sys.stdout.isatty()


def plain(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the table as text; nothing is cut, columns are two spaces apart."""
    lines = [[column.upper() for column in columns], *(list(row) for row in rows)]
    return "\n".join(_aligned(lines, _natural(lines), is_coloured=False))


def fitted(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    is_coloured: bool = False,
    wrap: bool = False,
) -> str:
    """Return the table as text of at most *width* characters a line."""
    shown = [place for place in range(len(columns)) if any(row[place] for row in rows)] or [0]
    lines = [[columns[place].upper() for place in shown]]
    lines += [[row[place] for place in shown] for row in rows]
    widths = layout(_natural(lines), width)
    if wrap:
        lines = [part for line in lines for part in _wrapped(line, widths)]
    return "\n".join(_aligned(lines, widths, is_coloured=is_coloured))


def _wrapped(line: Sequence[str], widths: Sequence[int]) -> Iterator[list[str]]:
    folded = [wrapped(cell, width) for cell, width in zip(line, widths, strict=False)]
    yield from map(list, zip_longest(*folded, fillvalue=""))


def _natural(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(cells(line[place]) for line in lines) for place in range(len(lines[0]))]


def layout(natural: Sequence[int], width: int) -> list[int]:
    """Return how wide each column becomes in a line of *width*; columns at the end may be missing.

    Args:
        natural: what each would take, one at least.
        width: of the whole line, 1 or more.
    """
    for count in range(len(natural), 1, -1):
        room = width - _GAP * (count - 1)
        least = [n if n <= _NEVER_CUT else _CUT_TO for n in natural[:count]]
        least[0] = min(natural[0], max(_FIRST, width // 2))
        if natural[0] > width:
            # It is cut anyway; what stands beside it says more than its last characters.
            least[0] = min(least[0], width * 2 // 3)
        if sum(least) <= room:
            return _shared(natural[:count], least, room)
    return [min(natural[0], width)]


def _shared(natural: Sequence[int], least: Sequence[int], room: int) -> list[int]:
    """Give what is left of *room* to who needs the least first: the longest cells are cut."""
    widths = list(least)
    left = room - sum(least)
    needy = sorted(range(len(widths)), key=lambda place: natural[place] - least[place])
    for done, place in enumerate(needy):
        given = min(natural[place] - least[place], left // (len(needy) - done))
        widths[place] += given
        left -= given
    return widths


def _aligned(
    lines: Sequence[Sequence[str]], widths: Sequence[int], *, is_coloured: bool
) -> list[str]:
    found = []
    for number, line in enumerate(lines):
        parts = []
        for cell, width in zip(line, widths, strict=False):
            text = cut(cell, width)
            style = "bold" if number == 0 else _STYLES.get(cell, "")
            shown = _painted(text, style) if is_coloured else text
            parts.append(shown + " " * (width - cells(text)))
        found.append((" " * _GAP).join(parts).rstrip())
    return found


def _painted(text: str, style: str) -> str:
    code = 1 if style == "bold" else _COLOURS.get(style)
    return text if code is None or not text else f"\x1b[{code}m{text}\x1b[0m"


def cells(text: str) -> int:
    """Return how many columns of a terminal *text* takes: wide characters take two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 (most tables need no table of characters)

    return cell_len(text)


def wrapped(text: str, width: int) -> list[str]:
    """Return *text* in lines of at most *width* columns, ended between words where that can be."""
    if text.isascii():
        return textwrap.wrap(text, width)
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines[-1] else word
        if cells(joined) <= width:
            lines[-1] = joined
            continue
        # Languages without spaces have words of any length.
        rest = word
        while cells(rest) > width:
            part = _fitting(rest, width)
            lines.append(part)
            rest = rest[len(part) :]
        lines.append(rest)
    return [line for line in lines if line]


def _fitting(text: str, width: int) -> str:
    """Return the beginning of *text* that has room; one character at least."""
    kept = text[: max(1, width)]
    while len(kept) > 1 and cells(kept) > width:
        kept = kept[:-1]
    return kept


def cut(text: str, width: int) -> str:
    """Return *text* in at most *width* columns, with an ellipsis where something is missing."""
    if cells(text) <= width:
        return text
    kept = text[: max(0, width - 1)]
    while kept and cells(kept) > width - 1:
        kept = kept[:-1]
    return f"{kept.rstrip()}…"


def print_json(value: object) -> None:
    """Print plain JSON values, indented for a terminal."""
    print(json_text(value, indent=2 if sys.stdout.isatty() else None))


def print_json_line(value: object) -> None:
    """Print plain JSON values as one line, at once: for what is followed."""
    print(json_text(value), flush=True)


def json_text(value: object, *, indent: int | None = None) -> str:
    """Return plain JSON values as text that the output can say as it is.

    Control characters and ends of lines above ASCII are escaped, which JSON leaves as they are:
    a terminal obeys them, too. Where the output is not UTF-8 all others are as well, since what
    Python would put in their place is no JSON.
    """
    is_utf_8 = (sys.stdout.encoding or "utf-8").lower().replace("-", "") == "utf8"
    return json.dumps(value, indent=indent, ensure_ascii=not is_utf_8).translate(_ESCAPED)


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
