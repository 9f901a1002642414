"""Goal: what is wrong with a checkpoint costs the program nothing but that checkpoint, and is told.

Method: one container on a fake runtime, stores in memory, and the events and log lines of it.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from edge_agent import checkpoint, patience, transfer
from edge_agent.ahead import Ahead, Source
from edge_agent.checkpoint.keys import new_ring
from edge_agent.container import Container, Tools
from edge_agent.effect import (
    FetchAhead,
    PrepareStart,
    StartContainer,
    StoreResult,
    TakeCheckpoint,
)
from edge_agent.event import (
    Blame,
    CheckpointFailed,
    CheckpointSaved,
    ContainerExited,
    ContainerKilled,
    ContainerRemoved,
    Event,
    ResultRefused,
    StartFailed,
    StartPrepared,
)
from workrs.domain.dispatch import RESTORE_WAIT_S
from workrs.domain.errors import CheckpointError, ContainerError
from workrs.domain.ids import ClientId, Digest, Epoch, Instant, JobId
from workrs.domain.job import JobSpec
from workrs.ports.runtime import Exit, RestoreError
from workrs.testing.runtime import HOST, FakeAttempt, FakeRuntime, FakeWarden
from workrs.testing.store import MemoryStores

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.checkpoint import KeyRing
    from workrs.domain.host import HostFacts
    from workrs.domain.record import CheckpointRef
    from workrs.ports.runtime import Snapshot

JOB = JobId("pump_1")
URLS = ("mem://a", "mem://b")
SPEC = JobSpec(command=("hang",), image="fake")
RING = new_ring()
FROM_THE_BEGINNING = StartContainer(
    job=JOB,
    run=1,
    epoch=Epoch(1),
    attempt=1,
    spec=SPEC,
    deadline=Instant(1e9),
    restore=False,
)


class World:
    """A container, and what it said."""

    def __init__(self, folder: Path, tasks: asyncio.TaskGroup) -> None:
        self.folder = folder
        self.stores = MemoryStores()
        self.said: list[Event] = []
        self.runs = 0
        self._tasks = tasks

    def tools(self, keys: KeyRing | None = RING, host: HostFacts = HOST) -> Tools:
        warden = FakeWarden()
        return Tools(
            agent=ClientId("a1"),
            runtime=FakeRuntime(warden=warden, host=host),
            warden=warden,
            open_store=self.stores.open,
            folder=self.folder,
            copies=2,
            disk_bytes=1 << 20,
            keys=keys,
        )

    async def running(self) -> Container:
        container = Container(JOB, 1, self.tools(), self.said.append)
        self._tasks.create_task(container.start(FROM_THE_BEGINNING))
        async with asyncio.timeout(60):
            while not self.said:  # noqa: ASYNC110 (its start is told once)
                await asyncio.sleep(0)
        self.said.clear()
        return container

    async def save(self, container: Container, seq: int) -> Event:
        await container.save(TakeCheckpoint(job=JOB, run=1, epoch=Epoch(1), seq=seq, stores=URLS))
        return self.said.pop()

    async def checkpoint(self) -> CheckpointRef:
        """Return the checkpoint of a container that was removed after it."""
        container = await self.running()
        saved = await self.save(container, 1)
        assert isinstance(saved, CheckpointSaved)
        await container.remove()
        return saved.ref

    def ahead(self, keys: KeyRing | None = RING) -> Ahead:
        tools = self.tools(keys)
        source = Source(
            agent=tools.agent,
            open_store=tools.open_store,
            folder=self.folder / "ahead",
            disk_bytes=tools.disk_bytes,
            keys=tools.keys,
            host=tools.runtime.host,
            share=tools.share,
        )
        return Ahead(source, self._tasks)

    async def prepare(self, tools: Tools, ref: CheckpointRef) -> Event:
        self.prepared = Container(JOB, 2, tools, self.said.append)
        start = PrepareStart(job=JOB, run=2, spec=SPEC, checkpoint=ref, stores=URLS)
        await self.prepared.prepare(start, self.ahead(tools.keys))
        return self.said.pop()


def ahead_of(folder: Path) -> int:
    """Return how many checkpoints lie there that were fetched ahead."""
    return len(list(folder.glob("ahead/*")))


def refusals(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [line for line in caplog.messages if line.startswith("checkpoint_refused")]


def test_what_is_refused_is_counted_logged_and_blamed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            made = World(tmp_path, tasks)
            container = await made.running()
            saved = await made.save(container, 1)
            assert isinstance(saved, CheckpointSaved)
            tools = made.tools()
            for ref in (replace(saved.ref, seq=2), replace(saved.ref, epoch=Epoch(2))):
                told = await made.prepare(tools, ref)
                assert isinstance(told, StartFailed)
                assert told.blame is Blame.CHECKPOINT
            assert isinstance(await made.prepare(tools, saved.ref), StartPrepared)
            one, two = refusals(caplog)
            assert "seq=2 refused=1" in one
            assert "epoch=2 seq=1 refused=2" in two
            await container.remove()

    caplog.set_level(logging.INFO)
    asyncio.run(story())


def test_what_only_criu_finds_wrong_is_counted_and_logged_as_well(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            made = World(tmp_path, tasks)
            container = await made.running()
            saved = await made.save(container, 1)
            assert isinstance(saved, CheckpointSaved)
            tools = made.tools()
            assert isinstance(tools.runtime, FakeRuntime)
            tools.runtime.fail_starts = [RestoreError("CRIU cannot read it")]
            assert isinstance(await made.prepare(tools, saved.ref), StartPrepared)
            await made.prepared.start(
                replace(FROM_THE_BEGINNING, run=2, epoch=Epoch(2), restore=True)
            )
            told = made.said.pop()
            assert isinstance(told, StartFailed)
            assert told.blame is Blame.CHECKPOINT
            [refused] = refusals(caplog)
            assert "epoch=1 seq=1 refused=1" in refused
            assert "CRIU cannot read it" in refused
            await container.remove()

    caplog.set_level(logging.INFO)
    asyncio.run(story())


@pytest.mark.parametrize(
    ("keys", "host", "blame"),
    [
        (None, HOST, Blame.STORE),
        (new_ring(), HOST, Blame.STORE),
        (RING, replace(HOST, cpu="other"), Blame.CHECKPOINT),
    ],
)
def test_an_agent_without_the_key_or_the_machine_does_not_start_from_it(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    keys: KeyRing | None,
    host: HostFacts,
    blame: Blame,
) -> None:
    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            made = World(tmp_path, tasks)
            container = await made.running()
            saved = await made.save(container, 1)
            assert isinstance(saved, CheckpointSaved)
            told = await made.prepare(made.tools(keys, host), saved.ref)
            assert isinstance(told, StartFailed)
            assert told.blame is blame
            assert len(refusals(caplog)) == (blame is Blame.CHECKPOINT)
            await container.remove()

    asyncio.run(story())


def test_a_checkpoint_that_nobody_has_the_key_for_is_passed_on_for_a_while_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            made = World(tmp_path, tasks)
            container = await made.running()
            saved = await made.save(container, 1)
            assert isinstance(saved, CheckpointSaved)
            tools = made.tools(new_ring())
            for wait_s, blame in ((3600.0, Blame.STORE), (0.0, Blame.CHECKPOINT)):
                monkeypatch.setattr(patience, "RESTORE_WAIT_S", wait_s)
                told = await made.prepare(tools, saved.ref)
                assert isinstance(told, StartFailed)
                assert told.blame is blame
            assert len(refusals(caplog)) == 1
            await container.remove()

    asyncio.run(story())


def test_each_checkpoint_has_a_patience_of_its_own() -> None:
    made = patience.Patience()
    one, two = Digest("1" * 64), Digest("2" * 64)
    assert not made.is_over(one, 100.0)
    assert not made.is_over(two, 100.0 + RESTORE_WAIT_S)
    assert not made.is_over(one, 99.9 + RESTORE_WAIT_S)
    assert made.is_over(one, 100.0 + RESTORE_WAIT_S)
    for number in range(2000):
        made.is_over(Digest(f"{number:064}"), 500.0)
    assert not made.is_over(one, 500.0)


@pytest.mark.parametrize("why", ["failed", "cancelled"])
def test_a_start_that_comes_to_nothing_keeps_nothing_of_what_was_fetched_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    loading = asyncio.Event()
    held: list[int] = []

    async def load(*_: object, **__: object) -> Snapshot:
        held.append(ahead_of(tmp_path))
        loading.set()
        if why == "cancelled":
            await asyncio.Future()
        raise CheckpointError("damaged")

    async def story() -> None:
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            made = World(tmp_path, tasks)
            saved = await made.checkpoint()
            ahead = made.ahead()
            ahead.follow(FetchAhead(job=JOB, checkpoint=saved, memory_mb=256))
            begun = Container(JOB, 2, made.tools(), made.said.append)
            start = PrepareStart(job=JOB, run=2, spec=SPEC, checkpoint=saved, stores=URLS)
            monkeypatch.setattr(checkpoint, "load", load)
            preparing = tasks.create_task(begun.prepare(start, ahead))
            await loading.wait()
            if why == "cancelled":
                preparing.cancel()
            await asyncio.wait([preparing])
            await begun.remove()
        assert held == [1]
        assert ahead_of(tmp_path) == 0

    asyncio.run(story())


@pytest.mark.parametrize(
    ("has_checkpoint", "blame"), [(True, Blame.CHECKPOINT), (False, Blame.CONTAINER)]
)
def test_an_error_that_nobody_foresaw_costs_the_attempt_and_not_the_agent(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    has_checkpoint: bool,  # noqa: FBT001 (a parameter of the test)
    blame: Blame,
) -> None:
    """One bad job ended the agent that took it, and then the next."""

    async def surprise(*_: object, **__: object) -> None:
        raise LookupError("ftp://user:secret@host")

    monkeypatch.setattr(checkpoint, "load", surprise)
    monkeypatch.setattr(checkpoint, "load_ahead", surprise)
    monkeypatch.setattr(transfer, "fetch_input", surprise)

    async def story() -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            made = World(tmp_path, tasks)
            saved = await made.checkpoint()
            ref = saved if has_checkpoint else None
            ahead = made.ahead()
            if ref is not None:
                ahead.follow(FetchAhead(job=JOB, checkpoint=ref, memory_mb=256))
            spec = SPEC if has_checkpoint else replace(SPEC, input_url="http://h/")
            begun = Container(JOB, 2, made.tools(), made.said.append)
            start = PrepareStart(job=JOB, run=2, spec=spec, checkpoint=ref, stores=URLS)
            await begun.prepare(start, ahead)
            ahead.close()
            said = made.said.pop()
            assert isinstance(said, StartFailed)
            assert said.blame is blame
            assert "LookupError" in said.reason

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    told = [line for line in caplog.messages if "_unforeseen " in line]
    assert len(told) == 1 + has_checkpoint
    assert all("why=LookupError where=test_container.py:" in line for line in told)
    assert "secret" not in caplog.text


def test_a_dead_store_and_a_full_disk_delay_the_checkpoint_alone(tmp_path: Path) -> None:
    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            made = World(tmp_path, tasks)
            container = await made.running()
            assert isinstance(await made.save(container, 1), CheckpointSaved)
            made.stores.open(URLS[1]).silent = True
            failed = await made.save(container, 2)
            assert isinstance(failed, CheckpointFailed)
            assert "does not answer" in failed.reason
            made.stores.open(URLS[1]).silent = False
            # Nothing can be made where snapshots go.
            shutil.rmtree(tmp_path / "run-1")
            (tmp_path / "run-1").touch()
            failed = await made.save(container, 3)
            assert isinstance(failed, CheckpointFailed)
            assert "run-1" in failed.reason
            (tmp_path / "run-1").unlink()
            saved = await made.save(container, 4)
            assert isinstance(saved, CheckpointSaved)
            assert saved.ref.seq == 4
            assert made.said == []
            await container.remove()

    asyncio.run(story())


def test_a_result_that_cannot_be_read_any_more_is_refused(tmp_path: Path) -> None:
    """Any other error would end the agent, with all its jobs."""

    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            made = World(tmp_path, tasks)
            container = Container(JOB, 1, made.tools(), made.said.append)
            container._tell_exit(Exit(code=0, result=tmp_path / "gone", result_bytes=1 << 20))
            await container.store_result(StoreResult(job=JOB, run=1, epoch=Epoch(1), stores=URLS))
            refused = made.said.pop()
            assert isinstance(refused, ResultRefused)
            assert "gone" in refused.reason

    asyncio.run(story())


def test_its_end_is_told_once_when_its_program_is_dead_and_before_what_is_left_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often killing or removing fails."""
    steps: list[str] = []

    def failing(name: str, times: int) -> None:
        real = getattr(FakeAttempt, name)

        async def step(attempt: FakeAttempt) -> None:
            steps.append(name)
            if steps.count(name) <= times:
                raise ContainerError("not now")
            await real(attempt)

        monkeypatch.setattr(FakeAttempt, name, step)

    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            made = World(tmp_path, tasks)
            container = await made.running()
            failing("remove", 1)
            failing("kill", 1)
            await container.remove()
        told = [event for event in made.said if not isinstance(event, ContainerExited)]
        assert told == [ContainerKilled(job=JOB, run=1), ContainerRemoved(job=JOB, run=1)]
        # What FakeAttempt.remove does by itself is to kill again.
        assert steps[:4] == ["kill", "kill", "remove", "remove"]

    monkeypatch.setattr("edge_agent.container.REMOVE_RETRY_S", 0.0)
    asyncio.run(story())
