"""Goal: a visitor's password and files go to the cluster's stores by HTTPS, and to nobody else.

Method: stores of the test's making that would take what they are sent, or point elsewhere; each
time with the control, and without it: then what must not go there does.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web

from broker.web import store_client
from broker.web.page_error import PageError
from broker.web.store_client import StoreClient
from broker.web.upload_form import UploadedFile
from broker.web.visitor import Visitor
from tests.mosquitto_fixture import HOST
from workrs.domain.ids import ClientId
from workrs.domain.job import BLOB_URL_PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

DATA = b"measured" * 1000
PASSWORD = "0123456789abcdef"
DIGEST = hashlib.sha256(DATA).hexdigest()


class Store:
    """Takes all, has all, and remembers what it was told; or points elsewhere."""

    def __init__(self, elsewhere: str = "") -> None:
        self.base = ""
        self.heard: list[str] = []
        self.bodies: list[bytes] = []
        self._elsewhere = elsewhere

    async def answer(self, request: web.Request) -> web.Response:
        self.heard.append(f"{request.method} {request.headers.get('Authorization', 'nobody')}")
        self.bodies.append(await request.read())
        if self._elsewhere:
            return web.Response(status=307, headers={"Location": self._elsewhere + request.path})
        if request.method == "HEAD":
            return web.Response(status=404)
        return web.Response(body=DATA)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[Store]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, HOST, 0).start()
        self.base = f"http://{HOST}:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()


def visitor(password: str | None) -> Visitor:
    """Return somebody who is signed in; nothing here is connected."""

    def nowhere(*_: object) -> Any:
        raise NotImplementedError

    return Visitor(ClientId("lena"), password, open_bus=nowhere, clock=lambda: 0.0)


async def upload(client: StoreClient, password: str | None) -> str:
    file = UploadedFile(name="f", handle=io.BytesIO(DATA), size_bytes=len(DATA), digest=DIGEST)
    return await client.put(visitor(password), file)


async def download(client: StoreClient, password: str | None) -> bytes:
    url = f"{BLOB_URL_PREFIX}{DIGEST}"
    async with client.result(visitor(password), "job", url) as (_, pieces):
        return b"".join([piece async for piece in pieces])


async def exchange(*stores: Store, password: str | None) -> list[str]:
    """Send an upload and ask for a result; return what became of both."""
    client = StoreClient(lambda: [each.base for each in stores], None)
    found = []
    for act in (upload, download):
        try:
            await act(client, password)
            found.append("done")
        except PageError as error:
            found.append(str(error))
    await client.close()
    return found


def test_a_password_is_told_to_no_store_without_https() -> None:
    async def run() -> None:
        async with Store().served() as plain:
            said = await exchange(plain, password=PASSWORD)
            assert "no node's store can be reached now" in said[0]
            assert "none can be reached now" in said[1]
            assert plain.heard == []
            # In a cluster without passwords there is none to be told.
            assert await exchange(plain, password=None) == ["done", "done"]
            assert plain.heard == [f"{method} nobody" for method in ("HEAD", "PUT", "GET")]

    asyncio.run(run())


def test_without_a_look_at_how_a_store_is_reached_the_password_goes_in_the_open(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store_client, "may_be_asked", lambda *_: True)

    async def run() -> None:
        async with Store().served() as plain:
            assert await exchange(plain, password=PASSWORD) == ["done", "done"]
            shown = base64.b64encode(f"lena:{PASSWORD}".encode()).decode()
            assert plain.heard == [f"{each} Basic {shown}" for each in ("HEAD", "PUT", "GET")]

    asyncio.run(run())


def test_what_a_store_points_at_is_not_asked() -> None:
    async def run() -> None:
        async with Store().served() as inner, Store(inner.base).served() as store:
            said = await exchange(store, password=None)
            assert "the input is stored at 0 of 1 nodes" in said[0]
            assert "no node has this result" in said[1]
            assert inner.heard == []
            assert [each.split()[0] for each in store.heard] == ["HEAD", "PUT", "GET"]

    asyncio.run(run())


def test_without_a_bound_to_the_store_it_says_who_else_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = aiohttp.ClientSession.request

    def follow(it: aiohttp.ClientSession, method: str, url: str, **options: Any) -> Any:
        return real(it, method, url, **{**options, "allow_redirects": True})

    monkeypatch.setattr(aiohttp.ClientSession, "request", follow)

    async def run() -> None:
        async with Store().served() as inner, Store(inner.base).served() as store:
            said = await exchange(store, password=None)
            assert said[1] == "done"
            assert {each.split()[0] for each in inner.heard} >= {"HEAD", "GET"}

    asyncio.run(run())
