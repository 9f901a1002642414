"""Goal: a server that a record names leads nobody to another one.

Method: a server that sends everybody on to what they asked for.
"""

from __future__ import annotations

import asyncio
import hashlib

import aiohttp
import pytest
from aiohttp import web

from workrs.adapters.stores.http import HttpStore
from workrs.domain.ids import Digest, Epoch, JobId
from workrs.ports.store import JobSpace, StoreRefusedError

SPACE = JobSpace(job=JobId("pump_1"), epoch=Epoch(1))
DATA = b"what is kept behind the wall"
NAME = Digest(hashlib.sha256(DATA).hexdigest())


def test_no_redirect_is_followed() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.method)
        if request.path == "/inside":
            return web.Response(body=DATA)
        raise web.HTTPTemporaryRedirect("/inside")

    async def story() -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            async with aiohttp.ClientSession() as session:
                store = HttpStore(f"http://127.0.0.1:{runner.addresses[0][1]}", session)
                for call in (
                    store.get(NAME, SPACE),
                    store.put(NAME, DATA, SPACE),
                    store.delete(NAME, SPACE),
                ):
                    with pytest.raises(StoreRefusedError, match="answered 307"):
                        await call
        finally:
            await runner.cleanup()

    asyncio.run(story())
    assert asked == ["GET", "PUT", "DELETE"]
