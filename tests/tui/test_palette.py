"""Goal: the command palette finds views, actions, themes, and what has a name, and does it.

Method: Textual's Pilot; the palette searches beside the screen, so each find is waited for.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from textual.command import Command, CommandList, CommandPalette
from textual.widgets import Input

from tests.tui.stage import NARROW, Stage, plain, shown, until
from tui.scene import Scene
from tui.screens.dialog import Confirm, Shown, Submit
from tui.screens.main import MainScreen
from tui.screens.page import AgentScreen, JobScreen, NodeScreen
from tui.theme import THEMES
from workrs.domain.job import Verdict

if TYPE_CHECKING:
    from textual.pilot import Pilot
    from textual.screen import Screen

    from tests.tui.stage import StillDashboard


def stage() -> Stage:
    return Stage(Scene(agents=3, jobs=8, seed=3), quiet_s=6)


def titles(app: StillDashboard) -> list[str]:
    """Return what the palette offers now."""
    found = app.screen.query_one(CommandList)
    options = (found.get_option_at_index(place) for place in range(found.option_count))
    return [
        str(option.hit.text or option.hit.match_display)
        for option in options
        if isinstance(option, Command)
    ]


async def search(app: StillDashboard, pilot: Pilot[None], text: str) -> list[str]:
    """Type *text* into a new palette, and return what it found first."""
    await pilot.press("ctrl+p")
    # What is typed before its input has the focus is lost.
    await until(
        pilot,
        lambda: isinstance(app.screen, CommandPalette) and isinstance(app.focused, Input),
    )
    await pilot.press(*("space" if each == " " else each for each in text))
    # Until its search has ended, the palette shows what it has for who has typed nothing.
    await until(pilot, lambda: any(text.lower() in each.lower() for each in titles(app)[:1]))
    return titles(app)


async def take(app: StillDashboard, pilot: Pilot[None], text: str) -> None:
    """Search for *text* and take the first that was found."""
    await search(app, pilot, text)
    await pilot.press("enter")
    await until(pilot, lambda: not isinstance(app.screen, CommandPalette))


@pytest.mark.parametrize("name", ["jobs", "agents", "events", "graphs"])
def test_a_view_is_found_and_shown(name: str) -> None:
    async def go() -> None:
        async with shown(stage()) as (app, pilot):
            await take(app, pilot, f"view: {name}")
            await until(pilot, lambda: f"[{name}]" in plain(app))

    asyncio.run(go())


@pytest.mark.parametrize(
    ("name", "page"), [("n2", NodeScreen), ("edge-2", AgentScreen), ("cam-2/", JobScreen)]
)
def test_what_has_a_name_is_found_and_opened(name: str, page: type[Screen[None]]) -> None:
    async def go() -> None:
        async with shown(stage()) as (app, pilot):
            await take(app, pilot, name)
            await until(pilot, lambda: isinstance(app.screen, page))
            await until(pilot, lambda: name in plain(app).partition("\n")[0])

    asyncio.run(go())


@pytest.mark.parametrize(
    ("view", "action", "then"),
    [
        ("2", "cancel", Confirm),
        ("3", "drain", Confirm),
        ("3", "undrain", Confirm),
        ("5", "submit", Submit),
        ("5", "help", Shown),
    ],
)
def test_an_action_asks_first_there_as_well(
    view: str, action: str, then: type[Screen[object]]
) -> None:
    async def go() -> None:
        async with shown(stage(), NARROW, view) as (app, pilot):
            await take(app, pilot, action)
            await until(pilot, lambda: isinstance(app.screen, then))

    asyncio.run(go())


def test_a_job_that_has_ended_is_sent_again_from_there() -> None:
    async def go() -> None:
        ended = Stage(Scene(agents=1, jobs=1, refill=False), quiet_s=1)
        ended.hear(ended.scene.end(ended.scene.running()[0], Verdict.FAILED, "exit code 1"))
        async with shown(ended, NARROW, "2") as (app, pilot):
            await take(app, pilot, "retry")
            await until(pilot, lambda: isinstance(app.screen, Confirm))

    asyncio.run(go())


def test_only_what_fits_the_chosen_line_is_offered() -> None:
    async def go() -> None:
        async with shown(stage(), NARROW, "2") as (app, pilot):
            await search(app, pilot, "")
            await until(pilot, lambda: "View: jobs" in titles(app))
            assert {"Cancel", "Retry", "Result", "Submit"} <= set(titles(app))
            assert not {"Drain", "Undrain"} & set(titles(app))

    asyncio.run(go())


def test_a_theme_is_found_and_put_on() -> None:
    async def go() -> None:
        async with shown(stage()) as (app, pilot):
            other = next(each.name for each in THEMES if each.name != app.theme)
            assert (await search(app, pilot, "theme"))[0] == "Theme"
            first = app.screen
            await pilot.press("enter")
            # The themes have a palette of their own.
            await until(
                pilot,
                lambda: (
                    app.screen not in (first, app.screen_stack[0])
                    and isinstance(app.focused, Input)
                ),
            )
            await pilot.press(*("minus" if each == "-" else each for each in other))
            await until(pilot, lambda: titles(app) == [other])
            await pilot.press("enter")
            await until(pilot, lambda: app.theme == other)

    asyncio.run(go())


def test_a_palette_that_was_left_changes_nothing() -> None:
    async def go() -> None:
        async with shown(stage(), NARROW, "5") as (app, pilot):
            await search(app, pilot, "view: jobs")
            await pilot.press("escape")
            await until(pilot, lambda: isinstance(app.screen, MainScreen))
            await until(pilot, lambda: "[graphs]" in plain(app))

    asyncio.run(go())
