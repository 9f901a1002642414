"""The machine's own wish to be left alone: a command that is asked from time to time.

1. Exit code 0: the jobs should go elsewhere, and the first line it printed is the reason. 1: they
   may come (again). Anything else, and a command that does not end, changes nothing and is logged:
   a broken hook neither drains a machine nor keeps one drained that was not.
2. It is asked at the start, and then `poll_s` after each end.
3. One at a time; one that does not end within TIMEOUT_S is killed with all that it started.
4. Of what it prints the first OUTPUT_MAX_BYTES are kept, however much it is.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable

from edge_agent.event import LeaveWished
from workrs.adapters import log

TIMEOUT_S = 10.0
REASON_MAX = 200
OUTPUT_MAX_BYTES = 4096
_SHELL = "/bin/sh"
_LEAVE = 0
_STAY = 1


async def ask(command: str) -> LeaveWished | str:
    """Run the hook once; return what it wishes, or why nothing can be learnt from it."""
    try:
        process = await asyncio.create_subprocess_exec(
            *(_SHELL, "-c", command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:  # a machine without memory or processes to spare
        return f"it could not be started: {error}"
    assert process.stdout is not None
    try:
        async with asyncio.timeout(TIMEOUT_S):
            output = await _read(process.stdout)
            await process.wait()
    except TimeoutError:
        _kill(process.pid)
        # What has made itself a session of its own may hold the pipe for as long as it likes, and
        # asyncio has no other way to let go of it.
        process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
        await process.wait()
        return f"it did not end within {TIMEOUT_S:g} s"
    finally:
        # Also what it left behind, whether it ended or this was cancelled.
        _kill(process.pid)
    said = output.decode(errors="replace").strip().partition("\n")[0][:REASON_MAX]
    if process.returncode == _LEAVE:
        return LeaveWished(leave=True, why=said or "its hook says so")
    if process.returncode == _STAY:
        return LeaveWished(leave=False)
    return f"it ended with {process.returncode}: {said}"


async def _read(stream: asyncio.StreamReader) -> bytes:
    """Return the beginning of what comes until its end; the rest is read as well, and dropped."""
    kept = b""
    while part := await stream.read(OUTPUT_MAX_BYTES):
        kept += part[: OUTPUT_MAX_BYTES - len(kept)]
    return kept


def _kill(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


async def follow(command: str, poll_s: float, post: Callable[[LeaveWished], None]) -> None:
    """Ask for ever, and post what changes. Cancel-safe: a hook under way is killed."""
    last: bool | None = None
    logger = log.get("agent.hook")
    while True:
        found = await ask(command)
        if isinstance(found, str):
            logger.warning("leave_hook_failed", why=found)
        elif found.leave is not last:
            last = found.leave
            post(found)
        await asyncio.sleep(poll_s)
