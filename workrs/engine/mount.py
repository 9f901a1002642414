"""Mounts: which there are, sharing them, and getting rid of them."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of /proc/self/mountinfo."""

    point: Path
    kind: str
    """Type of the file system."""
    shared: bool
    """Whether what is mounted below it is seen in other mount namespaces."""
    super_options: str
    """Options of the file system; for cgroup v1 they name the controllers."""


def parse_mountinfo(text: str) -> tuple[Mount, ...]:
    """Read the format of proc(5), in the order of mounting."""
    mounts = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        kind, _, super_options = right.split(" ", 2)
        mounts.append(
            Mount(
                point=Path(_OCTAL.sub(lambda m: chr(int(m[1], 8)), fields[4])),
                kind=kind,
                shared=any(field.startswith("shared:") for field in fields[6:]),
                super_options=super_options,
            )
        )
    return tuple(mounts)


def read_mounts() -> tuple[Mount, ...]:
    """Return the mounts that this process sees."""
    return parse_mountinfo(Path("/proc/self/mountinfo").read_text())


def below(mounts: tuple[Mount, ...], folder: Path) -> list[Path]:
    """Return the mount points at and below *folder*, the innermost and newest first."""
    return [mount.point for mount in reversed(mounts) if mount.point.is_relative_to(folder)]


def is_shared(mounts: tuple[Mount, ...], folder: Path) -> bool:
    """Return whether the mount that *folder* lies on is a shared one."""
    around = [mount for mount in mounts if folder.is_relative_to(mount.point)]
    longest = max(len(mount.point.parts) for mount in around)
    # The last of several mounts on one point is the one on top.
    return [mount for mount in around if len(mount.point.parts) == longest][-1].shared


def make_shared(folder: Path) -> None:
    """Make *folder* part of a shared mount, as on a machine that systemd started.

    CRIU restores a container only from there; elsewhere it ends with "mnt-v2: Failed to copy
    sharing".
    """
    if not is_shared(read_mounts(), folder):
        subprocess.run(["mount", "--bind", folder, folder], check=True)
        subprocess.run(["mount", "--make-shared", folder], check=True)


def unmount_below(folder: Path) -> None:
    """Detach every mount at and below *folder*, also those that are in use."""
    points = below(read_mounts(), folder)
    if points:
        subprocess.run(["umount", "--lazy", *points], check=False, capture_output=True)
