"""Freezing, thawing and killing all processes of one cgroup, on version 1 and 2.

1. Which version a folder belongs to is read from the files in it, so hybrid machines work.
2. On version 1 a frozen process does not die of SIGKILL before it is thawed; `kill` does both.
3. Nothing here waits for longer than a few seconds: a process that is stuck in the kernel
   ends in a ContainerError, which names the cgroup.
"""

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from workrs.domain.errors import ConfigError, ContainerError

_WAIT_S = 5.0
_POLL_S = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Cgroup:
    """One cgroup whose processes can be frozen: of version 2, or of version 1's freezer."""

    path: Path

    @property
    def target(self) -> str:
        """How the warden calls it."""
        return f"cgroup:{self.path}"

    def exists(self) -> bool:
        """Return whether it is there."""
        return self.path.is_dir()

    def pids(self) -> set[int]:
        """Return the processes in it and below it."""
        found: set[int] = set()
        for folder, _, _ in os.walk(self.path):
            with contextlib.suppress(OSError):
                found |= {int(pid) for pid in Path(folder, "cgroup.procs").read_text().split()}
        # Processes of another pid namespace show as 0, which to kill(2) means our own group.
        return found - {0}

    def is_frozen(self) -> bool:
        """Return whether no process in it runs."""
        try:
            if self._is_v2():
                return "frozen 1" in (self.path / "cgroup.events").read_text()
            return (self.path / "freezer.state").read_text().strip() == "FROZEN"
        except OSError:
            return False

    async def freeze(self) -> None:
        """Stop everything in it; return when nothing runs, or when it is gone."""
        try:
            async with asyncio.timeout(_WAIT_S):
                await self._freeze()
        except TimeoutError:
            raise ContainerError(f"{self.path} did not freeze within {_WAIT_S:g} s") from None

    async def _freeze(self) -> None:
        while self.exists() and not self.is_frozen():
            # Version 1 may give up on a process that was busy in the kernel: ask again.
            self._write_state(frozen=True)
            if not self.is_frozen():
                await asyncio.sleep(_POLL_S)

    def thaw(self) -> None:
        """Let everything in it go on."""
        self._write_state(frozen=False)

    async def kill(self) -> None:
        """End everything in it, frozen or not; return when it is empty."""
        try:
            async with asyncio.timeout(_WAIT_S):
                while self.pids():
                    self.signal_kill()
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise ContainerError(
                f"{self.path} has processes that do not die: {self.pids()}"
            ) from None

    def signal_kill(self) -> None:
        """Send SIGKILL to all that is in it, once, and thaw it."""
        try:
            (self.path / "cgroup.kill").write_text("1")
        except OSError:
            for pid in self.pids():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.thaw()

    def remove(self) -> None:
        """Remove the empty cgroup and those below it; what is busy stays."""
        for folder, _, _ in os.walk(self.path, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()

    def _is_v2(self) -> bool:
        return (self.path / "cgroup.freeze").exists()

    def _write_state(self, *, frozen: bool) -> None:
        with contextlib.suppress(OSError):
            if self._is_v2():
                (self.path / "cgroup.freeze").write_text("1" if frozen else "0")
            else:
                # Opened without creating: a cgroup that is gone must not raise a file.
                with (self.path / "freezer.state").open("r+") as state:
                    state.write("FROZEN" if frozen else "THAWED")


def freezer_mount(*, version: int) -> Path:
    """Return where the hierarchy is mounted in which engines of a cgroup version freeze."""
    for mount, kind in _mounts():
        if (kind == "cgroup2") == (version == 2):
            return mount
    raise ConfigError(f"no cgroup of version {version} with a freezer is mounted here")


def find_parents() -> list[Path]:
    """Return folders below which this process may make cgroups that can be frozen, best first.

    Version 2 comes first, also beside version 1, since `cgroup.kill` leaves no race. Without
    root it is the cgroup this process is in, if that was delegated to its user.
    """
    found = []
    for mount, kind in _mounts():
        for own in {"", _own_path(kind)}:
            folder = mount / own.lstrip("/")
            probe = folder / f"workrs-probe-{os.getpid()}"
            with contextlib.suppress(OSError):
                probe.mkdir()
                if any((probe / name).exists() for name in ("cgroup.freeze", "freezer.state")):
                    found.append(folder)
            with contextlib.suppress(OSError):
                probe.rmdir()
            if folder in found:
                break
    return found


def _mounts() -> list[tuple[Path, str]]:
    """Return mount points and kinds of the hierarchies that can freeze, version 2 first."""
    mounts = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, point, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "freezer" in options.split(",")):
            mounts.append((Path(point), kind))
    return sorted(mounts, key=lambda mount: mount[1] != "cgroup2")


def _own_path(kind: str) -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if (kind == "cgroup2") == (controllers == "") and (
            kind == "cgroup2" or "freezer" in controllers.split(",")
        ):
            return path
    return ""
