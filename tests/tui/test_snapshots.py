"""Goal: what the dashboard looks like changes only on purpose.

Method: pictures of made-up clusters, at 80x24 and 160x50, compared with ones that were looked at.
"""

from __future__ import annotations

import asyncio
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.tui.stage import NARROW, WIDE, Stage, check_snapshot, shown
from tui.scene import Scene
from workrs.domain.ids import Instant
from workrs.domain.job import Verdict

IMAGES = Path(__file__).parents[2] / "docs" / "img"

if TYPE_CHECKING:
    from collections.abc import Callable


def idle() -> Stage:
    return Stage(Scene(agents=2, jobs=0), quiet_s=4)


def three() -> Stage:
    stage = Stage(Scene(agents=2, jobs=4, refill=False), quiet_s=30)
    stage.hear(stage.scene.drain("edge-2"))
    return stage


@cache
def crowd() -> Stage:
    return Stage(Scene(agents=500, jobs=10_000), quiet_s=2)


def partition() -> Stage:
    stage = Stage(Scene(agents=6, jobs=9), quiet_s=10)
    stage.scene.cut = frozenset({"n3"})
    stage.pass_s(6)
    return stage


def minority() -> Stage:
    stage = Stage(Scene(agents=6, jobs=9), quiet_s=10)
    stage.scene.cut = frozenset({"n1", "n2"})
    stage.pass_s(12)
    return stage


def storm() -> Stage:
    stage = Stage(Scene(agents=40, jobs=120), quiet_s=10)
    for first in range(1, 30, 5):
        dead = [f"edge-{place:02}" for place in range(first, first + 4)]
        stage.hear(stage.scene.kill(*dead))
        stage.pass_s(3)
    stage.hear(stage.scene.end(stage.scene.running()[0], Verdict.FAILED, "exit code 1: no data"))
    return stage


def lost() -> Stage:
    stage = three()
    stage.model.lose("127.0.0.1:1883 was lost: end of stream", stage.now)
    stage.now = Instant(stage.now + 1)
    return stage


SMALL = [three, partition, minority, storm, lost]
LARGE = [idle, three, crowd, partition, storm]
SHOWN = [*((scene, NARROW) for scene in SMALL), *((scene, WIDE) for scene in LARGE)]


@pytest.mark.parametrize(
    ("scene", "size"), SHOWN, ids=[f"{scene.__name__}-{size[0]}" for scene, size in SHOWN]
)
def test_the_overview_looks_as_it_did(scene: Callable[[], Stage], size: tuple[int, int]) -> None:
    async def look() -> None:
        async with shown(scene(), size) as (app, _):
            check_snapshot(app, f"overview-{scene.__name__}-{size[0]}x{size[1]}")

    asyncio.run(look())


@pytest.mark.parametrize("key", ["2", "3", "4", "5"])
@pytest.mark.parametrize("size", [NARROW, WIDE], ids=["80x24", "160x50"])
def test_each_view_looks_as_it_did(key: str, size: tuple[int, int]) -> None:
    async def look() -> None:
        async with shown(storm(), size, key) as (app, _):
            check_snapshot(app, f"view-{key}-{size[0]}x{size[1]}")

    asyncio.run(look())


def test_the_picture_of_the_readme_is_what_is_seen() -> None:
    """`WORKRS_SNAPSHOTS=renew` makes it anew."""
    stage = Stage(Scene(agents=6, jobs=26, slots=3, seed=11, speed=0.012), quiet_s=75)
    stage.hear(stage.scene.kill("edge-2"))
    stage.pass_s(3)
    stage.hear(stage.scene.drain("edge-5"))
    ended = next(job for job in stage.scene.running() if job.startswith("cam-2"))
    stage.hear(stage.scene.end(ended, Verdict.FAILED, "exit code 1: no frames in the input"))
    stage.pass_s(2)

    async def look() -> None:
        async with shown(stage, (132, 40)) as (app, _):
            check_snapshot(app, "tui", IMAGES)

    asyncio.run(look())
