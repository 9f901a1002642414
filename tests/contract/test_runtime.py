"""Goal: the fake, processes and containers keep the promises of the runtime port.

Method: the same few programs through each; waiting is polling for a condition.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract import runtimes
from tests.engine_fixture import engines
from workrs.domain.errors import ContainerError
from workrs.ports.runtime import EXIT_RESUME, Attempt, Rung

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from tests.contract.runtimes import World

OPENERS = {
    "fake": runtimes.fake,
    "process-v2": runtimes.process_on("v2"),
    "process-v1": runtimes.process_on("v1"),
    "process-group": runtimes.process_on("group"),
}

STEP_S, LONG_STEP_S = 0.2, 1.0
"""Of programs that a test must reach before they end; the long ones it does not wait for."""

__all__ = ["engines"]  # a fixture is found by its name in the module

Run = "Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]"


@pytest.fixture(params=[*OPENERS, pytest.param("docker", marks=pytest.mark.engine)])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    kind = request.param.removeprefix("process-")
    if kind in ("v1", "v2") and runtimes.parent(kind) is None:
        pytest.skip(f"this machine has no cgroup {kind} to freeze with")

    opener = OPENERS.get(request.param) or runtimes.docker_on(request.getfixturevalue("engines"))

    def runner(story: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with asyncio.timeout(150), opener(tmp_path) as world:
                await story(world)

        asyncio.run(main())

    return runner


async def reach(attempt: Attempt, fraction: float) -> float:
    """Wait until the program reports *fraction*, and return what it then reports."""
    async with asyncio.timeout(60):
        while True:
            progress = await attempt.progress()
            if progress is not None and progress.fraction >= fraction:
                return progress.fraction
            await asyncio.sleep(0.01)


def test_what_a_program_prints_is_its_result(run: Run) -> None:
    async def story(world: World) -> None:
        attempt = await world.runtime.start(world.request(world.echo("hello")))
        ended = await attempt.wait()
        assert (ended.code, ended.result, ended.result_bytes) == (0, b"hello\n", 6)
        assert await attempt.wait() == ended
        await attempt.remove()

    run(story)


def test_the_exit_code_is_told(run: Run) -> None:
    async def story(world: World) -> None:
        attempt = await world.runtime.start(world.request(world.exit(3)))
        assert (await attempt.wait()).code == 3
        await attempt.remove()

    run(story)


def test_a_killed_program_has_ended_when_kill_returns(run: Run) -> None:
    async def story(world: World) -> None:
        attempt = await world.runtime.start(world.request(world.sleep()))
        await attempt.freeze()
        await attempt.kill()
        await attempt.kill()
        assert (await attempt.wait()).code == 137
        await attempt.remove()
        await attempt.remove()

    run(story)


def test_the_end_of_what_a_program_prints_is_there_while_it_runs(run: Run) -> None:
    async def story(world: World) -> None:
        if not world.fake:
            talking = await world.runtime.start(
                world.request(world.script("echo one; echo two; echo oh >&2; exec sleep 1000"))
            )
            async with asyncio.timeout(60):
                while True:
                    if await talking.log_tail(100) == b"one\ntwo\noh\n":
                        break
                    await asyncio.sleep(0.01)
            assert await talking.log_tail(9) == b"two\noh\n"
            await talking.remove()
        attempt = await world.runtime.start(world.request(world.count(3, 0.02)))
        await attempt.wait()
        assert await attempt.log_tail(100) == b"3\n"
        await attempt.remove()

    run(story)


def test_a_frozen_program_stands_still_and_goes_on_after_the_thaw(run: Run) -> None:
    async def story(world: World) -> None:
        attempt = await world.runtime.start(world.request(world.count(9, STEP_S)))
        await reach(attempt, 0.1)
        await attempt.freeze()
        await attempt.freeze()
        before = await attempt.progress()
        for _ in range(20):
            await asyncio.sleep(0.01)
            assert await attempt.progress() == before
        await attempt.thaw()
        assert (await attempt.wait()).result == b"9\n"
        await attempt.remove()

    run(story)


def test_the_warden_is_told_before_the_program_runs_and_after_it_is_gone(run: Run) -> None:
    async def story(world: World) -> None:
        request = world.request(world.sleep())
        attempt = await world.runtime.start(request)
        targets, deadline = world.warden.watched[request.job, request.epoch]
        assert targets
        assert deadline == request.deadline
        await attempt.remove()
        assert not world.warden.watched

    run(story)


def test_a_snapshot_does_not_disturb_and_a_program_goes_on_from_it(run: Run) -> None:
    async def story(world: World) -> None:
        attempt = await world.runtime.start(world.request(world.count(9, STEP_S)))
        await reach(attempt, 0.1)
        snapshot = await attempt.checkpoint(world.work / "snapshot")
        assert snapshot.rung is world.runtime.rung
        assert snapshot.progress is not None
        assert (await attempt.wait()).result == b"9\n"
        again = await world.runtime.start(
            world.request(world.count(9, STEP_S), restore_from=snapshot)
        )
        assert (await again.wait()).result == b"9\n"
        if not world.fake:
            last = await again.checkpoint(world.work / "last")
            assert (last.path / "job" / "lines").read_text().split() == list("123456789")
        await attempt.remove()
        await again.remove()

    run(story)


def test_a_checkpoint_does_not_thaw_what_the_brain_froze(run: Run) -> None:
    async def story(world: World) -> None:
        attempt = await world.runtime.start(world.request(world.count(9, LONG_STEP_S)))
        await reach(attempt, 0.1)
        await attempt.freeze()
        before = await attempt.progress()
        await attempt.checkpoint(world.work / "snapshot")
        for _ in range(10):
            await asyncio.sleep(0.01)
            assert await attempt.progress() == before
        await attempt.remove()

    run(story)


def test_a_program_that_asks_for_it_goes_on_from_its_files(run: Run) -> None:
    async def story(world: World) -> None:
        attempt = await world.runtime.start(world.request(world.save()))
        assert (await attempt.wait()).code == EXIT_RESUME
        snapshot = await attempt.checkpoint(world.work / "snapshot")
        assert snapshot.rung is Rung.FILES
        await attempt.remove()
        again = await world.runtime.start(world.request(world.save(), restore_from=snapshot))
        ended = await again.wait()
        assert (ended.code, ended.result) == (0, b"resumed\n")
        await again.remove()

    run(story)


def test_one_start_is_not_made_twice(run: Run) -> None:
    async def story(world: World) -> None:
        request = world.request(world.sleep())
        attempt = await world.runtime.start(request)
        with pytest.raises(ContainerError):
            await world.runtime.start(request)
        await attempt.remove()

    run(story)


def test_a_failed_start_leaves_nothing(run: Run) -> None:
    async def story(world: World) -> None:
        if world.fake:
            return
        with pytest.raises(ContainerError, match="no-such-program"):
            await world.runtime.start(world.request(("no-such-program",)))
        assert not world.warden.watched
        assert await world.runtime.sweep() == 0

    run(story)
