"""How fast the control plane is: no-op jobs through real nodes, brokers and an agent.

    .venv/bin/python bench/control_plane.py [--jobs 3000] [--runtime instant] [--json FILE]

Three nodes with their Mosquittos, one agent, one device, all on this machine. Every job is
majority-durable: `accepted` is told after two of three ledgers have it on disk, the outcome
after two of three have accepted it. Phases, each on fresh numbers:

- *load*: the device keeps `--window` jobs under way; jobs/s, and CPU per job by program.
- *latency*: one job every 1/`--rate` s; submit to accepted, and submit to result.
- *profile* (`--profile`): a load once more with one node under cProfile; slower, so its
  rates are not reported, only where the time goes.

- *traffic*: PUBLISH packets that clients send (nodes, agent, device) per job, by kind, and
  the copies that bridges make, seen by an observer of everything at each broker. (The
  count of received packets under $SYS of Mosquitto 2.0.11 misses most of them.) What the
  brokers sent in the load phase less these copies is what was delivered to clients.
"""

import argparse
import asyncio
import json
import os
import pstats
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from workrs.adapters.mqtt import connect
from workrs.cli.cluster import AgentPlan, ClusterPlan, LocalCluster, local_cluster
from workrs.examples.functions import functions_toml
from workrs.ports.bus import Address, Bus, Message, Subscription
from workrs.wire import topics

