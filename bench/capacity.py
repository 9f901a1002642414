"""What a cluster takes of its machines: memory, CPU, disk and bus, as docs/operations.md has it.

    .venv/bin/python bench/capacity.py [--agents 500] [--rate 50] [--seconds 20] [--json FILE]

Three nodes with their Mosquittos, one agent that answers at once and one device, all on this
machine. Each phase begins when the one before has settled and lasts `--seconds`:

- *idle*: nodes and the agent, nothing to do;
- *loaded*: `--rate` jobs/s, each on the disks of two of three nodes before it is accepted;
- *crowd*: `--agents` more agents, connected and idle, in one process that is not counted.

CPU is what the kernel counted for a process; on a busy machine it is the same work at a slower
clock. Memory is resident, shared pages included. The bus: bytes that Mosquitto sent by its own
count, bridges included, less what the same time costs idle.
"""

import argparse
import asyncio
import json
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import uvloop
from control_plane import SYS_INTERVAL_S, process_cpu_s, run_load

from workrs.adapters.mqtt import connect
from workrs.cli.cluster import AgentPlan, ClusterPlan, LocalCluster, local_cluster
from workrs.examples.functions import functions_toml
from workrs.faults.fleet import gathered
from workrs.ports.bus import Subscription

BYTES_SENT = "$SYS/broker/bytes/sent"
AGENT = "agent-1"


def pids(cluster: LocalCluster) -> dict[str, list[int]]:
    """Return the processes of each kind of program."""
    nodes = list(cluster.addresses)
    return {
        "node": [cluster.members[name].pid for name in nodes],
        "broker": [cluster.broker_pid(name) for name in nodes],
        "agent": [cluster.members[AGENT].pid],
    }


def memory_mib(pid: int) -> float:
    """Return what is resident of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"process {pid} has ended")


def cpu_s(cluster: LocalCluster) -> dict[str, float]:
    """Return CPU seconds of one program of each kind so far, the mean of those there are."""
    found = pids(cluster)
    return {kind: sum(map(process_cpu_s, each)) / len(each) for kind, each in found.items()}


def disk_bytes(cluster: LocalCluster) -> int:
    """Return what the three ledgers take, once their logs are written back."""
    total = 0
    for name in cluster.addresses:
        path = cluster.plan.root / name / "ledger.db"
        with closing(sqlite3.connect(path)) as ledger:
            ledger.execute("pragma wal_checkpoint(passive)")
        total += path.stat().st_size
    return total


async def bus_bytes(cluster: LocalCluster) -> int:
    """Return the bytes that all brokers say they have sent, when they next say so."""
    await asyncio.sleep(SYS_INTERVAL_S + 1)
    total = 0
    for address in cluster.addresses.values():
        async with connect(address=address, client_id="bench-counter") as bus:
            await bus.subscribe(Subscription(pattern=BYTES_SENT, qos=0))
            total += int((await bus.receive())[0].payload)
    return total


class Phase:
    """Looks at a cluster at the beginning and at the end of a phase."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self.began_s = time.monotonic()
        self.cpu_before_s = cpu_s(cluster)

    def end(self) -> dict[str, dict[str, float]]:
        took_s = time.monotonic() - self.began_s
        used = cpu_s(self.cluster)
        return {
            kind: {
                "cpu_percent": round((used[kind] - self.cpu_before_s[kind]) / took_s * 100, 1),
                "memory_mib": round(max(map(memory_mib, each)), 1),
            }
            for kind, each in pids(self.cluster).items()
        }


async def idle(cluster: LocalCluster, seconds: float) -> dict[str, object]:
    phase = Phase(cluster)
    await asyncio.sleep(seconds)
    return dict(phase.end())


async def loaded(cluster: LocalCluster, seconds: float, rate: float) -> dict[str, object]:
    jobs, address = int(seconds * rate), next(iter(cluster.addresses.values()))
    await run_load(address, "warm", 100, 100, rate)
    before = await bus_bytes(cluster)
    idle_bytes = await bus_bytes(cluster) - before
    disk_before, sent_before = disk_bytes(cluster), await bus_bytes(cluster)
    phase = Phase(cluster)
    await run_load(address, "load", jobs, jobs, rate)
    found: dict[str, object] = dict(phase.end())
    spare = 1 + seconds / (SYS_INTERVAL_S + 1)
    sent = await bus_bytes(cluster) - sent_before - idle_bytes * spare
    return {
        **found,
        "jobs": jobs,
        "bus_kb_per_job": round(sent / jobs / 1000, 1),
        "ledger_mb_per_1000_jobs_and_node": round(
            (disk_bytes(cluster) - disk_before) / 3 / jobs / 1000, 2
        ),
    }


def plan(root: Path) -> ClusterPlan:
    functions = root / "functions.toml"
    functions.write_text(functions_toml("none"))
    options = ("--memory-mb", "1000000")
    agent = AgentPlan(name=AGENT, runtime="instant", slots=128, options=options)
    return ClusterPlan(root=root / "cluster", nodes=3, agents=(agent,), functions=functions)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=500)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="workrs-bench-") as folder,
        local_cluster(plan(Path(folder))) as cluster,
    ):
        found: dict[str, object] = {"idle": uvloop.run(idle(cluster, asked.seconds))}
        found["loaded"] = uvloop.run(loaded(cluster, asked.seconds, asked.rate))
        with gathered(cluster, asked.agents, "crowd"):
            found["crowd"] = uvloop.run(idle(cluster, asked.seconds))
    print(json.dumps(found, indent=2))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
