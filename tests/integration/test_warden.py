"""Goal: no program runs past its deadline, or outlives its agent by a second.

Method: a small agent in a process of its own is stopped and killed; its program appends to a
file, so that running shows. Once for each way of freezing that this machine has.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from edge_agent.warden import Warden
from tests.contract import runtimes
from workrs.domain.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
LATE_S = 0.5
"""The warden's turn, and room for a busy machine."""


def until(condition: Callable[[], bool], within_s: float) -> float | None:
    """Return after how many seconds the condition held, or None."""
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > within_s:
            return None
        select.select([], [], [], 0.005)
    return time.monotonic() - begin


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


class Agent:
    """The small agent, and what it said."""

    def __init__(self, state: Path, kind: str, deadline_s: float) -> None:
        self.state = state
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.warden_agent", state, kind, str(deadline_s)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        pid, self.target, warden = self.process.stdout.readline().split()
        self.pid, self.warden = int(pid), int(warden)

    def written(self) -> int:
        with contextlib.suppress(OSError):
            return (self.state / "work" / "pump_1.1.1" / "job" / "progress").stat().st_size
        return 0

    def runs(self) -> bool:
        """Return whether the program's file grows."""
        before = self.written()
        return until(lambda: self.written() > before, within_s=0.3) is not None

    def members(self) -> set[int]:
        """Return everything the program consists of."""
        found = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.pid and fields[0] not in "ZX":
                    found.add(int(stat.parent.name))
        return found

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert until(lambda: not alive(self.warden), within_s=5) is not None
        if self.target.startswith("group:") and self.members():
            # Its warden was killed, and the next incarnation finds programs by their cgroups.
            os.killpg(self.pid, signal.SIGKILL)


@pytest.fixture(params=["v2", "v1", "group"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param != "group" and runtimes.parent(request.param) is None:
        pytest.skip(f"this machine has no cgroup {request.param} to freeze with")
    return str(request.param)


@pytest.fixture
def start(tmp_path: Path, kind: str) -> Iterator[Callable[[float], Agent]]:
    started: list[Agent] = []

    def begin(deadline_s: float) -> Agent:
        started.append(Agent(tmp_path, kind, deadline_s))
        return started[-1]

    yield begin
    for agent in started:
        agent.end()
    # What is left of the last one's cgroup and folder is for the next incarnation.
    asyncio.run(_sweep(tmp_path, kind))
    for agent in started:
        assert until(lambda agent=agent: not agent.members(), within_s=1) is not None  # type: ignore[misc]


async def _sweep(state: Path, kind: str) -> None:
    warden = await Warden.start(state)
    runtime = runtimes.process_runtime(kind, state / "work", warden, agent=f"warden-{kind}")
    await runtime.sweep()
    await runtime.close()
    await warden.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may go before others")
def test_the_warden_goes_before_whatever_keeps_the_cores_busy(
    start: Callable[[float], Agent],
) -> None:
    agent = start(60.0)
    assert os.getpriority(os.PRIO_PROCESS, agent.warden) == -20
    assert os.getpriority(os.PRIO_PROCESS, agent.pid) == os.getpriority(os.PRIO_PROCESS, 0)


def test_a_killed_agents_program_is_dead_within_a_second(start: Callable[[float], Agent]) -> None:
    agent = start(1000)
    assert agent.runs()
    assert len(agent.members()) >= 2
    agent.process.kill()
    assert until(lambda: not agent.members(), within_s=1) is not None
    assert until(lambda: not alive(agent.warden), within_s=2) is not None
    way, _, name = agent.target.partition(":")
    assert way == "group" or not Path(name).parent.exists()


def test_a_stopped_agents_program_is_frozen_at_its_deadline(
    start: Callable[[float], Agent],
) -> None:
    agent = start(1.5)
    agent.process.send_signal(signal.SIGSTOP)
    assert agent.runs()
    assert until(lambda: not agent.runs(), within_s=1.5 + LATE_S + 0.3) is not None
    agent.process.kill()
    assert until(lambda: not agent.members(), within_s=1) is not None


def test_a_program_thawed_past_its_deadline_is_frozen_again(
    start: Callable[[float], Agent],
) -> None:
    agent = start(0.3)
    assert until(lambda: not agent.runs(), within_s=3) is not None
    way, _, name = agent.target.partition(":")
    if way == "group":
        os.killpg(int(name), signal.SIGCONT)
    elif (Path(name) / "cgroup.freeze").exists():
        (Path(name) / "cgroup.freeze").write_text("0")
    else:
        (Path(name) / "freezer.state").write_text("THAWED")
    assert until(lambda: not agent.runs(), within_s=2) is not None


def test_a_killed_wardens_agent_notices(start: Callable[[float], Agent]) -> None:
    agent = start(1000)
    os.kill(agent.warden, signal.SIGKILL)
    agent.process.wait(timeout=5)


def test_a_warden_that_hangs_is_lost(tmp_path: Path) -> None:
    async def story() -> None:
        warden = await Warden.start(tmp_path)
        lost = asyncio.create_task(warden.lost())
        async with asyncio.timeout(60):
            assert await warden.answers(30)
            os.kill(warden.pid, signal.SIGSTOP)
            await warden.keep_answering(0.01, 0.1)
            await lost
        await warden.close()

    asyncio.run(story())


def test_the_next_incarnation_waits_for_the_former_warden(tmp_path: Path) -> None:
    async def story() -> None:
        first = await Warden.start(tmp_path)
        with pytest.raises(ConfigError, match="another agent"):
            await Warden.start(tmp_path, former_wait_s=0.2)
        await first.close()
        second = await Warden.start(tmp_path, former_wait_s=0.2)
        await second.close()

    asyncio.run(story())


def test_an_idle_warden_is_small(tmp_path: Path) -> None:
    async def story() -> None:
        warden = await Warden.start(tmp_path)
        status = Path(f"/proc/{warden.pid}/status").read_text()  # noqa: ASYNC240 (no disk)
        await warden.close()
        kib = next(int(line.split()[1]) for line in status.splitlines() if "VmRSS" in line)
        assert kib < 16_000

    asyncio.run(story())
