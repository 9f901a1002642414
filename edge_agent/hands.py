"""Does to containers and stores what the brain decided; the containers report by themselves.

1. Every effect on a container is a task of its own, named after its job. A removal cancels
   what is under way for its container first.
2. An effect on a container that is gone does nothing, except that a removal is always
   answered.
3. Deletions of checkpoints wait in a bounded queue; beyond the bound the oldest is left to
   the nodes, which drop all blobs of a job with the job.

Cancel-safety: a cancelled start, checkpoint or upload may have happened. What it leaves in
the engine goes with the container or by the next sweep; blobs that no manifest in the
records names go with their job.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol

from edge_agent import checkpoint
from edge_agent.ahead import Ahead, Source
from edge_agent.container import Container, Tools
from edge_agent.effect import (
    ContainerEffect,
    DiscardCheckpoint,
    FetchAhead,
    FreezeContainer,
    MoveDeadline,
    PrepareStart,
    ReadLog,
    RemoveContainer,
    StartContainer,
    StoreResult,
    TakeCheckpoint,
    ThawContainer,
)
from edge_agent.event import ContainerRemoved, Event
from workrs.adapters import log
from workrs.domain.errors import CheckpointError, StoreError
from workrs.domain.ids import JobId

DISCARDS_MAX = 1000


class Hands(Protocol):
    """Whatever performs effects on containers."""

    def perform(self, effect: ContainerEffect) -> None:
        """Begin to do *effect*. Never waits; what comes of it is posted as an event."""

    def close(self) -> None:
        """Expect nothing more to do. What is under way goes on to its end."""


class ContainerHands:
    """Runs containers with a runtime and stores."""

    def __init__(
        self, tools: Tools, tasks: asyncio.TaskGroup, post: Callable[[Event], None]
    ) -> None:
        """Begin with nothing in hand; tasks belong to *tasks*, events go to *post*."""
        self._tools = tools
        self._group = tasks
        self._post = post
        self._ahead = Ahead(
            Source(
                agent=tools.agent,
                open_store=tools.open_store,
                folder=tools.folder,
                disk_bytes=tools.disk_bytes,
                keys=tools.keys,
                host=tools.runtime.host,
                share=tools.share,
            ),
            tasks,
        )
        self._containers: dict[int, Container] = {}
        self._busy: dict[int, set[asyncio.Task[None]]] = {}
        self._discards: asyncio.Queue[DiscardCheckpoint] = asyncio.Queue(DISCARDS_MAX)
        self._log = log.get(f"agent[{tools.agent}]")

    def perform(self, effect: ContainerEffect) -> None:
        """See `Hands.perform`."""
        match effect:
            case MoveDeadline(job=job, epoch=epoch, deadline=deadline):
                self._tools.warden.extend(job, epoch, deadline)
            case DiscardCheckpoint():
                if self._discards.full():
                    self._discards.get_nowait()
                self._discards.put_nowait(effect)
            case FetchAhead():
                self._ahead.follow(effect)
            case RemoveContainer(job=job, run=run):
                self._remove(job, run)
            case PrepareStart(job=job, run=run):
                self._spawn(run, self._open(job, run).prepare(effect, self._ahead), "prepare")
            case StartContainer(job=job, run=run):
                self._spawn(run, self._open(job, run).start(effect), "run")
            case _:
                container = self._containers.get(effect.run)
                if container is not None:
                    self._act(container, effect)

    def close(self) -> None:
        """See `Hands.close`: no job comes any more, so none is waited for."""
        self._ahead.close()

    def _act(
        self,
        container: Container,
        effect: FreezeContainer | ThawContainer | ReadLog | TakeCheckpoint | StoreResult,
    ) -> None:
        match effect:
            case FreezeContainer() | ThawContainer():
                self._spawn(effect.run, container.hold(effect), "hold")
            case ReadLog():
                self._spawn(effect.run, container.read_log(), "log")
            case TakeCheckpoint():
                self._spawn(effect.run, container.save(effect), "save")
            case StoreResult():
                self._spawn(effect.run, container.store_result(effect), "store")

    def _open(self, job: JobId, run: int) -> Container:
        found = self._containers.get(run)
        if found is None:
            found = self._containers[run] = Container(job, run, self._tools, self._post)
        return found

    def _spawn(self, run: int, work: Coroutine[None, None, None], role: str) -> None:
        job = self._containers[run].job
        task = self._group.create_task(work, name=f"agent[{self._tools.agent}].{role}.{job}")
        busy = self._busy.setdefault(run, set())
        busy.add(task)
        task.add_done_callback(busy.discard)

    def _remove(self, job: JobId, run: int) -> None:
        container = self._containers.pop(run, None)
        if container is None:
            self._post(ContainerRemoved(job=job, run=run))
            return
        busy = self._busy.pop(run, set())
        name = f"agent[{self._tools.agent}].remove.{job}"
        self._group.create_task(self._end(container, set(busy)), name=name)

    async def _end(self, container: Container, busy: set[asyncio.Task[None]]) -> None:
        """Stop what is under way, then remove. Shielded by nothing: the sweep comes after."""
        for task in busy:
            task.cancel()
        if busy:
            await asyncio.wait(busy)
        await container.remove()

    async def discard(self) -> None:
        """Delete checkpoints that are not needed any more, one after the other, for ever."""
        while True:
            effect = await self._discards.get()
            try:
                await checkpoint.discard(
                    effect.ref,
                    job=effect.job,
                    keep=effect.keep,
                    open_store=self._tools.open_store,
                    keys=self._tools.keys,
                    share=self._tools.share,
                )
            except (StoreError, CheckpointError) as error:
                self._log.debug("discard_failed", job=effect.job, why=str(error))
