"""The processes of an agent: its programs, its warden; found in /proc, frozen ones too."""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from workrs.faults.site import Site


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
