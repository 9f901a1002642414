"""What others lie on: paints nothing but its background, without asking how for each line.

Textual paints every widget in sight line by line, those that are wholly covered as well: with six
of them below the lists, that was a tenth of what it took to show another view.
"""

from textual.containers import Container, Vertical
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import ContentSwitcher


class Ground(Widget):
    """A widget that is there for what it holds.

    To be the last of a class's bases: Textual takes the styles of the first.
    """

    def render_lines(self, crop: Region) -> list[Strip]:
        """Draw the lines of *crop* (called by Textual)."""
        if self.styles.gutter.totals != (0, 0):
            return super().render_lines(crop)
        strip = Strip.blank(crop.width, self.rich_style)
        for each in self.get_line_filters():
            strip = strip.apply_filter(each, self.background_colors[1])
        return [strip] * crop.height


class Column(Vertical, Ground):
    """Holds widgets below each other."""


class Box(Container, Ground):
    """Holds widgets as its style says."""


class Views(ContentSwitcher, Ground):
    """Holds views, of which one is shown."""
