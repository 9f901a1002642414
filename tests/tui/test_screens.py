"""Goal: what keys and the mouse do, on a real screen without a terminal.

Method: Textual's Pilot on made-up clusters at an instant that stands still.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from textual.widgets import Input

from tests.tui.stage import NARROW, WIDE, Stage, check_snapshot, plain, shown
from tui.scene import Scene
from tui.screens.dialog import Confirm, Submit
from tui.screens.main import MainScreen
from tui.screens.page import AgentScreen, JobScreen
from workrs.domain.job import StoredSpec, Verdict
from workrs.domain.record import Record
from workrs.wire import codec, topics
from workrs.wire.message import Order, OrderKind, OrderReply

if TYPE_CHECKING:
    from pathlib import Path

    from textual.pilot import Pilot

    from tests.tui.stage import StillDashboard


def stage() -> Stage:
    return Stage(Scene(agents=3, jobs=8, seed=3), quiet_s=6)


async def press(app: StillDashboard, pilot: Pilot[None], *keys: str) -> str:
    for key in keys:
        await pilot.press(key)
        await pilot.pause()
    app.draw()
    await pilot.pause()
    return plain(app)


@pytest.fixture
def orders(monkeypatch: pytest.MonkeyPatch) -> list[Order]:
    """Collect orders instead of sending them."""
    given: list[Order] = []

    async def order(_: object, wish: Order) -> OrderReply:
        given.append(wish)
        return OrderReply(ok=True, text="as you wish")

    monkeypatch.setattr("tui.feed.Feed.order", order)
    return given


def test_a_number_shows_a_view_and_the_first_line_says_which() -> None:
    async def go() -> None:
        async with shown(stage()) as (app, pilot):
            assert "[overview]" in plain(app)
            for key, name in (("2", "jobs"), ("3", "agents"), ("4", "events"), ("5", "graphs")):
                assert f"[{name}]" in await press(app, pilot, key)

    asyncio.run(go())


def test_a_click_on_a_views_name_shows_it() -> None:
    async def go() -> None:
        async with shown(stage()) as (app, pilot):
            at = plain(app).splitlines()[0].index("agents")
            await pilot.click("#tabs", offset=(at, 0))
            assert "[agents]" in await press(app, pilot)

    asyncio.run(go())


def test_a_filter_leaves_only_what_it_names_and_escape_brings_all_back() -> None:
    async def go() -> None:
        async with shown(stage(), NARROW, "2") as (app, pilot):
            before = plain(app)
            assert "cam-2/" in before
            found = await press(app, pilot, "slash", *"pump", "enter")
            assert "pump-7/" in found
            assert "cam-2/" not in found
            assert "cam-2/" in await press(app, pilot, "escape")

    asyncio.run(go())


def test_a_click_on_a_header_sorts_and_a_second_one_reverses() -> None:
    async def go() -> None:
        async with shown(stage(), NARROW, "2") as (app, pilot):
            await pilot.click("#jobs", offset=(2, 0))
            first = (await press(app, pilot)).splitlines()
            await pilot.click("#jobs", offset=(2, 0))
            second = (await press(app, pilot)).splitlines()
            assert "JOB▾" in first[2]
            assert "JOB▴" in second[2]
            assert first[3][1:12] != second[3][1:12]

    asyncio.run(go())


def test_the_cursor_stays_on_its_job_when_the_order_changes() -> None:
    async def go() -> None:
        async with shown(stage(), NARROW, "2", "down", "down") as (app, pilot):
            screen = app.screen
            assert isinstance(screen, MainScreen)
            assert screen.current is not None
            chosen = screen.current.chosen
            await press(app, pilot, "S")
            assert screen.current.chosen is chosen

    asyncio.run(go())


def test_enter_opens_the_page_of_a_job_and_escape_leaves_it() -> None:
    async def go() -> None:
        async with shown(stage(), NARROW, "2", "enter") as (app, pilot):
            text = await press(app, pilot)
            assert isinstance(app.screen, JobScreen)
            assert "at risk" in text
            assert app.feed.model.opened is not None
            await press(app, pilot, "escape")
            assert isinstance(app.screen, MainScreen)
            assert app.feed.model.opened is None

    asyncio.run(go())


def test_enter_opens_the_page_of_an_agent() -> None:
    async def go() -> None:
        async with shown(stage(), NARROW, "3", "enter") as (app, pilot):
            text = await press(app, pilot)
            assert isinstance(app.screen, AgentScreen)
            assert "one every 2 s" in text

    asyncio.run(go())


def test_a_cancel_is_asked_for_and_given_only_on_yes(orders: list[Order]) -> None:
    async def go() -> None:
        async with shown(stage(), NARROW, "2", "c") as (app, pilot):
            assert isinstance(app.screen, Confirm)
            await press(app, pilot, "n")
            assert orders == []
            await press(app, pilot, "c", "enter")  # the harmless answer has the focus
            assert orders == []
            await press(app, pilot, "c", "y")
            assert [order.order for order in orders] == [OrderKind.CANCEL]
            assert any("as you wish" in event.text for event in app.stage.model.events)

    asyncio.run(go())


def test_drain_and_undrain_are_orders_about_the_chosen_agent(orders: list[Order]) -> None:
    async def go() -> None:
        async with shown(stage(), NARROW, "3", "d") as (app, pilot):
            await press(app, pilot, "y")
            await press(app, pilot, "u", "y")
            kinds = [(order.order, order.agent) for order in orders]
            assert kinds == [(OrderKind.DRAIN, "edge-1"), (OrderKind.UNDRAIN, "edge-1")]

    asyncio.run(go())


def test_what_ended_is_not_cancelled_and_what_runs_has_no_result(orders: list[Order]) -> None:
    async def go() -> None:
        ended = Stage(Scene(agents=1, jobs=1), quiet_s=1)
        ended.hear(ended.scene.end(ended.scene.running()[0], Verdict.FAILED, "exit code 1"))
        async with shown(ended, NARROW, "2", "c") as (app, _):
            assert isinstance(app.screen, MainScreen)
        async with shown(stage(), NARROW, "2", "o") as (app, _):
            assert isinstance(app.screen, MainScreen)
        assert orders == []

    asyncio.run(go())


def test_a_file_is_submitted_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[bytes, str]] = []

    async def submit(_: object, spec: bytes, job: str) -> OrderReply:
        given.append((spec, job))
        return OrderReply(ok=True, text="accepted")

    monkeypatch.setattr("tui.feed.Feed.submit", submit)
    for name in ("sum", "My Sum"):
        (tmp_path / f"{name}.json").write_bytes(b"{}")

    async def go() -> None:
        async with shown(stage(), NARROW, "n") as (app, pilot):
            assert isinstance(app.screen, Submit)
            file = app.screen.query_one("#file", Input)
            file.value = str(tmp_path / "none.json")
            assert "cannot read" in await press(app, pilot, "enter")
            file.value = "~nobody-here/sum.json"
            assert "cannot read ~nobody-here" in await press(app, pilot, "enter")
            file.value = str(tmp_path / "My Sum.json")
            assert "'My Sum' is not allowed" in await press(app, pilot, "enter")
            file.value = str(tmp_path / "sum.json")
            await press(app, pilot, "enter")
            assert given == [(b"{}", "sum")]

    asyncio.run(go())


def test_a_retry_sends_the_spec_again_under_a_free_name(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []

    async def submit(_: object, spec: bytes, job: str) -> OrderReply:
        assert b'"image"' in spec
        given.append(job)
        return OrderReply(ok=True, text="accepted")

    monkeypatch.setattr("tui.feed.Feed.submit", submit)

    async def go() -> None:
        ended = Stage(Scene(agents=1, jobs=1, refill=False), quiet_s=1)
        job = ended.scene.running()[0]
        ended.hear(ended.scene.end(job, Verdict.FAILED, "exit code 1"))
        spec = {"v": 1, "image": "alpine", "command": ["true"]}
        stored = codec.from_plain(
            StoredSpec, {"job": job, "request": "0" * 64, "plain": False, "spec": spec}
        )
        async with shown(ended, NARROW, "2", "r") as (app, pilot):
            assert "for good" in plain(app)
            await pilot.press("y")
            await pilot.pause()
            assert app.feed.model.opened is not None
            ended.model.apply(topics.node("n1", "spec", job), codec.encode(stored), ended.now)
            for _ in range(100):
                if given:
                    break
                await pilot.pause(0.02)
        assert given == [f"{job.partition('_')[2]}-2"]

    asyncio.run(go())


def test_a_result_is_shown_and_written_where_nothing_is(tmp_path: Path) -> None:
    async def go() -> None:
        done = Stage(Scene(agents=1, jobs=1, refill=False, speed=1.0), quiet_s=2)
        job = next(iter(done.model.jobs))
        assert done.model.jobs[job].state == "succeeded"
        assert done.model.view.records(job)["n1"].decided is not None
        async with shown(done, NARROW, "2", "o") as (app, pilot):
            for message in done.scene.begin():
                done.model.apply(message.topic, message.payload, done.now)
            for _ in range(100):
                if "Result of" in plain(app):
                    break
                await pilot.pause(0.02)
            assert "42" in plain(app)
            path = tmp_path / "out"
            app.screen.query_one("#file", Input).focus().value = str(path)
            await press(app, pilot, "enter")
            assert path.read_bytes() == b"42\n"
            assert "cannot write" in await press(app, pilot, "enter")

    asyncio.run(go())


def test_the_help_screen_names_every_action_with_its_key_even_another_one() -> None:
    async def go() -> None:
        async with shown(stage(), WIDE, "question_mark", keys={"job.cancel": "x"}) as (app, _):
            text = plain(app)
            line = next(line for line in text.splitlines() if "job.cancel" in line)
            assert " x " in line

    asyncio.run(go())


def test_another_key_does_what_it_was_given_for() -> None:
    async def go() -> None:
        async with shown(stage(), NARROW, "2", "x", keys={"job.cancel": "x"}) as (app, _):
            assert isinstance(app.screen, Confirm)

    asyncio.run(go())


def test_a_lost_node_and_a_minority_are_said_in_words() -> None:
    async def go() -> None:
        lost = stage()
        lost.model.lose("127.0.0.1:1883 was lost: end of stream", lost.now)
        async with shown(lost, WIDE) as (app, _):
            assert "✗ 127.0.0.1:1883 was lost: end of stream. Trying the next" in plain(app)
        alone = stage()
        alone.scene.cut = frozenset({"n1", "n2"})
        alone.pass_s(6)
        async with shown(alone) as (app, _):
            assert "a minority's view: of 3 nodes only n3 heard" in plain(app)

    asyncio.run(go())


@pytest.mark.parametrize("theme", ["workrs-day", "workrs-plain", "nord"])
def test_every_theme_shows_the_same_words(theme: str) -> None:
    async def go() -> None:
        async with shown(stage()) as (night, _):
            words = plain(night)
        async with shown(stage(), theme=theme) as (app, _):
            assert plain(app) == words

    asyncio.run(go())


@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "160x50"])
def test_the_pages_look_as_they_did(size: tuple[int, int]) -> None:
    async def go() -> None:
        moved = Stage(Scene(agents=3, jobs=5, seed=3, speed=0.004), quiet_s=20)
        job = moved.scene.running()[0]
        holder = moved.model.jobs[job].view.agent
        assert holder is not None
        moved.hear(moved.scene.kill(holder))
        moved.pass_s(12)
        name = f"{size[0]}x{size[1]}"
        async with shown(moved, size) as (app, pilot):
            app.open_job(job)
            await pilot.pause()
            assert app.feed.model.opened is not None
            log = b"reading 1200 rows\nproduct 41 of 100\nproduct 42 of 100\n"
            moved.model.apply(topics.node("n1", "log", job), log, moved.now)
            app.draw()
            await pilot.pause()
            check_snapshot(app, f"page-job-{name}")
            await press(app, pilot, "escape")
            app.open_agent(next(iter(moved.model.agents)))
            await pilot.pause()
            check_snapshot(app, f"page-agent-{name}")
            await press(app, pilot, "escape", "question_mark")
            check_snapshot(app, f"help-{name}")
            await press(app, pilot, "escape", "2", "c")
            check_snapshot(app, f"confirm-{name}")

    asyncio.run(go())


def test_a_record_of_a_made_up_cluster_is_one_that_nodes_send() -> None:
    said = list(Scene(agents=1, jobs=1).begin())
    record = next(each for each in said if "/job/" in each.topic)
    assert codec.encode(codec.decode(Record, record.payload)) == record.payload
