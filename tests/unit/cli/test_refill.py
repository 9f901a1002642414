"""Goal: who follows a job, log or drain is not told of none, because a broker was started again.

Method: a broker in memory that loses all it retains, as one that is started again has, and whose
node fills it once the command is there anew.
"""

import asyncio
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.unit.cli.test_move_watch import ONE, PROFILE, Shown
from workrs.cli import connection, drain, job_feed, logs, watch
from workrs.cli.error import NotFoundError
from workrs.cli.move_watch import End, MoveWatch
from workrs.domain.ids import ClientId, Digest, JobId
from workrs.domain.job import Verdict, outcome_with_result
from workrs.domain.record import Record, Version
from workrs.ports.bus import Address, Bus, Message
from workrs.testing.bus import MemoryBroker
from workrs.wire import codec, topics
from workrs.wire.message import AgentView, NodeState
from workrs.wire.view import ClusterView

JOB = JobId("pump-7_sum")
WAIT_S = 30.0
DRAINING = replace(PROFILE, draining=True)
OPEN = Record(job=JOB, version=Version(1, 1), digest=Digest("d" * 64))
OUTCOME = outcome_with_result(Verdict.SUCCEEDED, b"42", exit_code=0)
ENDED = replace(OPEN, version=Version(2, 1), decided=OUTCOME, decided_digest=OUTCOME.digest())


async def fill(broker: MemoryBroker, record: Record | None) -> None:
    """Retain what a node shows."""
    at = Address(host="127.0.0.1", port=1)
    state = NodeState(boot=1, nonce="aa", nodes=("n1",))
    async with broker.connect(address=at, client_id="n1") as bus:
        bus.publish(Message(topics.node("n1", "state"), codec.encode(state), retain=True))
        if record is not None:
            bus.publish(Message(topics.record("n1", JOB), codec.encode(record), retain=True))
        await bus.flush()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 (another task)
            await asyncio.sleep(0.01)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> MemoryBroker:
    """Return what the command talks to."""
    found = MemoryBroker()
    monkeypatch.setattr(connection, "connect", found.connect)
    return found


@pytest.fixture
def views(monkeypatch: pytest.MonkeyPatch) -> list[ClusterView]:
    """Return what the command has read at each of its connections."""
    found: list[ClusterView] = []
    read = job_feed._view_of

    async def noted(bus: Bus, text: str) -> ClusterView:
        found.append(await read(bus, text))
        return found[-1]

    monkeypatch.setattr(job_feed, "_view_of", noted)
    return found


async def watched(
    name: str, broker: MemoryBroker, views: list[ClusterView], then: Record | None
) -> int:
    """Return the code of `workrs watch` whose broker is started again, and filled with *then*."""
    await fill(broker, OPEN)
    asked = watch.options().parse([name, "--user", "ann", "--json"], environ={})
    watching = asyncio.create_task(watch._watch(asked))
    await until(lambda: len(views) == 1)
    broker.stop()
    broker.start()
    await until(lambda: len(views) == 2)
    assert views[1].job(JOB) is None
    await fill(broker, then)
    async with asyncio.timeout(WAIT_S):
        return await watching


@pytest.mark.parametrize("name", ["pump-7/sum", "sum"])
def test_a_job_is_followed_though_its_broker_is_empty_for_a_moment(
    name: str, broker: MemoryBroker, views: list[ClusterView]
) -> None:
    assert asyncio.run(watched(name, broker, views, ENDED)) == 0


def test_a_job_that_is_no_longer_there_is_not_waited_for_for_ever(
    broker: MemoryBroker, views: list[ClusterView], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_feed, "REFILL_S", 0.2)
    with pytest.raises(NotFoundError, match="there is no job pump-7/sum"):
        asyncio.run(watched("sum", broker, views, None))


def test_a_log_is_followed_though_its_broker_is_empty_for_a_moment(
    broker: MemoryBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    views: list[ClusterView] = []

    async def noted(view: ClusterView, bus: Bus) -> None:
        await connection.fill(view, bus)
        views.append(view)

    monkeypatch.setattr(logs, "fill", noted)

    async def run() -> int:
        await fill(broker, OPEN)
        words = ["pump-7/sum", "--user", "ann", "--follow"]
        showing = asyncio.create_task(logs._show(logs.options().parse(words, environ={})))
        await until(lambda: len(views) == 1)
        broker.stop()
        broker.start()
        await until(lambda: len(views) == 2)
        await fill(broker, ENDED)
        async with asyncio.timeout(WAIT_S):
            return await showing

    assert asyncio.run(run()) == 0


def test_a_drain_goes_on_though_the_agent_is_unknown_for_a_moment(broker: MemoryBroker) -> None:
    shown = Shown()
    shown.agent("a1", draining=True)
    watch = MoveWatch(ClientId("a1"))
    watch.look(shown.view)

    async def run() -> End:
        at = Address(host="127.0.0.1", port=1)
        async with broker.connect(address=at, client_id="ann") as bus:
            view = ClusterView()
            await connection.fill(view, bus)
            looking = asyncio.create_task(drain._look(Namespace(json=True), watch, view, bus))
            seen = AgentView(incarnation=ONE, connection=1, counter=9, profile=DRAINING)
            async with broker.connect(address=at, client_id="n1") as node:
                await asyncio.wait([looking], timeout=2 * drain._LOOK_S)
                node.publish(Message(topics.node("n1", "agent", "a1"), codec.encode(seen)))
                async with asyncio.timeout(WAIT_S):
                    return await looking

    assert asyncio.run(run()) is End.DRAINED
