"""The agent's composition root: builds the parts from the configuration and runs them.

Order matters: the state folder first (one agent per folder), then the warden, which waits
for the former one, so that nothing of the former incarnation runs when it is swept; then the
runtime; and only then an incarnation and the bus.
"""

import asyncio
import contextlib
import os
import platform
import random
import shutil
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvloop

from edge_agent import checkpoint, leave_hook
from edge_agent.brain import Brain, Settings
from edge_agent.config import AgentConfig
from edge_agent.container import Tools
from edge_agent.event import ImagesListed, StopRequested
from edge_agent.hands import ContainerHands, Hands
from edge_agent.identity import incarnate, own_folder
from edge_agent.runtimes.instant import InstantHands
from edge_agent.supervisor import AgentSupervisor
from edge_agent.warden import Warden
from workrs.adapters import log
from workrs.adapters.ending import end
from workrs.adapters.expiry_watch import watch_expiry
from workrs.adapters.mqtt import secured
from workrs.adapters.service_manager import ServiceManager
from workrs.adapters.stores.address import shared_location
from workrs.adapters.stores.opener import Stores
from workrs.adapters.stores.trial import try_store
from workrs.domain.dispatch import AgentProfile
from workrs.domain.errors import ContainerError, StoreError
from workrs.domain.ids import client_id
from workrs.domain.record import Holder
from workrs.ports.runtime import ContainerRuntime
from workrs.ports.store import SharedStore

LOOK_PERIOD_S = 5.0
"""How often images and load are looked at."""
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf"}
"""Names as Debian has them, by the kernel's."""


class WardenLostError(ContainerError):
    """The warden ended: nothing would freeze the programs at their deadlines any more."""


def run_agent(config: AgentConfig) -> int:
    """Run an agent until SIGTERM or SIGINT; return the exit code.

    Raises:
        ConfigError: something in the configuration or on the machine has to be changed.
        ContainerError: the engine cannot be used, or the warden ended.
    """
    with own_folder(config.state_dir):
        return uvloop.run(_run(config))


async def _run(config: AgentConfig) -> int:
    loop = asyncio.get_running_loop()
    main = asyncio.current_task()
    assert main is not None
    stop = _Stop(main)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.request)
    try:
        return await _serve(config, stop)
    except asyncio.CancelledError:
        if not stop.early:
            raise
        return 0  # nothing was joined yet, so nobody waits for anything


class _Stop:
    """Where a request to stop goes: to the brain, once there is one."""

    def __init__(self, main: asyncio.Task[int]) -> None:
        self.early = False
        self.tell: Callable[[], None] | None = None
        self._main = main

    def request(self) -> None:
        if self.tell is not None:
            self.tell()
        else:
            self.early = True
            self._main.cancel()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Body:
    """What an agent runs jobs with; nothing of it for the instant runtime."""

    warden: Warden
    runtime: ContainerRuntime
    stores: Stores
    keys: checkpoint.KeyRing | None
    share: checkpoint.Share


async def _serve(config: AgentConfig, stop: _Stop) -> int:
    name = client_id(config.name)
    manager = ServiceManager.take(os.environ)
    connect = secured(config.credential)
    async with _body(config) as body:
        incarnation = await incarnate(name, config.state_dir, config.nodes, connect)
        settings = Settings(
            holder=Holder(client=name, incarnation=incarnation),
            profile=await _profile(config, body),
            nodes=len(config.nodes),
            grace_s=config.grace_s,
            timing=config.timing,
        )
        brain = Brain(settings, random.Random())  # noqa: S311 (jitter, no secret)
        supervisor = AgentSupervisor(brain, nodes=config.nodes, connect=connect, clock=_boottime)
        log.get(f"agent[{name}]").event(
            "agent_running",
            incarnation=incarnation.number,
            runtime=config.runtime,
            rung=settings.profile.rung,
            slots=config.slots,
        )

        def ask() -> None:
            if manager is not None:
                manager.stopping()
            supervisor.post(StopRequested())

        stop.tell = ask
        async with _metrics(config, brain):
            report = None if manager is None else _report(manager, brain)
            return await _live(config, body, supervisor, report)


