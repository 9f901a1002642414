"""The shell end to end: brain, line and hands over fakes that pass the ports' contracts.

One node is played by the voter rules behind a broker in memory; programs are the fake
runtime's. What is awaited is polled, with a deadline.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from edge_agent.brain import Brain, Settings
from edge_agent.container import Tools
from edge_agent.effect import FetchAhead
from edge_agent.event import Event, StopRequested
from edge_agent.hands import ContainerHands
from edge_agent.identity import incarnate, own_folder, read_number, write_number
from edge_agent.line import Line, LineSettings
from edge_agent.supervisor import AgentSupervisor
from tests.unit.edge_agent.agent_talk import DIGEST, JOB, Voter
from workrs.domain.dispatch import AgentProfile
from workrs.domain.errors import ConfigError
from workrs.domain.ids import ClientId, Digest, Epoch, Instant
from workrs.domain.job import CheckpointPolicy, JobSpec, StoredSpec
from workrs.domain.quorum import Tally, decision
from workrs.domain.record import CheckpointRef, Holder, Incarnation
from workrs.ports.bus import Address, Bus, BusDeniedError, Message, Subscription
from workrs.ports.runtime import Rung
from workrs.testing.bus import MemoryBroker, MemoryBus
from workrs.testing.runtime import FakeRuntime, FakeWarden
from workrs.testing.store import MemoryStores
from workrs.wire import codec, message, topics

NODE = Address(host="n1", port=1)
NAME = ClientId("a1")
BODIES: dict[str, type[object]] = {
    "claim": message.Claim,
    "outcome": message.OutcomeProposal,
    "checkpoint": message.CheckpointReport,
    "release": message.Release,
}


class Node:
    """One node of a cluster of one."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.voter = Voter("n1")
        self.gone: list[message.Beat] = []
        self.holders: dict[ClientId, Holder] = {}
        self.progress: list[float] = []

    async def serve(self) -> None:
        await self.bus.subscribe(Subscription(pattern="workrs/1/up/#"))
        terms = message.NodeTerms(nodes=("n1",), blobs_url="memory://n1")
        self.show(topics.node("n1", "terms"), terms)
        while True:
            for found in await self.bus.receive():
                self.hear(found)

    def show(self, topic: str, body: object) -> None:
        self.bus.publish(Message(topic, codec.encode(body), retain=True))

    def hear(self, found: Message) -> None:
        up = topics.parse_up(found.topic)
        assert up is not None
        now = Instant(asyncio.get_running_loop().time())
        if up.verb == "beat":
            beat = codec.decode(message.Beat, found.payload)
            if beat.gone:
                self.gone.append(beat)
                return
            self.holders[up.client] = Holder(client=up.client, incarnation=beat.incarnation)
            self.voter.beat(self.holders[up.client], beat, now)
            self.show(topics.node("n1", "agent", up.client), self.voter.view)
        elif up.verb == "progress":
            self.progress.append(codec.decode(message.Progress, found.payload).progress)
        else:
            body: object = codec.decode(BODIES[up.verb], found.payload)
            self.voter.hear(self.holders[up.client], JOB, body, now)
        self.show(topics.record("n1", JOB), self.voter.vote().record)

    def offer(self, job: JobSpec, epoch: int = 1, to: ClientId = NAME) -> None:
        stored = StoredSpec(job=JOB, request=DIGEST, spec=job)
        offer = message.Offer(job=JOB, epoch=Epoch(epoch), digest=DIGEST, stored=stored)
        self.bus.publish(Message(topics.node("n1", "offer", to), codec.encode(offer)))

    @property
    def result(self) -> str | None:
        record = self.voter.vote().record
        tally = Tally()
        tally.add(self.voter.name, record)
        outcome = decision({self.voter.name: record}, tally, 1)
        return outcome.result if outcome else None


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 (anything may be waited for)
            await asyncio.sleep(0.005)


class World:
    """A broker with a node, and what agents need."""

    def __init__(self, folder: Path, broker: MemoryBroker, bus: Bus) -> None:
        self.folder = folder
        self.broker = broker
        self.node = Node(bus)
        self.stores = MemoryStores()
        self.runtimes: dict[ClientId, FakeRuntime] = {}
        self.hands: dict[ClientId, ContainerHands] = {}

    async def agent(self, name: ClientId, supervisors: list[AgentSupervisor]) -> int:
        """Run an agent; its supervisor is put into *supervisors*."""
        warden = FakeWarden()
        runtime = self.runtimes[name] = FakeRuntime(warden=warden)
        profile = AgentProfile(
            slots=2, arch="amd64", memory_mb=1000, cpus=1.0, rung=runtime.rung.value
        )
        holder = Holder(client=name, incarnation=Incarnation(1, "00"))
        brain = Brain(
            Settings(holder=holder, profile=profile, nodes=1, grace_s=0.2), random.Random(1)
        )
        supervisor = AgentSupervisor(
            brain,
            nodes=[NODE],
            connect=self.broker.connect,
            clock=asyncio.get_running_loop().time,
        )
        supervisors.append(supervisor)
        tools = Tools(
            agent=name,
            runtime=runtime,
            warden=warden,
            open_store=self.stores.open,
            folder=self.folder / name,
            copies=1,
            disk_bytes=1 << 20,
        )
        async with asyncio.TaskGroup() as tasks:
            hands = self.hands[name] = ContainerHands(tools, tasks, supervisor.post)
            discarding = tasks.create_task(hands.discard())
            code = await supervisor.run(tasks, hands)
            discarding.cancel()
        return code


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    broker = MemoryBroker()
    async with broker.connect(address=NODE, client_id="n1") as bus:
        made = World(folder, broker, bus)
        serving = asyncio.create_task(made.node.serve())
        try:
            yield made
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving


