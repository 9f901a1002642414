"""Dumping a container's memory with CRIU, through runc and past the engine.

The engine's own checkpoint call packs the images through its content store, which takes some
twenty times as long and needs its experimental flag. Restoring is the engine's: it starts a
container with our OCI runtime, see `workrs.oci`.
"""

import asyncio
import contextlib
from pathlib import Path

from edge_agent.runtimes.host import tool_path
from workrs.domain.errors import ContainerError


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
    process = await asyncio.create_subprocess_exec(
        *("runc", "--root", str(runc_root), "checkpoint", "--leave-running", "--file-locks"),
        *("--image-path", str(image), "--work-path", str(work), container_id),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=tool_path(),
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
    await asyncio.to_thread(_protect, image)


def _explain(log: Path, output: bytes) -> str:
    """Return CRIU's last error, or what runc printed when CRIU did not even start."""
    with contextlib.suppress(OSError):
        errors = [line for line in log.read_text(errors="replace").splitlines() if "Error" in line]
        if errors:
            return errors[-1].strip()
    return output.decode(errors="replace").strip()[-500:]


def _protect(image: Path) -> None:
    for path in image.iterdir():
        path.chmod(0o600)
