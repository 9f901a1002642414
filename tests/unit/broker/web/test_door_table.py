"""Goal: what a page's door keeps of who came is bounded by who is there now.

Method: the door itself with real sockets, each from an address of its own.
"""

import asyncio
import socket

from aiohttp import web

from broker.web.door import Door, listeners
from tests.mosquitto_fixture import HOST, free_port
from workrs.ports.bus import Address

WAIT_S = 30.0
COMERS = 20


async def nothing(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response()


def test_of_whoever_has_entered_the_door_keeps_nothing() -> None:
    async def run() -> None:
        door, server = Door(None), web.Server(nothing)
        at = Address(host=HOST, port=free_port())
        (listener,) = await listeners(at)
        letting_in = asyncio.create_task(door.let_in(server, listener))
        comers = [
            socket.create_connection((HOST, at.port), source_address=(f"127.0.0.{number}", 0))
            for number in range(2, COMERS + 2)
        ]
        async with asyncio.timeout(WAIT_S):
            while len(server.connections) < COMERS or door._tasks:  # noqa: ASYNC110 (sockets)
                await asyncio.sleep(0.01)
        assert not door._entering
        letting_in.cancel()
        await asyncio.gather(letting_in, return_exceptions=True)
        for each in (*comers, listener):
            each.close()
        await server.shutdown()

    asyncio.run(run())