@asynccontextmanager
async def running(made: World, name: ClientId = NAME) -> AsyncIterator[asyncio.Task[int]]:
    supervisors: list[AgentSupervisor] = []
    task = asyncio.create_task(made.agent(name, supervisors))
    try:
        await until(lambda: name in made.node.holders or task.done())
        yield task
        if not task.done():
            supervisors[0].post(StopRequested())
        async with asyncio.timeout(60):
            await task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_a_job_is_run_and_its_result_decided(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path) as made, running(made):
            made.node.offer(JobSpec(image="i", command=("echo", "hi")))
            await until(lambda: made.node.result)
            assert made.node.result == "hi\n"
            await until(lambda: not made.runtimes[NAME].attempts)

    asyncio.run(story())


def test_a_stopped_agent_says_so_and_leaves_no_will(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path) as made:
            async with running(made) as task:
                pass
            assert task.result() == 0
            await until(lambda: made.node.gone)
            assert len(made.node.gone) == 1

    asyncio.run(story())


def test_a_stopped_agent_does_not_wait_for_a_job_that_was_announced(tmp_path: Path) -> None:
    """It did, for the minute for which it keeps what it fetched ahead."""
    ref = CheckpointRef(
        epoch=Epoch(1),
        seq=1,
        manifest=Digest("0" * 64),
        location=("mem://a",),
        rung=Rung.FILES,
        bytes=1,
    )

    async def story() -> None:
        async with world(tmp_path) as made, running(made) as task:
            announced = FetchAhead(job=JOB, checkpoint=ref, memory_mb=1)
            made.hands[NAME].perform(announced)
            await asyncio.sleep(0)
        assert task.result() == 0

    asyncio.run(story())


def test_a_line_that_is_lost_can_still_be_left() -> None:
    """As by an agent that is stopped while its connection takes its time to close."""
    closing, closed = asyncio.Event(), asyncio.Event()

    class Refusing(MemoryBus):
        async def subscribe(self, *_: Subscription) -> None:
            raise BusDeniedError("subscribe", "not authorized")

    async def story() -> None:
        posted: list[Event] = []

        @asynccontextmanager
        async def connect(**_: object) -> AsyncIterator[Bus]:
            try:
                yield Refusing(MemoryBroker(), "a1", None)
            finally:
                closing.set()
                await closed.wait()

        line = Line(LineSettings(name=NAME, connect=connect, post=posted.append), 1, set())
        task = asyncio.create_task(line.run(NODE, Message("will", b"")))
        await closing.wait()
        line.leave()
        closed.set()
        await task
        assert posted == []

    asyncio.run(story())


def test_a_killed_agents_job_goes_on_elsewhere_from_its_checkpoint(tmp_path: Path) -> None:
    # The first would take half an hour, so it has not ended when it is killed.
    first_job, second_job = (
        JobSpec(
            image="i",
            command=("count", "30", step_s),
            checkpoint=CheckpointPolicy(interval_s=0.1),
        )
        for step_s in ("60", "0.02")
    )

    async def story() -> None:
        async with world(tmp_path) as made, running(made) as first:
            made.node.offer(first_job)
            await until(lambda: made.node.voter.vote().record.checkpoints)
            first.cancel()
            await until(lambda: made.node.gone)
            vote = made.node.voter.vote()
            made.node.voter.votes[JOB] = type(vote)(record=vote.record)
            second = ClientId("a2")
            async with running(made, second):
                made.node.offer(second_job, epoch=2, to=second)
                await until(lambda: made.node.result)
                assert made.node.result == "30\n"
                assert made.node.voter.vote().record.attempt == 2
            with suppress(asyncio.CancelledError):
                await first

    with suppress(asyncio.CancelledError):
        asyncio.run(story())


def test_a_program_that_saves_itself_is_resumed(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path) as made, running(made):
            made.node.offer(JobSpec(image="i", command=("save",)))
            await until(lambda: made.node.result)
            assert made.node.result == "resumed\n"

    asyncio.run(story())


def test_junk_on_the_bus_is_dropped_and_everything_goes_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path) as made, running(made):
            for topic in ("offer", "agent", "order"):
                made.node.bus.publish(Message(topics.node("n1", topic, NAME), b"\xff{"))
            made.node.bus.publish(Message(topics.node("n1", "state"), b'{"boot": "x"}'))
            made.node.offer(JobSpec(image="i", command=("echo", "still here")))
            await until(lambda: made.node.result)

    asyncio.run(story())


def test_an_incarnation_is_above_the_disk_and_above_any_view(tmp_path: Path) -> None:
    async def story() -> None:
        async with world(tmp_path) as made:
            write_number(tmp_path, 4)
            mine = await incarnate(NAME, tmp_path, [NODE], made.broker.connect)
            assert mine.number == 5
            view = message.AgentView(incarnation=Incarnation(9, "x"), connection=1, counter=1)
            made.node.show(topics.node("n1", "agent", NAME), view)
            again = await incarnate(NAME, tmp_path, [NODE], made.broker.connect)
            assert again.number == 10
            assert again.nonce != mine.nonce
            assert read_number(tmp_path) == 10

    asyncio.run(story())


def test_one_agent_has_a_state_folder_to_itself(tmp_path: Path) -> None:
    with own_folder(tmp_path), pytest.raises(ConfigError), own_folder(tmp_path):
        pass


def test_a_spoilt_incarnation_file_is_told_not_guessed(tmp_path: Path) -> None:
    (tmp_path / "incarnation").write_text("many")
    with pytest.raises(ConfigError):
        read_number(tmp_path)
