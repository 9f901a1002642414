"""What stands in a line: pieces of text with a tone, cut to a width.

Tones are names (`good`, `bad`, `dim`, …) that the screen gives colours by its theme. Whatever a
tone says, a word or a sign says too.
"""

import unicodedata
from collections.abc import Sequence
from typing import Final, NamedTuple

from tui.model.cluster import Model
from workrs.domain.ids import Instant

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
