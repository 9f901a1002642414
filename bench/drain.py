"""How long a job stands still when its agent is drained, and whether anything is done twice.

    sudo .venv/bin/python -m bench.drain [--mib 64 1024] [--rounds 3] [--dirty-mib 4] [--json FILE]

Three nodes, two agents on two Docker Engines of this machine. A program holds `--mib` of memory,
half of it compressible, changes `--dirty-mib` of it every 50 ms, and each time writes the wall
clock into a list in its memory. `workrs drain AGENT --wait` moves it; then the agent is undrained
and the job moved back. In the end the program prints its list: the longest gap within a move is
how long it stood still from the last step at the old agent to the first at the new one, whatever
anybody's log says; and every step stands in it once. It ends some seconds after its last move,
however long the moves take. Clocks are those of one machine.
"""

import argparse
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.two_engines import Bench, two_engines, until
from workrs.cli.cluster import LocalCluster

DEVICE = "bench-drain"
STEP_S = 0.05
DRAIN_S = 600
END_S = 120
PROGRAM = """
import json, os, sys, time
mib, dirty, rounds, after_s = (float(word) for word in sys.argv[1:])
mib, dirty, last = int(mib), int(dirty), None
half = mib << 19
noise, text = bytearray(os.urandom(1 << 20)) * (half >> 20), bytearray(range(256)) * (half >> 8)
for n in range(0, half, 4096):
    noise[n : n + 8] = n.to_bytes(8, "big")
steps, at = [], 0
while last is None or time.time() < last + after_s:
    for n in range(0, dirty << 20, 4096):
        noise[at : at + 8] = len(steps).to_bytes(8, "big")
        at = (at + 4096) % max(4096, half)
    steps.append(time.time())
    with open("/job/progress", "a") as progress:
        progress.write(f"0.5 step {len(steps)}\\n")
    if last is None and json.load(open("/job/attempt"))["attempt"] > rounds:
        last = time.time()
    time.sleep(0.05)
json.dump(steps, sys.stdout)
"""


def workrs(cluster: LocalCluster, *words: str) -> dict[str, Any]:
    """Run a command against the cluster; return its JSON."""
    nodes = [word for host in cluster.hosts for word in ("--node", host)]
    command = [sys.executable, "-m", "workrs.cli.main", *words, "--json", *nodes]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{words}: {ran.returncode}: {ran.stderr}{ran.stdout}")
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def one_job(
    bench: Bench,
    *,
    mib: int,
    dirty: int,
    rounds: int,
    job: str,
) -> dict[str, Any]:
    """Move one job *rounds* times; return what its program and the commands say."""
    cluster, device = bench.cluster, bench.device
    after_s = 3.0 + mib / 200
    words = [str(word) for word in (mib, dirty, rounds, after_s + 2.0)]
    device.submit(
        {
            "image": bench.stage.image,
            "command": ["python3", "-c", PROGRAM, *words],
            "memory_mb": 2 * mib + 64,
            "attempts_max": 1,
        },
        job=job,
    )
    moves: list[tuple[float, float]] = []
    drained_s: list[float] = []
    for number in range(rounds):
        report = until(lambda: device.state(job).agent and device.state(job), f"{job} to run")
        until(lambda: "step" in (device.state(job).note or ""), f"{job} to work")
        time.sleep(6.0 if number == 0 else 2.0)  # noqa: TID251
        begin = time.time()  # noqa: TID251
        drained = workrs(cluster, "drain", report.agent, "--wait", "--within", str(DRAIN_S))
        drained_s.append(time.time() - begin)  # noqa: TID251
        former = report.agent
        until(
            lambda f=former: device.state(job).agent not in (None, f),
            f"{job} elsewhere, of which the drain said {drained['jobs']}",
        )
        time.sleep(after_s)  # noqa: TID251
        moves.append((begin, time.time()))  # noqa: TID251
        workrs(cluster, "undrain", report.agent)
    result = device.result(job, timeout=END_S)
    steps: list[float] = json.loads(result.value)
    gaps = [(b - a, a) for a, b in itertools.pairwise(steps)]
    # Also a gap that began earlier or ends later: on a busy machine it may be all of the move.
    stood = [max(gap for gap, at in gaps if at < end and begin < at + gap) for begin, end in moves]
    if any(gap < 0 for gap, _ in gaps):
        raise SystemExit("a step was done twice: time goes back in the program's list")
    return {
        "mib": mib,
        "dirty_mib_per_s": dirty / STEP_S,
        "stood_still_s": [round(s, 2) for s in stood],
        "median_s": round(statistics.median(stood), 2),
        "drain_s": [round(s, 2) for s in drained_s],
        "steps": len(steps),
        "starts": result.attempt,
    }


@contextlib.contextmanager
def kept_logs(root: Path, folder: Path | None) -> Iterator[None]:
    """Leave the logs below *root* in *folder*, above all of a bench that failed."""
    try:
        yield
    finally:
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for log in root.rglob("*.log"):
                (folder / log.name).write_bytes(log.read_bytes())


def main() -> int:
    """Move jobs of each size and print how long they stood still."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mib", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--dirty-mib", type=int, default=1, help="changed every 50 ms")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--keep", type=Path, help="leave the logs in this folder, the agents' with all details"
    )
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    options = ("--verbose",) if asked.keep else ()
    with (
        two_engines(device=DEVICE, agents=2, options=options) as bench,
        kept_logs(bench.root, asked.keep),
    ):
        rows = []
        for mib in asked.mib:
            row = one_job(
                bench,
                mib=mib,
                dirty=asked.dirty_mib,
                rounds=asked.rounds,
                job=f"move-{mib}",
            )
            print(json.dumps(row), file=sys.stderr, flush=True)
            rows.append(row)
    summary = {"rung": bench.stage.rung.value, "moves": rows}
    print(json.dumps(summary, indent=2))
    if asked.json:
        asked.json.write_text(json.dumps(summary, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
