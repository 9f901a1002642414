"""What stands in a line of a list: pieces of text with a tone, and columns that fit a width.

Tones are names (`good`, `bad`, `dim`, …) that the screen gives colours by its theme. Whatever a
tone says, a word or a sign says too.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, NamedTuple, TypeVar

from tui.model.cluster import Model
from workrs.domain.ids import Instant

R = TypeVar("R")
GAP: Final = 1
"""Blanks between columns."""
ELLIPSIS: Final = "\N{HORIZONTAL ELLIPSIS}"


class Piece(NamedTuple):
    """Text of one tone."""

    text: str
    tone: str = ""


Cell = Sequence[Piece]


class Look(NamedTuple):
    """The model at an instant."""

    model: Model
    now: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Column(Generic[R]):
    """One column of a list of R."""

    key: str
    """Its name for sorting."""
    title: str
    width: int
    """In cells; the least of one that grows."""
    cell: Callable[[R, Look], Cell]
    sort: Callable[[R, Look], Any] | None = None
    """What lines are sorted by; None: they are not sorted by this."""
    rank: int = 0
    """Columns of a low rank leave first when there is no room."""
    grows: int = 0
    """Its share of what room is left."""
    right: bool = False


def fit(columns: Sequence[Column[R]], width: int) -> list[tuple[Column[R], int]]:
    """Return the columns that fit into *width* cells, each with its own width."""
    kept = list(columns)
    while len(kept) > 1 and _least(kept) > width:
        kept.remove(min(reversed(kept), key=lambda column: column.rank))
    room = max(0, width - _least(kept))
    shares = sum(column.grows for column in kept)
    found = []
    for column in kept:
        extra = room * column.grows // shares if column.grows else 0
        shares -= column.grows
        room -= extra
        found.append((column, column.width + extra))
    return found


def _least(columns: Sequence[Column[R]]) -> int:
    return sum(column.width for column in columns) + GAP * (len(columns) - 1)


def padded(cell: Cell, width: int, *, right: bool = False) -> list[Piece]:
    """Return *cell* cut or filled to exactly *width* cells. All our signs are one cell wide."""
    used = sum(len(piece.text) for piece in cell)
    if used <= width:
        blank = [Piece(" " * (width - used))] if used < width else []
        return [*blank, *cell] if right else [*cell, *blank]
    found: list[Piece] = []
    left = width - 1
    for text, tone in cell:
        if len(text) > left:
            return [*found, Piece(text[:left] + ELLIPSIS, tone)] if width else []
        found.append(Piece(text, tone))
        left -= len(text)
    return found


def narrow(text: str) -> str:
    """Return *text* of unknown origin with only characters that take one cell."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _takes_one_cell(c) else "\N{MIDDLE DOT}" for c in text)


def _takes_one_cell(c: str) -> bool:
    is_wide = unicodedata.east_asian_width(c) in ("W", "F")
    return c.isprintable() and not is_wide and unicodedata.category(c) not in ("Mn", "Me")
