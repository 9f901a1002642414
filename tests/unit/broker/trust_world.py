"""Nodes' keepers of trust on one broker in memory, and the cluster's directory they began with."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from broker.trust_keeper import TrustKeeper, with_kept_lists
from broker.trust_line import TrustLine
from workrs.ports.bus import Address, Message, Subscription
from workrs.testing.bus import MemoryBroker
from workrs.trust.cluster_directory import ClusterDirectory, create
from workrs.trust.credential import Endpoint
from workrs.trust.kind import Kind
from workrs.trust.node_folder import load_node
from workrs.trust.register import Register
from workrs.wire import codec, topics
from workrs.wire.message import OrderReply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from broker.mosquitto import MosquittoProcess
    from workrs.ports.bus import Bus

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HERE = Address(host="n1", port=1883)
NODES = ("n1", "n2")
DEADLINE_S = 60.0


def make_directory(path: Path) -> ClusterDirectory:
    """Make a cluster of three nodes with two agents."""
    nodes = tuple(Endpoint(f"n{number}", f"10.0.0.{number}", 8883) for number in (1, 2, 3))
    directory = create(path, Register(cluster="farm", nodes=nodes), now=NOW)
    for name in ("a1", "a2"):
        directory.enrol(Kind.AGENT, name, now=NOW)
    return directory


@dataclass(slots=True)
class TrustWorld:
    """Two nodes' trust lines, and an operator beside them."""

    root: Path
    directory: ClusterDirectory
    broker: MemoryBroker = field(default_factory=MemoryBroker)
    keepers: dict[str, TrustKeeper] = field(default_factory=dict)
    asked: int = 0

    @asynccontextmanager
    async def running(self, nodes: Sequence[str] = NODES) -> AsyncIterator[Bus]:
        """Run the nodes' lines; give an operator's connection that hears everything."""
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
            lines = []
            for node in nodes:
                keeper = self.keeper(node)
                line = TrustLine(keeper, own=HERE, connect=self.broker.connect)
                lines += [
                    tasks.create_task(part, name=node) for part in (keeper.keep(), line.run())
                ]
            async with self.broker.connect(address=HERE, client_id="ann") as bus:
                await bus.subscribe(Subscription(pattern="#", qos=1))
                yield bus
            for task in lines:
                task.cancel()

    def copy_folders(self) -> None:
        """Bring the nodes their folders, as they are now, unless they have them."""
        for node in NODES:
            folder = self.root / "etc" / node
            if not folder.exists():
                shutil.copytree(self.directory.node_folder(node), folder)

    def keeper(self, node: str, *, broker: MosquittoProcess | None = None) -> TrustKeeper:
        """Return a node's keeper as after a start, from its folder and what it kept."""
        self.copy_folders()
        folder, state = self.root / "etc" / node, self.root / "state" / node
        trust = with_kept_lists(load_node(folder), state / "trust")
        self.keepers[node] = TrustKeeper(
            trust,
            kept=state / "trust",
            broker_folder=state / "mosquitto",
            own=HERE,
            connect=self.broker.connect,
            broker=broker,
        )
        return self.keepers[node]

    async def ask(self, bus: Bus, text: bytes) -> OrderReply:
        """Bring a list as an operator; return the first answer."""
        self.asked += 1
        name = f"list-{self.asked}"
        while not self.shown():
            await bus.receive()
        bus.publish(Message(topics.up("ann", "revoke", name), text, qos=1))
        while True:
            for message in await bus.receive():
                if message.topic == topics.down("ann", name):
                    return codec.decode(OrderReply, message.payload)

    def shown(self) -> list[str]:
        """Return the topics of lists that nodes show."""
        return [topic for topic in self.broker.retained() if "/revoked/" in topic]

    def numbers(self, kind: Kind = Kind.AGENT) -> dict[str, int]:
        """Return the number of the list that is in force, by node."""
        return {node: keeper.trust.lists[kind].number for node, keeper in self.keepers.items()}

    def list_text(self, kind: Kind = Kind.AGENT) -> bytes:
        """Return the directory's newest list."""
        return next(each.text for each in self.directory.lists() if each.kind is kind).encode()
