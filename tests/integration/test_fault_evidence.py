"""Goal: a program that is thawed to die does not count as running. Method: a real cgroup."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from edge_agent.cgroup import Cgroup, find_parents
from workrs.faults.evidence import can_run

PATIENCE_S = 60.0


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """Make a cgroup that can be frozen, where this user may."""
    parents = find_parents()
    if not parents:
        pytest.skip("no cgroup with a freezer may be made here")
    found = Cgroup(path=parents[0] / f"workrs-evidence-{os.getpid()}")
    found.path.mkdir()
    yield found
    asyncio.run(found.kill())
    found.path.rmdir()


def test_a_frozen_program_with_a_sigkill_on_its_way_runs_no_more(cgroup: Cgroup) -> None:
    with subprocess.Popen(["sleep", "60"]) as program:
        (cgroup.path / "cgroup.procs").write_text(str(program.pid))
        assert can_run(program.pid)
        asyncio.run(cgroup.freeze())
        assert can_run(program.pid)
        os.kill(program.pid, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_S
        while can_run(program.pid):
            assert time.monotonic() < deadline
        cgroup.thaw()


def test_what_has_ended_runs_no_more() -> None:
    with subprocess.Popen(["true"]) as program:
        program.wait()
        assert not can_run(program.pid)
