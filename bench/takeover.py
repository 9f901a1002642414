"""How long a job stands still when its agent is killed: 20 kills of agents, 64 MiB jobs.

    sudo .venv/bin/python -m bench.takeover [--kills 20] [--ballast-mb 64] [--json FILE]

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
import time
from pathlib import Path

from bench.two_engines import Bench, two_engines, until
from device_client.report import Report
from workrs.cli.container_watch import ContainerWatch

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


def one_kill(
    bench: Bench, watch: ContainerWatch, job: str, *, verify: bool, expected: object
) -> float:
    """Kill the job's agent; return the seconds until its container runs elsewhere."""
    device = bench.device

    def checkpointed() -> Report | None:
        report = device.state(job)
        return report if report.checkpoint and (report.progress or 0) > 0.15 else None

    report = until(checkpointed, f"a checkpoint of {job}")
    killed_at = time.monotonic()
    bench.cluster.kill(report.agent)
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
    bench.cluster.start(report.agent)
    return took_s


def main() -> int:
    """Run the rounds and print what they took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--ballast-mb", type=int, default=64)
    parser.add_argument("--verify", type=int, default=5, help="check every n-th result")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    took: list[float] = []
    with (
        two_engines(device=DEVICE, agents=3) as bench,
        ContainerWatch(bench.stage.engines) as watch,
    ):
        device = bench.device
        device.submit(spec(asked.ballast_mb), job="undisturbed")
        expected = device.result("undisturbed", timeout=120).value
        for number in range(1, asked.kills + 1):
            job = f"kill-{number}"
            device.submit(spec(asked.ballast_mb), job=job)
            verify = number % asked.verify == 0
            took.append(one_kill(bench, watch, job, verify=verify, expected=expected))
            print(f"{job}: {took[-1]:.2f} s", file=sys.stderr)
    summary = {
        "kills": len(took),
        "ballast_mb": asked.ballast_mb,
        "rung": bench.stage.rung.value,
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
