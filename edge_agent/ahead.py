"""Checkpoints that are fetched before their jobs come, on a node's hint.

1. A hint binds nobody: the JOBS_MAX jobs hinted last are followed, each by its newest hint; what
   fails is dropped.
2. What was fetched serves the job's next start here, and is removed KEEP_S after the last hint.
3. It is read and verified like any checkpoint: see `edge_agent.checkpoint.base`.
4. One job's is fetched at a time. A job that comes while its own waits for that is not kept
   waiting: it fetches what it lacks by itself.
"""

import asyncio
import contextlib
import itertools
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_agent import checkpoint
from edge_agent.effect import FetchAhead
from edge_agent.unforeseen import place_of
from workrs.adapters import log
from workrs.domain.errors import CheckpointError, ContainerError, StoreError
from workrs.domain.host import HostFacts
from workrs.domain.ids import ClientId, Epoch, JobId
from workrs.ports.store import OpenStore

KEEP_S = 60.0
JOBS_MAX = 4
"""Jobs that are expected at once. Each may take as much disk as its checkpoint."""
WAIT_S = 10.0
"""How long a start waits for what is under way for it; then it fetches everything by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What checkpoints are fetched with."""

    agent: ClientId
    open_store: OpenStore
    folder: Path
    disk_bytes: int
    keys: checkpoint.KeyRing | None
    host: HostFacts
    share: checkpoint.Share


class Ahead:
    """The jobs that are expected."""

    def __init__(self, source: Source, tasks: asyncio.TaskGroup) -> None:
        """Expect none; tasks belong to *tasks*."""
        self._source = source
        self._group = tasks
        self._expected: dict[JobId, _Expected] = {}
        """The one hinted longest ago first."""
        self._count = itertools.count(1)

    def follow(self, hint: FetchAhead) -> None:
        """Begin to fetch what a node says may be needed."""
        self._expected = {job: one for job, one in self._expected.items() if not one.task.done()}
        expected = self._expected.pop(hint.job, None)
        if expected is None:
            expected = _Expected(hint.job, self._source, self._count, self._group)
        self._expected[hint.job] = expected
        if len(self._expected) > JOBS_MAX:
            self._give_up(next(iter(self._expected)))
        expected.hear(hint)

    def _give_up(self, job: JobId) -> None:
        self._expected.pop(job).task.cancel()

    def close(self) -> None:
        """Expect nothing any more."""
        for job in list(self._expected):
            self._give_up(job)

    async def take(self, job: JobId, epoch: Epoch) -> checkpoint.Base | None:
        """Return what was fetched of a job's checkpoints of this epoch; it is the caller's then."""
        expected = self._expected.get(job)
        if expected is None:
            return None
        base = await expected.take(epoch)
        expected.task.cancel()
        if self._expected.get(job) is expected:
            del self._expected[job]
        return base

    @contextlib.asynccontextmanager
    async def taken(self, job: JobId, epoch: Epoch) -> AsyncIterator[checkpoint.Base | None]:
        """Take what was fetched for a job; what is left of it at the end of the block goes."""
        base = await self.take(job, epoch)
        try:
            yield base
        finally:
            await _remove(base)


class _Expected:
    """What is fetched for one job."""

    def __init__(
        self, job: JobId, source: Source, count: Iterator[int], tasks: asyncio.TaskGroup
    ) -> None:
        self.job = job
        self._source = source
        self._count = count
        self._wanted: FetchAhead | None = None
        self._base: checkpoint.Base | None = None
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        """Whether there is nothing worth waiting for."""
        self._queued = False
        """Whether the next fetch waits for that of another job."""
        self._log = log.get(f"agent[{source.agent}]")
        self.task = tasks.create_task(self._run(), name=f"agent[{source.agent}].ahead.{job}")

    def hear(self, hint: FetchAhead) -> None:
        self._wanted = hint
        if not self._queued:
            self._idle.clear()
        self._news.set()

    async def take(self, epoch: Epoch) -> checkpoint.Base | None:
        try:
            async with asyncio.timeout(WAIT_S):
                await self._idle.wait()
        except TimeoutError:
            self._log.warning("ahead_late", job=self.job)
        if self._base is None or self._base.manifest.epoch != epoch:
            return None
        base, self._base = self._base, None
        return base

    async def _run(self) -> None:
        """Fetch what is hinted, each with the help of the one before, until no hint comes."""
        with contextlib.suppress(TimeoutError):
            try:
                while True:
                    async with asyncio.timeout(KEEP_S):
                        await self._news.wait()
                    self._news.clear()
                    while self._wanted is not None:
                        await self._await_turn()
                    self._idle.set()
            finally:
                base, self._base = self._base, None
                # Whoever waits for it must not wait for what nobody fetches any more.
                self._idle.set()
                await _remove(base)

    async def _await_turn(self) -> None:
        """Fetch the newest that is hinted, after what other jobs have under way."""
        turn = self._source.share.aheads
        if turn.locked():
            self._queued = True
            self._idle.set()
        async with turn:
            self._queued = False
            self._idle.clear()
            hint, self._wanted = self._wanted, None
            if hint is not None:
                await self._fetch(hint)

    async def _fetch(self, hint: FetchAhead) -> None:
        source = self._source
        clock = asyncio.get_running_loop().time
        begin = clock()
        base, self._base = self._base, None
        try:
            self._base = await checkpoint.load_ahead(
                hint.checkpoint,
                job=hint.job,
                open_store=source.open_store,
                path=source.folder / f"ahead-{next(self._count)}",
                limit_bytes=checkpoint.size_limit(
                    memory_mb=hint.memory_mb, disk_bytes=source.disk_bytes
                ),
                keys=source.keys,
                host=source.host,
                base=base,
                share=source.share,
            )
        except (StoreError, CheckpointError, ContainerError, OSError) as error:
            self._log.debug("ahead_failed", job=hint.job, why=str(error))
        except Exception as error:  # noqa: BLE001 (which ones, nobody foresaw)
            why, where = type(error).__name__, place_of(error)
            self._log.warning("ahead_unforeseen", job=hint.job, why=why, where=where)
        else:
            seq, took_s = hint.checkpoint.seq, round(clock() - begin, 3)
            self._log.event("fetched_ahead", job=hint.job, seq=seq, took_s=took_s)
        finally:
            await _remove(base)


async def _remove(base: checkpoint.Base | None) -> None:
    if base is not None:
        await asyncio.to_thread(shutil.rmtree, base.path, ignore_errors=True)
