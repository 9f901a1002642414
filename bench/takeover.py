"""How long a job stands still when its agent is killed: 20 kills of agents, 64 MiB jobs.

    sudo .venv/bin/python bench/takeover.py [--kills 20] [--ballast-mb 64] [--json FILE]

Three nodes, three agents on two Docker Engines, default timings. Each round: a job with
`--ballast-mb` of memory runs and has a checkpoint; its agent gets SIGKILL; the clock runs
until an engine shows the job's container running under a higher epoch. The engine is asked,
not the agent; it is asked every 20 ms, which is part of the figure. The job must then end
with the result of an undisturbed run, every `--verify`-th round (each takes as long as the
job); the others are cancelled.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from device_client import Device
from workrs.cli.cluster import AgentPlan, ClusterPlan, local_cluster
from workrs.cli.container_watch import ContainerWatch
from workrs.cli.leftover import unmount_below
from workrs.cli.stage import stage

DEVICE = "bench-2"
JOB_S = 10.0
PACE_S = 0.1


def spec(ballast_mb: int) -> dict[str, object]:
    """Return a job that holds memory, changes it and lasts JOB_S."""
    wanted = {"n": 20, "products": int(JOB_S / PACE_S), "ballast_mb": ballast_mb, "pace_s": PACE_S}
    return {
        "function": "matrix",
        "input": json.dumps(wanted),
        "checkpoint": {"interval_s": 1.0},
    }


def until(condition, what: str, timeout_s: float = 60.0):  # noqa: ANN001, ANN201
    """Poll until *condition* gives something true; return it."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(0.02)  # noqa: TID251
    return found


def one_kill(cluster, device, watch, job, *, verify, expected):  # noqa: ANN001, ANN201
    """Kill the job's agent; return (seconds to the container elsewhere, its result)."""

    def checkpointed():  # noqa: ANN202
        report = device.state(job)
        return report if report.checkpoint and (report.progress or 0) > 0.15 else None

    report = until(checkpointed, f"a checkpoint of {job}")
    killed_at = time.monotonic()
    cluster.kill(report.agent)
    found = watch.wait_above(f"{DEVICE}_{job}", report.epoch, 60.0)
    if found is None:
        raise SystemExit(f"{job} was not taken over within 60 s")
    took_s = found.at - killed_at
    if verify:
        value = device.result(job, timeout=120).value
        if value != expected:
            raise SystemExit(f"{job} gave {value!r} instead of {expected!r}")
    else:
        device.cancel(job)
        until(lambda: device.state(job).state.is_final, f"the end of {job}")
    cluster.start(report.agent)
    return took_s


def main() -> int:
    """Run the rounds and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ballast-mb", type=int, default=64)
    parser.add_argument("--verify", type=int, default=5, help="check every n-th result")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    took: list[float] = []
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="workrs-bench-")))
        stack.callback(unmount_below, root)
        found = stack.enter_context(stage(root, purpose="bench", runtime="docker", engines=2))
        agents = tuple(
            AgentPlan(name=f"edge-{i}", runtime=found.runtime, engine=found.engine(i), slots=4)
            for i in range(3)
        )
        plan = ClusterPlan(root=root, nodes=3, agents=agents, functions=found.functions)
        cluster = stack.enter_context(local_cluster(plan))
        device = stack.enter_context(Device(DEVICE, nodes=cluster.hosts))
        watch = stack.enter_context(ContainerWatch(found.engines))
        device.submit(spec(asked.ballast_mb), job="undisturbed")
        expected = device.result("undisturbed", timeout=120).value
        for number in range(1, asked.kills + 1):
            job = f"kill-{number}"
            device.submit(spec(asked.ballast_mb), job=job)
            verify = number % asked.verify == 0
            took.append(one_kill(cluster, device, watch, job, verify=verify, expected=expected))
            print(f"{job}: {took[-1]:.2f} s", file=sys.stderr)
    summary = {
        "kills": len(took),
        "ballast_mb": asked.ballast_mb,
        "rung": found.rung.value,
        "min_s": round(min(took), 3),
        "median_s": round(statistics.median(took), 3),
        "max_s": round(max(took), 3),
        "all_s": [round(t, 3) for t in took],
    }
    print(json.dumps(summary, indent=2))
    if asked.json:
        asked.json.write_text(json.dumps(summary, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
