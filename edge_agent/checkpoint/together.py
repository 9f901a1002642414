"""Doing several things at once, of which the first failure is the failure of all."""

import asyncio
from collections.abc import Coroutine, Iterable


async def all_or_first(calls: Iterable[Coroutine[object, object, None]]) -> None:
    """Run *calls* at once; cancel the others at the first error and raise that one itself.

    A task group alone would raise it wrapped, and no caller could tell a damaged checkpoint
    from a silent store by the error's type.

    Cancelled, it raises CancelledError, whatever its calls fail with in that moment. A task group
    whose children fail then raises their failure instead (Python 3.11 and 3.12), and a caller that
    knows what to do about that goes on. So no child of this one ever fails.
    """
    begun = list(calls)
    failed: list[Exception] = []
    tasks: list[asyncio.Task[None]] = []

    async def run(call: Coroutine[object, object, None]) -> None:
        try:
            await call
        except Exception as error:  # noqa: BLE001 (none is swallowed: the first is raised below)
            failed.append(error)
            for task in tasks:
                if task is not asyncio.current_task():
                    task.cancel()

    try:
        async with asyncio.TaskGroup() as group:
            for number, call in enumerate(begun):
                tasks.append(group.create_task(run(call), name=f"checkpoint.{number}"))
    finally:
        for call in begun:
            call.close()  # one that was cancelled before its turn
    if failed:
        raise failed[0]
