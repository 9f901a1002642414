"""Ending tasks that run until they are cancelled.

Once is not enough: a task group whose child fails in the moment of its cancelling raises that
failure in place of the cancellation (Python 3.11 and 3.12), and whoever catches it goes on.
"""

import asyncio
from collections.abc import Collection
from typing import Any, Final

AGAIN_S: Final = 5.0
"""Longer than any of them takes to clean up: a second cancellation cuts that short."""


async def end(tasks: Collection[asyncio.Task[Any]], *, again_s: float = AGAIN_S) -> None:
    """Cancel *tasks*, every *again_s* seconds anew, until all are done.

    Their errors stay with them.
    """
    while left := {task for task in tasks if not task.done()}:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=again_s)
