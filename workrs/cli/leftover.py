"""Looks for what a local cluster must not leave behind: processes, mounts, sockets."""

import os
from pathlib import Path

ENGINES_RUN = "/run/workrs/engines"
"""Below it are the sockets and mounts of engines of our own while they run."""


def find_leftovers(root: Path) -> list[str]:
    """Return what still uses the cluster's folder or our engines, a line each."""
    marks = (str(root), ENGINES_RUN)
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found = [f"mount {line.split()[4]}" for line in mounts if any(m in line for m in marks)]
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if str(root) in command:
            found.append(f"process {entry.name}: {command[:80]}")
    return found
