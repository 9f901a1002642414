"""What an agent's hands do to containers and stores, each step with a duration."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple, assert_never

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
from edge_agent.event import (
    Blame,
    CheckpointFailed,
    CheckpointSaved,
    ContainerExited,
    ContainerKilled,
    ContainerRemoved,
    ContainerStarted,
    LogRead,
    ProgressMade,
    ResultRefused,
    ResultStored,
    StartFailed,
    StartPrepared,
)
from edge_agent.runtimes.hold import LOOK_S
from workrs.domain.job import BLOB_URL_PREFIX, CheckpointMode, digest_of
from workrs.domain.ladder import FILES, MEMORY
from workrs.domain.record import CheckpointRef
from workrs.testing.simulator import blob
from workrs.testing.simulator.ahead import Ahead
from workrs.testing.simulator.container import Container

if TYPE_CHECKING:
    from workrs.domain.ids import JobId
    from workrs.testing.simulator.agent import AgentProcess

COPIES = 2


class _Prepared(NamedTuple):
    """A checkpoint that lies ready for a start, and as what it will be started from."""

    ref: CheckpointRef
    rung: str
    saved: blob.Saved


class Hands:
    """The hands of one agent; containers by the number of their run."""

    def __init__(self, agent: AgentProcess) -> None:
        """Hold nothing."""
        self._agent = agent
        self._world = agent.world
        self._rng = random.Random(0)  # noqa: S311 (replaced at each start)
        self._prepared: dict[int, _Prepared] = {}
        self._given_up: set[int] = set()
        self.ahead = Ahead(agent.world.timeline)
        self.containers: dict[int, Container] = {}

    def reset(self, rng: random.Random) -> None:
        """Begin a new incarnation, which finds nothing of the last."""
        self._rng = rng
        self._prepared = {}
        self._given_up = set()
        self.ahead = Ahead(self._world.timeline)
        self.containers = {}

    def perform(self, effect: ContainerEffect) -> None:  # noqa: C901, PLR0912 (a table)
        """Begin to do what the brain decided."""
        match effect:
            case PrepareStart():
                self._fetch(effect)
            case FetchAhead():
                self._world.count("fetches ahead")
                self.ahead.follow(effect, self._rng)
            case StartContainer():
                self._world.oracle.on_start(self._agent, effect)
                self._agent.later(self._soon(0.02, 0.25), lambda: self._start(effect))
            case FreezeContainer(run=run):
                if run in self.containers:
                    self.containers[run].freeze()
            case ThawContainer(run=run):
                self._thaw(run)
            case RemoveContainer(job=job, run=run):
                self._remove(job, run)
            case TakeCheckpoint():
                self._take(effect)
            case DiscardCheckpoint():
                self._agent.later(self._soon(0.01, 0.1), lambda: self._discard(effect))
            case StoreResult():
                self._agent.later(self._soon(0.02, 0.2), lambda: self._store(effect))
            case ReadLog(job=job, run=run):
                self._agent.post(LogRead(job=job, run=run, tail=b""))
            case MoveDeadline():
                pass  # the agent tells its warden
            case _:
                assert_never(effect)

    def _soon(self, least_s: float, most_s: float) -> float:
        return self._rng.uniform(least_s, most_s)

    # Start and end

    def _fetch(self, effect: PrepareStart) -> None:
        takes_s, ref = self._soon(0.01, 0.3), effect.checkpoint
        if ref is not None:
            takes_s = self.ahead.take(effect.job, ref.epoch, takes_s)
        self._agent.later(takes_s, lambda: self._prepare(effect))

    def _prepare(self, effect: PrepareStart) -> None:
        job, run, ref = effect.job, effect.run, effect.checkpoint
        if run in self._given_up:
            return
        if ref is None:
            self._agent.post(StartPrepared(job=job, run=run))
            return
        silent = False
        for url in ref.location:
            store = self._store_at(url)
            if store is None:
                silent = True
                continue
            data = store.blobs.get((job, ref.manifest))
            if data is not None and blob.is_whole(data, ref):
                saved = blob.decode(data)
                if effect.rung != ref.rung:
                    saved = blob.files_of(saved)
                self._prepared[run] = _Prepared(ref, effect.rung, saved)
                self._agent.post(StartPrepared(job=job, run=run))
                return
        blame = Blame.STORE if silent else Blame.CHECKPOINT
        self._world.count(f"restores failed: {blame.value}")
        self._agent.post(StartFailed(job=job, run=run, blame=blame, reason="not to be had whole"))

    def _start(self, effect: StartContainer) -> None:
        if effect.run in self._given_up:
            return
        found = self._prepared.get(effect.run) if effect.restore else None
        if found is not None and found.rung == MEMORY and self._agent.plan.refuses:
            self._refuse(effect, found.ref)
            return
        container = Container(
            self._world,
            self._agent.host,
            agent=self._agent.name,
            plan=self._world.jobs[effect.job],
            start=effect,
            ref=found.ref if found else None,
            rung=found.rung if found else "",
            done_s=found.saved.done_s if found else 0.0,
            ended=self._tell_exit,
        )
        self._world.oracle.restarts.check(self._agent, container, found.saved if found else None)
        self.containers[effect.run] = container
        self._agent.warden.watch(container)
        self._begin(effect, container)

    def _refuse(self, effect: StartContainer, ref: CheckpointRef) -> None:
        """Be a CRIU that does not restore what looked as if it could be."""
        self._world.count("restores refused")
        self._world.oracle.restarts.refuse(self._agent, ref)
        failed = StartFailed(
            job=effect.job, run=effect.run, blame=Blame.CHECKPOINT, reason="not to be restored"
        )
        self._agent.post(failed)

    def _begin(self, effect: StartContainer, container: Container) -> None:
        """Begin once the lease allows it, as `edge_agent.runtimes.hold` does."""
        if effect.run in self._given_up:
            return
        if not self._agent.warden.may_run(container):
            self._agent.later(LOOK_S, lambda: self._begin(effect, container))
            return
        container.thaw()
        container.begin()
        self._agent.warden.thawed(container)
        self._agent.post(ContainerStarted(job=effect.job, run=effect.run))
        half = min(1.0, container.done_s / container.plan.work_s)
        told = ProgressMade(job=effect.job, run=effect.run, fraction=half, note="")
        self._agent.later(0.4, lambda: self._agent.post(told))

    def _tell_exit(self, container: Container, code: int) -> None:
        agent = self._agent
        if not agent.alive or self.containers.get(container.run) is not container:
            return
        agent.warden.unwatch(container)
        text = f"{agent.plan.name} {agent.number} {container.epoch} {container.run}".encode()
        result = None if container.plan.is_large else text
        agent.post(
            ContainerExited(
                job=container.job,
                run=container.run,
                code=code,
                result=result,
                result_bytes=len(text),
            )
        )

    def _thaw(self, run: int) -> None:
        container = self.containers.get(run)
        if container is not None and self._agent.warden.may_run(container):
            container.thaw()
            self._agent.warden.thawed(container)

    def _remove(self, job: JobId, run: int) -> None:
        self._given_up.add(run)
        container = self.containers.pop(run, None)
        if container is not None:
            if self._world.oracle.moves.check_removal(self._agent, container):
                self._world.count("moves")
            self._agent.later(self._soon(0.0, 0.05), lambda: self._kill(container))
            return
        removed = ContainerRemoved(job=job, run=run)
        self._agent.later(self._soon(0.0, 0.1), lambda: self._agent.post(removed))

    def _kill(self, container: Container) -> None:
        """Kill it; what is left of it takes longer, while its job is free already."""
        container.kill()
        self._agent.warden.unwatch(container)
        job, run = container.job, container.run
        self._agent.post(ContainerKilled(job=job, run=run))
        removed = ContainerRemoved(job=job, run=run)
        self._agent.later(self._soon(0.0, 0.3), lambda: self._agent.post(removed))

    # Stores

    def _store_at(self, url: str) -> blob.BlobStore | None:
        """Return a node's store, or None when it does not answer."""
        node = self._world.nodes.get(url.removeprefix(blob.URL))
        if node is None or node.store.down or not node.daemon.runs:
            return None
        return node.store if self._world.hears_both(self._agent.host, node.host) else None

    def _takes(self, url: str, job: JobId) -> bool:
        """Return whether a node's store answers, and not that the job was dropped."""
        store = self._store_at(url)
        return store is not None and job not in store.dropped

    def _take(self, effect: TakeCheckpoint) -> None:
        container = self.containers.get(effect.run)
        if container is None or not container.started:
            self._agent.post(_failed(effect, "it has not started"))
            return
        saved = blob.Saved(
            job=effect.job,
            epoch=effect.epoch,
            seq=effect.seq,
            done_s=container.count(),
            agent=f"{self._agent.name}/{self._agent.number}",
        )
        container.go_on()
        self._world.oracle.credit.save(effect, container)
        rung = self._rung_of(container)
        self._agent.later(self._soon(0.03, 0.4), lambda: self._upload(effect, saved, rung))

    def _rung_of(self, container: Container) -> str:
        """Return as what a container is saved; of a program that ended, only files are left."""
        if container.exited or container.mode is CheckpointMode.FILES:
            return FILES
        return self._agent.plan.rung

    def _upload(self, effect: TakeCheckpoint, saved: blob.Saved, rung: str) -> None:
        if effect.run in self._given_up:
            return
        data = saved.encode()
        manifest = digest_of(data)
        copies = min(COPIES, len(effect.stores))
        found = [url for url in effect.stores if self._takes(url, effect.job)][:copies]
        if len(found) < max(1, copies):
            self._agent.post(_failed(effect, "too few stores"))
            return
        for url in found:
            store = self._store_at(url)
            assert store is not None
            store.blobs[effect.job, manifest] = data
        plan = self._world.jobs[effect.job]
        ref = CheckpointRef(
            epoch=effect.epoch,
            seq=effect.seq,
            manifest=manifest,
            location=tuple(found),
            rung=rung,
            host=self._agent.brain.profile.host if rung == MEMORY else None,
            bytes=len(data),
            progress=min(1.0, saved.done_s / plan.work_s),
        )
        done = CheckpointSaved(job=effect.job, run=effect.run, ref=ref, frozen_s=0.01, upload_s=0.1)
        self._world.oracle.moves.save(saved)
        self._world.count("checkpoints")
        self._agent.post(done)

    def _discard(self, effect: DiscardCheckpoint) -> None:
        for url in effect.ref.location:
            store = self._store_at(url)
            if store is not None:
                store.blobs.pop((effect.job, effect.ref.manifest), None)

    def _store(self, effect: StoreResult) -> None:
        if effect.run in self._given_up:
            return
        copies = min(COPIES, len(effect.stores))
        found = [u for u in effect.stores if self._store_at(u) is not None]
        if len(found) < max(1, copies):
            refused = ResultRefused(job=effect.job, run=effect.run, reason="too few stores")
            self._agent.post(refused)
            return
        data = f"{self._agent.name} {self._agent.number} {effect.epoch} {effect.run}".encode()
        url = f"{BLOB_URL_PREFIX}{digest_of(data)}"
        stored = ResultStored(job=effect.job, run=effect.run, url=url, size_bytes=len(data))
        self._agent.post(stored)


def _failed(effect: TakeCheckpoint, reason: str) -> CheckpointFailed:
    return CheckpointFailed(
        job=effect.job, run=effect.run, epoch=effect.epoch, seq=effect.seq, reason=reason
    )
