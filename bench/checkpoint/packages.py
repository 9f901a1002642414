"""Rivals from Debian's packages, unpacked beside the system instead of installed into it.

apt resolves and verifies what this machine lacks and downloads it; the packages are unpacked
in a folder of the bench, and nothing of the system changes: no service, user, or library.
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from edge_agent.runtimes.host import tool_path

if TYPE_CHECKING:
    from pathlib import Path

PACKAGES = ("podman", "restic", "borgbackup")


def unpack(folder: Path) -> str:
    """Make sure the rivals' programs are in *folder*; return why not, or an empty text."""
    if all((folder / "usr/bin" / name).exists() for name in ("podman", "restic", "borg")):
        return ""
    archives = folder / "archives"
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    print(f"unpacking {', '.join(PACKAGES)} of Debian, and what they need, in {folder}")
    command = [
        *("apt-get", "-qq", "install", "--download-only", "--yes", "--no-install-recommends"),
        *("-o", f"Dir::Cache::archives={archives}", *PACKAGES),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        for archive in archives.glob("*.deb"):
            subprocess.run(["dpkg", "-x", archive, folder], check=True, capture_output=True)
            archive.unlink()
    except OSError as error:
        return f"no {error.filename} here"
    except subprocess.CalledProcessError as error:
        return f"apt-get cannot download them: {error.stderr.strip()[-300:]}"
    return ""


def environment(folder: Path) -> dict[str, str]:
    """Return the environment in which the unpacked programs and the project's CRIU are found."""
    libraries = ":".join(str(path) for path in (folder / "usr/lib").glob("*-linux-gnu*"))
    return {
        **os.environ,
        "PATH": f"{tool_path()['PATH'].partition(':')[0]}:{folder}/usr/bin:{tool_path()['PATH']}",
        "LD_LIBRARY_PATH": libraries,
        "PYTHONPATH": f"{folder}/usr/lib/python3/dist-packages",
    }
