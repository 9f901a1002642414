"""Goal: a task that is told to end ends, whatever it is in the middle of.

Method: a part that loses a connection in the moment in which it is cancelled, as a bridge's
stand-in did, and goes on; then the node's own main loop with such a part and a real signal.
"""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from broker.__main__ import _until_told
from broker.config import NodeConfig
from workrs.adapters.ending import end
from workrs.ports.bus import Address, BusClosedError

if TYPE_CHECKING:
    import pytest

PATIENCE_S = 60.0


async def lose(gone: asyncio.Event) -> None:
    """Be a connection that is lost when *gone* is set."""
    await gone.wait()
    raise BusClosedError("lost")


async def carry_for_ever(gone: asyncio.Event) -> None:
    """Carry messages between two connections; when one is lost, begin again."""
    while True:
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(lose(gone), name="there")
                await asyncio.Event().wait()
        except* BusClosedError:
            gone.clear()


async def begun(*tasks: asyncio.Task[None]) -> None:
    """Return when the tasks, and what they begin, wait for something."""
    await asyncio.wait(tasks, timeout=0)
    await asyncio.wait(tasks, timeout=0)


def test_a_task_that_outlives_one_cancellation_is_cancelled_again() -> None:
    async def scene() -> tuple[bool, bool]:
        gone = asyncio.Event()
        task = asyncio.create_task(carry_for_ever(gone))
        await begun(task)
        gone.set()
        task.cancel()
        await begun(task)
        outlived = not task.done()
        async with asyncio.timeout(PATIENCE_S):
            await end([task], again_s=0.01)
        return outlived, task.cancelled()

    assert asyncio.run(scene()) == (True, True)


async def stop_while_a_connection_is_lost() -> asyncio.Task[None]:
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    carrying: list[asyncio.Task[None]] = []

    async def carry() -> None:
        task = asyncio.current_task()
        assert task is not None
        carrying.append(task)
        await carry_for_ever(gone)

    async def be_told() -> None:
        # Set in the turn of the loop that handles the signal, so that both come together.
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    config = NodeConfig(
        name="n1",
        listen=Address(host="127.0.0.1", port=1),
        blobs=Address(host="127.0.0.1", port=2),
        state_dir=Path("unused"),
    )
    handle = loop.add_signal_handler

    def also_lose(number: int, told: object) -> None:
        def both() -> None:
            gone.set()
            told()  # type: ignore[operator]

        handle(number, both)

    loop.add_signal_handler = also_lose  # type: ignore[method-assign, assignment]
    async with asyncio.timeout(PATIENCE_S):
        await _until_told(config, {"carrying": carry(), "told": be_told()})
    return carrying[0]


def test_a_node_told_to_stop_as_a_connection_is_lost_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.__main__.end", partial(end, again_s=0.01))
    assert asyncio.run(stop_while_a_connection_is_lost()).cancelled()
