"""Tones as styles of the theme: a widget that shows pieces of text takes them from here."""

from typing import Final

from rich.segment import Segment
from rich.style import Style
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from tui.cell import Cell

TONES: Final = (
    "dim",
    "rule",
    "good",
    "warn",
    "bad",
    "info",
    "accent",
    "strong",
    "title",
    "heading",
)


CLASSES: Final = frozenset(f"tone--{tone}" for tone in TONES)
"""For a widget's COMPONENT_CLASSES: Textual finds those of its first base only."""


class Toned(Widget):
    """A widget whose pieces have tones; app.tcss says what each looks like.

    Textual's own way of drawing is made for borders, paddings and hatches, and costs three times
    as much. A widget without these keeps its painted lines itself, until it forgets one.
    """

    _tones: dict[str, Style] | None = None
    """Worked out already: thousands of pieces a second ask."""
    _painted: dict[int, Strip] | None = None

    def notify_style_update(self) -> None:
        """Forget the styles: the theme is another one (called by Textual)."""
        self._tones = self._painted = None
        super().notify_style_update()

    def forget_line(self, y: int) -> None:
        """Have a line painted anew."""
        if self._painted is not None:
            self._painted.pop(y, None)
        self.refresh(Region(0, y, self.size.width, 1))

    def forget_lines(self) -> None:
        """Have every line painted anew."""
        self._painted = None

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw the lines of *crop* (called by Textual)."""
        # Of its style alone: `self.gutter` counts a scroll bar in, which paints itself.
        if self.styles.gutter.totals != (0, 0):
            return super().render_lines(crop)
        if self._painted is None:
            self._painted = {}
        left, right = crop.column_span
        base, filters = self.rich_style, self.get_line_filters()
        found = []
        for y in crop.line_range:
            strip = self._painted.get(y)
            if strip is None:
                strip = self._painted[y] = self.render_line(y)
            for each in filters:
                strip = strip.apply_filter(each, self.background_colors[1])
            found.append(strip.crop_extend(left, right, base))
        return found

    def tone(self, name: str) -> Style:
        """Return the style of a tone, without a background."""
        if self._tones is None:
            self._tones = {}
        if name not in self._tones:
            self._tones[name] = self._style(name)
        return self._tones[name]

    def _style(self, name: str) -> Style:
        if name not in TONES:
            return Style.null()
        styles = self.get_component_styles(f"tone--{name}")
        # Textual blends what is see-through for whole widgets only.
        color = self.background_colors[1].blend(styles.color, styles.color.a, alpha=1.0)
        return Style(color=color.rich_color) + styles.text_style

    def segments(self, cell: Cell, base: Style) -> list[Segment]:
        """Return pieces as Textual draws them, over *base*.

        Neighbours of one tone become one segment: each costs ten times what its text does.
        """
        found: list[Segment] = []
        tone, texts = "", [""]
        for piece in cell:
            if piece.tone != tone:
                found.append(Segment("".join(texts), base + self.tone(tone)))
                tone, texts = piece.tone, []
            texts.append(piece.text)
        found.append(Segment("".join(texts), base + self.tone(tone)))
        return [segment for segment in found if segment.text]
