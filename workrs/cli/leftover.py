"""Looks for what a local cluster must not leave behind: processes and mounts."""

import os
import subprocess
import time
from pathlib import Path


def wait_clean(*folders: str | Path, timeout_s: float = 3.0) -> list[str]:
    """Return what is left once nothing more goes away; a warden may outlive its agent by 1 s."""
    deadline = time.monotonic() + timeout_s
    while (left := find_leftovers(*folders)) and time.monotonic() < deadline:
        time.sleep(0.05)  # noqa: TID251 (processes of others are ending)
    return left


def unmount_below(root: Path) -> None:
    """Unmount what agents that were killed, and not started again, left below *root*."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        target = line.split()[4]
        if target.startswith(f"{root}/"):
            subprocess.run(["umount", "--lazy", target], check=False)


def find_leftovers(*folders: str | Path) -> list[str]:
    """Return what still uses one of *folders*, a line each.

    Containers are processes and mounts below an engine's folders; namespaces that outlive
    their processes are mounts too.
    """
    marks = [str(folder) for folder in folders]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found = [f"mount {line.split()[4]}" for line in mounts if any(m in line for m in marks)]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if any(mark in command for mark in marks):
            found.append(f"process {entry.name}: {command[:80]}")
    return found
