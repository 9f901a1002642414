"""Goal: a hostile program gets through none of its container's walls, and each wall is needed.

Method: all attacks from inside one container of a real engine; then each from a container that is
made without its wall, where it must get through, since else the test could not fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from docker import DockerClient
from docker.errors import NotFound
from docker.models import containers
from docker.types import HostConfig

from edge_agent.runtimes import docker, docker_output, job_mount
from edge_agent.runtimes.docker import DockerRuntime
from edge_agent.runtimes.docker_options import LABEL_OWNER, container_options
from edge_agent.runtimes.job_folder import owner
from tests.acceptance.agreement import until
from tests.engine_fixture import Engines, engines
from tests.hostile.container_attack import Attack, attacks
from tests.hostile.twice import played_twice
from workrs.domain.errors import WireError
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.job import JobSpec
from workrs.ports.runtime import Exit, ImageError, StartRequest
from workrs.testing.runtime import FakeWarden
from workrs.wire import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["engines"]  # a fixture is found by its name in the module

pytestmark = pytest.mark.engine

DISK_BYTES = 24 << 20
NAMES = tuple(attacks(port=0, pid=0))
_TRY_ALL = """\
import json, os, sys
told = {}
for name, code in json.load(open('/job/in/attacks')).items():
    pid = os.fork()
    if not pid:
        try:
            exec(code, {})
        except BaseException as error:
            print(name, repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    told[name] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(json.dumps(told))
"""


def run(engines: Engines, work: Path, *command: str, **rest: object) -> Exit:
    """Run one container to its end and return that, with the result in memory."""
    fields = {"memory_mb": 256, **rest}
    spec = JobSpec(image=engines.image, command=command, **fields)  # type: ignore[arg-type]

    async def story() -> Exit:
        runtime = await DockerRuntime.open(
            url=engines.a.url,
            agent=ClientId("a1"),
            work=work,
            warden=FakeWarden(),
            disk_bytes=DISK_BYTES,
        )
        try:
            attempt = await runtime.start(
                StartRequest(
                    job=JobId("evil_1"),
                    epoch=Epoch(1),
                    attempt=1,
                    spec=spec,
                    deadline=Instant(1e12),
                )
            )
            async with asyncio.timeout(90):
                ended = await attempt.wait()
            if isinstance(ended.result, Path):
                ended = replace(ended, result=ended.result.read_bytes())
            return ended
        finally:
            await runtime.close()

    return asyncio.run(story())


def loosened(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, object]], Mapping[str, object]]
) -> None:
    """Have containers made with other options than ours."""

    def options(*given: object) -> dict[str, object]:
        found = container_options(*given)  # type: ignore[arg-type]
        return {**found, **change(found)}

    monkeypatch.setattr(docker, "container_options", options)


def unmasked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the engine leave /proc as it is, for which the SDK has no argument."""

    def config(**given: object) -> object:
        made = HostConfig(**given)
        made.update(MaskedPaths=[], ReadonlyPaths=[])
        return made

    monkeypatch.setattr(containers, "HostConfig", config)


@pytest.fixture(scope="module")
def victims() -> Iterator[tuple[int, int]]:
    """Offer a port and a process of this machine."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen(["sleep", "infinity"]) as it,
    ):
        try:
            yield server.getsockname()[1], it.pid
        finally:
            it.kill()


@pytest.fixture(scope="module")
def known(victims: tuple[int, int]) -> dict[str, Attack]:
    return attacks(port=victims[0], pid=victims[1])


def through(ended: Exit) -> dict[str, int]:
    assert isinstance(ended.result, bytes)
    found: dict[str, int] = json.loads(ended.result)
    return found


def try_all(engines: Engines, work: Path, known: Mapping[str, Attack]) -> Exit:
    codes = json.dumps({name: attack.code for name, attack in known.items()})
    return run(engines, work, "python3", "-c", _TRY_ALL, files={"attacks": codes})


def test_no_attack_gets_through(engines: Engines, tmp_path: Path, known: dict[str, Attack]) -> None:
    ended = try_all(engines, tmp_path, known)
    assert set(through(ended)) == set(known)
    assert [name for name, code in through(ended).items() if code == 0] == [], ended.stderr_tail


@pytest.mark.parametrize("name", NAMES)
def test_without_its_wall_the_attack_gets_through(
    engines: Engines,
    tmp_path: Path,
    known: dict[str, Attack],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loosened(monkeypatch, lambda _: known[name].loosen)
    if known[name].unmask:
        unmasked(monkeypatch)
    ended = try_all(engines, tmp_path, {name: known[name]})
    assert through(ended) == {name: 0}, ended.stderr_tail


FORK_BOMB = """\
import os, signal
kids = []
try:
    for _ in range(300):
        kids.append(os.fork())
        if not kids[-1]:
            signal.pause()
finally:
    [os.kill(kid, 9) for kid in kids]
"""
MANY_NAMES = "for n in range(17_000): open(f'/job/{n}', 'w').close()"
MUCH_DATA = "for n in range(3): open(f'/job/{n}', 'wb').write(bytes(10 << 20))"
MUCH_MEMORY = "x = bytearray(b'x') * (96 << 20); print(len(x))"
MUCH_TALK = "import sys; [sys.stdout.write('y' * (1 << 20)) for _ in range(70)]"


def unlimited(**none: object) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda monkeypatch: loosened(monkeypatch, lambda _: none)


def larger_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    mount = job_mount.mount
    monkeypatch.setattr(
        job_mount, "mount", lambda folder, *, size_bytes: mount(folder, size_bytes=size_bytes * 4)
    )


def more_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_mount, "INODES_MAX", 0)


def endless_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_output, "STDOUT_BYTES_MAX", 1 << 40)


@pytest.mark.parametrize(
    ("flood", "remove"),
    [
        pytest.param(FORK_BOMB, unlimited(pids_limit=-1), id="fork-bomb"),
        pytest.param(MUCH_MEMORY, unlimited(mem_limit=1 << 30, memswap_limit=1 << 30), id="memory"),
        pytest.param(MUCH_DATA, larger_disk, id="disk"),
        pytest.param(MANY_NAMES, more_names, id="names"),
        pytest.param(MUCH_TALK, endless_output, id="log"),
    ],
)
def test_a_flood_meets_its_limit_and_without_it_goes_on(
    engines: Engines,
    tmp_path: Path,
    flood: str,
    remove: Callable[[pytest.MonkeyPatch], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Three hundred processes must not meet the limit on memory first.
    memory_mb = 512 if flood == FORK_BOMB else 80
    ended = run(engines, tmp_path / "walled", "python3", "-c", flood, memory_mb=memory_mb)
    assert ended.code != 0, ended
    remove(monkeypatch)
    ended = run(engines, tmp_path / "open", "python3", "-c", flood, memory_mb=memory_mb)
    assert ended.code == 0, ended


def test_a_command_is_never_given_to_a_shell(engines: Engines, tmp_path: Path) -> None:
    word = "$(id); echo x >/job/owned; `id` && id | id"
    ended = run(engines, tmp_path, "echo", word)
    assert (ended.code, ended.result) == (0, word.encode() + b"\n")
    ended = run(engines, tmp_path, "sh", "-c", "echo $(echo through a shell)")
    assert ended.result == b"through a shell\n", "taken away: its author asked for one"
    with pytest.raises(WireError, match="command"):
        codec.decode(JobSpec, b'{"image": "any", "command": "echo x"}')


SPIN = """\
import os, time
begin, used = time.monotonic(), time.process_time()
while time.process_time() - used < 0.3:
    pass
print(time.monotonic() - begin)
"""
LEAST_S = 2.0
"""That this takes with a tenth of a processor."""


def test_a_program_has_no_more_of_the_processors_than_it_asked_for(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with docker_client(engines) as client:
        if not client.info().get("CpuCfsQuota", True):
            pytest.skip("this kernel has no CPU quotas, and the agent says so (limit_missing)")

    def spin(work: str) -> float:
        ended = run(engines, tmp_path / work, "python3", "-c", SPIN, cpus=0.1)
        assert isinstance(ended.result, bytes)
        return float(ended.result)

    assert spin("walled") > LEAST_S
    loosened(monkeypatch, lambda _: {"nano_cpus": None})  # taken away
    # A busy machine may hold up one run as long as that, but not all of them.
    tries = itertools.count()
    until("a run without a limit", lambda: spin(f"open-{next(tries)}") < LEAST_S, 90)


@played_twice
def test_memory_is_not_swapped_out_to_go_beyond_its_limit(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """By itself an engine gives a container as much swap again as it has memory."""
    loosened(monkeypatch, lambda _: {} if control else {"memswap_limit": None})
    create = containers.ContainerCollection.create
    made: list[dict[str, int]] = []

    def seen(*given: object, **options: object) -> object:
        container = create(*given, **options)
        container.reload()
        made.append(container.attrs["HostConfig"])
        return container

    monkeypatch.setattr(containers.ContainerCollection, "create", seen)
    run(engines, tmp_path, "true", memory_mb=64)
    assert made[0]["Memory"] == 64 << 20
    assert made[0]["MemorySwap"] == (1 if control else 2) * made[0]["Memory"]


@pytest.mark.parametrize("listed", ["lab/*", "*@sha256:*", "busybo"])
def test_an_image_that_an_agents_list_has_not_is_neither_run_nor_fetched(
    engines: Engines, tmp_path: Path, listed: str
) -> None:
    """Whatever node let its job in."""

    async def story(*allowed: str) -> None:
        runtime = await DockerRuntime.open(
            url=engines.a.url,
            agent=ClientId("a1"),
            work=tmp_path,
            warden=FakeWarden(),
            pull=True,
            allowed_images=allowed,
        )
        spec = JobSpec(image=engines.image, command=("true",), memory_mb=64)
        request = StartRequest(
            job=JobId("evil_1"), epoch=Epoch(1), attempt=1, spec=spec, deadline=Instant(1e12)
        )
        try:
            attempt = await runtime.start(request)
            async with asyncio.timeout(90):
                await attempt.wait()
            await attempt.remove()
        finally:
            await runtime.close()

    with pytest.raises(ImageError, match="not allowed on this agent"):
        asyncio.run(story(listed))
    assert not list(tmp_path.glob("evil_1*"))
    # Where the list is taken away, or has it:
    asyncio.run(story(listed, engines.image))


@contextlib.contextmanager
def docker_client(engines: Engines) -> Iterator[DockerClient]:
    with contextlib.closing(DockerClient(base_url=engines.a.url)) as client:
        yield client


@pytest.mark.parametrize("without", [False, True], ids=["as-it-is", "without-the-label"])
def test_an_agent_touches_only_what_carries_its_own_label(
    engines: Engines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, without: bool
) -> None:
    """Its sweep, which removes whatever a former self left, meets containers of others."""

    async def sweep() -> int:
        runtime = await DockerRuntime.open(
            url=engines.a.url, agent=ClientId("a1"), work=tmp_path, warden=FakeWarden()
        )
        try:
            return await runtime.sweep()
        finally:
            await runtime.close()

    if without:
        monkeypatch.setattr(docker, "LABEL_OWNER", "bystander")
        monkeypatch.setattr(docker, "owner", lambda *_: "yes")
    with docker_client(engines) as client:
        labels: list[dict[str, str]] = [
            {"bystander": "yes"},
            {"bystander": "yes", LABEL_OWNER: owner(ClientId("a1"), tmp_path / "other")},
            {"bystander": "yes", LABEL_OWNER: owner(ClientId("a2"), tmp_path)},
        ]
        made = [
            client.containers.create(engines.image, ["true"], labels=label, network_mode="none")
            for label in labels
        ]
        try:
            assert asyncio.run(sweep()) == (len(made) if without else 0)
            left = {found.id for found in client.containers.list(all=True, sparse=True)}
            assert {it.id for it in made} & left == (set() if without else {it.id for it in made})
        finally:
            for it in made:
                with contextlib.suppress(NotFound):
                    it.remove(force=True)
