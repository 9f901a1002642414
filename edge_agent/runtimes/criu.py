"""Dumping a container's memory with CRIU, through runc and past the engine; and its leftovers.

The engine's own checkpoint call packs the images through its content store, which takes some
twenty times as long and needs its experimental flag. Restoring is the engine's: it starts a
container with our OCI runtime, see `workrs.oci`.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from functools import cache
from pathlib import Path

from edge_agent.runtimes import job_mount
from edge_agent.runtimes.host import probe_host, tool_path
from workrs.domain.errors import ContainerError

_RESTORE_S = 50.0
"""It takes 0.3 s, and on two cores with a load of 38 it took over 10 s. What is given up here
counts as a damaged checkpoint, and the job loses what it did since the one before."""
_RESTORE_BYTES_PER_S = 100 << 20
"""A tenth of what was measured."""


async def dump(container_id: str, *, runc_root: Path, folder: Path) -> None:
    """Write the memory of a frozen container to `image/` in *folder*, and leave it frozen.

    A cancelled call waits until CRIU has ended, since CRIU killed halfway leaves code of its
    own in the program. That takes as long as the rest of the dump.

    Raises:
        ContainerError: CRIU could not do it; the container is as before.
    """
    image, work = folder / "image", folder / "work"
    for path in (image, work):
        await asyncio.to_thread(path.mkdir, mode=0o700)
    settings = work / "criu.conf"
    await asyncio.to_thread(lambda: settings.write_text(dump_settings(_version())))
    process = await asyncio.create_subprocess_exec(
        *("runc", "--root", str(runc_root), "checkpoint", "--leave-running", "--file-locks"),
        *("--image-path", str(image), "--work-path", str(work), container_id),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        # runc has no options for what is in there.
        env={**tool_path(), "CRIU_CONFIG_FILE": str(settings)},
        start_new_session=True,
    )
    ended = asyncio.ensure_future(process.communicate())
    try:
        output, _ = await asyncio.shield(ended)
    except asyncio.CancelledError:
        with contextlib.suppress(asyncio.CancelledError):
            await ended
        raise
    if process.returncode:
        reason = await asyncio.to_thread(_explain, work / "dump.log", output)
        raise ContainerError(f"CRIU could not save container {container_id[:12]}: {reason}")
    await asyncio.to_thread(_tidy, image, work)


def dump_settings(version: str) -> str:
    """Return what CRIU of *version* is told beyond what runc tells it, in its own words.

    A network is locked during a dump, so that nobody's packets meet a program that does not
    answer: `iptables-restore` is run for that, 0.05 s of the 0.16 s that a small one stands still.
    Jobs have no network. What CRIU notes in the images spares the restore the same.
    """
    numbers = [int(number) for number in version.split(".") if number.isdecimal()]
    return "network-lock skip\n" if numbers >= [3, 19] else ""


@cache
def _version() -> str:
    return probe_host().criu


def restore_limit_s(folder: Path) -> float:
    """Return how long restoring the images in *folder* may take; CRIU knows no end of its own."""
    size = sum(path.stat().st_size for path in (folder / "image").iterdir())
    return _RESTORE_S + size / _RESTORE_BYTES_PER_S


def clear_restore(container_id: str, folder: Path) -> None:
    """Remove what a restore that failed left: processes that hang, and mounts in `work/`. Blocks.

    CRIU given a page image that is too short reads its end for ever.
    """
    for pid in _descendants(_restorers(container_id)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    # Cgroups are mounted in there: not to be reached by whoever removes the folder.
    job_mount.unmount_below(folder)
    shutil.rmtree(folder / "work", ignore_errors=True)


def _restorers(container_id: str) -> set[int]:
    """Return the `runc restore` of a container, if there is one."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if container_id in words and "restore" in words:
                found.add(int(process.name))
    return found


def _descendants(pids: set[int]) -> set[int]:
    """Return *pids* and all that they started, as far as their parents still live."""
    children: dict[int, set[int]] = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), set()).add(int(process.name))
    found: set[int] = set()
    left = set(pids)
    while left:
        pid = left.pop()
        found.add(pid)
        left |= children.get(pid, set()) - found
    return found


def _explain(log: Path, output: bytes) -> str:
    """Return CRIU's reason, or what runc printed when CRIU did not even start."""
    with contextlib.suppress(OSError):
        errors = [line for line in log.read_text(errors="replace").splitlines() if "Error" in line]
        if errors:
            # The last only says that it failed.
            return (errors[:-1] or errors)[-1].strip()
    return output.decode(errors="replace").strip()[-500:]


def _tidy(image: Path, work: Path) -> None:
    shutil.rmtree(work)
    for path in image.iterdir():
        path.chmod(0o600)
