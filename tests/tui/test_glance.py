"""Goal: what went wrong a moment ago is seen at a glance, and what did long ago is no news."""

from __future__ import annotations

import asyncio

import pytest

from tests.tui.stage import NARROW, Stage, plain, shown
from tui import headline
from tui.agent_columns import AGENTS
from tui.cell import Look
from tui.job_columns import JOBS
from tui.listing import Order, agent_fields, arrange, job_fields
from tui.model.age import FRESH_S
from tui.model.event import Kind
from tui.scene import Scene
from tui.screens.main import MainScreen
from workrs.domain.ids import ClientId
from workrs.domain.job import Verdict

BY_STATE = Order(sort="state")


def summary(stage: Stage) -> str:
    return "".join(piece.text for piece in headline.summary(Look(stage.model, stage.now), 160))


def agents(stage: Stage) -> list[str]:
    rows = list(stage.model.agents.values())
    look = Look(stage.model, stage.now)
    return [row.name for row in arrange(rows, AGENTS, BY_STATE, agent_fields, look)]


def test_an_agent_that_went_is_counted_and_stands_first_for_a_minute() -> None:
    stage = Stage(Scene(agents=4, jobs=8, speed=0.001), quiet_s=3)
    stage.hear(stage.scene.kill("edge-3"))
    stage.pass_s(int(FRESH_S) - 1)
    assert "3 agents  ✗ 1 gone" in summary(stage)
    assert agents(stage) == ["edge-3", "edge-1", "edge-2", "edge-4"]
    stage.pass_s(1)
    assert "gone" not in summary(stage)
    assert agents(stage) == ["edge-1", "edge-2", "edge-4", "edge-3"]


def test_an_agent_that_went_before_is_no_news() -> None:
    scene = Scene(agents=4, jobs=8)
    gone = list(scene.kill("edge-3"))
    stage = Stage(scene)
    stage.model.begin("127.0.0.1:1884", stage.now)
    stage.hear([*scene.begin(), *gone])
    stage.model.complete(stage.now)
    stage.settle()
    assert stage.model.agents[ClientId("edge-3")].state == "gone"
    assert "gone" not in summary(stage)


@pytest.mark.parametrize("verdict", [Verdict.FAILED, Verdict.EXPIRED])
def test_a_job_that_failed_stands_before_those_that_run_for_a_minute(verdict: Verdict) -> None:
    stage = Stage(Scene(agents=4, jobs=40, speed=0.001, refill=False), quiet_s=3)
    bad, good = stage.scene.running()[-2:]
    stage.hear(stage.scene.end(good, Verdict.SUCCEEDED))
    stage.hear(stage.scene.end(bad, verdict, "exit code 1"))

    def places() -> tuple[int, int]:
        look, rows = Look(stage.model, stage.now), list(stage.model.jobs.values())
        found = arrange(rows, JOBS, BY_STATE, job_fields, look)
        keys = [row.view.job for row in found]
        return keys.index(bad), len(keys) - keys.index(good)

    stage.pass_s(int(FRESH_S) - 1)
    assert places() == (0, 1)
    stage.pass_s(1)
    assert places()[0] > places()[1]


def test_a_long_list_out_of_view_is_arranged_anew_as_soon_as_it_is_shown() -> None:
    """At once it is shown as it was: to sort 10,000 lines takes as long as all of the key."""

    async def go() -> None:
        stage = Stage(Scene(agents=4, jobs=1500, speed=0.001, refill=False), quiet_s=3)
        async with shown(stage, NARROW, "2", "1") as (app, pilot):
            failed = stage.scene.running()[-1]
            stage.hear(stage.scene.end(failed, Verdict.FAILED, "exit code 1"))
            stage.pass_s(2)
            await pilot.press("2")
            async with asyncio.timeout(60):
                while " failed " not in plain(app).splitlines()[3]:
                    await pilot.pause()

    asyncio.run(go())


def test_the_log_has_the_newest_line_as_soon_as_it_is_shown() -> None:
    async def go() -> None:
        stage = Stage(Scene(agents=2, jobs=4), quiet_s=1)
        async with shown(stage, NARROW, "4", "1") as (app, _):
            for place in range(1200):
                stage.model.say(Kind.ORDERED, "cam-2/fit-1", f"cancel {place}", stage.now)
            app.draw()
            screen = app.screen
            assert isinstance(screen, MainScreen)
            screen.action_view("events")
            (log,) = screen.lists
            assert log.rows[0] == stage.model.events[-1]

    asyncio.run(go())


def test_a_filter_tells_how_many_lines_are_left() -> None:
    async def go() -> None:
        stage = Stage(Scene(agents=2, jobs=1500, speed=0.001), quiet_s=1)
        keys = ("2", "slash", *"state:queued", "enter")
        async with shown(stage, NARROW, *keys) as (app, _):
            assert "/state:queued  1,496" in plain(app).splitlines()[2]

    asyncio.run(go())
