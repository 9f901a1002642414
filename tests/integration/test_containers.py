"""Goal: a container gets what the contract promises, and nothing else; nothing of it stays.

Method: programs that try what is forbidden, on a real engine; an agent killed with SIGKILL.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import select
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import docker
import pytest

from edge_agent.cgroup import Cgroup
from edge_agent.runtimes.docker import DockerRuntime
from edge_agent.warden import Warden
from tests.engine_fixture import Engines, engines
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.job import JobSpec
from workrs.engine.mount import below, read_mounts
from workrs.ports.runtime import Exit, ImageError, StartRequest
from workrs.testing.runtime import FakeWarden

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["engines"]  # a fixture is found by its name in the module

pytestmark = pytest.mark.engine

ROOT = Path(__file__).parents[2]
DISK_BYTES = 24 << 20


def request_for(spec: JobSpec) -> StartRequest:
    return StartRequest(
        job=JobId("pump_1"), epoch=Epoch(3), attempt=2, spec=spec, deadline=Instant(1e12)
    )


def run(engines: Engines, work: Path, *command: str, **rest: object) -> Exit:
    """Run one container to its end and return that, with the result in memory."""
    spec = JobSpec(image=engines.image, command=command, **{"memory_mb": 64, **rest})  # type: ignore[arg-type]

    async def story() -> Exit:
        runtime = await DockerRuntime.open(
            url=engines.a.url,
            agent=ClientId("a1"),
            work=work,
            warden=FakeWarden(),
            disk_bytes=DISK_BYTES,
        )
        try:
            attempt = await runtime.start(request_for(spec))
            async with asyncio.timeout(60):
                ended = await attempt.wait()
            if isinstance(ended.result, Path):
                ended = replace(ended, result=ended.result.read_bytes())
            return ended
        finally:
            await runtime.close()
            assert not below(read_mounts(), work)
            assert not list(work.iterdir())  # noqa: ASYNC240 (a test)

    return asyncio.run(story())


def test_a_container_finds_what_the_contract_promises(engines: Engines, tmp_path: Path) -> None:
    look = (
        "import json, os, sys; print(json.dumps([os.getcwd(), open('/job/in/input').read(),"
        "open('/job/in/a.txt').read(), json.load(open('/job/attempt')), sys.stdin.read(),"
        "{k: v for k, v in os.environ.items() if k.startswith('WORKRS')}, os.environ['X']]))"
    )
    ended = run(
        engines,
        tmp_path,
        *("python3", "-c", look),
        input="in",
        files={"a.txt": "a"},
        env={"X": "y"},
    )
    assert isinstance(ended.result, bytes)
    cwd, given, file, attempt, stdin, environment, x = json.loads(ended.result)
    assert (cwd, given, file, stdin, x) == ("/job", "in", "a", "", "y")
    assert attempt == {"job": "pump_1", "epoch": 3, "attempt": 2, "resumed": False}
    assert environment == {
        "WORKRS_JOB": "pump_1",
        "WORKRS_EPOCH": "3",
        "WORKRS_ATTEMPT": "2",
        "WORKRS_RESUMED": "0",
    }


@pytest.mark.parametrize(
    "attack",
    [
        "import socket; socket.create_connection(('127.0.0.1', 22), 1)",
        "import socket; socket.create_connection(('192.0.2.1', 80), 1)",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
        "open('/etc/x', 'w')",
        "open('/job/in/x', 'w')",
        "open('/proc/sys/kernel/core_pattern', 'w')",
        "open('/proc/sysrq-trigger', 'w').write('s')",
        "open('/sys/kernel/mm/transparent_hugepage/enabled', 'w')",
        "import os; os.mknod('/job/disk', 0o60666, os.makedev(7, 0))",
        "import os; os.chroot('/job')",
        "import os; os.setuid(1000)",
        "import ctypes as c; l = c.CDLL(None); assert l.mount(b'a', b'/job', b'tmpfs', 0, 0) == 0",
        "import ctypes as c; l = c.CDLL(None); assert l.umount2(b'/job/in', 2) == 0",
        "import ctypes as c; l = c.CDLL(None); assert l.unshare(0x10000000) == 0",
        "import resource as r; r.setrlimit(r.RLIMIT_FSIZE, (1 << 40, 1 << 40))",
    ],
)
def test_what_is_forbidden_fails(engines: Engines, tmp_path: Path, attack: str) -> None:
    ended = run(engines, tmp_path, "python3", "-c", attack)
    assert ended.code == 1, ended
    assert "Error" in ended.stderr_tail


def test_memory_is_limited(engines: Engines, tmp_path: Path) -> None:
    ended = run(engines, tmp_path, "python3", "-c", "x = bytearray(1 << 30); print(len(x))")
    assert (ended.code, ended.oom_killed) == (137, True)


def test_processes_are_limited(engines: Engines, tmp_path: Path) -> None:
    bomb = "n=0; while [ $n -lt 400 ]; do sleep 100 & n=$((n+1)); done"
    ended = run(engines, tmp_path, "sh", "-c", bomb, memory_mb=512)
    assert ended.code != 0
    assert "fork" in ended.stderr_tail


def test_the_disk_is_limited(engines: Engines, tmp_path: Path) -> None:
    fill = "for n in range(9): open(f'/job/{n}', 'wb').write(bytes(4 << 20))"
    ended = run(engines, tmp_path, "python3", "-c", fill)
    assert ended.code == 1
    assert "No space left" in ended.stderr_tail


def test_a_flood_of_output_ends_the_program(engines: Engines, tmp_path: Path) -> None:
    ended = run(engines, tmp_path, "sh", "-c", "yes; sleep 100")
    assert ended.code == 137
    assert "printed more than" in ended.problem
    assert isinstance(ended.result, bytes)
    assert len(ended.result) < 66 << 20


def test_a_flood_of_errors_keeps_its_end(engines: Engines, tmp_path: Path) -> None:
    ended = run(engines, tmp_path, "sh", "-c", "yes | head -c 20000000 >&2; echo last >&2")
    assert ended.code == 0
    assert ended.stderr_tail.endswith("y\nlast\n")


def test_a_large_result_comes_back_whole(engines: Engines, tmp_path: Path) -> None:
    ended = run(engines, tmp_path, "sh", "-c", "yes 0123456789 | head -c 10000000")
    assert ended.result == b"0123456789\n" * 909090 + b"0123456789"
    assert ended.result_bytes == 10_000_000


def test_one_file_in_out_is_the_result_and_several_are_a_tar(
    engines: Engines, tmp_path: Path
) -> None:
    one = run(engines, tmp_path, "sh", "-c", "mkdir out; echo x >out/a; echo printed")
    assert one.result == b"x\n"
    several = "mkdir -p out/d; echo x >out/b; echo y >out/d/a; ln -s /etc/passwd out/link"
    results = [run(engines, tmp_path, "sh", "-c", several).result for _ in range(2)]
    assert results[0] == results[1]
    assert isinstance(results[0], bytes)
    with tarfile.open(fileobj=io.BytesIO(results[0])) as archive:
        assert archive.getnames() == ["b", "d/a"]


def test_links_in_the_jobs_folder_are_not_followed(engines: Engines, tmp_path: Path) -> None:
    ended = run(engines, tmp_path, "sh", "-c", "ln -s /etc out; ln -s /etc/hostname progress")
    assert (ended.code, ended.result) == (0, b"")


def test_a_missing_image_is_named(engines: Engines, tmp_path: Path) -> None:
    spec = JobSpec(image="nobody/has-it:1", command=("true",))

    async def story() -> None:
        runtime = await DockerRuntime.open(
            url=engines.a.url, agent=ClientId("a1"), work=tmp_path, warden=FakeWarden()
        )
        try:
            with pytest.raises(ImageError, match="nobody/has-it:1 is not on this engine"):
                await runtime.start(request_for(spec))
        finally:
            await runtime.close()

    asyncio.run(story())


def until(condition: Callable[[], bool], within_s: float) -> bool:
    begin = time.monotonic()
    while not condition():
        if time.monotonic() - begin > within_s:
            return False
        select.select([], [], [], 0.005)
    return True


def start_victim(engines: Engines, state: Path) -> tuple[subprocess.Popen[str], int, str, Cgroup]:
    agent = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.integration.container_agent"),
            *(str(state), engines.a.url, engines.image),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert agent.stdout is not None
    with agent.stdout as said:
        left, container, path = said.readline().split()
    return agent, int(left), container, Cgroup(path=Path(path))


def test_a_killed_agents_containers_die_and_the_next_one_clears_away(
    engines: Engines, tmp_path: Path
) -> None:
    agent, left, container, cgroup = start_victim(engines, tmp_path)
    try:
        assert left == 0
        # The shell is there before what it starts.
        assert until(lambda: len(cgroup.pids()) == 2, within_s=60)
        # Frozen, since on cgroup version 1 that is what could keep it alive.
        asyncio.run(cgroup.freeze())
    finally:
        agent.send_signal(signal.SIGKILL)
        agent.wait()
    assert until(lambda: not cgroup.pids(), within_s=30)
    again, left, other, _ = start_victim(engines, tmp_path)
    again.kill()
    again.wait()
    assert left == 1
    with contextlib.closing(docker.DockerClient(base_url=engines.a.url)) as client:
        ids = {found["Id"] for found in client.api.containers(all=True)}
        assert container not in ids
        assert other in ids
    asyncio.run(_clear_away(engines, tmp_path))
    assert not below(read_mounts(), tmp_path)
    assert not list((tmp_path / "work").iterdir())
    assert not cgroup.path.parent.exists()


async def _clear_away(engines: Engines, state: Path) -> None:
    warden = await Warden.start(state)
    runtime = await DockerRuntime.open(
        url=engines.a.url, agent=ClientId("victim"), work=state / "work", warden=warden
    )
    assert await runtime.sweep() == 1
    await runtime.close()
    await warden.close()
