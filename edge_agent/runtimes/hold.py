"""Who wants a program to stand still, and when it may go on.

A program is frozen for three reasons: the agent's brain says so, a checkpoint is taken, or
its lease's deadline passed. The end of one must not undo another.

1. After a checkpoint the program goes on only if the brain did not freeze it meanwhile and
   the warden's deadline has not passed. An agent that was itself stopped in between finds
   the deadline passed, and leaves the program as it is.
2. The brain's thaw ends only the brain's freeze; a checkpoint under way finishes first.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Hold:
    """The reasons for which one program stands still."""

    freeze_now: Callable[[], Awaitable[None]]
    thaw_now: Callable[[], Awaitable[None]]
    may_run: Callable[[], bool]
    _by_brain: bool = field(default=False, init=False)
    _by_checkpoint: bool = field(default=False, init=False)

    async def freeze(self) -> None:
        """Stop it until `thaw`."""
        self._by_brain = True
        await self.freeze_now()

    async def thaw(self) -> None:
        """Let it go on, or leave that to the checkpoint under way."""
        self._by_brain = False
        if not self._by_checkpoint:
            await self.thaw_now()

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Let it stand still within the block."""
        self._by_checkpoint = True
        try:
            await self.freeze_now()
            yield
        finally:
            self._by_checkpoint = False
            if not self._by_brain and self.may_run():
                await self.thaw_now()
