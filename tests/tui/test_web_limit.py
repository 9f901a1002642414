"""Goal: few pages of the dashboard are open at one time, and none for another site.

Method: the server in this process, with programs that are made up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from tests.hostile.twice import played_twice
from tests.mosquitto_fixture import HOST, free_port
from tui.web import SESSIONS_MAX, Session, WebServer

if TYPE_CHECKING:
    import pytest
    from aiohttp.typedefs import Handler

TRIES = SESSIONS_MAX + 4


async def page(server: WebServer, opened: asyncio.Semaphore, leave: asyncio.Event) -> int:
    """Open a page and keep it open until *leave*; return the answer's status."""
    headers = {"Origin": f"http://{HOST}:{server.port}"}
    address = f"{server.address}ws"
    async with aiohttp.ClientSession() as session:
        try:
            async with session.ws_connect(address, headers=headers):
                opened.release()
                await leave.wait()
                return 101
        except aiohttp.WSServerHandshakeError as error:
            opened.release()
            return error.status


async def statuses(server: WebServer) -> list[int]:
    runner = web.AppRunner(await server._make_app())
    await runner.setup()
    await web.TCPSite(runner, HOST, server.port).start()
    opened, leave = asyncio.Semaphore(0), asyncio.Event()
    try:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            asked = [group.create_task(page(server, opened, leave)) for _ in range(TRIES)]
            for _ in range(TRIES):
                await opened.acquire()
            leave.set()
        return sorted(each.result() for each in asked)
    finally:
        await runner.cleanup()


def test_pages_that_are_opened_at_the_same_moment_are_all_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nothing(*_: Any) -> None:
        pass

    async def until_it_closes(_: Any, socket: web.WebSocketResponse, __: Any) -> None:
        async for _ in socket:
            pass

    monkeypatch.setattr(Session, "start", nothing)
    monkeypatch.setattr(Session, "end", nothing)
    monkeypatch.setattr(WebServer, "_process_messages", until_it_closes)
    # As slow as a network: it is here that others come in between.
    real = web.WebSocketResponse.prepare

    async def prepare(it: web.WebSocketResponse, request: web.BaseRequest) -> Any:
        for _ in range(50):
            await asyncio.sleep(0)
        return await real(it, request)

    monkeypatch.setattr(web.WebSocketResponse, "prepare", prepare)
    server = WebServer([], port=free_port())
    found = asyncio.run(statuses(server))
    assert found == [101] * SESSIONS_MAX + [503] * (TRIES - SESSIONS_MAX)
    assert server.sessions == 0


@played_twice
def test_another_sites_page_starts_no_program(
    monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """Even one that has come to know the key: from a screen, or a history of addresses."""
    started: list[int] = []

    async def start(*_: Any) -> None:
        started.append(1)

    async def nothing(*_: Any) -> None:
        pass

    @web.middleware
    async def no_guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await handler(request)

    monkeypatch.setattr(Session, "start", start)
    monkeypatch.setattr(Session, "end", nothing)
    monkeypatch.setattr(WebServer, "_process_messages", nothing)
    if not control:
        monkeypatch.setattr(WebServer, "_guard", property(lambda _: no_guard))
    server = WebServer([], port=free_port())
    own = f"{HOST}:{server.port}"
    others = [
        {"Origin": "http://evil.example"},
        {"Host": "evil.example", "Origin": f"http://{own}"},
    ]

    async def run() -> set[int]:
        runner = web.AppRunner(await server._make_app())
        await runner.setup()
        await web.TCPSite(runner, HOST, server.port).start()
        found = set()
        try:
            async with aiohttp.ClientSession() as session:
                for headers in others:
                    found.add(await handshake(session, f"{server.address}ws", headers))
        finally:
            await runner.cleanup()
        return found

    assert asyncio.run(run()) == ({403} if control else {101})
    assert len(started) == (0 if control else len(others))


async def handshake(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> int:
    """Open a web socket; return the answer's status."""
    try:
        async with session.ws_connect(url, headers=headers):
            return 101
    except aiohttp.WSServerHandshakeError as error:
        return error.status
