"""Goal: no program runs past its deadline, or outlives its agent by a second.

Method: a small agent in a process of its own is stopped and killed; its program writes down at
every step when it ran, so that only what it did counts, and not when somebody looked. Once for
each way of freezing that this machine has.
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

from edge_agent.cgroup import Cgroup
from edge_agent.warden import Warden, boottime
from edge_agent.warden_process import TURN_S
from tests.contract import runtimes
from workrs.domain.errors import ConfigError
from workrs.domain.lease import LeaseTiming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
LATE_S = LeaseTiming().freeze_max_s
"""The longest that freezing may take."""
SURVIVAL_S = 1.0
"""How long a program may outlive its agent."""
WAIT_S = 60.0


def until(condition: Callable[[], bool], within_s: float = WAIT_S) -> bool:
    """Wait until the condition holds; return whether it did in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.005)
    return True


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
        pid, self.target, warden, deadline = self.process.stdout.readline().split()
        self.pid, self.warden, self.deadline = int(pid), int(warden), float(deadline)

    def ran_s(self) -> float:
        """Return when the program ran last, on the warden's clock; 0 if it never did."""
        with contextlib.suppress(OSError):
            steps = self.state / "work" / "pump_1.1.1" / "job" / "progress"
            return float(steps.read_text().rpartition("\n")[0].rpartition("\n")[2] or 0)
        return 0.0

    def goes_on(self) -> bool:
        """Wait until the program runs another step; return whether it does."""
        before = self.ran_s()
        return until(lambda: self.ran_s() > before)

    def stands(self) -> bool:
        """Return whether all of the program is frozen."""
        way, _, name = self.target.partition(":")
        if way == "cgroup":
            return Cgroup(path=Path(name)).is_frozen()
        states = set(self.states().values())
        # D: a shell that waits for its vfork's child, which was stopped.
        return "T" in states and states <= {"T", "D"}

    def thaw(self) -> None:
        """Let the program go on, against the warden's will."""
        way, _, name = self.target.partition(":")
        if way == "cgroup":
            Cgroup(path=Path(name)).thaw()
        else:
            os.killpg(int(name), signal.SIGCONT)

    def states(self) -> dict[int, str]:
        """Return everything the program consists of, and the state of each by proc(5)."""
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[2]) == self.pid and fields[0] not in "ZX":
                    found[int(stat.parent.name)] = fields[0]
        return found

    def is_gone(self) -> bool:
        """Return whether nothing of the program is left."""
        return not self.states()

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert until(lambda: not alive(self.warden))
        if self.target.startswith("group:"):
            # Its warden was killed, and the next incarnation finds programs by their cgroups.
            with contextlib.suppress(ProcessLookupError):
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
        assert until(agent.is_gone)


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
    assert agent.goes_on()
    assert len(agent.states()) >= 2
    agent.process.kill()
    killed_s = boottime()
    assert until(agent.is_gone)
    assert agent.ran_s() - killed_s < SURVIVAL_S
    assert until(lambda: not alive(agent.warden))
    way, _, name = agent.target.partition(":")
    assert way == "group" or not Path(name).parent.exists()


def test_a_stopped_agents_program_is_frozen_at_its_deadline(
    start: Callable[[float], Agent],
) -> None:
    agent = start(5.0)
    agent.process.send_signal(signal.SIGSTOP)
    assert agent.goes_on()
    assert until(agent.stands)
    assert agent.ran_s() - agent.deadline < LATE_S
    agent.process.kill()
    assert until(agent.is_gone)


def test_a_program_thawed_past_its_deadline_is_frozen_again(
    start: Callable[[float], Agent],
) -> None:
    agent = start(0.3)
    assert until(agent.stands)
    before_s = thawed_s = agent.ran_s()

    def ran_again() -> bool:
        nonlocal thawed_s
        thawed_s = boottime()
        agent.thaw()
        return until(lambda: agent.ran_s() > before_s, within_s=0.1)

    assert until(ran_again)
    assert until(agent.stands)
    assert agent.ran_s() - thawed_s < TURN_S + LATE_S


def test_a_killed_wardens_agent_notices(start: Callable[[float], Agent]) -> None:
    agent = start(1000)
    os.kill(agent.warden, signal.SIGKILL)
    agent.process.wait(WAIT_S)


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
