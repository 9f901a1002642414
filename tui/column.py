"""Columns of lists: what stands in one, how wide it is, what it is sorted by, which fit a width."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from tui.cell import Cell, Look, Piece, narrow

R = TypeVar("R")
GAP: Final = 1
"""Blanks between columns."""


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


def words(
    key: str,
    text: Callable[[R], str],
    *,
    width: int,
    rank: int,
    title: str | None = None,
    tone: str = "",
    grows: int = 0,
    by: Callable[[R], Any] | None = None,
) -> Column[R]:
    """Return a column of plain text, sorted by it or by what *by* gives."""
    return Column(
        key=key,
        title=key if title is None else title,
        width=width,
        rank=rank,
        grows=grows,
        cell=lambda row, _: [Piece(narrow(text(row)), tone)],
        sort=lambda row, _: (by or text)(row),
    )


def number(
    key: str,
    value: Callable[[R], float | None],
    *,
    width: int,
    rank: int,
    form: Callable[[float], str] = str,
    title: str | None = None,
    tone: str = "",
) -> Column[R]:
    """Return a column of numbers, the highest first when sorted; nothing where there is none."""

    def cell(row: R, _: Look) -> Cell:
        found = value(row)
        return [] if found is None else [Piece(form(found), tone)]

    return Column(
        key=key,
        title=key if title is None else title,
        width=width,
        rank=rank,
        right=True,
        cell=cell,
        sort=lambda row, _: -(value(row) or 0.0),
    )


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
