"""The runtimes under test, and the same few programs for each of them."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_agent.cgroup import find_parents
from edge_agent.runtimes.docker import DockerRuntime
from edge_agent.runtimes.process import ProcessRuntime
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.job import JobSpec
from workrs.ports.runtime import ContainerRuntime, Rung, Snapshot, StartRequest, Warden
from workrs.testing.runtime import FakeRuntime, FakeWarden

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.engine_fixture import Engines

FAR = Instant(1e12)

_COUNT = """\
n=$(cat {job}/state 2>/dev/null || echo 0)
while [ $n -lt $1 ]; do
  sleep $2
  n=$((n+1)); echo $n >{job}/state.new; mv {job}/state.new {job}/state
  echo $n >>{job}/lines
  echo "0.$n at $n" >>{job}/progress
done
echo $1
"""


@dataclass(slots=True, kw_only=True)
class World:
    """One runtime, and how to ask it for programs."""

    runtime: ContainerRuntime
    warden: FakeWarden
    image: str
    work: Path
    fake: bool = False
    """Its programs are named, not shell scripts."""
    job: str = "/job"
    """Where a script finds its folder."""
    taken: int = field(default=0)

    def request(
        self, command: tuple[str, ...], *, restore_from: Snapshot | None = None, **rest: object
    ) -> StartRequest:
        """Return a first start of the next job."""
        self.taken += 1
        return StartRequest(
            job=JobId(f"pump_{self.taken}"),
            epoch=Epoch(1),
            attempt=1,
            spec=JobSpec(image=self.image, command=command, memory_mb=64, **rest),  # type: ignore[arg-type]
            deadline=FAR,
            restore_from=restore_from,
        )

    def echo(self, text: str) -> tuple[str, ...]:
        return ("echo", text)

    def script(self, text: str, *words: str) -> tuple[str, ...]:
        return ("sh", "-c", text.replace("{job}", self.job), "sh", *words)

    def count(self, limit: int, step_s: float) -> tuple[str, ...]:
        if self.fake:
            return ("count", str(limit), str(step_s))
        return self.script(_COUNT, str(limit), str(step_s))

    def exit(self, code: int) -> tuple[str, ...]:
        return ("exit", str(code)) if self.fake else self.script(f"exit {code}")

    def sleep(self) -> tuple[str, ...]:
        return ("sleep",) if self.fake else ("sleep", "1000")

    def save(self) -> tuple[str, ...]:
        if self.fake:
            return ("save",)
        return self.script(
            "[ $WORKRS_RESUMED = 1 ] && echo resumed && exit; echo 0 >state; exit 85"
        )


Open = "Callable[[Path], contextlib.AbstractAsyncContextManager[World]]"


@contextlib.asynccontextmanager
async def fake(work: Path, *, rung: Rung = Rung.MEMORY) -> AsyncIterator[World]:
    warden = FakeWarden()
    runtime = FakeRuntime(warden=warden, rung=rung)
    yield World(runtime=runtime, warden=warden, image="any", work=work, fake=True)
    await runtime.close()


def docker_on(
    engines: Engines,
) -> Callable[[Path], contextlib.AbstractAsyncContextManager[World]]:
    """Return an opener of runtimes on the first of *engines*."""

    @contextlib.asynccontextmanager
    async def opened(work: Path) -> AsyncIterator[World]:
        warden = FakeWarden()
        runtime = await DockerRuntime.open(
            url=engines.a.url, agent=ClientId("a1"), work=work / "work", warden=warden
        )
        try:
            yield World(runtime=runtime, warden=warden, image=engines.image, work=work)
        finally:
            await runtime.close()

    return opened


def process_on(kind: str) -> Callable[[Path], contextlib.AbstractAsyncContextManager[World]]:
    """Return an opener of process runtimes that freeze by `v1`, `v2` or `group`."""

    @contextlib.asynccontextmanager
    async def opened(work: Path) -> AsyncIterator[World]:
        warden = FakeWarden()
        runtime = process_runtime(kind, work / "work", warden)
        world = World(
            runtime=runtime, warden=warden, image="none", work=work, job="$WORKRS_JOB_DIR"
        )
        try:
            yield world
        finally:
            await runtime.close()
            shutil.rmtree(work / "work", ignore_errors=True)

    return opened


def process_runtime(kind: str, work: Path, warden: Warden, agent: str = "a1") -> ProcessRuntime:
    runtime = ProcessRuntime(agent=ClientId(agent), work=work, warden=warden, cgroups=parent(kind))
    if kind == "group":
        runtime._cgroups = None
    return runtime


def parent(kind: str) -> Path | None:
    """Return where cgroups of this kind are made, or None when this machine has none."""
    for folder in find_parents():
        is_v2 = (folder / "cgroup.controllers").exists()
        if kind == ("v2" if is_v2 else "v1"):
            return folder
    return None
