"""How long a client takes to change its node: devices and agents, broken and silent nodes.

    .venv/bin/python bench/failover.py [--rounds 10] [--only device/stopped/idle] [--json FILE]

Three nodes, one agent (process runtime), one device, default timings. Each round disturbs
the node that the client is connected to, at a random moment of its beats and pings:

- killed: SIGKILL of the broker. stopped: SIGSTOP of the broker, whose kernel goes on taking
  connections and bytes, as a hung machine's does. hung: SIGSTOP of the daemon alone; its
  broker answers every ping.
- idle: nothing to do. busy: a job runs that the device waits for. submit: a job is submitted
  at the moment of the fault. start: the client starts with the disturbed node first in its list.

What is timed is, for a device, until it is connected to another node (submit: until the job is
accepted), asked every 2 ms; for an agent, until another node shows its new connection.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from device_client import Device
from device_client.report import State
from workrs.adapters.mqtt import connect
from workrs.cli.cluster import AgentPlan, ClusterPlan, LocalCluster, local_cluster, wait_ready
from workrs.domain.errors import BusError
from workrs.ports.bus import Address, Subscription
from workrs.wire import codec, topics
from workrs.wire.message import AgentView

AGENT = "edge-1"
ROWS = (
    "device/killed/idle",
    "device/killed/busy",
    "device/killed/submit",
    "device/stopped/idle",
    "device/stopped/busy",
    "device/stopped/submit",
    "device/stopped/start",
    "device/hung/submit",
    "agent/killed/idle",
    "agent/killed/busy",
    "agent/stopped/idle",
    "agent/stopped/busy",
    "agent/stopped/start",
)
GIVEN_UP_S = 40.0
SLOW_JOB = {
    "image": "none",
    "command": ["python3", "-c", "import time; time.sleep(3600)"],
    "checkpoint": {"mode": "off"},
}


class Views:
    """What the nodes show of the agent: the number of its newest connection, and when."""

    def __init__(self) -> None:
        self.connection = (0, 0)
        """Of which incarnation, and its number."""
        self.at = 0.0

    async def follow(self, address: Address) -> None:
        """Watch one node; go on when it is disturbed."""
        while True:
            with contextlib.suppress(BusError):
                async with connect(address=address, client_id=f"bench-{os.getpid()}") as bus:
                    await bus.subscribe(Subscription(pattern=topics.node("+", "agent", AGENT)))
                    while True:
                        for message in await bus.receive():
                            self.see(codec.decode(AgentView, message.payload))
            await asyncio.sleep(0.1)

    def see(self, view: AgentView) -> None:
        """Note a new connection."""
        shown = (view.incarnation.number, view.connection)
        if shown > self.connection and not view.gone:
            self.connection, self.at = shown, time.monotonic()


@dataclass(slots=True)
class Bench:
    """The cluster and its clients."""

    cluster: LocalCluster
    views: Views
    rng: random.Random
    jobs: int = 0

    def next_job(self) -> str:
        """Return a job's name not used before."""
        self.jobs += 1
        return f"j{self.jobs}"

    def node_of(self, address: str) -> str:
        """Return the node's name by its address."""
        return next(n for n, a in self.cluster.addresses.items() if str(a) == address)

    def agent_node(self) -> str:
        """Return where the agent is, by its own log."""
        log = self.cluster.members[AGENT].log.read_text()
        position = int(re.findall(r" connected node=(\d+)", log)[-1])
        return self.cluster.node_names[position]

    @contextlib.asynccontextmanager
    async def disturbed(self, node: str, fault: str) -> AsyncIterator[float]:
        """Do harm to a node, and make it good; yield the instant."""
        target = self.cluster.members[node].pid if fault == "hung" else None
        pid = target or self.cluster.broker_pid(node)
        os.kill(pid, signal.SIGKILL if fault == "killed" else signal.SIGSTOP)
        try:
            yield time.monotonic()
        finally:
            if fault != "killed":
                os.kill(pid, signal.SIGCONT)

    async def settle(self) -> None:
        """Wait until the cluster is whole and everybody's phase is random again."""
        await asyncio.sleep(1.0)
        await wait_ready(self.cluster)
        await asyncio.sleep(3.0 + self.rng.uniform(0.0, 3.0))


async def until(condition: Callable[[], object]) -> float:
    """Poll until *condition* holds; return when that was."""
    deadline = time.monotonic() + GIVEN_UP_S
    while not condition():
        if time.monotonic() > deadline:
            return float("inf")
        await asyncio.sleep(0.002)
    return time.monotonic()


