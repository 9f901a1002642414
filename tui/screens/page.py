"""A screen about one job, agent or node: two columns of sections where there is room, else one."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.screen import Screen

from tui import headline
from tui.cell import Cell, Look, Piece
from tui.page import Section
from tui.widgets.keys import Keys
from tui.widgets.sheet import Banner, Sheet

Sections = Callable[[Look], list[Section]]


class PageScreen(Screen[None]):
    """Shows sections, drawn anew as the model changes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,backspace", "app.back", "back", id="page.back"),
    ]
    kind: ClassVar[str] = ""
    """What it is about: job, agent or node."""

    def __init__(self, name: str, sections: Sections, look: Look) -> None:
        super().__init__()
        self.subject = name
        self._sections = sections
        self._look = look

    def compose(self) -> ComposeResult:
        """Lay the columns out."""
        yield Sheet(id="tabs")
        yield Banner()
        with VerticalScroll(id="page"), Container(id="page-columns"):
            yield Sheet(id="page-first", classes="column")
            yield Sheet(id="page-second", classes="column")
        yield Sheet(id="caption")
        yield Keys()

    def on_mount(self) -> None:
        """Let the arrow keys scroll."""
        self.query_one("#page").focus()
        self.show(self._look)

    def show(self, look: Look) -> None:
        """Draw what the model says now."""
        self._look = look
        if len(self.query(Sheet)) < 4:
            return  # not laid out yet, or on the way out
        title: Cell = [Piece(f" {self.kind} ", "accent"), Piece(self.subject, "strong")]
        self.query_one("#tabs", Sheet).show([title])
        self.query_one(Banner).say(headline.banner(look))
        found = self._sections(look)
        for column, name in enumerate(("#page-first", "#page-second")):
            self.query_one(name, Sheet).show(_lines(found, column))


class JobScreen(PageScreen):
    """One job."""

    kind = "job"


class AgentScreen(PageScreen):
    """One agent."""

    kind = "agent"


class NodeScreen(PageScreen):
    """One node."""

    kind = "node"


def _lines(sections: Sequence[Section], column: int) -> list[Cell]:
    return [line for section in sections if section.column == column for line in section.drawn()]