async def _report(manager: ServiceManager, brain: Brain) -> None:
    """Tell the service manager of this agent. A warden that hangs has ended it: `_guard`."""
    from edge_agent.metrics import AgentMetrics  # noqa: PLC0415 (who has no manager needs none)
    from workrs.adapters.metric_server import OK  # noqa: PLC0415

    seen = AgentMetrics(brain, _boottime)

    def look() -> str:
        return "" if (found := seen.health()) == OK else found

    serves = asyncio.Event()
    serves.set()  # a node has answered, warden and engine are there
    await manager.report(serves, look=look, status=lambda: f"/ready: {seen.ready()}")


@contextlib.asynccontextmanager
async def _metrics(config: AgentConfig, brain: Brain) -> AsyncIterator[None]:
    """Answer Prometheus where that is wanted; what answers is imported only there."""
    if config.metrics is None:
        yield
        return
    from edge_agent.metrics import AgentMetrics  # noqa: PLC0415
    from workrs.adapters.metric_server import metrics_served  # noqa: PLC0415

    seen = AgentMetrics(brain, _boottime)
    async with metrics_served(
        config.metrics, metrics=seen.metrics, health=seen.health, ready=seen.ready
    ):
        yield


async def _live(
    config: AgentConfig,
    body: _Body | None,
    supervisor: AgentSupervisor,
    report: Coroutine[Any, Any, None] | None,
) -> int:
    """Run the supervisor and what serves it; an error in any part ends all."""
    name = f"agent[{config.name}]"
    async with asyncio.TaskGroup() as tasks:
        serving = [] if report is None else [tasks.create_task(report, name=f"{name}.service")]
        hands: Hands = InstantHands(supervisor.post)
        if body is not None:
            hands = found = ContainerHands(_tools(config, body), tasks, supervisor.post)
            serving += [
                tasks.create_task(found.discard(), name=f"{name}.discard"),
                tasks.create_task(_guard(body.warden), name=f"{name}.warden"),
                tasks.create_task(body.warden.keep_answering(), name=f"{name}.answers"),
                tasks.create_task(_look(body.runtime, supervisor), name=f"{name}.look"),
                *(
                    tasks.create_task(_try(store, config), name=f"{name}.store")
                    for store in body.stores.open_configured()
                ),
            ]
        if config.credential is not None:
            watch = watch_expiry(config.credential.path, name)
            serving.append(tasks.create_task(watch, name=f"{name}.credential"))
        if config.leave_when:
            asking = leave_hook.follow(config.leave_when, config.leave_poll_s, supervisor.post)
            serving.append(tasks.create_task(asking, name=f"{name}.leave"))
        code = await supervisor.run(tasks, hands)
        await end(serving)
    return code


@contextlib.asynccontextmanager
async def _body(config: AgentConfig) -> AsyncIterator[_Body | None]:
    """Make warden, runtime and stores; end them in the reverse order."""
    if config.runtime == "instant":
        yield None
        return
    keys = _keys(config)
    tls = None if config.credential is None else config.credential.client_context()
    warden = await Warden.start(config.state_dir)
    try:
        runtime = await _runtime(config, warden)
        try:
            swept = await runtime.sweep()
            if swept:
                log.get(f"agent[{config.name}]").event("swept", containers=swept)
            # A killed incarnation left what it had fetched or dumped: secrets of jobs, under names
            # that this one will use again.
            await asyncio.to_thread(shutil.rmtree, _transfer(config), ignore_errors=True)
            async with (
                Stores(_locations(config), tls=tls) as stores,
                checkpoint.Share(jobs=config.slots) as share,
            ):
                stores.open_configured()  # what cannot work ends the agent before it joins
                yield _Body(warden=warden, runtime=runtime, stores=stores, keys=keys, share=share)
        finally:
            await runtime.close()
    finally:
        await warden.close()


