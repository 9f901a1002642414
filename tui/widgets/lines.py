"""A list of any length that costs what is visible: it draws the lines in view, one by one.

1. The cursor stays on its row, not on its place, when the order changes.
2. A line is drawn again only if something in it changed.
3. What is long is sorted anew less often, so that it stands still and costs little, and in pieces,
   so that keys are answered meanwhile; a new order or filter takes effect at once.
4. Nothing is drawn while it is out of view; the first painting after that has all of it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Generic, TypeVar

from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.cell import Look, Piece, padded
from tui.column import GAP, Column, fit
from tui.listing import PIECE, Fields, Order, arrange, arranging
from tui.model import amount
from tui.widgets.tone import CLASSES, Toned
from workrs.domain.ids import Instant

R = TypeVar("R")
MARK = "\N{LEFT HALF BLOCK}"
_CALM_S = 3e-4
"""Between two arrangements, for each row: 10,000 are sorted every 3 s, 100 every time."""
_NO_MATCH = "nothing has all of these words: escape shows everything"
_EDGE = 1
"""Cells left of the columns, where the cursor's mark is, and as many right of them."""


class Lines(ScrollView, Toned, Generic[R], can_focus=True):
    """A list of R with a header, a cursor, an order and a filter."""

    COMPONENT_CLASSES = {*CLASSES, "lines--header", "lines--cursor"}  # noqa: RUF012
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False, id="list.up"),
        Binding("down,j", "move(1)", "down", show=False, id="list.down"),
        Binding("pageup", "page(-1)", "page up", show=False, id="list.page-up"),
        Binding("pagedown", "page(1)", "page down", show=False, id="list.page-down"),
        Binding("home,g", "edge(-1)", "first", show=False, id="list.first"),
        Binding("end,G", "edge(1)", "last", show=False, id="list.last"),
        Binding("enter", "choose", "open", id="list.open"),
    ]

    class Chosen(Message):
        """A row was opened by Enter or a double click."""

        def __init__(self, lines: "Lines[R]", key: str) -> None:
            super().__init__()
            self.lines = lines
            self.key = key

    def __init__(
        self,
        columns: Sequence[Column[R]],
        *,
        key: Callable[[R], str],
        fields: Fields[R],
        order: Order,
        empty: str,
        id: str,  # noqa: A002 (Textual's name)
    ) -> None:
        super().__init__(id=id)
        self.columns = columns
        self.order = order
        self.cursor: str | None = None
        """Key of the row the cursor is on; None until it was moved: the first."""
        self.rows: list[R] = []
        self._key = key
        self._fields = fields
        self._empty = empty
        self._fitted: list[tuple[Column[R], int]] = []
        self._fitted_width = 0
        self._drawn: dict[int, list[Piece]] = {}
        self._look: Look | None = None
        self._place = 0
        self._arranged: Order | None = None
        self._arranged_at = Instant(0)
        self._seen = 0
        """Rows that were looked through when it was arranged last."""

    def show(self, rows: Sequence[R], look: Look) -> None:
        """Arrange *rows* and draw what is new."""
        self._look = look
        # A list that is dear to arrange and merely due is so in pieces, before the next picture.
        is_dear = len(rows) > PIECE and self._is_sorted
        if self._arranged != self.order or (not is_dear and self._is_due(look)):
            found = arrange(rows, self.columns, self.order, self._fields, look)
            self._take(found, len(rows), look)
        self.redraw()

    @property
    def is_arranged(self) -> bool:
        """Return whether it ever was."""
        return self._arranged is not None

    def arranging(self, rows: Sequence[R], look: Look) -> Iterator[None]:
        """Arrange *rows* in pieces, if it is time; to be drawn by `show`."""
        order = self.order
        if self._arranged not in (None, order) or not self._is_due(look):
            return
        found = yield from arranging(rows, self.columns, order, self._fields, look)
        if self.order == order:
            self._take(found, len(rows), look)

    @property
    def _is_sorted(self) -> bool:
        """Return whether it is anything but the rows as they come."""
        return bool(self.order.sort or self.order.query)

    def _is_due(self, look: Look) -> bool:
        wait_s = self._seen * _CALM_S if self._is_sorted else 0.0
        return look.now >= self._arranged_at + wait_s

    def _take(self, rows: list[R], seen: int, look: Look) -> None:
        self._arranged, self._arranged_at, self._seen = self.order, look.now, seen
        self.rows = rows
        self._place = self._find(self.cursor)
        # Its width says nothing: what does not fit is left out.
        size = Size(0, max(1, len(self.rows)) + 1)
        if size != self.virtual_size:
            self.virtual_size = size
            self.refresh()

    def _find(self, cursor: str | None) -> int:
        """Return the place of the row the cursor is on; of one that is gone, where it was."""
        if cursor is None or not self.rows:
            return 0
        place = min(self._place, len(self.rows) - 1)
        if self._key(self.rows[place]) == cursor:
            return place
        return next((at for at, row in enumerate(self.rows) if self._key(row) == cursor), place)

    def redraw(self) -> None:
        """Draw again what changed in the lines in view."""
        if not self._is_in_view:
            self._forget()
        elif self._look is not None:
            self._draw(self._look)

    @property
    def _is_in_view(self) -> bool:
        """Return whether it is laid out, and not about to leave."""
        return bool(self.size.height) and all(each.display for each in self.ancestors_with_self)

    def _draw(self, look: Look) -> None:
        self._fit()
        top = self.scroll_offset.y
        drawn = {}
        for line in range(self.size.height):
            pieces = self._pieces(line, top, look)
            drawn[line] = pieces
            if self._drawn.get(line) != pieces:
                self.forget_line(line)
        self._drawn = drawn

    def _fit(self) -> None:
        """Fit the columns to the width there is."""
        width = max(1, self.scrollable_content_region.width - 2 * _EDGE)
        if width != self._fitted_width:
            self._fitted_width, self._fitted = width, fit(self.columns, width)
            self._forget()

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw the lines of *crop* (called by Textual), which may have come into view just now."""
        self._fit()
        return super().render_lines(crop)

    def _forget(self) -> None:
        """Have every line painted anew."""
        self._drawn = {}
        self.forget_lines()

    def notify_style_update(self) -> None:
        """Paint anew: the theme is another one (called by Textual)."""
        self._forget()
        super().notify_style_update()
        self.redraw()

    @property
    def in_view(self) -> list[R]:
        """Return the rows that are drawn."""
        top = int(self.scroll_offset.y)
        return self.rows[top : top + self.size.height]

    @property
    def chosen(self) -> R | None:
        """Return the row under the cursor."""
        return self.rows[self._place] if self._place < len(self.rows) else None

    def _pieces(self, line: int, top: int, look: Look) -> list[Piece]:
        if line == 0:
            return self._header()
        place = top + line - 1
        if place >= len(self.rows):
            empty = _NO_MATCH if self.order.query else self._empty
            return [Piece(f" {empty}", "dim")] if place == 0 else []
        row = self.rows[place]
        is_cursor = place == self._place
        found = [Piece(MARK if is_cursor and self.has_focus else " ", "accent")]
        for column, width in self._fitted:
            if len(found) > 1:
                found.append(Piece(" " * GAP))
            found += padded(column.cell(row, look), width, right=column.right)
        return found

    def _header(self) -> list[Piece]:
        tone = "title" if self.has_focus else "dim"
        found = [Piece(MARK if self.has_focus else " ", "accent")]
        for place, (column, width) in enumerate(self._fitted):
            title = column.title.upper()
            if column.key == self.order.sort:
                title = f"{title}{'▴' if self.order.reverse else '▾'}"[-width:]
            if place:
                found.append(Piece(" " * GAP))
            found += padded([Piece(title, tone)], width, right=column.right)
        if not self.order.query:
            return found
        # Over the last headings: that a list is not all there is must not be out of view.
        text = f" /{self.order.query.text}  {amount.count(len(self.rows))} "
        return [*padded(found, max(0, self.size.width - len(text))), Piece(text, "title")]

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        base, width = self.rich_style, self.size.width
        pieces = self._drawn.get(y)
        if pieces is None:
            look, top = self._look, self.scroll_offset.y
            pieces = self._pieces(y, top, look) if look is not None else []
            self._drawn[y] = pieces
        if not pieces:
            return Strip.blank(width, base)
        if y == 0:
            base += self.get_component_rich_style("lines--header", partial=True)
        elif pieces[0].text == MARK:
            base += self.get_component_rich_style("lines--cursor", partial=True)
        return Strip(self.segments(pieces, base)).crop_extend(0, width, base)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Draw the lines that came into view."""
        super().watch_scroll_y(old_value, new_value)
        self._forget()
        self.redraw()

    def on_resize(self) -> None:
        """Use the room there is."""
        self.redraw()

    def on_focus(self) -> None:
        """Show the cursor."""
        self.redraw()

    def on_blur(self) -> None:
        """Hide the cursor."""
        self.redraw()

    def go(self, place: int) -> None:
        """Put the cursor on the row at *place*, or the nearest there is."""
        if not self.rows:
            return
        self._place = max(0, min(place, len(self.rows) - 1))
        self.cursor = self._key(self.rows[self._place])
        room = self.size.height - 1
        top = self.scroll_offset.y
        if self._place < top:
            self.scroll_to(y=self._place, animate=False, immediate=True)
        elif self._place >= top + room:
            self.scroll_to(y=self._place - room + 1, animate=False, immediate=True)
        self.redraw()

    def action_move(self, step: int) -> None:
        """Move the cursor by rows."""
        self.go(self._place + step)

    def action_page(self, pages: int) -> None:
        """Move the cursor by screens."""
        self.go(self._place + pages * max(1, self.size.height - 2))

    def action_edge(self, side: int) -> None:
        """Move the cursor to the first or last row."""
        self.go(0 if side < 0 else len(self.rows) - 1)

    def action_choose(self) -> None:
        """Open the row under the cursor."""
        row = self.chosen
        if row is not None:
            self.post_message(self.Chosen(self, self._key(row)))

    def on_click(self, event: events.Click) -> None:
        """Sort by a header, choose a row, open it by a second click."""
        self.focus()
        if event.y == 0:
            self._sort_at(event.x - _EDGE)
            return
        self.go(self.scroll_offset.y + event.y - 1)
        if event.chain > 1:
            self.action_choose()

    def _sort_at(self, x: int) -> None:
        left = 0
        for column, width in self._fitted:
            if left <= x < left + width and column.sort is not None:
                self.arrange_by(self.order.by(column.key))
                return
            left += width + GAP

    def arrange_by(self, order: Order) -> None:
        """Take another order or filter, at once."""
        self.order = order
        self.post_message(self.Rearranged(self))

    class Rearranged(Message):
        """The order or the filter is another one: the owner shows the rows again."""

        def __init__(self, lines: "Lines[R]") -> None:
            super().__init__()
            self.lines = lines
