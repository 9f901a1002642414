"""Lines of pieces that are simply shown: headlines, banners, sections of a page, graphs."""

from collections.abc import Callable, Sequence

from textual.geometry import Region, Size
from textual.strip import Strip

from tui.cell import Cell, padded
from tui.widgets.tone import CLASSES, Toned


class Sheet(Toned):
    """Shows lines of pieces, and draws only those that are other ones."""

    COMPONENT_CLASSES = {*CLASSES}  # noqa: RUF012 (Textual's own form)

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self.lines: list[Cell] = []

    def show(self, lines: Sequence[Cell]) -> None:
        """Show *lines*."""
        before, self.lines = self.lines, list(lines)
        if len(before) != len(self.lines):
            self.forget_lines()
            self.refresh(layout=self.styles.auto_dimensions)
            return
        for y, (old, new) in enumerate(zip(before, self.lines, strict=True)):
            if old != new:
                self.forget_line(y)

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """Return how wide the widest line is (called by Textual)."""
        del container, viewport
        return max((sum(len(piece.text) for piece in line) for line in self.lines), default=0)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Return how many lines there are (called by Textual)."""
        del container, viewport, width
        return len(self.lines)

    def on_resize(self) -> None:
        """Cut the lines to the new width."""
        self.forget_lines()

    def render_line(self, y: int) -> Strip:
        """Draw one line (called by Textual); one that is too long ends in an ellipsis."""
        base, width = self.rich_style, self.size.width
        if y >= len(self.lines):
            return Strip.blank(width, base)
        cells = padded(self.lines[y], width)
        return Strip(self.segments(cells, base)).crop_extend(0, width, base)


class Drawing(Sheet):
    """Lines that are made for the room there is; when that is another one, as they are painted."""

    _draw: Callable[[int, int], list[Cell]] | None = None
    _drawn_for: Size | None = None

    def draw(self, draw: Callable[[int, int], list[Cell]]) -> None:
        """Show what *draw* gives for a width and a height."""
        self._draw, self._drawn_for = draw, self.size
        self.show(draw(*self.size))

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw the lines of *crop* (called by Textual)."""
        if self._draw is not None and self._drawn_for != self.size:
            self.lines, self._drawn_for = self._draw(*self.size), self.size
            self.forget_lines()
        return super().render_lines(crop)


class Banner(Sheet):
    """A line that is there only while something is wrong."""

    def __init__(self) -> None:
        super().__init__(id="banner")

    def say(self, what: Cell) -> None:
        """Say *what* is wrong; nothing: all is well."""
        self.set_class(bool(what), "-shown")
        self.show([what])
