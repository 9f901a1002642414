"""The threads that hash, compress and write.

Saving has one, less urgent than everything else, which all checkpoints of an agent share: one
core at most goes to it, because the jobs own the others, and a heartbeat must not wait for a
gigabyte of zstd. Loading has two, as urgent as any, because a job waits for it.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """A few threads."""

    def __init__(self, *, threads: int = 1, nice: int = 0) -> None:
        """Start none before the first call."""
        self._pool = ThreadPoolExecutor(
            threads, "checkpoint", initializer=_lower_priority, initargs=(nice,)
        )

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for the call that is under way."""
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Wait for the call that is under way, and begin no other. Idempotent. Blocks."""
        # Waiting is short, since one call handles one blob; not waiting would let it write
        # into a folder that is being removed.
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what *call* returns."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: call(*args, **kwargs))


def _lower_priority(nice: int) -> None:
    if nice:
        with contextlib.suppress(OSError):
            # On Linux a thread has a priority of its own.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
