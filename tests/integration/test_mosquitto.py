"""Goal: real brokers, configured and run as by a node, form the mesh the design relies on.

Method: up to three Mosquittos on free loopback ports under `broker.mosquitto`; faults are
signals to their processes; every wait is for a message or a condition, with a deadline.
"""

from __future__ import annotations

import asyncio
import functools
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from broker import mosquitto_config
from broker.mosquitto import MosquittoProcess, mosquitto
from broker.mosquitto_config import Peer, render
from tests.mosquitto_fixture import HOST, free_port
from workrs.adapters.mqtt import connect
from workrs.domain.errors import BusError, ConfigError
from workrs.ports.bus import (
    Address,
    Bus,
    BusClosedError,
    Message,
    Subscription,
    read_retained,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

NAMES = ("n1", "n2", "n3")


def within_150_s(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test in a loop of its own, and fail it if it hangs."""

    @functools.wraps(test)
    def run(**fixtures: object) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(150):
                await test(**fixtures)

        asyncio.run(bounded())

    return run


@dataclass(kw_only=True)
class Mesh:
    """Three brokers with a bridge in each direction between every two."""

    addresses: dict[str, Address]
    brokers: dict[str, MosquittoProcess] = field(default_factory=dict)

    @asynccontextmanager
    async def bus(self, node: str, who: str, **options: Any) -> AsyncIterator[Bus]:
        async with connect(
            address=self.addresses[node], client_id=f"{who}-{node}", **options
        ) as bus:
            yield bus

    def signal(self, node: str, number: signal.Signals) -> None:
        pid = self.brokers[node].pid
        assert pid is not None
        os.kill(pid, number)

    async def wait_joined(self) -> None:
        """Wait until each broker's messages arrive at each other broker."""
        for origin in NAMES:
            async with self.bus(origin, "probe") as sender:
                for peer in NAMES:
                    if peer != origin:
                        await self._wait_arrives(sender, origin, peer)

    async def _wait_arrives(self, sender: Bus, origin: str, peer: str) -> None:
        async with self.bus(peer, f"probe-of-{origin}") as reader:
            await reader.subscribe(Subscription(pattern=f"workrs/1/relay/{origin}/#"))
            while True:
                sender.publish(Message("workrs/1/up/probe/beat", b""))
                try:
                    async with asyncio.timeout(0.05):
                        await reader.receive()
                        return
                except TimeoutError:
                    continue


@asynccontextmanager
async def running_mesh(folder: Path) -> AsyncIterator[Mesh]:
    mesh = Mesh(addresses={name: Address(host=HOST, port=free_port()) for name in NAMES})
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for name in NAMES:
            peers = [Peer(name=n, address=mesh.addresses[n]) for n in NAMES if n != name]
            config = render(node=name, listener=mesh.addresses[name], peers=peers)
            mesh.brokers[name] = await stack.enter_async_context(
                mosquitto(name=name, config=config, folder=folder / name)
            )
        keepers = [
            group.create_task(broker.keep(), name=f"node[{name}].mosquitto")
            for name, broker in mesh.brokers.items()
        ]
        await mesh.wait_joined()
        yield mesh
        for keeper in keepers:
            keeper.cancel()


async def take(bus: Bus, count: int) -> list[Message]:
    """Receive until *count* messages are there; a mesh's last probes may still be on their way."""
    messages: list[Message] = []
    while len(messages) < count:
        messages += [m for m in await bus.receive() if "/probe/" not in m.topic]
    return messages


@within_150_s
async def test_every_message_arrives_exactly_once_at_each_peer(tmp_path: Path) -> None:
    count = 500
    async with running_mesh(tmp_path) as mesh, AsyncExitStack() as stack:
        readers = {}
        for node in NAMES:
            readers[node] = await stack.enter_async_context(mesh.bus(node, "reader"))
            await readers[node].subscribe(Subscription(pattern="#"))
        for node in NAMES:
            async with mesh.bus(node, "writer") as writer:
                for n in range(count):
                    writer.publish(Message(f"workrs/1/up/a/claim/{n}", node.encode()))
                    writer.publish(Message(f"workrs/1/node/{node}/job/{n}", b"x", retain=True))
                    # Down stays here: each node computes it from the records.
                    writer.publish(Message(f"workrs/1/down/{node}/{n}", b"x"))
                await writer.flush()
        for node, reader in readers.items():
            others = [name for name in NAMES if name != node]
            expected = {
                *(f"workrs/1/up/a/claim/{n}" for n in range(count)),
                *(f"workrs/1/down/{node}/{n}" for n in range(count)),
                *(f"workrs/1/node/{name}/job/{n}" for name in NAMES for n in range(count)),
                *(f"workrs/1/relay/{name}/a/claim/{n}" for name in others for n in range(count)),
            }
            topics = [message.topic for message in await take(reader, len(expected))]
            # What is still on its way when all have arrived would be a second copy: let a
            # later message of each peer push it out.
            for other in others:
                async with mesh.bus(other, "last") as last:
                    last.publish(Message(f"workrs/1/node/{other}/last", node.encode()))
                    await last.flush()
                while topics.count(f"workrs/1/node/{other}/last") == 0:
                    topics += [message.topic for message in await take(reader, 1)]
            topics = [topic for topic in topics if not topic.endswith("/last")]
            assert sorted(topics) == sorted(expected)


@within_150_s
async def test_a_broker_killed_gets_all_records_of_its_peers_back(tmp_path: Path) -> None:
    count = 1_000
    async with running_mesh(tmp_path) as mesh, mesh.bus("n2", "w") as w2, mesh.bus("n3", "w") as w3:
        for name, writer in (("n2", w2), ("n3", w3)):
            for n in range(count):
                writer.publish(Message(f"workrs/1/node/{name}/job/{n}", b"x" * 500, retain=True))
            await writer.flush()
        before = mesh.brokers["n1"].restarts
        mesh.signal("n1", signal.SIGKILL)
        await mesh.brokers["n1"].wait_restarted(since=before)
        async with mesh.bus("n1", "reader") as reader:
            await reader.subscribe(Subscription(pattern="workrs/1/node/+/job/#"))
            topics: set[str] = set()
            while len(topics) < 2 * count:
                topics |= {message.topic for message in await reader.receive()}


@within_150_s
async def test_an_emptied_topic_is_told_by_an_open_bridge_only(tmp_path: Path) -> None:
    """The design's reason for sweeping; should the last line fail one day, the sweep can go."""
    told, untold = "workrs/1/node/n2/job/told", "workrs/1/node/n2/job/untold"
    async with running_mesh(tmp_path) as mesh, mesh.bus("n1", "reader") as reader:
        await reader.subscribe(Subscription(pattern="workrs/1/node/n2/#"))
        async with mesh.bus("n2", "writer") as writer:
            for topic in (told, untold):
                writer.publish(Message(topic, b"1", retain=True))
            writer.publish(Message(told, b"", retain=True))
            got = await take(reader, 3)
            assert [message.payload for message in got] == [b"1", b"1", b""]
        mesh.signal("n2", signal.SIGKILL)
        await mesh.brokers["n2"].wait_restarted(since=0)
        await mesh.wait_joined()
        async with mesh.bus("n1", "late") as late:
            pattern = Subscription(pattern="workrs/1/node/n2/#")
            found = await read_retained(late, pattern, echo_topic="echo/late")
            assert [message.topic for message in found] == [untold]


@within_150_s
async def test_a_frozen_broker_comes_back_with_what_was_sent_meanwhile(tmp_path: Path) -> None:
    async with (
        running_mesh(tmp_path) as mesh,
        mesh.bus("n2", "writer") as writer,
        mesh.bus("n1", "reader", keepalive_s=0) as reader,
    ):
        await reader.subscribe(Subscription(pattern="workrs/1/node/n2/job/#"))
        mesh.signal("n1", signal.SIGSTOP)
        for n in range(100):
            writer.publish(Message(f"workrs/1/node/n2/job/{n}", b"x", retain=True))
        await writer.flush()
        mesh.signal("n1", signal.SIGCONT)
        topics: set[str] = set()
        while len(topics) < 100:
            topics |= {message.topic for message in await reader.receive()}


@within_150_s
async def test_a_frozen_broker_is_given_up_by_its_clients(tmp_path: Path) -> None:
    clock = asyncio.get_running_loop().time
    config, address = alone()
    async with mosquitto(name="n1", config=config, folder=tmp_path) as broker:
        for _ in range(5):  # a busy machine only adds, and not every time
            heard_s = clock()
            async with connect(address=address, client_id="a", keepalive_s=1) as bus:
                assert broker.pid is not None
                os.kill(broker.pid, signal.SIGSTOP)
                frozen_s = clock()
                with pytest.raises(BusClosedError, match="does not answer"):
                    await bus.receive()
                given_up_s = clock()
            assert given_up_s - heard_s > 0.4
            if given_up_s - frozen_s < 2:
                break
            os.kill(broker.pid, signal.SIGCONT)
        assert given_up_s - frozen_s < 2
        with pytest.raises(BusError):
            async with connect(address=address, client_id="b", timeout_s=0.2):
                pass
        # The broker is still frozen: it is ended by SIGKILL, and this does not hang.


@within_150_s
async def test_a_process_that_dies_is_started_again_and_is_empty(tmp_path: Path) -> None:
    config, address = alone()
    async with mosquitto(name="n1", config=config, folder=tmp_path) as broker:
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(broker.keep())
            async with connect(address=address, client_id="a") as bus:
                bus.publish(Message("a", b"1", retain=True))
                await bus.flush()
                assert broker.pid is not None
                os.kill(broker.pid, signal.SIGKILL)
                with pytest.raises(BusClosedError):
                    await bus.receive()
            assert await broker.wait_restarted(since=0) == 1
            async with connect(address=address, client_id="a") as bus:
                found = await read_retained(bus, Subscription(pattern="a"), echo_topic="e")
                assert found == []
            keeper.cancel()
        pid = broker.pid
    assert broker.pid is None
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@within_150_s
async def test_a_wrong_configuration_says_which_line(tmp_path: Path) -> None:
    config, _ = alone()
    with pytest.raises(ConfigError, match="bogus"):
        async with mosquitto(name="n1", config=config + "bogus 1\n", folder=tmp_path):
            pass


@within_150_s
async def test_a_port_in_use_is_told(tmp_path: Path) -> None:
    config, _ = alone()
    async with mosquitto(name="n1", config=config, folder=tmp_path / "1"):
        with pytest.raises(ConfigError, match="in use"):
            async with mosquitto(name="n1", config=config, folder=tmp_path / "2"):
                pass


def test_a_broker_dies_with_a_daemon_that_is_killed(tmp_path: Path) -> None:
    config, _ = alone()
    (tmp_path / "config").write_text(config)
    source = (
        "import asyncio, pathlib, sys\n"
        "from broker.mosquitto import mosquitto\n"
        "async def main(folder):\n"
        "    config = (folder / 'config').read_text()\n"
        "    async with mosquitto(name='n1', config=config, folder=folder / 'state') as broker:\n"
        "        print(broker.pid, flush=True)\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main(pathlib.Path(sys.argv[1])))\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", source, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as daemon:
        assert daemon.stdout is not None
        pid = int(daemon.stdout.readline())
        daemon.kill()
    deadline = time.monotonic() + 60
    while is_alive(pid):
        assert time.monotonic() < deadline, "the broker outlived its daemon"
        select.select([], [], [], 0.01)


def is_alive(pid: int) -> bool:
    """Return whether a process runs. A zombie that nobody reaps is dead enough."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    return False


def alone() -> tuple[str, Address]:
    """Return the configuration and the address of a cluster of one."""
    address = Address(host=HOST, port=free_port())
    return render(node="n1", listener=address), address


@within_150_s
async def test_a_port_takes_so_many_connections_and_refuses_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mosquitto_config, "CONNECTIONS_MAX", 2)
    config, address = alone()
    async with (
        mosquitto(name="n1", config=config, folder=tmp_path),
        connect(address=address, client_id="a"),
        connect(address=address, client_id="b"),
    ):
        with pytest.raises(BusError):
            async with connect(address=address, client_id="c"):
                pass
