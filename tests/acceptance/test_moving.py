"""Goal: a job that is moved on purpose goes on exactly where it was, and uses up no attempt.

Method: a counter with its number in memory, in a file and in what it prints is drained off its
agent, and then leaves the other with SIGTERM; at its end all three must be without gap or repeat.
It does not end before its third start, however slow the machine is.
Real engines, CRIU, nodes and commands.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from device_client import Device, Report
from tests.acceptance.agreement import until
from workrs.cli.cluster import AgentPlan, LocalCluster, Place
from workrs.cli.stage import Stage

COUNTER = """
import json, sys, time
total = int(sys.argv[1])
def starts():
    with open("/job/attempt") as attempt:
        return json.load(attempt)["attempt"]
with open("/job/lines", "a") as lines, open("/job/progress", "a") as progress:
    for n in range(1, total + 1):
        lines.write(f"{n}\\n")
        lines.flush()
        print(n, flush=True)
        progress.write(f"{n / total} at {n}\\n")
        progress.flush()
        time.sleep(0.02)
        while n == total - 1 and starts() < 3:
            time.sleep(0.1)
with open("/job/lines") as lines:
    assert lines.read().split() == [str(n) for n in range(1, total + 1)]
"""
STEPS = 900
SLEEPER = """
import time
with open("/job/progress", "a") as progress:
    progress.write("0.1\\n")
time.sleep(600)
"""
LIE = """
import pathlib
read_text = pathlib.Path.read_text
def lie(path, *rest, **named):
    told = pathlib.Path(__file__).with_name("cpuinfo")
    return read_text(told if str(path) == "/proc/cpuinfo" else path, *rest, **named)
pathlib.Path.read_text = lie
"""
"""Not a mount over the file: an engine is used only from the mount namespace it is in."""


def workrs(cluster: LocalCluster, *words: str) -> subprocess.CompletedProcess[str]:
    nodes = [word for host in cluster.hosts for word in ("--node", host)]
    command = [sys.executable, "-m", "workrs.cli.main", *words, *nodes]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def working(device: Device, job: str) -> Report | None:
    """Return the job's state once its program has got on since it came to its agent."""
    report = device.state(job)
    assert not report.state.is_final, report
    return report if report.agent and (report.progress or 0) > 0.05 else None


def counted_elsewhere(device: Device, job: str, former: str) -> Report | None:
    report = working(device, job)
    return report if report and report.agent != former else None


@pytest.mark.engine
@pytest.mark.criu
def test_a_counter_that_is_drained_and_stopped_repeats_and_loses_nothing(
    start_engine_cluster: Callable[..., LocalCluster], engine_stage: Stage
) -> None:
    cluster = start_engine_cluster(agents=2)
    with Device("pump-7", nodes=cluster.hosts) as device:
        device.submit(
            {
                "image": engine_stage.image,
                "command": ["python3", "-c", COUNTER, str(STEPS)],
                "memory_mb": 64,
                "attempts_max": 1,
            },
            job="count",
        )
        first = until("the program", lambda: working(device, "count")).agent
        assert first is not None
        drained = workrs(cluster, "drain", first, "--wait", "--within", "50", "--json")
        assert drained.returncode == 0, drained.stderr
        told = json.loads(drained.stdout)
        second = until("another agent", lambda: counted_elsewhere(device, "count", first)).agent
        assert second is not None
        assert told["drained"]
        assert [job["fate"] for job in told["jobs"]] == [f"moved to {second}"]

        again = workrs(cluster, "drain", first)
        assert (again.returncode, again.stdout) == (0, f"agent {first} is draining already\n")
        assert workrs(cluster, "undrain", first).returncode == 0
        os.kill(cluster.members[second].pid, signal.SIGTERM)
        until("the end of the agent", lambda: not cluster.members[second].is_running())
        cluster.start(second)

        result = device.result("count", timeout=90)
        assert result.value == b"".join(b"%d\n" % n for n in range(1, STEPS + 1))
        assert result.attempt == 3
        # The device may have heard the end from another node.
        shown = until("its end", lambda: ended(cluster, "pump-7/count"))
        assert shown["state"] == "succeeded"
        assert shown["checkpoint"]["rung"] == "memory"


def ended(cluster: LocalCluster, job: str) -> Any:
    """Return what is shown of a job once it has ended."""
    shown = json.loads(workrs(cluster, "show", job, "--json").stdout or "{}")
    return shown if shown.get("state") in ("succeeded", "failed") else None


