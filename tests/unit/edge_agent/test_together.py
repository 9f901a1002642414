"""Goal: what is done at once fails as one, and is cancelled as one.

Method: calls that end when the test says so, cancelled in that very moment.
"""

from __future__ import annotations

import asyncio

import pytest

from edge_agent.checkpoint.together import all_or_first
from workrs.domain.errors import CheckpointError, StoreError


def test_the_first_error_is_raised_as_it_is_and_the_others_are_cancelled() -> None:
    ended: list[str] = []

    async def waiting() -> None:
        try:
            await asyncio.Future()
        finally:
            ended.append("cancelled")

    async def failing() -> None:
        await asyncio.sleep(0)
        raise CheckpointError("damaged")

    async def story() -> None:
        async with asyncio.timeout(5):
            with pytest.raises(CheckpointError, match="damaged"):
                await all_or_first([waiting(), failing(), waiting()])
        assert ended == ["cancelled", "cancelled"]

    asyncio.run(story())


@pytest.mark.parametrize("how", ["before", "because"])
def test_no_error_of_a_call_takes_the_place_of_a_cancellation(how: str) -> None:
    """Whoever saves would go on with another store, for a job that it has lost."""

    async def story() -> None:
        told = asyncio.Event()

        async def failing() -> None:
            try:
                await told.wait()
            except asyncio.CancelledError:
                raise StoreError("cut off") from None
            raise StoreError("no answer")

        task = asyncio.create_task(all_or_first([failing()]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if how == "before":
            told.set()  # it fails in this turn of the loop
        task.cancel()
        await asyncio.wait([task], timeout=5)
        assert task.cancelled()

    asyncio.run(story())


def test_after_an_error_its_caller_is_not_taken_for_cancelled() -> None:
    """A limit around it would else end in a CancelledError, which nobody sent."""

    async def failing() -> None:
        await asyncio.sleep(0)
        raise StoreError("no answer")

    async def limited() -> None:
        async with asyncio.timeout(0.05):
            with pytest.raises(StoreError):
                await all_or_first([failing()])
            await asyncio.Future()

    with pytest.raises(TimeoutError):
        asyncio.run(limited())
