"""Programs as hardened containers of a Docker Engine on this machine.

1. A container's cgroup is known before it is started, since we name its parent, and so is
   the warden's order to guard it.
2. A start that fails or is cancelled removes its container, mount and folder.
3. Freezing, thawing and killing go to the cgroup directly: half a millisecond instead of
   thirty through the engine, which need not know.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from edge_agent.cgroup import Cgroup, freezer_mount
from edge_agent.runtimes import job_mount
from edge_agent.runtimes.criu import clear_restore, restore_limit_s
from edge_agent.runtimes.docker_attempt import DockerAttempt
from edge_agent.runtimes.docker_engine import DockerEngine
from edge_agent.runtimes.docker_options import (
    LABEL_OWNER,
    ContainerSettings,
    container_options,
)
from edge_agent.runtimes.docker_output import Output
from edge_agent.runtimes.hold import until_allowed
from edge_agent.runtimes.host import probe_host
from edge_agent.runtimes.job_folder import JOB_DISK_BYTES, JobFolder, owner
from edge_agent.runtimes.steps import Steps
from workrs import oci
from workrs.adapters import log
from workrs.domain.errors import ConfigError, ContainerError, WorkrsError
from workrs.domain.host import HostFacts, can_restore
from workrs.domain.ids import ClientId
from workrs.domain.image import is_allowed
from workrs.engine import probe
from workrs.engine.engine_facts import probe_engine
from workrs.engine.probe import EngineFacts
from workrs.ports.runtime import ImageError, RestoreError, Rung, Snapshot, StartRequest, Warden

USUAL_ENGINE: Final = "unix:///var/run/docker.sock"
"""Where an engine that a system's package brought listens."""
_LOG = log.get("agent.docker")


