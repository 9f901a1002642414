"""A flood of submissions, and who notices: agents, their jobs, and a device that behaves.

    .venv/bin/python bench/flood.py [--devices 1000] [--agents 50] [--seconds 60]

Three nodes; agents that run what comes; a device that submits a job twice a second and counts how
long *accepted* takes; and, from the third second on, a thousand devices that submit as fast as they
can, at the lowest priority on the same cores or, with `--equal`, at the nodes' own. At the lowest
it may cost no takeover, no agent's connection, and not the device's second.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from workrs.adapters.mqtt import connect
from workrs.cli.cluster import ClusterPlan, LocalCluster, local_cluster
from workrs.faults import flood
from workrs.faults.fleet import gathered
from workrs.ports.bus import Address, Message, Subscription
from workrs.wire import topics

PERIOD_S = 0.5
REPEAT_S = 3.0
CALM_S = 3.0
SPEC = {"image": "none", "command": ["true"], "retention_s": 1}


class Gentle:
    """A device that submits now and then, and says so again when it hears nothing."""

    def __init__(self) -> None:
        self.sent_s: dict[str, float] = {}
        self.waits_s: list[float] = []
        self.words: Counter[str] = Counter()

    async def run(self, at: Address) -> None:
        async with connect(address=at, client_id="gentle") as bus:
            await bus.subscribe(Subscription(pattern=topics.down("gentle", "#")))

            async def hear() -> None:
                while True:
                    for message in await bus.receive():
                        job = message.topic.rsplit("/", 1)[1]
                        word = json.loads(message.payload)["state"] if message.payload else ""
                        self.words[word] += 1
                        if (
                            word in ("accepted", "queued", "running", "succeeded")
                            and job in self.sent_s
                        ):
                            self.waits_s.append(time.monotonic() - self.sent_s.pop(job))

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(hear())
                number = 0
                while True:
                    self.submit(bus, f"j{number}")
                    number += 1
                    await asyncio.sleep(PERIOD_S)
                    now = time.monotonic()
                    for job, sent_s in list(self.sent_s.items()):
                        if (now - sent_s) % REPEAT_S < PERIOD_S and now - sent_s >= REPEAT_S:
                            self.submit(bus, job)

    def submit(self, bus, job: str) -> None:  # noqa: ANN001
        self.sent_s.setdefault(job, time.monotonic())
        bus.publish(Message(topics.up("gentle", "submit", job), json.dumps(SPEC).encode()))

    def wait_s(self, part: float) -> float:
        """Of all, those that still wait included."""
        now = time.monotonic()
        waits = sorted([*self.waits_s, *(now - sent for sent in self.sent_s.values())])
        return waits[min(len(waits) - 1, int(len(waits) * part))] if waits else 0.0


def takeovers(cluster: LocalCluster) -> int:
    return sum(m.log.read_text().count(" taken_over ") for m in cluster.members.values())


async def play(cluster: LocalCluster, asked: argparse.Namespace, crowd) -> None:  # noqa: ANN001
    gentle = Gentle()
    at = next(iter(cluster.addresses.values()))
    nodes = [word for host in cluster.hosts for word in ("--node", host)]
    behaving = asyncio.create_task(gentle.run(at))
    await asyncio.sleep(CALM_S)
    print(f"before: accepted p50 {gentle.wait_s(0.5):.3f} s, p99 {gentle.wait_s(0.99):.3f} s")
    gentle.waits_s.clear()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        flood.__name__,
        *asked.priority,
        "--devices",
        str(asked.devices),
        *nodes,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    logged: Counter[str] = Counter()
    total: Counter[str] = Counter()
    began = time.monotonic()
    try:
        while time.monotonic() - began < asked.seconds:
            await asyncio.sleep(5)
            process.stdin.write(b"\n")
            told = json.loads(await process.stdout.readline())
            total.update(told)
            logged += (await asyncio.to_thread(crowd.report)).logged
            print(
                f"{time.monotonic() - began:5.1f} s  flood {told}  accepted p50 "
                f"{gentle.wait_s(0.5):.3f} p99 {gentle.wait_s(0.99):.3f} of {len(gentle.waits_s)}",
                flush=True,
            )
    finally:
        process.kill()
        await process.wait()
        behaving.cancel()
    bad = {key: logged[key] for key in ("node_silent", "connection_lost", "lease_lost")}
    barred = sum(m.log.read_text().count(" device_barred ") for m in cluster.members.values())
    print(f"flood: {dict(total)}; barred {barred}; agents: {bad}; takeovers {takeovers(cluster)}")
    print(
        f"device: accepted p50 {gentle.wait_s(0.5):.3f} s, p99 {gentle.wait_s(0.99):.3f} s",
        dict(gentle.words),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--agents", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--equal",
        dest="priority",
        action="store_const",
        const=[],
        default=["--nice"],
        help="let the flood run at the nodes' own priority",
    )
    parser.add_argument("--node-option", action="append", default=[])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        plan = ClusterPlan(root=Path(folder) / "flood", node_options=tuple(asked.node_option))
        with local_cluster(plan) as cluster, gathered(cluster, asked.agents, "crowd") as crowd:
            asyncio.run(play(cluster, asked, crowd))


if __name__ == "__main__":
    main()