def hosts_from(bench: Bench, node: str) -> list[str]:
    """Return the cluster's addresses, those of *node* first."""
    names = sorted(bench.cluster.addresses, key=lambda name: name != node)
    return [str(bench.cluster.addresses[name]) for name in names]


async def device_round(bench: Bench, fault: str, load: str) -> float:
    """Return what one fault cost a device."""
    victim = bench.rng.choice(bench.cluster.node_names)
    nodes = hosts_from(bench, victim)
    if load == "start":
        async with bench.disturbed(victim, fault):
            began = time.monotonic()
            with Device("pump-7", nodes) as device:
                return await until(lambda: device.node) - began
    with Device("pump-7", nodes) as device, contextlib.ExitStack() as stack:
        if load == "busy":
            job = device.submit(SLOW_JOB, job=bench.next_job())
            await until(lambda: device.state(job).state is State.RUNNING)
            waiting = asyncio.get_running_loop().run_in_executor(None, _wait_for, device, job)
            stack.callback(waiting.cancel)
        await until(lambda: device.node)
        await bench.settle()
        here = device.node
        async with bench.disturbed(bench.node_of(here or ""), fault) as began:
            if load == "submit":
                job = device.submit(SLOW_JOB, job=bench.next_job())
                done = await until(lambda: not device.state(job).state.is_pending)
            else:
                done = await until(lambda: device.node not in (None, here))
        if load != "idle":
            device.cancel(job)
            await until(lambda: device.state(job).state.is_final)
        return done - began


def _wait_for(device: Device, job: str) -> None:
    with contextlib.suppress(Exception):
        device.result(job, timeout=GIVEN_UP_S)


async def agent_round(bench: Bench, fault: str, load: str) -> float:
    """Return what one fault cost the agent."""
    if load == "start":
        return await agent_start(bench, fault)
    with Device("pump-7", bench.cluster.hosts) as device:
        if load == "busy":
            job = device.submit(SLOW_JOB, job=bench.next_job())
            await until(lambda: device.state(job).state is State.RUNNING)
        await bench.settle()
        known = bench.views.connection
        async with bench.disturbed(bench.agent_node(), fault) as began:
            await until(lambda: bench.views.connection > known)
        if load == "busy":
            device.cancel(job)
            await until(lambda: device.state(job).state.is_final)
    return bench.views.at - began


async def agent_start(bench: Bench, fault: str) -> float:
    """Return how long an agent takes to be seen that starts at a disturbed node."""
    bench.cluster.kill(AGENT)
    async with bench.disturbed("n1", fault):
        began = time.monotonic()
        bench.cluster.start(AGENT)
        await until(lambda: bench.views.at > began)
    return bench.views.at - began


async def measure(bench: Bench, asked: argparse.Namespace) -> dict[str, list[float]]:
    """Run all rows, round by round, so that a bad minute spoils no row alone."""
    rows = [row for row in ROWS if not asked.only or any(o in row for o in asked.only)]
    took: dict[str, list[float]] = {row: [] for row in rows}
    async with asyncio.TaskGroup() as tasks:
        watching = [
            tasks.create_task(bench.views.follow(a)) for a in bench.cluster.addresses.values()
        ]
        for number in range(asked.rounds):
            for row in rows:
                await bench.settle()
                client, fault, load = row.split("/")
                one = device_round if client == "device" else agent_round
                took[row].append(await one(bench, fault, load))
                print(f"{number + 1} {row}: {took[row][-1]:.2f} s", file=sys.stderr, flush=True)
        for task in watching:
            task.cancel()
    return took


def main() -> int:
    """Run the rounds and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", action="append", help="rows whose name contains this")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    agent = AgentPlan(name=AGENT, runtime="process", slots=4)
    with tempfile.TemporaryDirectory(prefix="workrs-bench-") as root:
        plan = ClusterPlan(root=Path(root), nodes=3, agents=(agent,))
        with local_cluster(plan) as cluster:
            bench = Bench(cluster, Views(), random.Random(asked.seed))
            took = asyncio.run(measure(bench, asked))
    print("| row | n | median | worst |\n|---|---|---|---|")
    for row, times in took.items():
        print(f"| {row} | {len(times)} | {statistics.median(times):.2f} s | {max(times):.2f} s |")
    if asked.json:
        asked.json.write_text(json.dumps(took, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
