"""Goal: a container moves between engines with memory, files and output of one instant.

Method: a counter that keeps one number in memory, in a growing open file and in what it prints
moves twenty times, through stores; at its end all three must agree, without gap or repetition. It
does not end before it is told to: a machine that is busy with others' work must not decide what
is tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from edge_agent.checkpoint import Saved, load, save, size_limit
from edge_agent.checkpoint.keys import new_ring
from edge_agent.runtimes.docker import DockerRuntime
from tests.engine_fixture import Engines, engines
from workrs.adapters.stores.opener import Stores
from workrs.domain.errors import ContainerError
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.job import CheckpointMode, CheckpointPolicy, JobSpec
from workrs.engine.mount import below, read_mounts
from workrs.ports.runtime import Exit, RestoreError, Rung, Snapshot, StartRequest
from workrs.testing.runtime import FakeWarden

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from edge_agent.runtimes.docker_attempt import DockerAttempt

__all__ = ["engines"]  # a fixture is found by its name in the module

pytestmark = [pytest.mark.engine, pytest.mark.criu]

HOPS = 20
RING = new_ring()
COUNTER = """
import os, sys, time
ballast = bytearray(range(256)) * 4096
with open("/job/lines", "a") as lines, open("/job/progress", "a") as progress:
    for n in range(1, int(sys.argv[1]) + 1):
        lines.write(f"{n}\\n")
        lines.flush()
        # No line end: what a container prints must not wait for one.
        print(n, end=" ", flush=True)
        progress.write(f"{n / int(sys.argv[1])} at {n}\\n")
        progress.flush()
        time.sleep(0.005)
        while n * 10 == int(sys.argv[1]) * 9 and not os.path.exists("/job/go"):
            time.sleep(0.005)
assert ballast == bytearray(range(256)) * 4096
with open("/job/lines") as lines:
    assert lines.read().split() == [str(n) for n in range(1, int(sys.argv[1]) + 1)]
with open("/job/attempt") as attempt:
    print("\\n" + attempt.read().strip())
