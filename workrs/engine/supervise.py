"""The process that owns one engine: `python -m workrs.engine.supervise DATA RUN STORAGE_DRIVER`.

1. It writes one line to stdout: `ready`, or why the engine did not start.
2. It stops the engine and sweeps when its stdin ends, whatever ended its parent, and also on
   SIGTERM, and when dockerd or containerd ends on its own.
3. It imports the standard library alone, so that an engine is up in a fraction of a second.

If it is itself killed, the engine runs on without an owner until the next start of any engine.
"""

import contextlib
import ctypes
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from workrs.engine import api, cgroup
from workrs.engine.layout import EngineLayout, containerd_config, dockerd_config
from workrs.engine.mount import make_shared
from workrs.engine.sweep import (
    container_cgroups,
    remove_run_folder,
    sweep,
    sweep_dead,
    take_lock,
)

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 5.0
_LOCK_TIMEOUT_S = 5.0
_POLL_S = 0.005
_PR_SET_CHILD_SUBREAPER = 36

_Daemon = subprocess.Popen[bytes]


class _EndedError(Exception):
    """The engine should not, or does not, go on; the text says why."""


def main(arguments: list[str]) -> int:
    """Own an engine until stdin ends; return 0 if it was asked to stop."""
    data, run, storage_driver = arguments
    layout = EngineLayout(data=Path(data), run=Path(run))
    # Orphans come to this process: process 1 of some machines takes a second to note their end.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, _on_terminate)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        lock = _wait_for_lock(layout)
    except _EndedError as error:
        _say(str(error))
        return 1
    daemons: list[_Daemon] = []
    try:
        _start(layout, daemons, storage_driver=storage_driver or None)
        # From here on the kernel removes ended children, daemons and adopted shims alike. Not
        # earlier, because the daemons would inherit it.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        _say("ready")
        _watch(daemons)
    except _EndedError as error:
        _say(str(error))
        return 1
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _stop(layout, daemons)
        remove_run_folder(layout)
        os.close(lock)
    return 0


def _on_terminate(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _say(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def _parent_left(timeout_s: float) -> bool:
    """Wait for *timeout_s* at most and return whether stdin has ended."""
    return bool(select.select([sys.stdin], [], [], timeout_s)[0])


def _wait_until(condition: Callable[[], bool], *, timeout_s: float, why: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if _parent_left(_POLL_S):
            raise _EndedError("the caller went away")
        if time.monotonic() > deadline:
            raise _EndedError(why)


def _wait_for_lock(layout: EngineLayout) -> int:
    """Take the lock; a former owner that is just stopping gets the time to finish."""
    locks: list[int] = []

    def take() -> bool:
        lock = take_lock(layout)
        if lock is not None:
            locks.append(lock)
        return bool(locks)

    _wait_until(
        take,
        timeout_s=_LOCK_TIMEOUT_S,
        why=f"the engine of {layout.data} is in use by another process",
    )
    return locks[0]


def _start(layout: EngineLayout, daemons: list[_Daemon], *, storage_driver: str | None) -> None:
    sweep(layout)
    sweep_dead(layout.run.parent, but=layout)
    layout.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    (layout.run / "data").symlink_to(layout.data)
    make_shared(layout.run)
    folder = cgroup.create(_daemons_cgroup(layout))

    containerd = layout.run / "containerd.toml"
    containerd.write_text(containerd_config(layout))
    daemons.append(_spawn(layout, folder, "containerd", "--config", containerd))
    config = dockerd_config(
        layout, storage_driver=storage_driver, has_trust_key=_major_version("dockerd") < 25
    )
    dockerd = layout.run / "dockerd.json"
    dockerd.write_text(config)
    _wait_for("containerd", daemons, layout, layout.containerd_socket.exists)
    daemons.append(_spawn(layout, folder, "dockerd", "--config-file", dockerd))
    _wait_for("dockerd", daemons, layout, lambda: api.is_ready(layout.socket))
    # What a killed engine had running is listed as exited now, and of no use to anybody.
    api.remove_containers(layout.socket)


def _major_version(program: str) -> int:
    try:
        ran = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    except OSError as error:
        raise _EndedError(f"{program} does not run: {error}; type: ./run setup") from error
    found = re.search(r"version (\d+)", ran.stdout)
    return int(found[1]) if found else sys.maxsize


def _spawn(layout: EngineLayout, folder: Path, program: str, option: str, config: Path) -> _Daemon:
    procs = folder / "cgroup.procs"
    with (layout.data / f"{program}.log").open("wb") as log:
        try:
            return subprocess.Popen(
                [program, option, config],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Safe, because this process has one thread; only so no child can be missed.
                preexec_fn=lambda: procs.write_text("0"),  # noqa: PLW1509
            )
        except FileNotFoundError as error:
            raise _EndedError(f"{program} is not installed; type: ./run setup") from error


def _wait_for(
    program: str, daemons: list[_Daemon], layout: EngineLayout, ready: Callable[[], bool]
) -> None:
    newest = daemons[-1]

    def ready_or_ended() -> bool:
        return newest.poll() is not None or ready()

    _wait_until(ready_or_ended, timeout_s=_START_TIMEOUT_S, why=f"{program} does not get ready")
    if newest.poll() is not None:
        lines = (layout.data / f"{program}.log").read_text(errors="replace").splitlines()
        raise _EndedError(f"{program} ended at its start: {' | '.join(lines[-3:])}")


def _watch(daemons: list[_Daemon]) -> None:
    """Return when stdin ends."""
    watched = [os.pidfd_open(daemon.pid) for daemon in daemons]
    ended = select.select([sys.stdin, *watched], [], [])[0]
    for pidfd in watched:
        os.close(pidfd)
    if sys.stdin not in ended:
        raise _EndedError("dockerd or containerd ended")


def _stop(layout: EngineLayout, daemons: list[_Daemon]) -> None:
    """Kill the containers, then let the daemons put their databases in order."""
    keep = cgroup.members(cgroup.folders_of(_daemons_cgroup(layout)))
    cgroup.kill(cgroup.folders_of(layout.cgroup) + container_cgroups(layout), spare=keep)
    for daemon in reversed(daemons):
        daemon.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(_STOP_TIMEOUT_S)
    sweep(layout)
    for daemon in daemons:
        daemon.wait()


def _daemons_cgroup(layout: EngineLayout) -> str:
    return f"{layout.cgroup}/daemons"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
