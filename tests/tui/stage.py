"""A dashboard on a made-up cluster, at an instant that stands still: for tests and snapshots."""

from __future__ import annotations

import asyncio
import gc
import os
import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tui.app import Dashboard
from tui.feed import Feed
from tui.model.cluster import Model
from tui.scene import Said, Scene, play
from workrs.domain.ids import ClientId, Instant
from workrs.ports.bus import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from textual.pilot import Pilot

SNAPSHOTS = Path(__file__).parent / "snapshots"
BEGUN = 1000.0
NARROW, WIDE = (80, 24), (160, 50)
WAIT_S = 60.0
_LOOK_S = 0.02


class Stage:
    """A model, what it hears, and a clock that only `pass_s` moves."""

    def __init__(self, scene: Scene, *, quiet_s: int = 0) -> None:
        self.scene = scene
        self.model = Model()
        self.now = Instant(BEGUN)
        self.model.begin("127.0.0.1:1883", self.now)
        self.hear(scene.begin())
        self.model.complete(self.now)
        self.settle()
        self.pass_s(quiet_s)

    def hear(self, said: Iterable[Said]) -> None:
        """Take in what is said now."""
        play(said, lambda topic, payload: self.model.apply(topic, payload, self.now))
        self.settle()

    def settle(self) -> None:
        """Work out everything that changed."""
        while self.model.settle(self.now, limit=1000):
            pass
        self.model.tick(self.now)

    def pass_s(self, seconds: int) -> None:
        """Let time pass, and the scene go on."""
        for _ in range(seconds):
            self.now = Instant(self.now + 1)
            self.hear(self.scene.step())

    def silence_s(self, seconds: float) -> None:
        """Let time pass in which nobody says anything."""
        self.now = Instant(self.now + seconds)
        self.model.tick(self.now)


class StillFeed(Feed):
    """A feed that hears nothing and notes what it was asked to do."""

    def __init__(self, model: Model) -> None:
        def refuse(address: Address) -> Any:
            raise AssertionError(f"nobody should connect to {address}")

        node = Address(host="127.0.0.1", port=1883)
        super().__init__(model, nodes=[node], user=ClientId("ann"), opener=refuse)

    async def run(self) -> None:
        """Wait for ever."""
        await asyncio.Event().wait()


class StillDashboard(Dashboard):
    """A dashboard at the stage's instant, drawn when a test says so."""

    period_s = 1e6

    def __init__(self, stage: Stage, **options: Any) -> None:
        super().__init__(StillFeed(stage.model), **options)
        self.stage = stage

    def now(self) -> Instant:
        """Return the stage's time."""
        return self.stage.now


@asynccontextmanager
async def shown(
    stage: Stage, size: tuple[int, int] = NARROW, *keys: str, **options: Any
) -> AsyncIterator[tuple[StillDashboard, Pilot[None]]]:
    """Show the stage on a screen of *size*, and press *keys*."""
    app, thresholds = StillDashboard(stage, **options), gc.get_threshold()
    try:
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            for key in keys:
                await pilot.press(key)
                await pilot.pause()
            app.draw()
            await pilot.pause()
            yield app, pilot
    finally:
        # A dashboard has its process to itself, and decides when Python looks for garbage there.
        gc.unfreeze()
        gc.set_threshold(*thresholds)


async def until(pilot: Pilot[None], holds: Callable[[], bool]) -> None:
    """Wait until something holds.

    Where a key opens a screen, its `pilot.press` is not enough: that returns when the process has
    taken little CPU for 20 ms, as it also does where others take the CPU away from it.
    """
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await pilot.pause(_LOOK_S)


def plain(app: Dashboard) -> str:
    """Return the screen as text."""
    width = app.size.width
    lines = app.screen._compositor.render_strips()
    return "\n".join(strip.text[:width].rstrip() for strip in lines)


def check_snapshot(app: Dashboard, name: str, folder: Path = SNAPSHOTS) -> None:
    """Compare the screen with the picture that was looked at and kept.

    `WORKRS_SNAPSHOTS=renew` keeps the present ones: look at them before they are committed.
    (pytest-textual-snapshot does not go with this pytest: it pins an older syrupy.)
    """
    title = name if folder == SNAPSHOTS else "workrs tui"
    found = _stable(app.export_screenshot(title=title))
    path = folder / f"{name}.svg"
    if os.environ.get("WORKRS_SNAPSHOTS") == "renew":
        path.write_text(found)
        return
    assert path.exists(), f"no snapshot {path.name}: WORKRS_SNAPSHOTS=renew makes it"
    if found != path.read_text():
        rejected = path.with_suffix(".rejected.svg")
        rejected.write_text(found)
        raise AssertionError(f"the screen is another one: compare {rejected} with {path.name}")


def _stable(svg: str) -> str:
    """Return the picture without the id that Rich makes up, and without its web font."""
    svg = re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)
    svg = svg.replace("Fira Code", "DejaVu Sans Mono")
    return (
        "\n".join(line.rstrip() for line in re.sub(r"terminal-\d+", "t", svg).splitlines()) + "\n"
    )
