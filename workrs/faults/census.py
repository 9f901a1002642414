"""What a cluster keeps: memory, rows on disk, retained topics. And what its nodes publish."""

import asyncio
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from workrs.adapters.mqtt import connect
from workrs.cli.cluster import LocalCluster
from workrs.ports.bus import Address, Message, Subscription, read_retained
from workrs.wire import codec, topics
from workrs.wire.message import NodeState

_TABLES = ("records", "specs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """One node, at one instant."""

    daemon_mb: float
    """Resident memory of the daemon."""
    broker_mb: float
    rows: int
    """In the ledger's tables of jobs that are still on the bus."""
    retained: int
    """Topics of jobs that its broker retains."""


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def count_rows(ledger: Path) -> int:
    """Return the rows of open and kept jobs in a ledger."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True, timeout=5)) as database:
        return sum(
            int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608
            for table in _TABLES
        )


async def _retained(address: Address) -> list[Message]:
    patterns = (topics.node("+", "job", "+"), topics.node("+", "spec", "+"), topics.down("+", "#"))
    wanted = [Subscription(pattern=pattern) for pattern in patterns]
    async with connect(address=address, client_id="census") as bus:
        found = await read_retained(bus, *wanted, echo_topic=f"{topics.ROOT}/echo/census")
    return [message for message in found if message.payload]


def take(cluster: LocalCluster) -> dict[str, Census]:
    """Return every node's."""
    return {
        node: Census(
            daemon_mb=resident_mb(cluster.members[node].pid),
            broker_mb=resident_mb(cluster.broker_pid(node)),
            rows=count_rows(cluster.plan.root / node / "ledger.db"),
            retained=len(asyncio.run(_retained(address))),
        )
        for node, address in cluster.addresses.items()
    }


class Reading(NamedTuple):
    """How many messages somebody has published."""

    sent: int
    at_s: float
    """On CLOCK_MONOTONIC."""


def beyond_idle(
    first: Mapping[str, Reading], idle: Mapping[str, Reading], last: Mapping[str, Reading]
) -> float:
    """Return how many messages were published after *idle* beyond what idle ones publish.

    Args:
        first: by publisher.
        idle: the same ones later; between these two nothing was to be done.
        last: the same ones at the end.
    """
    return sum(
        last[name].sent
        - at.sent
        - (at.sent - first[name].sent) / (at.at_s - first[name].at_s) * (last[name].at_s - at.at_s)
        for name, at in idle.items()
    )


async def count_sent(addresses: Mapping[str, Address]) -> dict[str, Reading]:
    """Return how many messages each node has published: what it says next of itself.

    An observer on their brokers could not tell a node that empties a peer's topic from the
    peer, whose bridge does the same.
    """
    async with asyncio.TaskGroup() as tasks:
        asked = {
            node: tasks.create_task(_sent(node, address), name="census.sent")
            for node, address in addresses.items()
        }
    return {node: task.result() for node, task in asked.items()}


async def _sent(node: str, address: Address) -> Reading:
    async with connect(address=address, client_id=f"census-{node}") as bus:
        await bus.subscribe(Subscription(pattern=topics.node(node, "state")))
        retained: NodeState | None = None
        while True:
            for message in await bus.receive():
                state = codec.decode(NodeState, message.payload)
                if retained is not None and state.beat != retained.beat:
                    return Reading(state.sent, time.monotonic())
                retained = state
