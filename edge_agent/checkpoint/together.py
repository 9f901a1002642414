"""Doing several things at once, of which the first failure is the failure of all."""

import asyncio
from collections.abc import Coroutine, Iterable


async def all_or_first(calls: Iterable[Coroutine[object, object, None]]) -> None:
    """Run *calls* at once; cancel the others at the first error and raise that one itself.

    A task group alone would raise it wrapped, and no caller could tell a damaged checkpoint
    from a silent store by the error's type.
    """
    first: BaseException | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for number, call in enumerate(calls):
                group.create_task(call, name=f"checkpoint.{number}")
    except BaseExceptionGroup as errors:
        first = errors.exceptions[0]
    if first is not None:
        raise first
