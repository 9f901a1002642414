"""Goal: a node that is told to stop ends, whatever its parts are in the middle of.

Method: a real signal; a part that loses a connection in the moment in which it is cancelled.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from broker.__main__ import _until_told
from broker.config import NodeConfig
from workrs.ports.bus import Address, BusClosedError

PATIENCE_S = 30.0


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


def test_a_part_whose_connection_is_lost_while_it_is_cancelled_ends_too() -> None:
    assert asyncio.run(stop_while_a_connection_is_lost()).cancelled()
