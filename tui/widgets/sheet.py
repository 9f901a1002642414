"""Lines of pieces that are simply shown: headlines, banners, sections of a page, graphs."""

from collections.abc import Sequence

from rich.text import Text
from textual.widgets import Static

from tui.cell import Cell
from tui.widgets.tone import CLASSES, Toned


class Sheet(Static, Toned):
    """Shows lines of pieces, and draws only when they are other ones."""

    COMPONENT_CLASSES = {*CLASSES}  # noqa: RUF012 (Textual's own form)

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self.lines: list[Cell] = []

    def show(self, lines: Sequence[Cell]) -> None:
        """Show *lines*."""
        if list(lines) != self.lines:
            taller = len(lines) != len(self.lines)
            self.lines = list(lines)
            self.refresh(
                layout=taller and self.styles.height is not None and self.styles.auto_dimensions
            )

    def render(self) -> Text:
        """Return what is shown (called by Textual)."""
        return self.text(self.lines)


class Banner(Sheet):
    """A line that is there only while something is wrong."""

    def __init__(self) -> None:
        super().__init__(id="banner")

    def say(self, what: Cell) -> None:
        """Say *what* is wrong; nothing: all is well."""
        self.set_class(bool(what), "-shown")
        self.show([what])
