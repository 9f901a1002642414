"""The processes of an agent: its programs, its warden; found in /proc, frozen ones too."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Final

from workrs.faults.site import Site

LOOK_S: Final = 0.05


def family(pid: int) -> list[int]:
    """Return a process and all its descendants, parents first."""
    found, place = [pid], 0
    while place < len(found):
        with suppress(OSError):
            for children in Path(f"/proc/{found[place]}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
        place += 1
    return found


def programs(site: Site, agent: str, job: str, epoch: int) -> list[int]:
    """Return the processes in the folder of a job's start at an agent (process runtime)."""
    work = site.cluster.plan.root / agent
    mark = f"/{job}.{epoch}."
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            folder = str((process / "cwd").readlink())
            if folder.startswith(str(work)) and mark in folder:
                found.append(int(process.name))
    return found


def kill_all(pids: Iterable[int]) -> None:
    """SIGKILL processes, parents first; those that have ended do not matter."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def lingering(root: Path, timeout_s: float) -> list[int]:
    """Return the processes whose working directory is below *root*, once none more ends.

    A program of the process runtime need not name its folder; it always stands in it.
    """
    deadline = time.monotonic() + timeout_s
    while (found := _standing_in(root)) and time.monotonic() < deadline:
        Event().wait(LOOK_S)
    return found


def _standing_in(root: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str((process / "cwd").readlink()).startswith(f"{root}/"):
                found.append(int(process.name))
    return found
