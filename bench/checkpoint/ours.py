"""Workrs: a program on one engine, saved, and restored on the other."""

from __future__ import annotations

import asyncio
import os
import shutil
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from bench.checkpoint.program import Pulse, command, until
from edge_agent.cgroup import Cgroup
from edge_agent.runtimes.docker import DockerRuntime
from edge_agent.runtimes.job_folder import JobFolder
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.job import JobSpec
from workrs.ports.runtime import Rung, Snapshot, StartRequest
from workrs.testing.runtime import FakeWarden

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_agent.runtimes.docker_attempt import DockerAttempt

JOB = JobId("bench_1")
_LOOK_S = 0.0005


class FreezerWatch:
    """Looks at a cgroup's freezer twice in a millisecond, from a thread of its own."""

    def __init__(self, cgroup: Cgroup) -> None:
        self._cgroup = cgroup
        self._first_s = self._last_s = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def frozen_s(self) -> float:
        """From the first look that found it frozen to the last.

        CRIU thaws the cgroup in between, while it holds every process of it by ptrace.
        """
        return self._last_s - self._first_s

    def _look(self) -> None:
        while not self._end.wait(_LOOK_S):
            if self._cgroup.is_frozen():
                self._last_s = time.perf_counter()
                self._first_s = self._first_s or self._last_s


class Workrs:
    """Two agents' runtimes on this machine, one for each engine."""

    name = "workrs"

    def __init__(self, runtimes: Sequence[DockerRuntime], work: Path, warden: FakeWarden) -> None:
        """Use `open`."""
        self._runtimes = runtimes
        self._work = work
        self._warden = warden
        self._epoch = 0

    @classmethod
    async def open(cls, folder: Path, urls: Sequence[str]) -> Self:
        warden = FakeWarden()
        runtimes = [
            await DockerRuntime.open(
                url=url, agent=ClientId(f"bench-{n}"), work=folder / str(n), warden=warden
            )
            for n, url in enumerate(urls)
        ]
        if any(runtime.rung is not Rung.MEMORY for runtime in runtimes):
            raise SystemExit("no memory rung here: see `workrs doctor`")
        return cls(runtimes, folder, warden)

    async def close(self) -> None:
        for runtime in self._runtimes:
            await runtime.close()

    async def start(
        self, spec: JobSpec, *, on: int = 0, saved: Snapshot | None = None
    ) -> tuple[DockerAttempt, Path]:
        """Start or restore on one of the engines; return it and where its pulse is."""
        self._epoch += 1
        request = StartRequest(
            job=JOB,
            epoch=Epoch(self._epoch),
            attempt=self._epoch,
            spec=spec,
            deadline=Instant(1e12),
            restore_from=saved,
        )
        attempt = await self._runtimes[on].start(request)
        return attempt, JobFolder(self._work / str(on), request).job / "pulse"

    def cgroup(self, attempt: DockerAttempt) -> Cgroup:
        """Return the cgroup that the runtime told the warden to guard."""
        (target,), _ = self._warden.watched[JOB, attempt.epoch]
        return Cgroup(path=Path(target.removeprefix("cgroup:")))


def spec_of(*, image: str, mib: int, fill: str = "mixed") -> JobSpec:
    return JobSpec(image=image, command=command(mib=mib, fill=fill), memory_mb=2 * mib + 64)


async def measure(ours: Workrs, *, image: str, mib: int, folder: Path) -> dict[str, float]:
    """Take one program through a checkpoint and a restore, without the stores between them."""
    clock = time.perf_counter
    found: dict[str, float] = {}
    spec = spec_of(image=image, mib=mib)
    path = folder / "snapshot"
    attempt, place = await ours.start(spec)
    try:
        pulse = Pulse(place)
        pulse.reset()
        os.sync()
        begin = clock()
        with FreezerWatch(ours.cgroup(attempt)) as freezer:
            snapshot = await attempt.checkpoint(path)
        found["workrs: checkpoint"] = clock() - begin
        found["workrs: frozen"] = freezer.frozen_s
        pulse.next_tick()
        found["workrs: stood still"] = pulse.longest_gap_s
        found |= {f"workrs: frozen, {name}": took_s for name, took_s in snapshot.steps_s.items()}
        await attempt.remove()
        (before,) = struct.unpack_from("q", (path / "job" / "pulse").read_bytes())
        os.sync()
        begin = clock()
        attempt, place = await ours.start(spec, on=1, saved=snapshot)
        restored = Pulse(place)
        until(lambda: restored.ticks > before, what="workrs restores")
        found["workrs: restore"] = clock() - begin
        found |= {f"workrs: restore, {name}": took_s for name, took_s in attempt.steps_s.items()}
    finally:
        await attempt.remove()
        await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
    return found
