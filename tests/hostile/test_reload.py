"""Goal: what is said to be in force the broker has read, however soon one change follows another.

Method: a real Mosquitto that takes a while to read its files, as one with many members does, and
the keeper of a node's trust before it. The attack is played twice.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from broker.mosquitto import MosquittoProcess, mosquitto
from broker.mosquitto_config import render, write_trust
from broker.trust_keeper import TrustKeeper
from tests.hostile.twice import played_twice
from tests.mosquitto_fixture import HOST, free_port
from tests.unit.broker.trust_world import NOW, make_directory
from workrs.adapters.mqtt import connect
from workrs.domain.errors import BusError
from workrs.ports.bus import Address
from workrs.trust.credential import load_credential
from workrs.trust.kind import Kind
from workrs.trust.node_folder import load_node

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

DEADLINE_S = 120.0
RULES = 10_000
"""It takes Mosquitto some hundredths of a second to read them."""
TURNS, TURNS_MAX = 3, 20
"""Without the control one turn does, unless the machine is busy."""
READS = "Reloading config."


class Node:
    """A broker that asks for passwords, and the keeper of its trust."""

    def __init__(self, folder: Path) -> None:
        self.directory = make_directory(folder / "farm")
        for turn in range(TURNS_MAX):
            for name in (f"meter{turn}", f"spare{turn}"):
                self.directory.enrol_password(name, now=NOW)
        self.broker_folder = folder / "mosquitto"
        self.folder = self.directory.node_folder("n1")
        self.own = Address(host=HOST, port=free_port())
        rules = folder / "rules"
        rules.write_text("topic readwrite #\n" + "topic read never/x\n" * RULES)
        write_trust(self.broker_folder, load_node(self.folder))
        plain = render(node="n1", listener=self.own)
        self.config = f"{plain}\npassword_file {self.broker_folder}/passwords\nacl_file {rules}\n"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[MosquittoProcess, TrustKeeper]]:
        async with (
            asyncio.timeout(DEADLINE_S),
            mosquitto(name="n1", config=self.config, folder=self.broker_folder) as broker,
            asyncio.TaskGroup() as tasks,
        ):
            keeper = TrustKeeper(
                load_node(self.folder),
                kept=self.broker_folder.parent / "kept",
                broker_folder=self.broker_folder,
                own=self.own,
                connect=connect,
                broker=broker,
            )
            running = [tasks.create_task(each) for each in (broker.keep(), keeper.keep())]
            yield broker, keeper
            for each in running:
                each.cancel()

    def password(self, name: str) -> str:
        found = load_credential(self.directory.path / "members" / f"{name}.pem").password
        assert found is not None
        return found

    async def lets_in(self, name: str, password: str) -> bool:
        try:
            async with connect(
                address=self.own, client_id=name, username=name, password=password, timeout_s=60
            ):
                return True
        except BusError:
            return False

    def revoked(self, name: str) -> str:
        """Revoke a device; return the list."""
        self.directory.revoke(name, now=NOW)
        return next(each.text for each in self.directory.lists() if each.kind is Kind.DEVICE)


@pytest.fixture
def node(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Node:
    caplog.set_level(logging.DEBUG)
    return Node(tmp_path)


async def until(look: Callable[[], bool]) -> None:
    while not look():  # noqa: ASYNC110 (lines of a log; the caller has the deadline)
        await asyncio.sleep(0.001)


def reads(caplog: pytest.LogCaptureFixture) -> int:
    """Return how often the broker said that it reads its files again."""
    return sum(READS in line for line in caplog.messages)


def test_mosquitto_forgets_a_signal_that_comes_while_it_reads(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Why the keeper waits; should this fail one day, it need not."""

    async def story() -> None:
        password = node.password("meter0")
        async with node.running() as (broker, _):
            assert broker.pid is not None
            for _turn in range(50):  # on a busy machine the second may come when it has read
                os.kill(broker.pid, signal.SIGHUP)
                await until(lambda: reads(caplog) > 0)
                os.kill(broker.pid, signal.SIGHUP)
                for _ in range(2):  # one turn of its loop each
                    assert await node.lets_in("meter0", password)
                if reads(caplog) == 1:
                    return
                caplog.clear()
        pytest.fail("it read twice, every time")

    asyncio.run(story())


async def signal_alone(_: TrustKeeper, broker: MosquittoProcess, *, anew: bool) -> None:
    """Tell the broker to read, and take it for done."""
    assert not anew
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGHUP)


@played_twice
def test_a_list_that_comes_while_the_broker_reads_another_is_read_too(
    node: Node,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    control: bool,
) -> None:
    """As an operator who revokes two brings them. A revoked device was let in for ever."""
    if not control:
        monkeypatch.setattr(TrustKeeper, "_have_read", signal_alone)

    async def story() -> list[bool]:
        found = []
        async with node.running() as (_, keeper):
            for turn in range(TURNS if control else TURNS_MAX):
                name = f"meter{turn}"
                password = node.password(name)
                assert await node.lets_in(name, password)
                first, second = node.revoked(f"spare{turn}"), node.revoked(name)
                caplog.clear()
                assert keeper.take_list(first, by="a test")
                await until(lambda: reads(caplog) == 1)
                assert keeper.take_list(second, by="a test")
                assert keeper.in_force is not keeper.trust
                await until(lambda: keeper.in_force is keeper.trust)
                found.append(await node.lets_in(name, password))
                if found[-1]:
                    break
        return found

    assert any(asyncio.run(story())) == (not control)


def test_a_broker_that_dies_as_it_is_to_read_has_read_it_at_its_next_start(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        password = node.password("meter0")
        async with node.running() as (broker, keeper):
            assert broker.pid is not None
            os.kill(broker.pid, signal.SIGSTOP)
            assert keeper.take_list(node.revoked("meter0"), by="a test")
            os.kill(broker.pid, signal.SIGKILL)
            await until(lambda: keeper.in_force is keeper.trust)
            assert broker.restarts == 1
            assert reads(caplog) == 0
            assert not await node.lets_in("meter0", password)

    asyncio.run(story())