class DockerRuntime:
    """Runs programs in containers."""

    name = "docker"

    def __init__(
        self,
        *,
        engine: DockerEngine,
        work: Path,
        warden: Warden,
        host: HostFacts,
        runc_root: Path | None,
        cgroups: Path,
        settings: ContainerSettings,
        pull: bool,
        allowed_images: Sequence[str],
    ) -> None:
        """Use `open`, which finds all that."""
        self.rung = Rung.FILES if runc_root is None else Rung.MEMORY
        self.host = host
        self._engine = engine
        self._work = work
        self._warden = warden
        self._runc_root = runc_root
        self._cgroups = cgroups
        self._settings = settings
        self._pull = pull
        self._allowed_images = allowed_images
        self._attempts: set[DockerAttempt] = set()

    @classmethod
    async def open(
        cls,
        *,
        url: str,
        agent: ClientId,
        work: Path,
        warden: Warden,
        disk_bytes: int = JOB_DISK_BYTES,
        pull: bool = False,
        allowed_images: Sequence[str] = (),
    ) -> Self:
        """Connect to the engine at *url* and find out which rung this machine stands on.

        Args:
            url: as in DOCKER_HOST; the engine must run on this machine.
            agent: name of the agent; labels what is its own.
            work: folder for the attempts' folders, of this agent alone.
            warden: told of every container before it runs.
            disk_bytes: size of a job's /job. What is in it counts as the job's memory.
            pull: whether images may be fetched from registries.
            allowed_images: patterns, see `workrs.domain.image`.

        Raises:
            ConfigError: the engine cannot be used, and why.
            ContainerError: it does not answer. It may yet: at a machine's start, or an upgrade.
        """
        machine, facts = await asyncio.gather(
            asyncio.to_thread(probe.probe_machine), asyncio.to_thread(probe_engine, url)
        )
        verdicts = probe.rungs(machine, facts)
        verdict = probe.best(verdicts)
        if verdict.rung is Rung.NONE:
            raise _useless(facts, verdicts[1].why)
        for better in verdicts[: verdicts.index(verdict)]:
            _LOG.warning("rung_missed", rung=better.rung, why=better.why, fix=better.fix)
        engine = await DockerEngine.open(url)
        info = await engine.info()
        parent, folder = _cgroup_parent(owner(agent, work), info)
        _warn_of_missing_limits(info)
        runc_root = Path(facts.runc_root) if verdict.rung is Rung.MEMORY else None
        return cls(
            engine=engine,
            work=work,
            warden=warden,
            host=await asyncio.to_thread(probe_host),
            runc_root=runc_root,
            cgroups=folder,
            pull=pull,
            allowed_images=allowed_images,
            settings=ContainerSettings(
                agent=agent,
                owner=owner(agent, work),
                disk_bytes=disk_bytes,
                cgroup_parent=parent,
                limits_cpu=bool(info.get("CpuCfsQuota", True)),
                runtime=_runtime_name(facts) if runc_root is not None else None,
                # Without root nobody else's files could be read or removed.
                user=os.geteuid(),
            ),
        )

    async def images(self) -> tuple[str, ...]:
        """Return ids and names of the engine's images."""
        return await self._engine.images()

    async def start(self, request: StartRequest) -> DockerAttempt:
        """Create a container and start it, from a snapshot's memory if there is one."""
        steps = Steps()
        assert request.spec.image is not None
        saved = request.restore_from
        self._refuse_unwanted(request.spec.image)
        image_id = await self._engine.image_id(request.spec.image, pull=self._pull)
        if saved is not None:
            self._refuse_foreign(request, saved, image_id)
        folder = JobFolder(self._work, request)
        folder.create()
        attempt: DockerAttempt | None = None
        container_id = ""
        try:
            await asyncio.to_thread(self._fill, folder, request)
            steps.end("files")
            container_id = await self._create(request, folder)
            output = Output(stdout=folder.stdout, stderr=folder.stderr)
            attempt = self._attempt(request, folder, container_id, image_id, output)
            self._attempts.add(attempt)
            await output.attach(self._engine.url, container_id)
            steps.end("create")
            self._warden.watch(
                request.job, request.epoch, (self._cgroup(container_id).target,), request.deadline
            )
            await until_allowed(self._warden, request.job, request.epoch)
            await self._start(request, container_id)
            steps.end("start")
            state = await self._engine.state(container_id)
            pid = int(state.get("Pid", 0))
            self._refuse_unguarded(request, container_id, pid)
            attempt.begin(pid=pid, steps_s=steps.taken_s)
        except BaseException as error:
            await self._undo(folder, container_id, attempt)
            if isinstance(error, OSError):
                raise ContainerError(f"{request.job} did not start: {error}") from error
            raise
        return attempt

    async def _create(self, request: StartRequest, folder: JobFolder) -> str:
        options = container_options(request, folder, self._settings)
        creating = asyncio.ensure_future(self._engine.create(options))
        try:
            return await asyncio.shield(creating)
        except asyncio.CancelledError:
            # Its id must be known to remove it; that takes ten milliseconds.
            await self._engine.remove(await creating)
            raise

    def _attempt(
        self,
        request: StartRequest,
        folder: JobFolder,
        container_id: str,
        image_id: str,
        output: Output,
    ) -> DockerAttempt:
        return DockerAttempt(
            request=request,
            folder=folder,
            container_id=container_id,
            image_id=image_id,
            engine=self._engine,
            cgroup=self._cgroup(container_id),
            output=output,
            warden=self._warden,
            host=self.host,
            runc_root=self._runc_root,
            disk_bytes=self._settings.disk_bytes,
            on_removed=self._attempts.discard,
        )

    def _refuse_unwanted(self, image: str) -> None:
        """Raise ImageError for an image that is not on this machine's list.

        Before it is looked for, so that none is fetched: a node that was taken over, or has another
        list, gets nothing to run here.
        """
        if not is_allowed(image, self._allowed_images):
            raise ImageError(
                f"image {image[:120]!r} is not allowed on this agent. Allowed: "
                f"{', '.join(self._allowed_images)}; see workrs agent --allow-image"
            )

    def _refuse_foreign(self, request: StartRequest, saved: Snapshot, image_id: str) -> None:
        """Raise RestoreError for a snapshot that this machine would restore wrongly."""
        if saved.rung is not Rung.MEMORY:
            return
        if self._runc_root is None:
            raise RestoreError(f"{request.job}: this agent cannot restore memory")
        reason = can_restore(saved.host, self.host)
        if reason is not None:
            raise RestoreError(f"{request.job}: its memory does not fit this machine: {reason}")
        here = (image_id, request.spec.command)
        there = (saved.image, saved.command)
        for name, ours, theirs in zip(("image", "command"), here, there, strict=True):
            if ours != theirs:
                raise RestoreError(f"{request.job}: its {name} was {theirs!r}, here it is {ours!r}")

    def _refuse_unguarded(self, request: StartRequest, container_id: str, pid: int) -> None:
        """Kill a program that was restored where nothing limits, freezes or kills it.

        On cgroup version 2 CRIU restores into the cgroup of the container that was dumped, by
        its old path, unless our OCI runtime tells it not to; an older one does not.
        """
        saved = request.restore_from
        if saved is None or saved.rung is not Rung.MEMORY or pid == 0:
            return
        if pid in self._cgroup(container_id).pids() or not Path(f"/proc/{pid}").exists():
            return
        # The first process of its pid namespace: all others end with it.
        os.kill(pid, signal.SIGKILL)
        raise RestoreError(
            f"{request.job} was restored outside its cgroup: is {oci.RUNTIME_PATH} up to date?"
        )

    def _fill(self, folder: JobFolder, request: StartRequest) -> None:
        """Put in place what the program finds in /job. Blocks."""
        if os.geteuid() == 0:
            job_mount.mount(folder.job, size_bytes=self._settings.disk_bytes)
        if request.restore_from is not None:
            folder.take(request.restore_from.path, limit_bytes=self._settings.disk_bytes)
        (folder.job / "in").mkdir()
        folder.write_inputs(request)
        folder.write_attempt(request)

    async def _start(self, request: StartRequest, container_id: str) -> None:
        saved = request.restore_from
        if saved is None or saved.rung is not Rung.MEMORY:
            await self._engine.start(container_id)
            return
        oci.hand_over(container_id, saved.path.absolute())
        limit_s = restore_limit_s(saved.path)
        try:
            async with asyncio.timeout(limit_s):
                await self._engine.start(container_id)
        except BaseException as error:
            oci.take_back(container_id)
            errors = oci.restore_errors(saved.path)
            await asyncio.to_thread(clear_restore, container_id, saved.path)
            if not isinstance(error, ContainerError | TimeoutError):
                raise
            if isinstance(error, TimeoutError):
                # CRIU's last complaint may be one that it lives with.
                errors = [f"it took over {limit_s:.0f} s"]
            why = errors[-1] if errors else str(error)
            raise RestoreError(f"{request.job} was not restored: {why}") from error

    def _cgroup(self, container_id: str) -> Cgroup:
        scope = f"docker-{container_id}.scope"
        is_slice = self._settings.cgroup_parent.endswith(".slice")
        return Cgroup(path=self._cgroups / (scope if is_slice else container_id))

    async def _undo(
        self, folder: JobFolder, container_id: str, attempt: DockerAttempt | None
    ) -> None:
        if attempt is not None:
            await attempt.remove()
            return
        if container_id:
            await self._engine.remove(container_id)
        await asyncio.to_thread(_clear, folder.path)

    async def sweep(self) -> int:
        """Remove this agent's containers, mounts and folders."""
        found = await self._engine.labelled(f"{LABEL_OWNER}={self._settings.owner}")
        for container_id in found:
            await self._cgroup(container_id).kill()
            await self._engine.remove(container_id)
            oci.take_back(container_id)
        for path in self._work.glob("*/"):
            await asyncio.to_thread(_clear, path)
        return len(found)

    async def close(self) -> None:
        """Remove all attempts and let go of the engine."""
        for attempt in list(self._attempts):
            await attempt.remove()
        await self._engine.close()
        await asyncio.to_thread(_remove_parents, self._settings.cgroup_parent)


