"""Cgroups of version 1 and 2: who is in one, and ending all that are.

A cgroup is named by its path below the hierarchies' roots, as in `/workrs-engine-1`. On version 1
it has a folder in each hierarchy, on version 2 one.
"""

import contextlib
import os
import select
import signal
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from workrs.engine.mount import read_mounts


def hierarchies() -> list[Path]:
    """Return the mount points of all hierarchies, those of version 2 first."""
    mounts = [mount for mount in read_mounts() if mount.kind in {"cgroup", "cgroup2"}]
    return [mount.point for mount in sorted(mounts, key=lambda mount: mount.kind != "cgroup2")]


def folders_of(cgroup: str) -> list[Path]:
    """Return the folders of *cgroup* that exist."""
    folders = [hierarchy / cgroup.lstrip("/") for hierarchy in hierarchies()]
    return [folder for folder in folders if folder.is_dir()]


def create(cgroup: str) -> Path:
    """Create *cgroup* in one hierarchy and return its folder; enough to find processes again."""
    folder = hierarchies()[0] / cgroup.lstrip("/")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def members(folders: Iterable[Path]) -> set[int]:
    """Return the ids of the processes in *folders* and everything below them."""
    pids: set[int] = set()
    for folder in _tree(folders):
        with contextlib.suppress(OSError):
            pids |= {int(pid) for pid in (folder / "cgroup.procs").read_text().split()}
    # Processes of another pid namespace show as 0, which to kill(2) means the caller's own group.
    return pids - {0}


def kill(folders: Collection[Path], *, spare: Collection[int] = (), within_s: float = 5.0) -> bool:
    """Kill everything in *folders* except *spare*; return whether they are empty in time.

    Frozen processes of version 1 do not die before they are thawed, so they are.
    """
    deadline = time.monotonic() + within_s
    while left := members(folders) - set(spare):
        _thaw(folders)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        select.select([], [], [], 0.005)
    return True


def remove(folders: Collection[Path]) -> None:
    """Remove *folders*, which are empty, and those below them."""
    for folder in reversed(list(_tree(folders))):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _thaw(folders: Collection[Path]) -> None:
    for folder in _tree(folders):
        for file, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
            with contextlib.suppress(OSError):
                (folder / file).write_text(word)


def _tree(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield *folders* and all below them, each after the one it is in."""
    for top in folders:
        for folder, _, _ in os.walk(top):
            yield Path(folder)
