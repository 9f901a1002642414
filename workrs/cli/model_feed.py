"""The dashboard's model of the cluster, kept fed for commands that go on: no screen needed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final

from tui.feed import Feed
from tui.model.cluster import Model
from workrs.cli.connection import Caller, connected
from workrs.domain.ids import Instant
from workrs.ports.bus import Address, Bus

_JOBS_AT_ONCE: Final = 500
"""Jobs that are worked out between two looks at the bus."""


@asynccontextmanager
async def fed_model(who: Caller) -> AsyncIterator[Model]:
    """Yield a model that one of the caller's nodes feeds; when it is lost, the next does.

    Raises:
        NoNodeError: at the beginning none of them answers.
    """
    # The feed tries for ever; whoever types wants to know at once that nobody is there.
    async with connected(who):
        pass
    model = Model()
    feed = Feed(model, nodes=who.nodes, user=who.user, opener=partial(_open, who))
    async with asyncio.TaskGroup() as group:
        feeding = group.create_task(feed.run(), name="cli.feed")
        yield model
        feeding.cancel()


def _open(who: Caller, address: Address) -> AbstractAsyncContextManager[Bus]:
    return connected(replace(who, nodes=(address,)))


async def settle(model: Model) -> None:
    """Work out what changed, while the bus is read in between."""
    clock = asyncio.get_running_loop().time
    while model.settle(Instant(clock()), limit=_JOBS_AT_ONCE):  # noqa: ASYNC110 (a turn for others)
        await asyncio.sleep(0)
    model.tick(Instant(clock()))
