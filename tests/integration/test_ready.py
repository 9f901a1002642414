"""Goal: who starts a local cluster is told what it waits for, and may call it off.

Method: members that start for ever, at a port where nobody listens and at a real broker that shows
a part of them.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from tests.mosquitto_fixture import HOST, free_port, mosquitto_address
from workrs.adapters.mqtt import connect
from workrs.cli import cluster
from workrs.cli.cluster import ClusterPlan, LocalCluster, Member, wait_ready
from workrs.domain.errors import ConfigError
from workrs.ports.bus import Address, Message
from workrs.wire import codec, topics
from workrs.wire.message import NodeState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["mosquitto_address"]
STARTING = "import signal; signal.pause()"


@pytest.fixture
def starting(tmp_path: Path) -> Iterator[LocalCluster]:
    """Yield a node and an agent that never come further than their start."""
    argv = [sys.executable, "-c", STARTING]
    members = {name: Member(name, argv, tmp_path / f"{name}.log") for name in ("n1", "a1")}
    it = LocalCluster(ClusterPlan(root=tmp_path, nodes=1), members=members)
    for name in members:
        it.start(name)
    yield it
    for name in members:
        it.kill(name)


def test_a_broker_that_does_not_answer_is_named(
    starting: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SAY_S", 0.0)
    starting.addresses["n1"] = Address(host=HOST, port=free_port())
    told: list[str] = []
    with pytest.raises(ConfigError, match=r"the broker of n1 does not answer, though all of its"):
        asyncio.run(wait_ready(starting, 0.5, say=told.append))
    assert told[0] == "waiting: the broker of n1 does not answer"


def test_what_a_node_does_not_see_is_named(
    starting: LocalCluster, mosquitto_address: Address
) -> None:
    starting.addresses["n1"] = mosquitto_address
    state = codec.encode(NodeState(boot=1, nonce="aa", nodes=("n1",)))

    async def show() -> None:
        async with connect(address=mosquitto_address, client_id="n1") as bus:
            bus.publish(Message(topics.node("n1", "state"), state, retain=True))
            await bus.flush()

    asyncio.run(show())
    with pytest.raises(ConfigError, match=r"n1 does not see a1, though"):
        asyncio.run(wait_ready(starting, 2.0))


def test_waiting_can_be_called_off_and_ends_with_a_member(starting: LocalCluster) -> None:
    starting.addresses["n1"] = Address(host=HOST, port=free_port())
    asyncio.run(wait_ready(starting, is_over=lambda: True))
    asked: list[str] = []

    def is_over() -> bool:
        starting.kill("a1")
        asked.append("")
        return False

    with pytest.raises(ConfigError, match="a1 ended at its start"):
        asyncio.run(wait_ready(starting, is_over=is_over))
    assert asked == [""]