def _keys(config: AgentConfig) -> checkpoint.KeyRing | None:
    """Return the keys for checkpoints, and say what becomes of these."""
    told = log.get(f"agent[{config.name}]")
    if config.checkpoint_key is None:
        told.warning(
            "checkpoints_not_sealed", why="no --checkpoint-key: they are stored as they are"
        )
        return None
    keys = checkpoint.read_keys(config.checkpoint_key)
    told.event("checkpoints_sealed", cluster=keys.cluster, key=keys.keys[0].id.hex())
    return keys


async def _runtime(config: AgentConfig, warden: Warden) -> ContainerRuntime:
    name, work = client_id(config.name), config.state_dir / "work"
    if config.runtime == "process":
        from edge_agent.runtimes.process import ProcessRuntime  # noqa: PLC0415

        return ProcessRuntime(agent=name, work=work, warden=warden)
    # The engine's library is imported only where an engine is used.
    from edge_agent.runtimes.docker import USUAL_ENGINE, DockerRuntime  # noqa: PLC0415

    return await DockerRuntime.open(
        url=config.engine or os.environ.get("DOCKER_HOST") or USUAL_ENGINE,
        agent=name,
        work=work,
        warden=warden,
        pull=config.pull,
        allowed_images=config.allowed_images,
    )


def _tools(config: AgentConfig, body: _Body) -> Tools:
    from edge_agent.runtimes.job_folder import JOB_DISK_BYTES  # noqa: PLC0415

    return Tools(
        agent=client_id(config.name),
        runtime=body.runtime,
        warden=body.warden,
        open_store=body.stores.open,
        stores=_locations(config),
        folder=_transfer(config),
        copies=config.copies,
        disk_bytes=JOB_DISK_BYTES,
        keys=body.keys,
        share=body.share,
    )


def _transfer(config: AgentConfig) -> Path:
    """Return the folder of downloads and snapshots."""
    return config.state_dir / "transfer"


async def _profile(config: AgentConfig, body: _Body | None) -> AgentProfile:
    profile = AgentProfile(
        slots=config.slots,
        arch=_ARCHITECTURES.get(platform.machine(), platform.machine()),
        memory_mb=config.memory_mb,
        cpus=float(os.cpu_count() or 1),
        labels=config.labels,
        runtime=config.runtime,
    )
    if body is None:
        return profile
    runtime = body.runtime
    images = await runtime.images()
    return replace(
        profile,
        arch=runtime.host.arch,
        rung=runtime.rung.value,
        images=images,
        host=runtime.host,
        keys=tuple(key.id.hex() for key in body.keys.keys) if body.keys else (),
        stores=_locations(config),
    )


def _locations(config: AgentConfig) -> tuple[str, ...]:
    return tuple(shared_location(url) for url in config.stores)


async def _try(store: SharedStore, config: AgentConfig) -> None:
    """Say at the start what would else be found out with the first checkpoint."""
    told = log.get(f"agent[{config.name}]")
    try:
        await try_store(store)
    except StoreError as error:
        told.warning("store_unusable", store=store.location, why=str(error))
    else:
        told.event("store_ready", store=store.location)


async def _guard(warden: Warden) -> None:
    await warden.lost()
    raise WardenLostError("the warden ended: the agent ends, too, and removes what runs")


async def _look(runtime: ContainerRuntime, supervisor: AgentSupervisor) -> None:
    """Tell the brain from time to time what dispatch may want to know."""
    while True:
        await asyncio.sleep(LOOK_PERIOD_S)
        load = os.getloadavg()[0] / (os.cpu_count() or 1)
        try:
            images = await runtime.images()
        except ContainerError as error:
            log.get("agent").warning("images_unknown", why=str(error))
            continue
        supervisor.post(ImagesListed(images=images, load=round(load, 2)))


def _boottime() -> float:
    """Return the clock of leases: it goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
