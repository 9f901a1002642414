"""One job's container on a Docker Engine."""

# ruff: noqa: ASYNC240 (a folder of our own, made or removed in microseconds)

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from edge_agent.cgroup import Cgroup
from edge_agent.runtimes import job_mount
from edge_agent.runtimes.criu import dump
from edge_agent.runtimes.docker_engine import DockerEngine
from edge_agent.runtimes.docker_output import STDOUT_BYTES_MAX, Output
from edge_agent.runtimes.hold import Hold
from edge_agent.runtimes.job_folder import NOT_SAVED, JobFolder, ResultTooLargeError
from edge_agent.runtimes.tree import copy_file, copy_tree
from workrs.domain.errors import ContainerError
from workrs.domain.host import HostFacts
from workrs.domain.job import CheckpointMode
from workrs.ports.runtime import Exit, Progress, Rung, Snapshot, StartRequest, Warden


class DockerAttempt:
    """A container that was created, and what belongs to it."""

    def __init__(
        self,
        *,
        request: StartRequest,
        folder: JobFolder,
        container_id: str,
        image_id: str,
        engine: DockerEngine,
        cgroup: Cgroup,
        output: Output,
        warden: Warden,
        host: HostFacts,
        runc_root: Path | None,
        disk_bytes: int,
        on_removed: "Callable[[DockerAttempt], None]",
    ) -> None:
        """Know all that; `begin` once it is started."""
        self.job = request.job
        self.epoch = request.epoch
        self.steps_s: Mapping[str, float] = {}
        self.container_id = container_id
        self._request = request
        self._folder = folder
        self._image_id = image_id
        self._engine = engine
        self._cgroup = cgroup
        self._output = output
        self._warden = warden
        self._host = host
        self._runc_root = runc_root
        self._disk_bytes = disk_bytes
        self._on_removed = on_removed
        self._hold = Hold(job=self.job, epoch=self.epoch, freezer=cgroup, warden=warden)
        self._reading: asyncio.Task[None] | None = None
        self._pid = 0
        self._exit: Exit | None = None
        self._exit_lock = asyncio.Lock()

    @property
    def _rung(self) -> Rung:
        files_only = self._request.spec.checkpoint.mode is CheckpointMode.FILES
        return Rung.FILES if self._runc_root is None or files_only else Rung.MEMORY

    def begin(self, *, pid: int, steps_s: Mapping[str, float]) -> None:
        """Take over a container that has just been started; *pid* is its first process."""
        self._pid = pid
        self.steps_s = steps_s
        # Awaited by `wait` and ended by `remove`, so that no byte waits for either.
        self._reading = asyncio.create_task(
            self._output.read(self._stop), name=f"agent[{self.job}].output"
        )

    async def _stop(self) -> None:
        self._cgroup.signal_kill()

    async def wait(self) -> Exit:
        """Return when the container has ended and all it printed has arrived."""
        async with self._exit_lock:
            if self._exit is None:
                code = await self._engine.wait(self.container_id)
                await self._cgroup.kill()
                if self._reading is not None:
                    await asyncio.shield(self._reading)
                state = await self._engine.state(self.container_id)
                self._exit = await asyncio.to_thread(
                    self._read_exit, code, oom_killed=bool(state.get("OOMKilled"))
                )
        return self._exit

    def _read_exit(self, code: int, *, oom_killed: bool) -> Exit:
        result: bytes | Path = b""
        size, problem = 0, ""
        try:
            result, size = self._folder.collect_result(limit_bytes=self._disk_bytes)
        except ResultTooLargeError as error:
            problem = str(error)
        if self._output.flooded:
            problem = f"it printed more than {STDOUT_BYTES_MAX} bytes"
        elif self._output.lost:
            raise ContainerError(f"{self.job}: the engine lost what the program printed")
        return Exit(
            code=code,
            oom_killed=oom_killed,
            result=result,
            result_bytes=size,
            stderr_tail=self._folder.stderr_tail(),
            problem=problem,
        )

    async def progress(self) -> Progress | None:
        """Return what /job/progress says."""
        return self._folder.read_progress()

    async def log_tail(self, limit_bytes: int) -> bytes:
        """Return the end of what it printed."""
        return self._folder.log_tail(limit_bytes)

    async def freeze(self) -> None:
        """Stop all of its processes."""
        await self._hold.freeze()

    async def thaw(self) -> None:
        """Let them go on."""
        await self._hold.thaw()

    async def kill(self) -> None:
        """End all of its processes."""
        await self._cgroup.kill()

    async def checkpoint(self, path: Path) -> Snapshot:
        """Save memory and files, or files alone, of one instant."""
        path.mkdir(mode=0o700, parents=True)
        try:
            if self._exit is not None:
                return await self._save_files(path, with_stdout=True)
            async with self._hold.still():
                if self._rung is Rung.MEMORY:
                    return await self._save_memory(path)
                return await self._save_files(path, with_stdout=False)
        except BaseException as error:
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
            if isinstance(error, OSError):
                raise ContainerError(f"{self.job}: no snapshot: {error}") from error
            raise

    async def _save_memory(self, path: Path) -> Snapshot:
        assert self._runc_root is not None
        clock = asyncio.get_running_loop().time
        begin = clock()
        files = asyncio.ensure_future(asyncio.to_thread(self._copy_files, path))
        try:
            await dump(self.container_id, runc_root=self._runc_root, folder=path)
        except ContainerError as error:
            if not self._cgroup.pids():
                # What runc says then sounds like a fault: "container does not exist".
                raise ContainerError(f"{self.job}: no snapshot: its program has ended") from error
            raise
        finally:
            await asyncio.wait([files])
        dumped = clock()
        files.result()
        await self._output.drain(self._pid, frozen_at=begin)
        await asyncio.to_thread(copy_file, self._folder.stdout, path / "stdout")
        end = clock()
        steps_s = {"dump": dumped - begin, "output": end - dumped}
        return self._snapshot(path, Rung.MEMORY, frozen_s=end - begin, steps_s=steps_s)

    async def _save_files(self, path: Path, *, with_stdout: bool) -> Snapshot:
        clock = asyncio.get_running_loop().time
        begin = clock()
        await asyncio.to_thread(self._copy_files, path)
        if with_stdout:
            await asyncio.to_thread(copy_file, self._folder.stdout, path / "stdout")
        else:
            (path / "stdout").touch(mode=0o600)
        took_s = clock() - begin
        return self._snapshot(path, Rung.FILES, frozen_s=took_s, steps_s={"files": took_s})

    def _copy_files(self, path: Path) -> None:
        copy_tree(self._folder.job, path / "job", skip=NOT_SAVED, limit_bytes=self._disk_bytes)

    def _snapshot(
        self, path: Path, rung: Rung, *, frozen_s: float, steps_s: Mapping[str, float]
    ) -> Snapshot:
        return Snapshot(
            path=path,
            rung=rung,
            image=self._image_id,
            command=self._request.spec.command,
            host=self._host,
            progress=self._folder.read_progress(),
            frozen_s=frozen_s,
            steps_s=steps_s,
        )

    async def remove(self) -> None:
        """Kill it, and remove container, mount and folder."""
        await self._cgroup.kill()
        await self._engine.remove(self.container_id)
        self._warden.unwatch(self.job, self.epoch)
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
        await self._output.close()
        self._cgroup.remove()
        self._on_removed(self)
        await asyncio.to_thread(self._clear)

    def _clear(self) -> None:
        job_mount.unmount_below(self._folder.path)
        self._folder.remove()
