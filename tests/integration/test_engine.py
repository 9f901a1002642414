"""Goal: our engines start, move containers between them, and leave nothing behind.

Method: real engines with containers of a BusyBox, in folders of the test's own.
"""

import contextlib
import io
import os
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import docker
import pytest
from docker.errors import APIError

from workrs import oci
from workrs.engine import cgroup, image_files
from workrs.engine.engine_facts import probe_engine
from workrs.engine.image import build_image
from workrs.engine.layout import EngineLayout
from workrs.engine.mount import below, read_mounts
from workrs.engine.own import EngineError, OwnEngine, missing, own_engines
from workrs.engine.probe import best, find_program, probe_machine, rungs
from workrs.engine.rehearsal import LABEL, rehearse
from workrs.ports.runtime import Rung

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]
MACHINE = probe_machine()
CRIU_PROBLEM = MACHINE.criu.problem or ("" if MACHINE.criu.path else "no criu")
ELSEWHERE = f"/workrs-test-{os.getpid()}"
"""A cgroup that is no engine's."""
NEEDS_CRIU = pytest.mark.skipif(bool(CRIU_PROBLEM), reason=CRIU_PROBLEM)

COUNT = "i=0; while :; do i=$((i+1)); echo $i; echo $i >>/job/out; sleep 0.02; done"
HARDENED: dict[str, Any] = {
    "network_mode": "none",
    "read_only": True,
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges"],
    "tmpfs": {"/tmp": "size=1m"},
    "runtime": oci.RUNTIME_NAME,
}


def until(condition: Callable[[], bool], within_s: float = 60.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.01)
    return True


def left_of(layout: EngineLayout) -> dict[str, object]:
    """Return what can still be seen of an engine; empty if nothing."""
    run = str(layout.run)
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if run.encode() in (process / "cmdline").read_bytes():
                processes.append(process.name)
    seen = {
        "processes": processes,
        "mounts": [*below(read_mounts(), layout.run), *below(read_mounts(), layout.data)],
        "cgroups": cgroup.folders_of(layout.cgroup),
        "run": list(layout.run.parent.glob(layout.run.name)),
    }
    return {key: value for key, value in seen.items() if value}


def kill_those(layout: EngineLayout, is_meant: Callable[[Path], bool]) -> None:
    """Kill an engine's processes that are meant, by their folders below /proc.

    All are chosen before the first is killed: others may follow it at once.
    """
    meant = []
    for process in left_of(layout)["processes"]:  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):
            if is_meant(Path("/proc", process)):
                meant.append(int(process))
    assert meant
    for pid in meant:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def client_of(engine: OwnEngine) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=engine.url)
    try:
        yield client
    finally:
        client.close()


