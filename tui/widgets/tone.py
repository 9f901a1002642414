"""Tones as styles of the theme: a widget that shows pieces of text takes them from here."""

from typing import Final

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
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
    """A widget whose pieces have tones; app.tcss says what each looks like."""

    _tones: dict[str, Style] | None = None
    """Worked out already: thousands of pieces a second ask."""

    def notify_style_update(self) -> None:
        """Forget the styles: the theme is another one (called by Textual)."""
        self._tones = None
        super().notify_style_update()

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

    def text(self, lines: list[Cell]) -> Text:
        """Return lines of pieces as one text, which is never wrapped."""
        found = Text(no_wrap=True, overflow="ellipsis", end="")
        for place, line in enumerate(lines):
            if place:
                found.append("\n")
            for piece in line:
                found.append(piece.text, self.tone(piece.tone))
        return found
