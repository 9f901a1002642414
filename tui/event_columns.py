"""The columns of the list of events: how long ago what happened to whom."""

from collections.abc import Sequence
from typing import Final

from tui import sign
from tui.cell import Cell, Piece, narrow
from tui.column import Column
from tui.model.age import duration
from tui.model.event import Event


def happened(event: Event) -> Cell:
    """Return sign and word of what happened."""
    mark, tone = sign.EVENTS[event.kind]
    return [Piece(f"{mark} ", tone), Piece(event.kind.value, tone)]


EVENTS: Final[Sequence[Column[Event]]] = (
    Column(
        key="age",
        title="ago",
        width=4,
        right=True,
        rank=9,
        cell=lambda event, look: [Piece(duration(max(0.0, look.now - event.at)), "dim")],
    ),
    Column(key="kind", title="event", width=18, rank=8, cell=lambda event, _: happened(event)),
    Column(
        key="subject",
        title="of",
        width=16,
        grows=1,
        rank=7,
        cell=lambda event, _: [Piece(event.subject)],
    ),
    Column(
        key="text",
        title="",
        width=10,
        grows=2,
        rank=6,
        cell=lambda event, _: [Piece(narrow(event.text), "dim")],
    ),
)
