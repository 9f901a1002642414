"""Goal: a hook drains an agent when it says so, and a broken one changes nothing.

Method: real shell commands, asked once or followed until they have said enough.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from edge_agent import leave_hook
from edge_agent.event import LeaveWished
from workrs.faults.programs import kill_all, lingering

if TYPE_CHECKING:
    from pathlib import Path

WAIT_S = 60.0


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a hook that ends more time than one has, for the machine may be busy."""
    monkeypatch.setattr(leave_hook, "TIMEOUT_S", WAIT_S)


@pytest.mark.parametrize(
    ("command", "wish"),
    [
        ("echo battery at 9 %; echo more; exit 0", LeaveWished(leave=True, why="battery at 9 %")),
        ("true", LeaveWished(leave=True, why="its hook says so")),
        ("echo 80 %; exit 1", LeaveWished(leave=False)),
    ],
)
def test_exit_0_is_leave_and_exit_1_is_stay(command: str, wish: LeaveWished) -> None:
    assert asyncio.run(leave_hook.ask(command)) == wish


@pytest.mark.parametrize("command", ["exit 2", "no-such-command-at-all", "kill -9 $$"])
def test_a_broken_hook_wishes_nothing(command: str) -> None:
    assert isinstance(asyncio.run(leave_hook.ask(command)), str)


def test_a_hook_that_hangs_is_killed_with_what_it_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(leave_hook, "TIMEOUT_S", 0.3)
    (tmp_path / "hook").mkdir()
    found = asyncio.run(leave_hook.ask(f"cd {tmp_path}/hook; sleep 300 & sleep 300"))
    assert found == "it did not end within 0.3 s"
    assert lingering(tmp_path, WAIT_S) == []


def test_a_hook_whose_offspring_escapes_does_not_hold_the_next_one_up(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(leave_hook, "TIMEOUT_S", 0.3)
    (tmp_path / "hook").mkdir()

    async def ask() -> LeaveWished | str:
        async with asyncio.timeout(WAIT_S):
            return await leave_hook.ask(f"cd {tmp_path}/hook; setsid sleep 300 & sleep 300")

    try:
        assert asyncio.run(ask()) == "it did not end within 0.3 s"
    finally:
        kill_all(lingering(tmp_path, 0.0))


def test_a_hook_may_print_more_than_anybody_keeps() -> None:
    found = asyncio.run(leave_hook.ask("echo low; head -c 3000000 /dev/zero; exit 0"))
    assert found == LeaveWished(leave=True, why="low")


def test_a_hook_that_cannot_be_started_wishes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leave_hook, "_SHELL", "/no/shell")
    assert "could not be started" in str(asyncio.run(leave_hook.ask("true")))


def test_only_changes_are_told(tmp_path: Path) -> None:
    turn = tmp_path / "turn"
    turn.write_text("1")
    told: list[LeaveWished] = []

    async def story() -> None:
        def take(wish: LeaveWished) -> None:
            told.append(wish)
            turn.write_text("0" if len(told) == 1 else "1")

        command = f"exit $(cat {turn})"
        following = asyncio.create_task(leave_hook.follow(command, 0.01, take))
        async with asyncio.timeout(WAIT_S):
            while len(told) < 3:  # noqa: ASYNC110 (a list, filled by the other task)
                await asyncio.sleep(0.01)
        following.cancel()

    asyncio.run(story())
    assert [wish.leave for wish in told] == [False, True, False]