def load_busybox(client: docker.DockerClient) -> str:
    """Give the engine a small image with a shell and return its name."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(find_program("busybox"), "bin/busybox")
        for applet in ("sh", "sleep", "echo", "cat"):
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for folder in ("job", "tmp"):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
    client.api.import_image_from_data(archive.getvalue(), repository="busybox", tag="test")
    return "busybox:test"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[OwnEngine, OwnEngine]]:
    root = tmp_path_factory.mktemp("engines")
    with own_engines(2, root) as (one, other):
        yield one, other
    shutil.rmtree(root)


def checkpoint(engine: OwnEngine, container_id: str, folder: Path) -> None:
    for part in ("image", "work"):
        (folder / part).mkdir(parents=True)
    subprocess.run(
        [
            *("runc", "--root", str(engine.runc_root), "checkpoint", "--leave-running"),
            *("--file-locks", "--image-path", str(folder / "image")),
            *("--work-path", str(folder / "work"), container_id),
        ],
        check=True,
        capture_output=True,
        env={**os.environ, "PATH": f"{oci.PREFIX_BIN}:{os.environ['PATH']}"},
    )


def test_two_engines_run_side_by_side_and_know_nothing_of_each_other(
    pair: tuple[OwnEngine, OwnEngine],
) -> None:
    with client_of(pair[0]) as one, client_of(pair[1]) as other:
        image = load_busybox(one)
        container = one.containers.create(image, ["sleep", "60"], **HARDENED)
        assert one.containers.list(all=True) == [container]
        assert other.containers.list(all=True) == []
        container.remove()
        assert one.info()["ID"] != other.info()["ID"]


def test_a_folder_serves_one_engine_at_a_time(pair: tuple[OwnEngine, OwnEngine]) -> None:
    with pytest.raises(EngineError, match="in use"):
        OwnEngine(pair[0].layout.data).wait_ready()
    assert pair[0].is_alive()
    with client_of(pair[0]) as client:
        assert client.ping()


@pytest.mark.criu
@NEEDS_CRIU
def test_a_container_moves_to_another_engine_with_its_memory_files_and_tmpfs(
    pair: tuple[OwnEngine, OwnEngine], tmp_path: Path
) -> None:
    job = tmp_path / "job"
    job.mkdir()
    spec = HARDENED | {
        "command": ["sh", "-c", f"echo kept >/tmp/kept; {COUNT}"],
        "volumes": {str(job): {"bind": "/job", "mode": "rw"}},
    }
    with client_of(pair[0]) as one, client_of(pair[1]) as other:
        image = load_busybox(one)
        load_busybox(other)
        before = one.containers.run(image, detach=True, **spec)
        assert until(lambda: (job / "out").exists() and len((job / "out").read_text()) > 20)
        before.pause()
        checkpoint(pair[0], before.id, tmp_path / "checkpoint")
        frozen_at = len((job / "out").read_text().split())
        before.remove(force=True)

        after = other.containers.create(image, **spec)
        oci.hand_over(after.id, tmp_path / "checkpoint")
        after.start()
        assert until(lambda: len((job / "out").read_text().split()) > frozen_at + 5)
        assert after.exec_run(["cat", "/tmp/kept"]).output == b"kept\n"
        after.reload()
        assert after.status == "running"
        after.kill()
        assert after.wait()["StatusCode"] == 137
        lines = (job / "out").read_text().split()
        assert lines == [str(number + 1) for number in range(len(lines))]
        # One more, if it was frozen between printing a number and writing it down.
        assert int(after.logs().split()[0]) - frozen_at in (1, 2)
        after.remove()


@pytest.mark.criu
@NEEDS_CRIU
def test_a_damaged_checkpoint_does_not_start_and_says_why(
    pair: tuple[OwnEngine, OwnEngine], tmp_path: Path
) -> None:
    with client_of(pair[0]) as client:
        image = load_busybox(client)
        spec = HARDENED | {"command": ["sleep", "60"]}
        whole = client.containers.run(image, detach=True, **spec)
        whole.pause()
        checkpoint(pair[0], whole.id, tmp_path / "checkpoint")
        whole.remove(force=True)
        for pages in (tmp_path / "checkpoint" / "image").glob("pagemap-*.img"):
            pages.write_bytes(pages.read_bytes()[:10])

        damaged = client.containers.create(image, **spec)
        oci.hand_over(damaged.id, tmp_path / "checkpoint")
        with pytest.raises(APIError, match="criu failed"):
            damaged.start()
        assert oci.restore_errors(tmp_path / "checkpoint")
        oci.take_back(damaged.id)
        damaged.remove(force=True)
        assert client.containers.list(all=True) == []


def test_probing_an_engine_of_ours_finds_the_memory_rung(
    pair: tuple[OwnEngine, OwnEngine],
) -> None:
    facts = probe_engine(pair[0].url)
    assert facts.is_local
    assert facts.runc_root == str(pair[0].runc_root)
    assert best(rungs(MACHINE, facts)).rung is (Rung.FILES if CRIU_PROBLEM else Rung.MEMORY)


@pytest.mark.criu
@NEEDS_CRIU
def test_a_rehearsal_finds_what_probing_cannot_and_leaves_nothing(
    pair: tuple[OwnEngine, OwnEngine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workrs.engine.rehearsal._TIMEOUT_S", 60)
    assert rehearse(pair[0].url, str(pair[0].runc_root)) == ""
    assert "checkpoint" in rehearse(pair[0].url, str(tmp_path))
    with client_of(pair[0]) as client:
        assert client.containers.list(all=True, filters={"label": LABEL}) == []
        assert client.images.list("workrs/rehearsal") == []


def test_the_state_of_a_foreign_engine_is_found_by_its_process(
    pair: tuple[OwnEngine, OwnEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workrs.engine.engine_facts.RUN_ROOT", Path("/nowhere"))
    facts = probe_engine(pair[0].url)
    assert facts.runc_root == str(pair[0].runc_root)
    assert "dockerd.json" in facts.found_by


def test_an_engine_that_is_not_there_is_a_fact_and_no_error(tmp_path: Path) -> None:
    facts = probe_engine(f"unix://{tmp_path}/docker.sock")
    assert "No such file" in facts.problem
    assert best(rungs(MACHINE, facts)).rung is Rung.NONE


def test_a_stop_leaves_nothing_of_running_paused_and_misplaced_containers(tmp_path: Path) -> None:
    data = tmp_path / "engine"
    with OwnEngine(data) as engine, client_of(engine) as client:
        image = load_busybox(client)
        for parent in (None, ELSEWHERE):
            for paused in (False, True):
                container = client.containers.run(
                    image, ["sleep", "600"], detach=True, cgroup_parent=parent, **HARDENED
                )
                if paused:
                    container.pause()
        assert left_of(engine.layout).keys() == {"processes", "mounts", "cgroups", "run"}
    assert left_of(engine.layout) == {}
    elsewhere = cgroup.folders_of(ELSEWHERE)
    assert not cgroup.members(elsewhere)
    cgroup.remove(elsewhere)

    with OwnEngine(data) as engine, client_of(engine) as client:
        assert client.containers.list(all=True) == []
        assert client.images.list()[0].tags == [image], "images stay"


OWNER = """
import sys
from pathlib import Path
import docker
from workrs.engine.own import OwnEngine
with OwnEngine(Path(sys.argv[1])) as engine:
    client = docker.DockerClient(base_url=engine.url)
    client.containers.run(sys.argv[2], ["sleep", "600"], detach=True, network_mode="none")
    print("running", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def owned(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Another process that owns an engine with a running container."""
    data = tmp_path / "engine"
    with OwnEngine(data) as engine, client_of(engine) as client:
        image = load_busybox(client)
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data), image],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(oci.__file__).parents[2])},
    )
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"running\n"
        yield SimpleNamespace(process=owner, layout=EngineLayout.of(data))
        owner.kill()


def test_an_engine_ends_with_its_owner_even_if_that_is_killed(owned: SimpleNamespace) -> None:
    assert left_of(owned.layout)
    owned.process.kill()
    assert until(lambda: left_of(owned.layout) == {}), left_of(owned.layout)


def test_what_a_killed_supervisor_leaves_goes_with_the_next_start_of_any_engine(
    owned: SimpleNamespace, tmp_path: Path
) -> None:
    kill_those(owned.layout, lambda at: b"workrs.engine.supervise" in (at / "cmdline").read_bytes())
    owned.process.kill()
    owned.process.wait()
    assert left_of(owned.layout).keys() == {"processes", "mounts", "cgroups", "run"}
    with OwnEngine(tmp_path / "other"):
        pass
    assert left_of(owned.layout) == {}


@pytest.mark.parametrize("daemon", ["dockerd", "containerd"])
def test_of_an_engine_whose_daemon_dies_nothing_goes_on(tmp_path: Path, daemon: str) -> None:
    with OwnEngine(tmp_path / "engine") as engine, client_of(engine) as client:
        client.containers.run(load_busybox(client), ["sleep", "600"], detach=True, **HARDENED)
        kill_those(engine.layout, lambda at: (at / "comm").read_text() == f"{daemon}\n")
        assert until(lambda: not engine.is_alive())
        assert left_of(engine.layout) == {}


def test_an_engine_that_cannot_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    engine = OwnEngine(tmp_path / "engine", storage_driver="nonsense")
    with pytest.raises(EngineError, match="nonsense"):
        engine.wait_ready()
    assert left_of(engine.layout) == {}


def test_an_image_is_the_same_on_every_engine_and_is_built_once(
    pair: tuple[OwnEngine, OwnEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [engine.url for engine in pair]
    first = build_image(urls[:1])
    again = build_image(urls[:1])
    assert again.loaded == ()
    assert again.image_id == first.image_id

    both = build_image(urls)
    assert both.loaded == (urls[1],)
    assert both.image_id == first.image_id

    # Other inputs, as by their times, and the same contents: another tag, the same image.
    monkeypatch.setattr("workrs.engine.image._stamp", lambda _path: b"other")
    retagged = build_image(urls[:1])
    assert retagged.tag != first.tag
    assert retagged.image_id == first.image_id


def test_an_image_runs_python_and_a_shell_read_only_and_without_a_network(
    pair: tuple[OwnEngine, OwnEngine],
) -> None:
    image = build_image([pair[0].url], packages=["packaging"])
    modules = "ssl sqlite3 ctypes lzma bz2 decimal asyncio hashlib zlib packaging.version"
    program = f"import threading, {', '.join(modules.split())}; print(6 * 7)"
    with client_of(pair[0]) as client:
        for command in (["python3", "-c", program], ["sh", "-c", "echo 42 | cat"]):
            output = client.containers.run(image.image_id, command, remove=True, **HARDENED)
            assert output == b"42\n"


def test_a_package_that_is_not_installed_is_named(pair: tuple[OwnEngine, OwnEngine]) -> None:
    with pytest.raises(Exception, match="no-such-package is not installed"):
        build_image([pair[0].url], packages=["no-such-package"])


def test_byte_code_in_an_image_is_used_as_it_is(pair: tuple[OwnEngine, OwnEngine]) -> None:
    image = build_image([pair[0].url])
    program = "import json.decoder as d; print(d.__cached__, d.__spec__.origin)"
    check = "import sys; b = open(sys.argv[1], 'rb').read(8); print(b[4])"
    with client_of(pair[0]) as client:

        def run(*words: str) -> bytes:
            command = ["python3", "-c", *words]
            output = client.containers.run(image.image_id, command, remove=True, **HARDENED)
            assert isinstance(output, bytes)
            return output

        cached, origin = run(program).split()
        assert origin == f"/{image_files.LIBRARY}/json/decoder.py".encode()
        assert run(check, cached.decode()).strip() == b"1", "flags: a hash that is not checked"


AS_VERSION_2 = """
umount --recursive --lazy /sys/fs/cgroup &&
mount -t cgroup2 none /sys/fs/cgroup &&
exec "$0" -m pytest -p no:cacheprovider -k "moves_to_another or stop_leaves or killed" "$1"
"""


@pytest.mark.criu
@NEEDS_CRIU
@pytest.mark.skipif(
    MACHINE.cgroup_version == 2, reason="this machine has version 2: all tests tried it"
)
def test_moving_stopping_and_sweeping_work_on_cgroup_version_2_too() -> None:
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", AS_VERSION_2, sys.executable, __file__],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(oci.__file__).parents[2],
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
