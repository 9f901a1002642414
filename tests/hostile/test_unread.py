"""Goal: a device that reads nothing of what it is told does not fill the broker's memory.

Method: a real Mosquitto as a node configures it, with the node's shell around a real brain; a
device that asks how its job ended, within its rate, and acknowledges none of the answers: with its
connection open, and gone with a session that is to last for ever. Limits are a hundredth of the
real ones. Played twice (tests/hostile/twice.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from broker import unread
from broker.agents import AgentTable
from broker.limits import HEAP_HIGH_BYTES, UNREAD_MIN_BYTES
from broker.mosquitto import mosquitto
from broker.mosquitto_config import MEMORY_MAX_BYTES, render
from broker.node import Node, NodeSettings
from broker.supervisor import NodeSupervisor
from broker.unread import MESSAGE_BYTES, Unread
from tests.hostile.twice import played_twice
from tests.mosquitto_fixture import HOST, free_port
from tests.unit.broker.cluster import TIMING
from workrs.adapters.mqtt import connect
from workrs.domain.ids import ClientId, JobId
from workrs.domain.job import Outcome, Verdict
from workrs.domain.record import Incarnation, Record
from workrs.domain.voter import Vote
from workrs.ports.bus import Address, Bus, Message, Subscription
from workrs.testing.ledger import MemoryLedger
from workrs.wire import topics

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RESULT = "x" * 30_000
ASKED = 300
"""Some 18 MB of answers: the result's JSON and its bytes."""
HIGH_BYTES = HEAP_HIGH_BYTES // 100
FOR_EVER = b"\x11\xff\xff\xff\xff"
"""MQTT 5's session expiry interval."""


def text(words: str) -> bytes:
    return struct.pack(">H", len(words)) + words.encode()


def packet(kind: int, body: bytes) -> bytes:
    assert len(body) < 128
    return bytes([kind, len(body)]) + body


async def ask_and_read_nothing(at: Address) -> socket.socket:
    """Connect as `evil` by hand: a library would acknowledge what it is told."""
    loop = asyncio.get_running_loop()
    it = socket.socket()
    it.setblocking(False)
    await loop.sock_connect(it, (at.host, at.port))
    hello = text("MQTT") + b"\x05\x02\x00\x3c" + bytes([len(FOR_EVER)]) + FOR_EVER + text("evil")
    said = packet(0x10, hello)
    said += packet(0x82, b"\x00\x01\x00" + text("workrs/1/down/evil/#") + b"\x01")
    for number in range(2, ASKED + 2):
        topic = text("workrs/1/up/evil/cancel/j1")
        said += packet(0x32, topic + struct.pack(">H", number) + b"\x00")
    await loop.sock_sendall(it, said)
    return it


def decided(node: Node) -> None:
    """Have a job of `evil` ended, with a result as large as messages carry."""
    job = JobId("evil_j1")
    outcome = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result=RESULT)
    record = Record(job=job, decided=outcome, decided_digest=outcome.digest())
    node.entry(job).set_vote(node.name, Vote(record=record))


def node_at(at: Address) -> tuple[Node, NodeSupervisor]:
    ledger = MemoryLedger()
    name = ClientId("n1")
    settings = NodeSettings(name=name, nodes=(name,), incarnation=Incarnation(1, "x"))
    node = Node(settings, ledger.retired, AgentTable(TIMING.ttl_s))
    return node, NodeSupervisor(
        node,
        ledger=ledger,
        drop_blobs=lambda _: None,
        connect=connect,
        address=at,
        clock=asyncio.get_running_loop().time,
    )


@dataclass
class Watch:
    """On what the node knows of its broker's heap, and whether it does anything about it."""

    is_armed: bool = False
    heap_bytes: list[int] = field(default_factory=list)
    told: dict[ClientId, int] = field(default_factory=dict)
    ended: list[ClientId] = field(default_factory=list)

    def to_end(self, it: Unread, heap_bytes: int) -> dict[ClientId, int]:
        """Look, and do what the node would if it is armed."""
        self.told = it.told_bytes
        self.heap_bytes.append(heap_bytes)
        found = PLAIN(it, heap_bytes) if self.is_armed else {}
        self.ended += found
        return found


PLAIN = Unread.to_end


async def until(bus: Bus, condition: Callable[[], bool]) -> None:
    """Wait, and say something now and then: a heap that stays as it is is not reported anew."""
    async with asyncio.timeout(60):
        while not condition():
            bus.publish(Message("tick", secrets.token_bytes(secrets.randbelow(999)), retain=True))
            await asyncio.sleep(0.1)


@played_twice
@pytest.mark.parametrize("goes", [False, True], ids=["stays", "goes"])
def test_who_asks_and_reads_nothing_fills_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, goes: bool, control: bool
) -> None:
    monkeypatch.setattr(unread, "HEAP_HIGH_BYTES", HIGH_BYTES)
    watch = Watch()

    def to_end(it: Unread, heap_bytes: int) -> dict[ClientId, int]:
        return watch.to_end(it, heap_bytes)

    monkeypatch.setattr(Unread, "to_end", to_end)
    at = Address(host=HOST, port=free_port())

    async def attack(bus: Bus) -> None:
        evil = await ask_and_read_nothing(at)
        with contextlib.closing(evil):
            all_bytes = 2 * ASKED * len(RESULT)
            await until(bus, lambda: watch.told.get(ClientId("evil"), 0) >= all_bytes)
            if goes:
                evil.close()
            watch.is_armed = control
            reports = len(watch.heap_bytes)
            await until(bus, lambda: len(watch.heap_bytes) > reports + 2)
            if control:
                await until(bus, lambda: watch.heap_bytes[-1] < HIGH_BYTES)

    async def story() -> None:
        config = render(node="n1", listener=at)
        async with (
            mosquitto(name="n1", config=config, folder=tmp_path) as process,
            asyncio.TaskGroup() as tasks,
        ):
            node, supervisor = node_at(at)
            decided(node)
            running = [tasks.create_task(part) for part in (process.keep(), supervisor.run())]
            async with connect(address=at, client_id="pump") as honest:
                await honest.subscribe(Subscription(pattern=topics.down("pump", "#"), qos=1))
                await attack(honest)
                honest.publish(Message(topics.up("pump", "submit", "j1"), b"{}", qos=1))
                async with asyncio.timeout(60):
                    heard = await honest.receive()
                assert b"rejected" in heard[0].payload, "it stayed, and is served"
            for task in running:
                task.cancel()

    asyncio.run(story())
    assert watch.ended == (["evil"] if control else [])
    assert (watch.heap_bytes[-1] < HIGH_BYTES) is control


def test_those_told_most_go_until_it_is_enough_and_who_was_told_little_stays() -> None:
    it = Unread()
    for name, mib in (("little", 0.5), ("some", 2), ("most", 100), ("more", 50)):
        it.note(topics.down(name, "j", "out"), int(mib * (1 << 20)))
    it.note(topics.record("n1", "most_j"), 1 << 30)
    assert it.to_end(HEAP_HIGH_BYTES) == {}
    assert list(it.to_end(HEAP_HIGH_BYTES + (120 << 20))) == ["most", "more"]
    assert it.to_end(HEAP_HIGH_BYTES * 2) == {ClientId("some"): (2 << 20) + MESSAGE_BYTES}
    assert list(it.told_bytes) == ["little"]


def test_there_is_room_between_this_limit_and_the_brokers_own() -> None:
    assert MEMORY_MAX_BYTES - HEAP_HIGH_BYTES >= 256 << 20
    assert UNREAD_MIN_BYTES < HEAP_HIGH_BYTES / 100