def _useless(facts: EngineFacts, why: str) -> WorkrsError:
    """Return what ends an agent whose engine cannot be used; one that is silent may yet answer."""
    kind = ContainerError if facts.problem else ConfigError
    return kind(f"the engine at {facts.url} is of no use: {why}")


def _warn_of_missing_limits(info: dict[str, object]) -> None:
    for limit in ("MemoryLimit", "CpuCfsQuota", "PidsLimit"):
        if not info.get(limit, True):
            _LOG.warning("limit_missing", limit=limit, why="the engine has not its cgroup")


def _runtime_name(facts: EngineFacts) -> str | None:
    return oci.RUNTIME_NAME if oci.RUNTIME_NAME in facts.runtimes else None


def _cgroup_parent(owner_name: str, info: dict[str, object]) -> tuple[str, Path]:
    """Return the parent cgroup to ask the engine for, and its folder where we freeze."""
    mount = freezer_mount(version=int(str(info.get("CgroupVersion", "1"))))
    if info.get("CgroupDriver") == "systemd":
        # In systemd's names a dash means one more level.
        name = owner_name.replace("-", "_")
        return f"workrs-{name}.slice", mount / "workrs.slice" / f"workrs-{name}.slice"
    return f"/workrs/{owner_name}", mount / "workrs" / owner_name


def _remove_parents(parent: str) -> None:
    """Remove the agent's empty cgroups, which runc made in every hierarchy and leaves behind."""
    if parent.endswith(".slice"):
        return
    for mount in Path("/sys/fs/cgroup").glob("*/"):
        Cgroup(path=mount / parent.lstrip("/")).remove()
    Cgroup(path=Path("/sys/fs/cgroup") / parent.lstrip("/")).remove()


def _clear(path: Path) -> None:
    job_mount.unmount_below(path)
    shutil.rmtree(path, ignore_errors=True)
