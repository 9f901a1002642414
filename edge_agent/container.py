"""One container, from what its start needs to its removal: the steps, and what they report.

Each step ends in an event. Errors that are not of ours go through: they end the agent, whose
warden then kills what runs. Those of `prepare` alone do not (`edge_agent.unforeseen`).
"""

import asyncio
import itertools
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_agent import checkpoint, transfer
from edge_agent.ahead import Ahead
from edge_agent.effect import (
    FreezeContainer,
    PrepareStart,
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
    Event,
    LogRead,
    ProgressMade,
    ResultRefused,
    ResultStored,
    StartFailed,
    StartPrepared,
)
from edge_agent.patience import Patience
from edge_agent.unforeseen import place_of
from workrs.adapters import log
from workrs.domain.errors import CheckpointError, ContainerError, StoreError
from workrs.domain.ids import ClientId, JobId
from workrs.domain.record import CheckpointRef
from workrs.ports.runtime import (
    Attempt,
    ContainerRuntime,
    Exit,
    RestoreError,
    Rung,
    Snapshot,
    StartRequest,
    Warden,
)
from workrs.ports.store import BlobLostError, OpenStore
from workrs.wire.message import LOG_MAX_BYTES

PROGRESS_POLL_S = 0.5
REMOVE_RETRY_S = 1.0
LOST_CODE = 255
"""Exit code told for a program whose end nobody saw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What containers are made and kept with."""

    agent: ClientId
    runtime: ContainerRuntime
    warden: Warden
    open_store: OpenStore
    folder: Path
    """For downloads and snapshots, of this agent alone."""
    copies: int
    disk_bytes: int
    """Most that a job may keep in /job; bounds what is fetched for it."""
    keys: checkpoint.KeyRing | None = None
    """With which checkpoints are sealed; None: they are stored as they are."""
    share: checkpoint.Share = field(default_factory=checkpoint.Share)
    """What all its checkpoints have between them: a thread, and room in memory."""
    stores: tuple[str, ...] = ()
    """Where checkpoints go; none: to the nodes."""
    patience: Patience = field(default_factory=Patience)
    """With checkpoints that others may have the key for."""
    refusals: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    """Numbers the checkpoints that were not restored."""


