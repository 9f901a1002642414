"""Programs as plain processes: for machines without an engine, and for devices with little.

Isolation is weak, and the log says so at every start of the agent: a program runs as the
agent's own user, sees its network and files, and is held by resource limits alone. Run only
programs you trust.

1. The rung is `files`: freeze, copy /job, thaw. A restored program starts again with its
   folder back and WORKRS_RESUMED=1.
2. Nothing of the program runs before its process is in its cgroup, its limits are set and
   the warden knows it: a shell waits for a line on its standard input and then becomes the
   program.
3. Without a cgroup that can be frozen its process group stands in. A program that leaves
   its group then escapes freezing and killing.

A word of the command that is /job or begins with /job/ means the program's own folder, so
the same spec runs in a container and here.
"""

# ruff: noqa: ASYNC240 (a folder of our own, made or removed in microseconds)

import asyncio
import contextlib
import os
import resource
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path

from edge_agent import cgroup
from edge_agent.cgroup import Cgroup
from edge_agent.process_group import ProcessGroup
from edge_agent.runtimes.hold import Hold, until_allowed
from edge_agent.runtimes.host import probe_host
from edge_agent.runtimes.job_folder import (
    JOB_DISK_BYTES,
    NOT_SAVED,
    JobFolder,
    contract_environment,
    owner,
)
from edge_agent.runtimes.tree import copy_file, copy_tree
from workrs.adapters import log
from workrs.domain.errors import ContainerError
from workrs.domain.ids import ClientId, Epoch, JobId
from workrs.ports.runtime import (
    Exit,
    Progress,
    RestoreError,
    Rung,
    Snapshot,
    StartRequest,
    Warden,
)

_LOG = log.get("agent.process")
_PROCESSES_MAX = 1024
"""Counts all processes of the user, and does not hold root: the kernel exempts it."""
_LAUNCH = 'read -r go || exit 125; exec "$@" </dev/null'