def test_an_agent_leaves_when_its_hook_says_so_and_comes_back(
    start_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    low = tmp_path / "battery-low"
    hook = f"test -e {low} || exit 1; echo battery at 9 %"
    leaving = ("--leave-when", hook, "--leave-poll", "1")
    plans = tuple(
        AgentPlan(name=name, runtime="process", slots=1, options=options)
        for name, options in (("a1", leaving), ("a2", ()))
    )
    cluster = start_cluster(agent_plans=plans)
    until("a2 to be told", lambda: workrs(cluster, "drain", "a2").returncode == 0)
    until("a2 to take nothing", lambda: states(cluster).get("a2") == "draining")
    with Device("pump-7", nodes=cluster.hosts) as device:
        go = tmp_path / "go"
        script = f"echo 0.5 >$WORKRS_JOB_DIR/progress; until [ -e {go} ]; do sleep 0.1; done"
        device.submit({"image": "none", "command": ["sh", "-c", script]}, job="chain")
        assert until("the program", lambda: working(device, "chain")).agent == "a1"
        assert workrs(cluster, "undrain", "a2").returncode == 0
        low.touch()
        until("another agent", lambda: counted_elsewhere(device, "chain", "a1"))
        until("a1 to be shown so", lambda: states(cluster).get("a1") == "draining")
        low.unlink()
        until("a1 to take jobs again", lambda: states(cluster).get("a1") == "live")
        go.touch()
        assert device.result("chain", timeout=60).attempt == 2


def states(cluster: LocalCluster) -> dict[str, str]:
    """Return the agents' states by name; none where no node answers."""
    found = json.loads(workrs(cluster, "agents", "--json").stdout or "[]")
    return {agent["agent"]: agent["state"] for agent in found}


@pytest.mark.engine
@pytest.mark.criu
def test_memory_of_another_cpu_is_not_restored_and_the_job_says_what_it_fell_to(
    engine_stage: Stage, start_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    """The second agent is told a lie: its /proc/cpuinfo lacks a feature."""
    (tmp_path / "cpuinfo").write_text(without_a_feature(Path("/proc/cpuinfo").read_text()))
    (tmp_path / "sitecustomize.py").write_text(LIE)
    lied_to = f"PYTHONPATH={os.pathsep.join([str(tmp_path), *sys.path])}"
    plans = tuple(
        AgentPlan(
            name=f"a{i + 1}",
            runtime="docker",
            engine=engine_stage.engine(i),
            options=("--offline",),
        )
        for i in range(2)
    )
    cluster = start_cluster(
        agent_plans=plans,
        places={"a2": Place(prefix=("env", lied_to))},
    )
    until("a2 to be told", lambda: workrs(cluster, "drain", "a2").returncode == 0)
    until("a2 to take nothing", lambda: states(cluster).get("a2") == "draining")
    with Device("pump-7", nodes=cluster.hosts) as device:
        device.submit(
            {
                "image": engine_stage.image,
                "command": ["python3", "-c", SLEEPER],
                "memory_mb": 64,
            },
            job="count",
        )
        # Its progress: an attempt is said to run before its container does.
        until("the program", lambda: working(device, "count"))
        assert workrs(cluster, "undrain", "a2").returncode == 0
        until("a2 to take jobs", lambda: states(cluster).get("a2") == "live")
        drained = workrs(cluster, "drain", "a1", "--wait", "--within", "50")
        assert "no other agent can restore its memory" in drained.stdout, drained
        assert until("a reason", lambda: noted(device, "count", "waits")).agent is None
        shown = workrs(cluster, "show", "pump-7/count").stdout
        assert "another cpu" in shown
        report = until("the other agent", lambda: moved(device, "count"), 60)
        assert report.agent == "a2"
        began = "began again with the files of 1."
        fell = until("what it fell to", lambda: noted(device, "count", began))
        assert "another cpu" in (fell.note or "")
        device.cancel("count")
        until("the end", lambda: device.state("count").state.is_final)


def moved(device: Device, job: str) -> Report | None:
    report = device.state(job)
    return report if report.agent else None


def noted(device: Device, job: str, words: str) -> Report | None:
    """Return the job's state once its note begins so."""
    report = device.state(job)
    return report if (report.note or "").startswith(words) else None


def without_a_feature(cpuinfo: str) -> str:
    """Return the text with one flag fewer on every CPU."""
    lines = [
        line.rpartition(" ")[0] if line.partition(":")[0].strip() in ("flags", "Features") else line
        for line in cpuinfo.splitlines()
    ]
    return "\n".join(lines) + "\n"
