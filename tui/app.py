"""The dashboard: keeps the model fed; draws it twice a second, and at once when a node is lost."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final, Protocol, runtime_checkable

from textual.app import App
from textual.binding import Binding, BindingType

from tui.cell import Look
from tui.feed import Feed
from tui.screens.main import MainScreen
from tui.theme import NIGHT, THEMES
from workrs.domain.ids import Instant

PERIOD_S: Final = 0.5
SETTLE_MAX: Final = 250
"""Jobs that are worked out between two looks for a key: some 10 ms."""


@runtime_checkable
class Shows(Protocol):
    """A screen that shows the model."""

    def show(self, look: Look) -> None:
        """Draw what it says now."""


class Dashboard(App[None]):
    """The terminal's side of the dashboard."""

    TITLE = "workrs"
    CSS_PATH = Path(__file__).with_name("app.tcss")
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (120, "-wide")]  # noqa: RUF012 (Textual's own form)
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("question_mark", "guide", "help", id="app.help"),
        Binding("q", "quit", "quit", id="app.quit"),
    ]

    period_s = PERIOD_S
    """How often it is drawn when nothing is urgent."""

    def __init__(
        self, feed: Feed, *, theme: str = NIGHT.name, keys: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.feed = feed
        for each in THEMES:
            self.register_theme(each)
        self.theme = theme
        if keys:
            self.set_keymap(dict(keys))
        # A picture that moves where nothing happened is the opposite of calm, and costs CPU.
        self.animation_level = "none"

    def now(self) -> Instant:
        """Return the present on the loop's clock."""
        return Instant(asyncio.get_running_loop().time())

    def look(self) -> Look:
        """Return the model as it is now."""
        return Look(self.feed.model, self.now())

    async def on_mount(self) -> None:
        """Show the first picture, then begin to read."""
        await self.push_screen(MainScreen(self.look()))
        self.run_worker(self.feed.run(), name="tui.feed", exit_on_error=True)
        self.run_worker(self._draw(), name="tui.draw", exit_on_error=True)

    async def _draw(self) -> None:
        model = self.feed.model
        while True:
            self.feed.urgent.clear()
            for _ in iter(lambda: model.settle(self.now(), limit=SETTLE_MAX), False):
                await asyncio.sleep(0)  # a key may wait
            model.tick(self.now())
            self.draw()
            try:
                async with asyncio.timeout(self.period_s):
                    await self.feed.urgent.wait()
            except TimeoutError:
                continue

    def draw(self) -> None:
        """Have the screen on top show the model."""
        if isinstance(self.screen, Shows):
            self.screen.show(self.look())
