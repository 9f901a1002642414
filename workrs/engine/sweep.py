"""Leaving nothing behind: processes, mounts, namespaces, cgroups and files of an engine.

Works without the engine's help, so it also serves after a crash of everything involved.
"""

import contextlib
import fcntl
import json
import os
import shutil
from pathlib import Path

from workrs.engine import cgroup
from workrs.engine.layout import EngineLayout
from workrs.engine.mount import unmount_below


def take_lock(layout: EngineLayout) -> int | None:
    """Become the owner of the engine: return a descriptor to keep open, or None if it has one."""
    layout.run.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        lock = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None  # a former owner has just removed the folder
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A former owner may have removed the file between the two calls: what is locked then
        # is a file that nobody else will ever find.
        if _is_at(lock, layout.lock):
            return lock
    except BlockingIOError:
        pass
    os.close(lock)
    return None


def sweep(layout: EngineLayout) -> None:
    """Remove what an engine leaves, except its data and the lock, which the caller holds."""
    folders = cgroup.folders_of(layout.cgroup) + container_cgroups(layout)
    cgroup.kill(folders)
    _unlink_shim_sockets(layout)
    unmount_below(layout.run)
    unmount_below(layout.data)
    cgroup.remove(folders)
    for entry in layout.run.iterdir():
        if entry == layout.lock:
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def remove_run_folder(layout: EngineLayout) -> None:
    """Remove the rest, the lock included; the last thing an owner does."""
    shutil.rmtree(layout.run, ignore_errors=True)


def sweep_dead(run_root: Path, *, but: EngineLayout) -> None:
    """Sweep the other engines below *run_root* whose owner has died without doing it."""
    for run in run_root.iterdir():
        layout = EngineLayout(data=_data_of(run), run=run)
        if run == but.run or (lock := take_lock(layout)) is None:
            continue
        sweep(layout)
        remove_run_folder(layout)
        os.close(lock)


def container_cgroups(layout: EngineLayout) -> list[Path]:
    """Return the cgroups of the engine's containers, wherever they were asked to be."""
    folders: set[str] = set()
    for state in layout.runc_root.glob("*/state.json"):
        with contextlib.suppress(OSError, ValueError):
            folders.update(json.loads(state.read_text())["cgroup_paths"].values())
    return [Path(folder) for folder in sorted(folders) if folder]


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _data_of(run: Path) -> Path:
    link = run / "data"
    return link.readlink() if link.is_symlink() else run


def _unlink_shim_sockets(layout: EngineLayout) -> None:
    """Remove the sockets of killed shims, which containerd keeps outside of its state folder."""
    for address in layout.containerd_state.glob("io.containerd.runtime.v2.task/*/*/address"):
        Path(address.read_text().removeprefix("unix://")).unlink(missing_ok=True)
