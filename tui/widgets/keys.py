"""The last line of every screen: which keys do what here; a click does the same.

Textual's own footer is a widget for each key, made anew with every change of the focus: half of
what it took to answer a key that shows another view.
"""

from textual import events
from textual.screen import Screen

from tui.cell import Piece
from tui.widgets.sheet import Sheet


class Keys(Sheet):
    """A line of keys, each with a word."""

    def __init__(self) -> None:
        super().__init__(id="keys")
        self._places: list[tuple[int, int, str]] = []
        """From, to (exclusive) and key of each."""

    def on_mount(self) -> None:
        """Follow what can be done."""
        self.screen.bindings_updated_signal.subscribe(self, self._changed)
        self._changed(self.screen)

    def on_resize(self) -> None:
        """Use the room there is."""
        super().on_resize()
        self._changed(self.screen)

    def _changed(self, screen: Screen[object]) -> None:
        found: dict[str, tuple[str, str, str]] = {}
        for _, binding, enabled, _ in screen.active_bindings.values():
            if binding.show and enabled:
                shown = self.app.get_key_display(binding)
                found.setdefault(binding.action, (binding.key, shown, binding.description))
        used = sum(len(shown) + len(word) + 2 for _, shown, word in found.values())
        gap = 2 if used + len(found) <= self.app.size.width else 1
        line, at = [Piece(" ")], 1
        self._places = []
        for key, shown, word in found.values():
            width = len(shown) + 1 + len(word)
            self._places.append((at, at + width, key))
            blank = " " * gap if len(line) > 1 else ""
            line += [Piece(f"{blank}{shown}", "accent"), Piece(f" {word}", "dim")]
            at += width + gap
        self.show([line])

    def on_click(self, event: events.Click) -> None:
        """Do what the key does."""
        for begin, end, key in self._places:
            if begin <= event.x < end:
                self.app.simulate_key(key)