class Container:
    """One run of one job."""

    def __init__(self, job: JobId, run: int, tools: Tools, post: Callable[[Event], None]) -> None:
        """Do nothing yet; *post* takes events."""
        self.job = job
        self.run = run
        self._tools = tools
        self._post = post
        self._folder = tools.folder / f"run-{run}"
        self._attempt: Attempt | None = None
        self._snapshot: Snapshot | None = None
        self._ref: CheckpointRef | None = None
        """What the snapshot was fetched from."""
        self._input: Path | None = None
        self._fetch_s = 0.0
        self._saved: checkpoint.Saved | None = None
        self._result: Path | None = None
        self._result_bytes = 0
        self._hold = asyncio.Lock()
        self._log = log.get(f"agent[{tools.agent}]")

    async def prepare(self, effect: PrepareStart, ahead: Ahead) -> None:
        """Fetch and verify input and checkpoint, with what was fetched *ahead* of it."""
        clock = asyncio.get_running_loop().time
        begin = clock()
        tools, spec = self._tools, effect.spec
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if spec.input_url is not None:
                self._input = self._folder / "input"
                await transfer.fetch_input(
                    spec.input_url,
                    self._input,
                    job=self.job,
                    stores=effect.stores,
                    open_store=tools.open_store,
                    limit=tools.disk_bytes,
                )
            if effect.checkpoint is not None:
                limit = checkpoint.size_limit(memory_mb=spec.memory_mb, disk_bytes=tools.disk_bytes)
                async with ahead.taken(self.job, effect.checkpoint.epoch) as base:
                    self._snapshot = await checkpoint.load(
                        effect.checkpoint,
                        job=self.job,
                        open_store=tools.open_store,
                        path=self._folder / "restore",
                        limit_bytes=limit,
                        keys=tools.keys,
                        host=None if effect.rung == Rung.FILES else tools.runtime.host,
                        base=base,
                        share=tools.share,
                    )
                if effect.rung == Rung.FILES and self._snapshot.rung is Rung.MEMORY:
                    self._snapshot = await asyncio.to_thread(_files_of, self._snapshot)
                self._ref = effect.checkpoint
        except (StoreError, CheckpointError, RestoreError, OSError) as error:
            # A full disk here is no fault of the job's: release it, as with a silent store.
            await self._clear()
            ref = effect.checkpoint
            if isinstance(error, checkpoint.KeyMissingError) and (
                ref is not None and tools.patience.is_over(ref.manifest, clock())
            ):
                error = CheckpointError(f"{error}, nor any other that was free since")
            self._tell_refused(ref, error)
            self._post(
                StartFailed(job=self.job, run=self.run, blame=_blame(error), reason=str(error))
            )
            return
        except Exception as error:  # noqa: BLE001 (which ones, nobody foresaw)
            # It costs this job a checkpoint, or an attempt, and not all jobs here, on each agent.
            await self._clear()
            why, where = type(error).__name__, place_of(error)
            self._log.warning("start_unforeseen", job=self.job, why=why, where=where)
            blame = Blame.CONTAINER if effect.checkpoint is None else Blame.CHECKPOINT
            why = f"agents of this version cannot read it ({why})"
            self._post(StartFailed(job=self.job, run=self.run, blame=blame, reason=why))
            return
        self._fetch_s = clock() - begin
        self._post(StartPrepared(job=self.job, run=self.run))

    def _tell_refused(self, ref: CheckpointRef | None, error: Exception) -> None:
        """Log a checkpoint that nothing is started from, and how many there were.

        Found so when it was fetched, or by CRIU.
        """
        if ref is not None and isinstance(error, CheckpointError | RestoreError):
            self._log.warning(
                "checkpoint_refused",
                job=self.job,
                epoch=ref.epoch,
                seq=ref.seq,
                refused=next(self._tools.refusals),
                why=str(error),
            )

    async def start(self, effect: StartContainer) -> None:
        """Start the program, then report its progress and its end."""
        clock = asyncio.get_running_loop().time
        begin = clock()
        request = StartRequest(
            job=self.job,
            epoch=effect.epoch,
            attempt=effect.attempt,
            spec=effect.spec,
            deadline=effect.deadline,
            input_file=self._input,
            restore_from=self._snapshot if effect.restore else None,
        )
        try:
            attempt = await self._tools.runtime.start(request)
        except ContainerError as error:
            restoring = isinstance(error, RestoreError)
            blame = Blame.CHECKPOINT if restoring else Blame.CONTAINER
            await self._clear()
            self._tell_refused(self._ref, error)
            self._post(StartFailed(job=self.job, run=self.run, blame=blame, reason=str(error)))
            return
        self._attempt = attempt
        await self._clear()
        for step, took_s in attempt.steps_s.items():
            self._log.debug("start_step", job=self.job, step=step, took_s=took_s)
        self._post(
            ContainerStarted(
                job=self.job, run=self.run, fetch_s=self._fetch_s, start_s=clock() - begin
            )
        )
        await self._follow(attempt)

    async def _follow(self, attempt: Attempt) -> None:
        """Tell the program's progress until it ends, then how it ended."""
        async with asyncio.TaskGroup() as group:
            name = f"agent[{self._tools.agent}].progress.{self.job}"
            polling = group.create_task(self._poll(attempt), name=name)
            try:
                ended = await attempt.wait()
            except ContainerError as error:
                self._tell_exit(Exit(code=LOST_CODE, problem=f"the engine lost it: {error}"))
            else:
                self._tell_exit(ended)
            polling.cancel()

    def _tell_exit(self, ended: Exit) -> None:
        result = ended.result
        if isinstance(result, Path):
            self._result, self._result_bytes = result, ended.result_bytes
        self._post(
            ContainerExited(
                job=self.job,
                run=self.run,
                code=ended.code,
                oom_killed=ended.oom_killed,
                result=None if isinstance(result, Path) else result,
                result_bytes=ended.result_bytes,
                stderr_tail=ended.stderr_tail,
                problem=ended.problem,
            )
        )

    async def _poll(self, attempt: Attempt) -> None:
        last = None
        while True:
            await asyncio.sleep(PROGRESS_POLL_S)
            try:
                found = await attempt.progress()
            except ContainerError:
                continue  # its end will be told
            if found is not None and found != last:
                last = found
                self._post(
                    ProgressMade(
                        job=self.job, run=self.run, fraction=found.fraction, note=found.note
                    )
                )

    async def read_log(self) -> None:
        """Tell the end of what the program printed."""
        if self._attempt is not None:
            tail = await self._attempt.log_tail(LOG_MAX_BYTES)
            self._post(LogRead(job=self.job, run=self.run, tail=tail))

    async def hold(self, effect: FreezeContainer | ThawContainer) -> None:
        """Freeze or thaw the program, in the order in which that was decided."""
        async with self._hold:
            if self._attempt is None:
                return
            try:
                if isinstance(effect, FreezeContainer):
                    await self._attempt.freeze()
                else:
                    await self._attempt.thaw()
            except ContainerError as error:
                # The warden freezes as well, and a program that cannot be thawed times out.
                self._log.warning("hold_failed", job=self.job, run=self.run, why=str(error))

    async def save(self, effect: TakeCheckpoint) -> None:
        """Take a snapshot and put it into the stores."""
        if self._attempt is None:
            self._fail_save(effect, "it has not started")
            return
        clock = asyncio.get_running_loop().time
        path = self._folder / f"save-{effect.epoch}-{effect.seq}"
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            snapshot = await self._attempt.checkpoint(path)
            begin = clock()
            urls = self._tools.stores or effect.stores
            stores = [self._tools.open_store(url) for url in urls]
            saved = await checkpoint.save(
                snapshot,
                job=self.job,
                epoch=effect.epoch,
                seq=effect.seq,
                stores=stores,
                copies=self._tools.copies,
                previous=self._saved,
                keys=self._tools.keys,
                share=self._tools.share,
            )
        except (ContainerError, StoreError, CheckpointError, OSError) as error:
            self._fail_save(effect, str(error))
            return
        finally:
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        self._saved = saved
        self._post(
            CheckpointSaved(
                job=self.job,
                run=self.run,
                ref=saved.ref,
                frozen_s=snapshot.frozen_s,
                upload_s=clock() - begin,
            )
        )

    def _fail_save(self, effect: TakeCheckpoint, reason: str) -> None:
        self._post(
            CheckpointFailed(
                job=self.job, run=self.run, epoch=effect.epoch, seq=effect.seq, reason=reason
            )
        )

    async def store_result(self, effect: StoreResult) -> None:
        """Put the result into the stores."""
        try:
            if self._result is None:
                raise StoreError("it is gone")  # noqa: TRY301 (one way to tell it)
            url = await transfer.store_result(
                self._result,
                job=self.job,
                epoch=effect.epoch,
                stores=[self._tools.open_store(url) for url in effect.stores],
                copies=self._tools.copies,
            )
        except (StoreError, OSError) as error:
            self._post(ResultRefused(job=self.job, run=self.run, reason=str(error)))
            return
        self._post(ResultStored(job=self.job, run=self.run, url=url, size_bytes=self._result_bytes))

    async def remove(self) -> None:
        """Kill it, say so, and remove all that is left of it, however long that takes."""
        clock = asyncio.get_running_loop().time
        begin = clock()
        killed_s: float | None = None
        while self._attempt is not None:
            try:
                if killed_s is None:
                    await self._attempt.kill()
                    killed_s = clock() - begin
                    self._post(ContainerKilled(job=self.job, run=self.run))
                await self._attempt.remove()
            except ContainerError as error:
                self._log.warning("remove_failed", job=self.job, run=self.run, why=str(error))
                await asyncio.sleep(REMOVE_RETRY_S)
            else:
                self._attempt = None
        await self._clear()
        if killed_s is not None:
            took_s = {"killed_s": round(killed_s, 3), "removed_s": round(clock() - begin, 3)}
            self._log.debug("container_removed", job=self.job, run=self.run, **took_s)
        self._post(ContainerRemoved(job=self.job, run=self.run))

    async def _clear(self) -> None:
        """Remove what was fetched or saved in between."""
        if self._folder.exists():
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)


def _files_of(snapshot: Snapshot) -> Snapshot:
    """Return what a snapshot of memory holds for a program that begins again. Blocks.

    What it had printed goes, as with every snapshot on the files rung: it will be said again.
    """
    shutil.rmtree(snapshot.path / "image", ignore_errors=True)
    (snapshot.path / "stdout").write_bytes(b"")
    return replace(snapshot, rung=Rung.FILES)


def _blame(error: StoreError | CheckpointError | RestoreError | OSError) -> Blame:
    if isinstance(error, CheckpointError | RestoreError):
        return Blame.CHECKPOINT
    # The input is at no store though all answered: no other agent will find it either.
    return Blame.CONTAINER if isinstance(error, BlobLostError) else Blame.STORE
