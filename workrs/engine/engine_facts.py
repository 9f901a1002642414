"""Asking a container engine what it is, and finding its runtime state on this machine.

An engine does not tell its exec-root, below which runc keeps the containers' state. It is read
from where the engine got it: our own layout, or the command line and daemon.json of its process.
"""

import contextlib
import json
import socket
import struct
from pathlib import Path

import docker
from docker.errors import DockerException

from workrs.engine.layout import RUN_ROOT, EngineLayout
from workrs.engine.mount import is_shared, read_mounts
from workrs.engine.probe import EngineFacts

_TIMEOUT_S = 5
_DEFAULT_CONFIG = Path("/etc/docker/daemon.json")
_DEFAULT_PID_FILE = Path("/var/run/docker.pid")
_DEFAULT_EXEC_ROOT = "/var/run/docker"
_DEFAULT_NAMESPACE = "moby"


def probe_engine(url: str) -> EngineFacts:
    """Ask the engine at *url*, as in `DOCKER_HOST`. Never raises: a silent engine is a fact."""
    try:
        # First, because the SDK leaves a socket open when it cannot connect.
        listener = _listener(url)
        client = docker.DockerClient(base_url=url, timeout=_TIMEOUT_S)
        try:
            info = client.info()
        finally:
            client.close()
    except (OSError, DockerException) as error:
        return EngineFacts(url=url, problem=_innermost(error))
    options = " ".join(info.get("SecurityOptions") or ())
    process = _process_behind(listener)
    is_local = process is not None and _sees_our_files(process)
    runc_root, found_by = _runc_root(url, process) if is_local else ("", "")
    return EngineFacts(
        url=url,
        version=str(info.get("ServerVersion", "")),
        runtimes=tuple(sorted(info.get("Runtimes") or ())),
        is_local=is_local,
        is_rootless="name=rootless" in options,
        remaps_users="name=userns" in options,
        runc_root=runc_root,
        found_by=found_by,
        is_shared=not runc_root or is_shared(read_mounts(), Path(runc_root).resolve()),
    )


def _innermost(error: BaseException) -> str:
    """Return what went wrong at first; the SDK wraps it four times."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error)


def _listener(url: str) -> int | None:
    """Return the id of the process that listens at *url*, None if that is not a local socket.

    Raises:
        OSError: nobody listens.
    """
    if not url.startswith("unix://"):
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_TIMEOUT_S)
        connection.connect(url.removeprefix("unix://"))
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", peer)[0])


def _process_behind(listener: int | None) -> Path | None:
    """Return the /proc folder of the engine's process, or None if it is not on this machine.

    Where systemd opened the socket for the engine, the engine's own pid file helps.
    """
    if listener is None:
        return None
    pids = [listener]
    with contextlib.suppress(OSError, ValueError):
        pids.append(int(_DEFAULT_PID_FILE.read_text()))
    for pid in pids:
        process = Path("/proc", str(pid))
        if _name(process) == "dockerd":
            return process
    return None


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return ""


def _sees_our_files(process: Path) -> bool:
    try:
        return (process / "ns/mnt").readlink() == Path("/proc/self/ns/mnt").readlink()
    except PermissionError:
        # A plain user cannot look; an engine in another mount namespace is rare.
        return True
    except OSError:
        return False


def _runc_root(url: str, process: Path | None) -> tuple[str, str]:
    socket_path = Path(url.removeprefix("unix://"))
    if socket_path.parent.parent == RUN_ROOT:
        layout = EngineLayout(data=socket_path.parent, run=socket_path.parent)
        return str(layout.runc_root), "an engine of our own"
    if process is None:
        return "", ""
    words = (process / "cmdline").read_bytes().decode().split("\0")
    config_path = Path(_option(words, "config-file") or _DEFAULT_CONFIG)
    try:
        config = json.loads(config_path.read_text())
    except (OSError, ValueError):
        config = {}
    exec_root = _option(words, "exec-root") or config.get("exec-root") or _DEFAULT_EXEC_ROOT
    namespace = (
        _option(words, "containerd-namespace")
        or config.get("containerd-namespace")
        or _DEFAULT_NAMESPACE
    )
    return f"{exec_root}/runtime-runc/{namespace}", f"process {process.name} and {config_path}"


def _option(words: list[str], name: str) -> str:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == f"--{name}":
            return following
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
    return ""