"""


class Cluster:
    """A runtime on each engine, and a store."""

    def __init__(
        self, runtimes: list[DockerRuntime], stores: Stores, path: Path, image: str
    ) -> None:
        self.runtimes = runtimes
        self.stores = stores
        self.path = path
        self.spec = JobSpec(image=image, command=("python3", "-c", COUNTER, "1500"), memory_mb=64)
        self.epoch = 0

    async def start(
        self, number: int, spec: JobSpec | None = None, snapshot: Snapshot | None = None
    ) -> DockerAttempt:
        self.epoch += 1
        return await self.runtimes[number].start(
            StartRequest(
                job=JobId("pump_1"),
                epoch=Epoch(self.epoch),
                attempt=self.epoch,
                spec=spec or self.spec,
                deadline=Instant(1e12),
                restore_from=snapshot,
            )
        )

    async def save(
        self, attempt: DockerAttempt, *, seq: int = 1, previous: Saved | None = None
    ) -> Saved:
        snapshot = await attempt.checkpoint(self.path / "taken")
        try:
            return await save(
                snapshot,
                job=attempt.job,
                epoch=attempt.epoch,
                seq=seq,
                stores=[self.stores.open(self.url(name)) for name in ("n1", "n2")],
                previous=previous,
                keys=RING,
            )
        finally:
            shutil.rmtree(snapshot.path)

    async def load(self, saved: Saved) -> Snapshot:
        return await load(
            saved.ref,
            job=JobId("pump_1"),
            open_store=self.stores.open,
            path=self.path / f"loaded-{saved.ref.epoch}",
            limit_bytes=size_limit(memory_mb=64, disk_bytes=256 << 20),
            keys=RING,
            host=self.runtimes[1].host,
        )

    def url(self, name: str) -> str:
        (self.path / name).mkdir(exist_ok=True)
        return (self.path / name).as_uri()


@contextlib.asynccontextmanager
async def cluster(engines: Engines, path: Path) -> AsyncIterator[Cluster]:
    runtimes = [
        await DockerRuntime.open(
            url=engine.url, agent=ClientId(name), work=path / name, warden=FakeWarden()
        )
        for name, engine in (("a1", engines.a), ("a2", engines.b))
    ]
    if runtimes[0].rung is not Rung.MEMORY:
        pytest.skip("this machine cannot checkpoint memory: see `workrs doctor`")
    async with Stores() as stores:
        try:
            yield Cluster(runtimes, stores, path, engines.image)
        finally:
            for runtime in runtimes:
                await runtime.close()
    assert not below(read_mounts(), path)


async def counted(attempt: DockerAttempt, number: float) -> None:
    """Wait until the counter has passed *number*, as a share."""
    async with asyncio.timeout(60):
        while True:
            progress = await attempt.progress()
            if progress is not None and progress.fraction > number:
                return
            await asyncio.sleep(0.01)


async def ended_of(world: Cluster, attempt: DockerAttempt) -> Exit:
    """Let the counter end, and return how it did."""
    (folder,) = world.path.glob(f"a?/{attempt.job}.{attempt.epoch}.*/job")
    (folder / "go").touch()
    return await attempt.wait()


def assert_whole(ended: Exit) -> None:
    assert ended.code == 0, ended.stderr_tail
    assert isinstance(ended.result, bytes)
    numbers = ended.result.split(b"\n")[0]
    assert numbers.split() == [str(n).encode() for n in range(1, 1501)]


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_repeated_over_twenty_moves(engines: Engines, tmp_path: Path) -> None:
    async def story() -> None:
        async with cluster(engines, tmp_path) as world:
            attempt = await world.start(0)
            for hop in range(HOPS):
                await counted(attempt, hop / (HOPS + 5))
                saved = await world.save(attempt)
                assert saved.ref.rung == "memory"
                # It ran on after its checkpoint: what it did since must leave no trace.
                await attempt.remove()
                snapshot = await world.load(saved)
                attempt = await world.start((hop + 1) % 2, snapshot=snapshot)
                shutil.rmtree(snapshot.path)
            ended = await ended_of(world, attempt)
            assert_whole(ended)
            assert isinstance(ended.result, bytes)
            assert f'"epoch": {HOPS + 1}'.encode() in ended.result
            assert b'"resumed": true' in ended.result
            await attempt.remove()

    asyncio.run(story())


def test_a_checkpointed_program_runs_on_undisturbed(engines: Engines, tmp_path: Path) -> None:
    async def story() -> None:
        async with cluster(engines, tmp_path) as world:
            attempt = await world.start(0)
            for number in range(5):
                await counted(attempt, number / 20)
                await world.save(attempt)
            assert_whole(await ended_of(world, attempt))
            await attempt.remove()

    asyncio.run(story())


def test_memory_that_grew_is_sent_and_the_rest_is_not(engines: Engines, tmp_path: Path) -> None:
    grow = (
        "import os, time; kept = []; n = 0\n"
        "kept.append(os.urandom(40 << 20))\n"
        "while n < 1000:\n"
        "    n += 1; kept.append(os.urandom(4096)); time.sleep(0.001)\n"
        "    if n % 50 == 0: open('/job/progress', 'a').write(f'{n / 10000}\\n')\n"
        "time.sleep(1000)\n"
    )

    async def story() -> None:
        async with cluster(engines, tmp_path) as world:
            spec = replace(world.spec, command=("python3", "-c", grow), memory_mb=128)
            attempt = await world.start(0, spec)
            await counted(attempt, 0.0)
            first = await world.save(attempt)
            await counted(attempt, 0.05)
            second = await world.save(attempt, seq=2, previous=first)
            await attempt.remove()
            assert first.uploaded_bytes > 40 << 20
            # 1,000 blocks of 4 KiB at most, and what Python keeps about them.
            assert second.uploaded_bytes < 6 << 20

    asyncio.run(story())


def test_a_cancelled_checkpoint_leaves_the_program_whole(engines: Engines, tmp_path: Path) -> None:
    async def story() -> None:
        async with cluster(engines, tmp_path) as world:
            attempt = await world.start(0)
            for number in range(8):
                await counted(attempt, number / 20)
                task = asyncio.create_task(attempt.checkpoint(tmp_path / "cut"))
                await asyncio.wait([task], timeout=0.03 * number)
                task.cancel()
                await asyncio.wait([task])
                shutil.rmtree(tmp_path / "cut", ignore_errors=True)
            assert_whole(await ended_of(world, attempt))
            await attempt.remove()

    asyncio.run(story())


def test_a_frozen_program_stays_frozen_over_its_checkpoint(
    engines: Engines, tmp_path: Path
) -> None:
    async def story() -> None:
        async with cluster(engines, tmp_path) as world:
            attempt = await world.start(0)
            await counted(attempt, 0.05)
            await attempt.freeze()
            saved = await world.save(attempt)
            before = await attempt.progress()
            for _ in range(20):
                await asyncio.sleep(0.01)
                assert await attempt.progress() == before
            await attempt.thaw()
            assert_whole(await ended_of(world, attempt))
            await attempt.remove()
            snapshot = await world.load(saved)
            again = await world.start(1, snapshot=snapshot)
            assert_whole(await ended_of(world, again))
            await again.remove()

    asyncio.run(story())


def test_a_program_killed_during_its_checkpoint_is_dead(engines: Engines, tmp_path: Path) -> None:
    async def story() -> None:
        async with cluster(engines, tmp_path) as world:
            attempt = await world.start(0)
            await counted(attempt, 0.05)
            task = asyncio.create_task(attempt.checkpoint(tmp_path / "taken"))
            await asyncio.wait([task], timeout=0.1)
            async with asyncio.timeout(60):
                await attempt.kill()
                assert (await attempt.wait()).code == 137
                await asyncio.wait([task])
            await attempt.remove()

    asyncio.run(story())


def test_memory_is_not_restored_where_it_does_not_fit(engines: Engines, tmp_path: Path) -> None:
    async def story() -> None:
        async with cluster(engines, tmp_path) as world:
            attempt = await world.start(0)
            await counted(attempt, 0.05)
            snapshot = await attempt.checkpoint(tmp_path / "taken")
            await attempt.remove()
            other_cpu = replace(snapshot, host=replace(snapshot.host, cpu="other"))
            with pytest.raises(RestoreError, match="cpu"):
                await world.start(1, snapshot=other_cpu)
            with pytest.raises(RestoreError, match="command"):
                await world.start(1, replace(world.spec, command=("sh",)), snapshot)
            os.truncate(snapshot.path / "image" / "pages-1.img", 4096)
            with pytest.raises(RestoreError, match="pump_1 was not restored"):
                await world.start(1, snapshot=snapshot)
            assert not list((tmp_path / "a2").iterdir())

    asyncio.run(story())


def test_on_the_files_rung_a_program_finds_its_files(engines: Engines, tmp_path: Path) -> None:
    async def story() -> None:
        async with cluster(engines, tmp_path) as world:
            script = (
                'read n <kept && echo "found $n $WORKRS_RESUMED" || { echo 7 >kept; sleep 999; }'
            )
            spec = replace(
                world.spec,
                command=("sh", "-c", script),
                checkpoint=CheckpointPolicy(mode=CheckpointMode.FILES),
            )
            attempt = await world.start(0, spec)
            async with asyncio.timeout(60):
                while True:
                    snapshot = await attempt.checkpoint(tmp_path / "taken")
                    kept = snapshot.path / "job" / "kept"
                    # The shell makes the file before it writes.
                    if kept.exists() and kept.read_text() == "7\n":
                        break
                    shutil.rmtree(snapshot.path)
            assert snapshot.rung is Rung.FILES
            again = await world.start(1, spec, snapshot)
            assert (await again.wait()).result == b"found 7 1\n"
            await attempt.remove()
            await again.remove()

    asyncio.run(story())


def test_a_program_that_ended_meanwhile_is_no_failure_of_criu(
    engines: Engines, tmp_path: Path
) -> None:
    async def story() -> None:
        async with cluster(engines, tmp_path) as world:
            attempt = await world.start(0, replace(world.spec, command=("sleep", "1")))

            async def save_on() -> None:
                while True:
                    await attempt.checkpoint(tmp_path / "taken")
                    shutil.rmtree(tmp_path / "taken")

            with pytest.raises(ContainerError, match="its program has ended"):
                await asyncio.wait_for(save_on(), timeout=60)
            assert not (tmp_path / "taken").exists()
            assert (await attempt.wait()).code == 0
            await attempt.remove()

    asyncio.run(story())


def test_a_failed_dump_leaves_the_program_whole(engines: Engines, tmp_path: Path) -> None:
    async def story() -> None:
        async with cluster(engines, tmp_path) as world:
            # CRIU refuses a file that was deleted and is larger than it keeps in its images.
            script = (
                "exec 3>/job/big; dd if=/dev/zero bs=1024 count=3000 >&3; rm /job/big; "
                "echo 0.5 >/job/progress; until [ -e /job/go ]; do sleep 0.1; done; echo done"
            )
            attempt = await world.start(0, replace(world.spec, command=("sh", "-c", script)))
            await counted(attempt, 0.4)
            with pytest.raises(ContainerError, match="CRIU could not save"):
                await attempt.checkpoint(tmp_path / "taken")
            assert not (tmp_path / "taken").exists()
            ended = await ended_of(world, attempt)
            assert (ended.code, ended.result) == (0, b"done\n")
            await attempt.remove()

    asyncio.run(story())


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A place for snapshots with room for little."""
    place = tmp_path_factory.mktemp("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_delays_the_checkpoint_and_not_the_program(
    engines: Engines, tmp_path: Path, small_disk: Path
) -> None:
    async def story() -> None:
        async with cluster(engines, tmp_path) as world:
            attempt = await world.start(0)
            for number in range(3):
                await counted(attempt, number / 20)
                with pytest.raises(ContainerError, match=r"pace|ENOSPC"):
                    await attempt.checkpoint(small_disk / "taken")
                assert os.listdir(small_disk) == []  # noqa: PTH208 (it does not wait)
            subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)  # noqa: ASYNC221
            snapshot = await attempt.checkpoint(small_disk / "taken")
            assert snapshot.rung is Rung.MEMORY
            assert_whole(await ended_of(world, attempt))
            await attempt.remove()

    asyncio.run(story())


def test_nobody_else_can_read_a_snapshot(engines: Engines, tmp_path: Path) -> None:
    async def story() -> None:
        async with cluster(engines, tmp_path) as world:
            attempt = await world.start(0)
            await counted(attempt, 0.05)
            taken = (await attempt.checkpoint(tmp_path / "mine")).path
            loaded = (await world.load(await world.save(attempt))).path
            for path in (taken, loaded):
                assert path.stat().st_mode & 0o777 == 0o700
                images = list((path / "image").iterdir())
                assert images
                assert all(image.stat().st_mode & 0o177 == 0 for image in images)
                assert (path / "stdout").stat().st_mode & 0o177 == 0
            await attempt.remove()

    asyncio.run(story())