DEVICE = "bench-1"
SPEC = b'{"image": "none", "command": ["true"]}'
SYS_SENT = "$SYS/broker/publish/messages/sent"
SYS_INTERVAL_S = 10.0
"""How often Mosquitto publishes its counters."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Device:
    """Publishes jobs as fast as it is let, and notes when it hears of them."""

    bus: Bus
    prefix: str
    sent: dict[str, float] = field(default_factory=dict)
    accepted_s: list[float] = field(default_factory=list)
    result_s: list[float] = field(default_factory=list)

    def submit(self, number: int) -> None:
        job = f"{self.prefix}-{number}"
        self.sent[job] = time.monotonic()
        self.bus.publish(Message(topics.up(DEVICE, "submit", job), SPEC))

    async def listen(self, jobs: int) -> None:
        done: set[str] = set()
        while len(done) < jobs:
            for message in await self.bus.receive():
                now = time.monotonic()
                job = message.topic.rsplit("/", 1)[1]
                if job not in self.sent or job in done:
                    continue
                if b'"accepted"' in message.payload:
                    self.accepted_s.append(now - self.sent[job])
                elif b'"succeeded"' in message.payload:
                    done.add(job)
                    self.result_s.append(now - self.sent[job])
                elif b'"rejected"' in message.payload or b'"failed"' in message.payload:
                    raise SystemExit(f"{job}: {message.payload.decode()}")


@contextmanager
def show_alive(text: str) -> Iterator[None]:
    print(f"{text} …", file=sys.stderr)
    yield


async def run_load(address: Address, prefix: str, jobs: int, window: int, rate: float) -> Device:
    async with connect(address=address, client_id=DEVICE) as bus:
        await bus.subscribe(Subscription(pattern=topics.down(DEVICE, "#")))
        device = Device(bus, prefix)

        async def send() -> None:
            begun = time.monotonic()
            for number in range(jobs):
                if rate:
                    await asyncio.sleep(max(0.0, begun + number / rate - time.monotonic()))
                while len(device.sent) - len(device.result_s) >= window:
                    await asyncio.sleep(0.001)
                device.submit(number)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            tasks.create_task(device.listen(jobs))
        return device


def cpu_s(cluster: LocalCluster) -> dict[str, float]:
    """CPU seconds so far, by kind of program."""
    found = {"nodes": 0.0, "brokers": 0.0, "agents": 0.0, "device": sum(os.times()[:2])}
    for name, member in cluster.members.items():
        kind = "nodes" if name in cluster.addresses else "agents"
        found[kind] += process_cpu_s(member.pid)
        if kind == "nodes":
            found["brokers"] += process_cpu_s(cluster.broker_pid(name))
    return found


def process_cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@dataclass
class Traffic:
    """PUBLISH packets seen at the brokers."""

    by_clients: Counter[str] = field(default_factory=Counter)
    """Sent by a node, an agent or the device, by kind of topic."""
    copies: int = 0
    """Brought by a bridge."""


def kind_of(topic: str) -> str:
    parts = topic.split("/")[2:]
    return parts[0] if parts[0] == "down" else f"{parts[0]} {parts[2]}"


async def observe(name: str, address: Address, seen: Traffic) -> None:
    """Count everything one broker receives; runs until cancelled."""
    own = topics.node(name, "")
    async with connect(address=address, client_id="bench-observer") as bus:
        await bus.subscribe(Subscription(pattern=f"{topics.ROOT}/#"))
        retained_by = time.monotonic() + 1.0
        while True:
            for message in await bus.receive():
                topic = message.topic
                if time.monotonic() < retained_by and message.retain:
                    continue  # what was there before
                is_copy = "/relay/" in topic or ("/node/" in topic and not topic.startswith(own))
                if is_copy:
                    seen.copies += 1
                else:
                    seen.by_clients[kind_of(topic)] += 1


async def measure_traffic(cluster: LocalCluster, jobs: int, window: int) -> dict[str, object]:
    """Count messages per job; a phase of its own, because watching costs the brokers much."""
    seen = Traffic()
    async with asyncio.TaskGroup() as tasks:
        watching = [
            tasks.create_task(observe(name, address, seen))
            for name, address in cluster.addresses.items()
        ]
        await asyncio.sleep(1.5)
        await run_load(next(iter(cluster.addresses.values())), "count", jobs, window, 0)
        await asyncio.sleep(1.0)
        for task in watching:
            task.cancel()
    kinds = {kind: round(n / jobs, 2) for kind, n in seen.by_clients.most_common()}
    return {
        "jobs": jobs,
        "messages_per_job": round(seen.by_clients.total() / jobs, 2),
        "by_kind": kinds,
        "bridge_copies_per_job": round(seen.copies / jobs, 2),
    }


async def count_sent(cluster: LocalCluster) -> int:
    """Return the PUBLISH packets that all brokers have sent, to clients and over bridges."""
    await asyncio.sleep(SYS_INTERVAL_S + 1)
    total = 0
    for address in cluster.addresses.values():
        async with connect(address=address, client_id="bench-counter") as bus:
            await bus.subscribe(Subscription(pattern=SYS_SENT, qos=0))
            total += int((await bus.receive())[0].payload)
    return total


async def measure_load(cluster: LocalCluster, jobs: int, window: int) -> dict[str, object]:
    address = next(iter(cluster.addresses.values()))
    await run_load(address, "warm", min(300, jobs), window, 0)
    sent_before, cpu_before = await count_sent(cluster), cpu_s(cluster)
    begun = time.monotonic()
    device = await run_load(address, "load", jobs, window, 0)
    took_s = time.monotonic() - begun
    cpu_after = cpu_s(cluster)
    sent = await count_sent(cluster) - sent_before
    busy = {kind: cpu_after[kind] - cpu_before[kind] for kind in cpu_after}
    return {
        "jobs": jobs,
        "jobs_per_s": round(jobs / took_s, 1),
        "window": window,
        "accepted_ms": quantiles_ms(device.accepted_s),
        "result_ms": quantiles_ms(device.result_s),
        "sent_by_brokers_per_job": round(sent / jobs, 2),
        "cpu_ms_per_job": {k: round(v / jobs * 1000, 3) for k, v in busy.items()},
        "cores_used": round(sum(busy.values()) / took_s, 2),
    }


async def measure_latency(cluster: LocalCluster, jobs: int, rate: float) -> dict[str, object]:
    address = next(iter(cluster.addresses.values()))
    device = await run_load(address, "pace", jobs, jobs, rate)
    return {
        "jobs": jobs,
        "rate_per_s": rate,
        "accepted_ms": quantiles_ms(device.accepted_s),
        "result_ms": quantiles_ms(device.result_s),
    }


def quantiles_ms(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100)
    return {"p50": round(cuts[49] * 1000, 2), "p99": round(cuts[98] * 1000, 2)}


def plan(root: Path, runtime: str, slots: int) -> ClusterPlan:
    functions = root / "functions.toml"
    functions.write_text(functions_toml("none"))
    agent = AgentPlan(
        name="agent-1", runtime=runtime, slots=slots, options=("--memory-mb", "1000000")
    )
    return ClusterPlan(root=root / "cluster", nodes=3, agents=(agent,), functions=functions)


def profile_node(root: Path, asked: argparse.Namespace) -> list[str]:
    """Run one node under cProfile through a load; return its top entries by own time."""
    stats = root / "node.prof"
    with local_cluster(plan(root, asked.runtime, asked.slots)) as cluster:
        member = cluster.members["n1"]
        cluster.kill("n1", signal.SIGTERM)
        assert member.process is not None
        member.process.wait()
        member.argv[1:1] = ["-m", "cProfile", "-o", str(stats)]
        cluster.start("n1")
        uvloop.run(wait_and_load(cluster, asked))
    rows = []
    table = pstats.Stats(str(stats)).stats  # type: ignore[attr-defined]
    for (file, line, name), (_, calls, own_s, _, _) in table.items():
        rows.append((own_s, f"{own_s:7.3f} s {calls:8d} calls  {Path(file).name}:{line} {name}"))
    return [text for _, text in sorted(rows, reverse=True)[: asked.top]]


async def wait_and_load(cluster: LocalCluster, asked: argparse.Namespace) -> None:
    from workrs.cli.cluster import wait_ready

    await wait_ready(cluster)
    address = next(iter(cluster.addresses.values()))
    await run_load(address, "prof", asked.jobs, asked.window, 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--window", type=int, default=64, help="jobs under way at a time")
    parser.add_argument("--rate", type=float, default=50.0, help="jobs/s of the latency phase")
    parser.add_argument("--runtime", default="instant", choices=("instant", "process"))
    parser.add_argument("--slots", type=int, default=128)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--top", type=int, default=25)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="workrs-bench-") as folder:
        root = Path(folder)
        with local_cluster(plan(root, asked.runtime, asked.slots)) as cluster:
            found: dict[str, Any] = {"runtime": asked.runtime, "nodes": 3}
            with show_alive("load"):
                found["load"] = uvloop.run(measure_load(cluster, asked.jobs, asked.window))
            with show_alive("traffic"):
                found["traffic"] = uvloop.run(
                    measure_traffic(cluster, min(500, asked.jobs), asked.window)
                )
            found["deliveries_per_job"] = round(
                found["load"]["sent_by_brokers_per_job"]
                - found["traffic"]["bridge_copies_per_job"],
                2,
            )
            with show_alive("latency"):
                paced = max(100, min(500, asked.jobs))
                found["latency"] = uvloop.run(measure_latency(cluster, paced, asked.rate))
        print(json.dumps(found, indent=2))
        if asked.profile:
            with show_alive("profile"):
                print("\n".join(profile_node(root, asked)))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
