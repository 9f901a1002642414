"""Pages about one thing: sections of lines, made from the model and nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tui import sign
from tui.cell import Cell, Piece, narrow, padded
from tui.model.age import duration
from tui.model.event import Event
from workrs.domain.ids import Instant

NAME_WIDTH = 12


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its lines."""

    title: str
    lines: Sequence[Cell]
    column: int = 0
    """0 or 1: left or right where there is room for both, else below each other."""

    def drawn(self) -> list[Cell]:
        """Return heading and lines, and an empty one after them."""
        return [[Piece(self.title.upper(), "heading")], *self.lines, []]


def fact(name: str, *pieces: Piece | str) -> Cell:
    """Return a line `name   value`."""
    value = [Piece(each) if isinstance(each, str) else each for each in pieces]
    return [Piece(f"{name:<{NAME_WIDTH}}", "dim"), *value]


def facts(pairs: Iterable[tuple[str, str]]) -> list[Cell]:
    """Return a line for each value that is known."""
    return [fact(name, narrow(value)) for name, value in pairs if value]


def timeline(events: Iterable[Event], now: Instant) -> list[Cell]:
    """Return events as lines, the newest first."""
    found: list[Cell] = []
    for event in reversed(list(events)):
        mark, tone = sign.EVENTS[event.kind]
        age = duration(max(0.0, now - event.at))
        found.append(
            [
                Piece(f"{age:>4} ", "dim"),
                Piece(f"{mark} ", tone),
                Piece(f"{event.kind.value:<11} ", tone),
                Piece(narrow(event.text)),
            ]
        )
    return found or [[Piece("nothing since this was opened", "dim")]]


def table(
    titles: Sequence[str], rows: Sequence[Sequence[Cell | str]], *, right: Sequence[str] = ()
) -> list[Cell]:
    """Return rows below their titles, each column as wide as its widest cell.

    Args:
        titles: of the columns.
        rows: a cell for each title.
        right: titles of the columns that end at the same place, as numbers do.
    """
    cells = [[[Piece(c)] if isinstance(c, str) else list(c) for c in row] for row in rows]
    widths = [
        max([len(title), *(sum(len(p.text) for p in row[place]) for row in cells)])
        for place, title in enumerate(titles)
    ]
    lines: list[Cell] = []
    for row in [[[Piece(title, "dim")] for title in titles], *cells]:
        line: list[Piece] = []
        for title, cell, width in zip(titles, row, widths, strict=True):
            line += [*padded(cell, width, right=title in right), Piece("  ")]
        lines.append(line)
    return lines
