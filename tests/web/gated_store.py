"""A blob store that begins to answer, and goes on when a test lets it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiohttp import web

from tests.mosquitto_fixture import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class GatedStore:
    """See the module."""

    def __init__(self) -> None:
        self.base = ""
        self.leave = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Send a first piece, and nothing until `leave`."""
        found = web.StreamResponse()
        await found.prepare(request)
        for _ in range(2):  # the page holds one back until it knows the hash of all
            await found.write(b"x" * 300_000)
        await self.leave.wait()
        return found


@asynccontextmanager
async def gated_store() -> AsyncIterator[GatedStore]:
    """Run one."""
    it = GatedStore()
    app = web.Application()
    app.router.add_get("/{path:.*}", it.answer)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    it.base = f"http://{HOST}:{runner.addresses[0][1]}"
    try:
        yield it
    finally:
        it.leave.set()
        await runner.cleanup()
