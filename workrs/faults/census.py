"""What a cluster keeps: memory, rows on disk, retained topics. And what its nodes publish."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

from workrs.adapters.mqtt import connect
from workrs.cli.cluster import LocalCluster
from workrs.ports.bus import Address, Message, Subscription, read_retained
from workrs.wire import topics

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


@dataclass(slots=True)
class Published:
    """PUBLISH packets of the nodes, by kind of topic."""

    by_kind: Counter[str] = field(default_factory=Counter)

    def count(self, message: Message) -> None:
        """Add one."""
        parts = message.topic.split("/")[2:]
        self.by_kind[parts[0] if parts[0] == "down" else f"{parts[0]} {parts[2]}"] += 1


@asynccontextmanager
async def counting(addresses: Mapping[str, Address]) -> AsyncIterator[Published]:
    """Count what each node publishes at its own broker, while the context lasts."""
    published = Published()
    async with asyncio.TaskGroup() as tasks:
        watching = [
            tasks.create_task(_watch(node, address, published), name=f"census.{node}")
            for node, address in addresses.items()
        ]
        await asyncio.sleep(1.0)
        published.by_kind.clear()
        yield published
        for task in watching:
            task.cancel()


async def _watch(node: str, address: Address, published: Published) -> None:
    async with connect(address=address, client_id=f"census-{node}") as bus:
        patterns = (topics.node(node, "#"), topics.down("+", "#"))
        await bus.subscribe(*(Subscription(pattern=pattern) for pattern in patterns))
        while True:
            for message in await bus.receive():
                published.count(message)
