"""Who wants a program to stand still, and when it may go on.

A program is frozen for three reasons: the agent's brain says so, a checkpoint is taken, or
its lease's deadline passed. The end of one must not undo another.

1. After a checkpoint the program goes on only if the brain did not freeze it meanwhile and
   the warden's deadline has not passed. An agent that was itself stopped in between finds
   the deadline passed, and leaves the program as it is.
2. While a checkpoint is taken nobody else freezes or thaws: the brain's wish is noted, the
   warden stands back. CRIU thaws and freezes the cgroup itself, to run its own code in it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from workrs.domain.ids import Epoch, JobId
from workrs.ports.runtime import Warden

LOOK_S = 0.05
"""Between two looks for a renewal, in the rare case that a start took longer than its lease."""


async def until_allowed(warden: Warden, job: JobId, epoch: Epoch) -> None:
    """Return once a watched program may begin: at once, or when its lease was renewed.

    A start may take longer than the lease, or the agent may have been stopped in the middle of
    it. The warden would freeze the program then, but only after it has run for a moment, maybe
    beside another agent's. One whose lease is not renewed is removed, which cancels this.
    """
    while not warden.may_run(job, epoch):  # noqa: ASYNC110 (the answer changes with time, too)
        await asyncio.sleep(LOOK_S)


class Freezer(Protocol):
    """What can stop a program: a cgroup, or a process group."""

    async def freeze(self) -> None:
        """Stop it; on return nothing of it runs."""
        ...

    def thaw(self) -> None:
        """Let it go on."""
        ...


class Hold:
    """The reasons for which the program of one (job, epoch) stands still."""

    def __init__(self, *, job: JobId, epoch: Epoch, freezer: Freezer, warden: Warden) -> None:
        """Let it run."""
        self._job = job
        self._epoch = epoch
        self._freezer = freezer
        self._warden = warden
        self._by_brain = False
        self._by_checkpoint: asyncio.Event | None = None
        """Set once it stands still; None while no checkpoint is taken."""

    async def freeze(self) -> None:
        """Stop it until `thaw`."""
        self._by_brain = True
        if self._by_checkpoint is not None:
            await self._by_checkpoint.wait()
        else:
            await self._freezer.freeze()

    async def thaw(self) -> None:
        """Let it go on, or leave that to the checkpoint under way."""
        self._by_brain = False
        if self._by_checkpoint is None:
            self._freezer.thaw()

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Let it stand still within the block."""
        reached = self._by_checkpoint = asyncio.Event()
        try:
            await self._freezer.freeze()
            self._warden.stand_back(self._job, self._epoch)
            reached.set()
            yield
        finally:
            reached.set()
            self._by_checkpoint = None
            # Told first: should this process be stopped right here, the warden acts.
            self._warden.step_in(self._job, self._epoch)
            if not self._by_brain and self._warden.may_run(self._job, self._epoch):
                self._freezer.thaw()