class ProcessAttempt:
    """One started process and all its children."""

    def __init__(
        self,
        *,
        request: StartRequest,
        folder: JobFolder,
        process: asyncio.subprocess.Process,
        group: Cgroup | ProcessGroup,
        runtime: "ProcessRuntime",
    ) -> None:
        self.job: JobId = request.job
        self.epoch: Epoch = request.epoch
        self.steps_s: Mapping[str, float] = {}
        self._request = request
        self._folder = folder
        self._process = process
        self._group = group
        self._runtime = runtime
        self._hold = Hold(job=self.job, epoch=self.epoch, freezer=group, warden=runtime.warden)
        self._result: asyncio.Lock = asyncio.Lock()
        self._exit: Exit | None = None

    async def wait(self) -> Exit:
        """Return when the main process has ended; what it started is killed first."""
        code = await self._process.wait()
        async with self._result:
            if self._exit is None:
                await self._group.kill()
                self._exit = await asyncio.to_thread(self._read_exit, code)
        return self._exit

    def _read_exit(self, code: int) -> Exit:
        result, size = self._folder.collect_result()
        problem = ""
        # 128 + n is how a shell tells that its child was ended by signal n.
        if code in (-signal.SIGXFSZ, 128 + signal.SIGXFSZ):
            problem = f"a file grew beyond {self._runtime.disk_bytes} bytes"
        return Exit(
            code=code if code >= 0 else 128 - code,
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
        await self._group.kill()
        await self._process.wait()

    async def checkpoint(self, path: Path) -> Snapshot:
        """Copy its files while it stands still."""
        clock = asyncio.get_running_loop().time
        path.mkdir(mode=0o700, parents=True)
        try:
            async with self._hold.still():
                begin = clock()
                ended = self._process.returncode is not None
                await asyncio.to_thread(self._copy, path, with_stdout=ended)
                frozen_s = clock() - begin
        except BaseException as error:
            # Also when cancelled: whoever cancels does not know whether the folder is there.
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
            if isinstance(error, OSError):
                raise ContainerError(f"{self.job}: no snapshot: {error}") from error
            raise
        return Snapshot(
            path=path,
            rung=Rung.FILES,
            image="",
            command=self._request.spec.command,
            host=self._runtime.host,
            progress=self._folder.read_progress(),
            frozen_s=frozen_s,
            steps_s={"files": frozen_s},
        )

    def _copy(self, path: Path, *, with_stdout: bool) -> None:
        limit = self._runtime.disk_bytes
        copy_tree(self._folder.job, path / "job", skip=NOT_SAVED, limit_bytes=limit)
        if with_stdout:
            copy_file(self._folder.stdout, path / "stdout")
        else:
            (path / "stdout").touch(mode=0o600)

    async def remove(self) -> None:
        """Kill it and remove its folder and cgroup."""
        await self.kill()
        self._group.remove()
        self._runtime.forget(self)
        await asyncio.to_thread(self._folder.remove)


class ProcessRuntime:
    """Runs programs as children of the agent."""

    name = "process"
    rung = Rung.FILES

    def __init__(
        self,
        *,
        agent: ClientId,
        work: Path,
        warden: Warden,
        disk_bytes: int = JOB_DISK_BYTES,
        cgroups: Path | None = None,
    ) -> None:
        """Look for a cgroup to use; start nothing.

        Args:
            agent: name of the agent; what carries it is this agent's.
            work: folder for the attempts' folders, of this agent alone.
            warden: told of every program before it runs.
            disk_bytes: largest file a program may write, and most that a snapshot holds.
            cgroups: below which folder to make cgroups; None: the best there is.
        """
        found = cgroup.find_parents()
        parent = cgroups if cgroups is not None else found[0] if found else None
        self.agent = agent
        self.work = work
        self.warden = warden
        self.disk_bytes = disk_bytes
        self.host = probe_host()
        self._cgroups = None if parent is None else parent / "workrs" / owner(agent, work)
        self._attempts: set[ProcessAttempt] = set()
        _LOG.warning(
            "isolation_weak",
            agent=agent,
            why="no engine: programs run as this user, with its files and network",
            freezes=f"{self._cgroups}" if self._cgroups else "process groups",
        )

    async def images(self) -> tuple[str, ...]:
        """Return nothing: programs are the machine's own."""
        return ()

    async def start(self, request: StartRequest) -> ProcessAttempt:
        """Start the command in a new folder, or in the one of a snapshot."""
        folder = JobFolder(self.work, request)
        environment = self._environment(request, folder)
        command = [_own_path(word, folder.job) for word in request.spec.command]
        if shutil.which(command[0], path=environment["PATH"]) is None:
            raise ContainerError(f"{self.agent} has no program {command[0]!r}")
        folder.create()
        try:
            await asyncio.to_thread(_fill, folder, request, self.disk_bytes)
            return await self._launch(request, folder, command, environment)
        except BaseException as error:
            await asyncio.to_thread(folder.remove)
            if isinstance(error, OSError):
                raise ContainerError(f"{request.job} did not start: {error}") from error
            raise

    async def _launch(
        self,
        request: StartRequest,
        folder: JobFolder,
        command: list[str],
        environment: Mapping[str, str],
    ) -> ProcessAttempt:
        with folder.stdout.open("ab") as stdout, folder.stderr.open("ab") as stderr:
            process = await asyncio.create_subprocess_exec(
                *("/bin/sh", "-c", _LAUNCH, "workrs", *command),
                stdin=asyncio.subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                cwd=folder.job,
                env=environment,
                start_new_session=True,
            )
        try:
            group = self._confine(process.pid, folder.path.name, request)
            self.warden.watch(request.job, request.epoch, (group.target,), request.deadline)
        except (OSError, ContainerError):
            process.kill()
            raise
        attempt = ProcessAttempt(
            request=request, folder=folder, process=process, group=group, runtime=self
        )
        self._attempts.add(attempt)
        try:
            await until_allowed(self.warden, request.job, request.epoch)
        except BaseException:
            await attempt.remove()
            raise
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
        return attempt

    def _confine(self, pid: int, name: str, request: StartRequest) -> Cgroup | ProcessGroup:
        memory_bytes = request.spec.memory_mb << 20
        for limit, value in (
            # Not RLIMIT_AS: libraries reserve address space that they never touch.
            (resource.RLIMIT_DATA, memory_bytes),
            (resource.RLIMIT_FSIZE, self.disk_bytes),
            (resource.RLIMIT_NPROC, _PROCESSES_MAX),
            (resource.RLIMIT_CORE, 0),
        ):
            with contextlib.suppress(PermissionError, ValueError):
                resource.prlimit(pid, limit, (value, value))
        if self._cgroups is None:
            return ProcessGroup(pgid=pid)
        own = Cgroup(path=self._cgroups / name)
        own.path.mkdir(parents=True, exist_ok=True)
        (own.path / "cgroup.procs").write_text(str(pid))
        return own

    def _environment(self, request: StartRequest, folder: JobFolder) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(folder.job),
            **request.spec.env,
            **contract_environment(request),
            "WORKRS_JOB_DIR": str(folder.job),
        }

    def forget(self, attempt: ProcessAttempt) -> None:
        """Note that all of an attempt's processes are gone."""
        self._attempts.discard(attempt)
        self.warden.unwatch(attempt.job, attempt.epoch)

    async def sweep(self) -> int:
        """Kill what former incarnations left, by their cgroups, and remove their folders."""
        groups = {
            Cgroup(path=found)
            for parent in cgroup.find_parents()
            for found in (parent / "workrs" / owner(self.agent, self.work)).glob("*/")
        }
        for group in sorted(groups, key=lambda group: group.path):
            await group.kill()
            group.remove()
        folders = [path for path in self.work.glob("*/") if path.is_dir()]
        for path in folders:
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
        return len(folders)

    async def close(self) -> None:
        """Remove all attempts and the agent's own cgroup."""
        for attempt in list(self._attempts):
            await attempt.remove()
        if self._cgroups is not None:
            Cgroup(path=self._cgroups).remove()


def _own_path(word: str, job: Path) -> str:
    if word == "/job" or word.startswith("/job/"):
        return f"{job}{word.removeprefix('/job')}"
    return word


def _fill(folder: JobFolder, request: StartRequest, limit_bytes: int) -> None:
    """Put in place what the program finds when it starts."""
    saved = request.restore_from
    if saved is not None:
        if saved.rung is not Rung.FILES:
            raise RestoreError(f"{request.job}: a process cannot be restored from memory")
        folder.take(saved.path, limit_bytes=limit_bytes)
    folder.write_inputs(request)
    folder.write_attempt(request)
    # Without a mount, a link has to do; it is no protection, and none is promised here.
    (folder.job / "in").symlink_to(folder.inputs)
