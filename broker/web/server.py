"""The page's listener: what reaches a handler at all, and what every answer has.

1. Who is connected has passed `broker.web.door`; every request passes `broker.web.site` and
   `broker.web.traffic` before anything else.
2. Every answer has the headers of `broker.web.site`, errors too.
3. A mistake of ours in a handler is an answer 500 and a line in the log. It never ends the node,
   whose votes matter more than its page.
"""

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from broker.web.desk import Desk, again_later
from broker.web.door import IDLE_S, Door, listeners
from broker.web.new_job import NewJob
from broker.web.own_jobs import OwnJobs
from broker.web.page_error import NotOwnError, NotSignedInError, PageError
from broker.web.settings import NodeFacts, WebSettings
from broker.web.sign_in import SignIn, sign_in_first
from broker.web.site import HEADERS, Site
from broker.web.store_client import StoreClient
from broker.web.traffic import Traffic
from broker.web.upload_form import FormReader
from broker.web.visitor import OpenBus
from broker.web.visitors import Visitors
from workrs.adapters import log
from workrs.domain.errors import ConfigError
from workrs.ports.bus import Address

LOG = log.get("node.page")
FORM_MAX_BYTES: Final = 16 * 1024
"""Of forms without a file."""
_STATIC: Final = Path(__file__).parent / "static"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class WebServer:
    """One node's page. `served` runs it."""

    def __init__(
        self,
        settings: WebSettings,
        facts: NodeFacts,
        site: Site,
        *,
        door: Door,
        visitors: Visitors,
        stores: StoreClient,
        threads: ThreadPoolExecutor,
    ) -> None:
        """Make the routes; nothing listens yet."""
        self._settings = settings
        self._desk = Desk(settings, facts, site, visitors)
        self._visitors = visitors
        self._site = site
        self._door = door
        self._traffic = Traffic()
        self._static = {
            path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in _STATIC.iterdir()
        }
        reader = FormReader(settings.folder, threads, limit_bytes=settings.upload_max_bytes)
        self.app = web.Application(middlewares=[self._answer], client_max_size=FORM_MAX_BYTES)
        SignIn(self._desk).add(self.app)
        OwnJobs(self._desk, stores).add(self.app)
        NewJob(self._desk, reader, stores).add(self.app)
        self.app.router.add_get("/static/{name}", self._file)

    async def _file(self, request: web.Request) -> web.Response:
        found = self._static.get(request.match_info["name"])
        if found is None:
            raise PageError(404, "there is no such page")
        return web.Response(
            body=found[0],
            content_type=found[1],
            charset="utf-8",
            headers={"Cache-Control": "max-age=300"},
        )

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check a request, have it answered, and explain what goes wrong."""
        with self._door.answering(request.protocol):
            answer = await self._explained(request, handler)
        if not answer.prepared:
            for name, value in HEADERS.items():
                answer.headers.setdefault(name, value)
        return answer

    async def _explained(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            hosts = request.headers.getall("Host", [])
            self._site.check(request.method, request.path, hosts, request.headers)
            if not request.raw_path.startswith("/"):
                return self._error(request, PageError(400, "that is a request to a proxy"))
            self._check_rate(request)
            return await handler(request)
        except NotSignedInError as error:
            return await sign_in_first(self._desk, request, error)
        except PageError as error:
            return self._error(request, error)
        except web.HTTPException as error:
            texts = {404: "there is no such page", 405: "that is not how this page is asked for"}
            text = texts.get(error.status, error.reason)
            return self._error(request, PageError(error.status, text))
        except (ConnectionError, TimeoutError) as error:
            return self._error(request, PageError(400, f"the request broke off: {error}"))
        except Exception as error:  # noqa: BLE001 (a top loop, see 3 above)
            LOG.warning("page_failed", what=request.method, why=repr(error)[:500])
            return self._error(request, PageError(500, "this node made a mistake; its log has it"))

    def _check_rate(self, request: web.Request) -> None:
        try:
            name = self._desk.visitor(request).name
        except NotSignedInError:
            name = None
        wait_s = self._traffic.wait_s(request.remote or "", name, self._visitors.now())
        if wait_s:
            text = "there were too many requests: wait a moment, then load the page anew"
            raise PageError(429, text, retry_after_s=wait_s)

    def _error(self, request: web.Request, error: PageError) -> web.Response:
        if isinstance(error, NotOwnError):
            # Nothing of the page for another site, and no look at who asks.
            answer = web.Response(text=f"{error}\n", status=error.status)
        else:
            is_form = request.method == "POST" and request.path.startswith("/new/")
            back = request.path if is_form else ""
            answer = self._desk.error_page(request, error, back=back)
        return again_later(answer, error)


@asynccontextmanager
async def served(
    settings: WebSettings,
    facts: NodeFacts,
    site: Site,
    *,
    open_bus: OpenBus,
    store_tls: ssl.SSLContext | None,
    page_tls: ssl.SSLContext | None,
) -> AsyncIterator[None]:
    """Serve the page as long as the context is open.

    Args:
        settings: where, and how much.
        facts: what it may know of its node.
        site: under which names.
        open_bus: connects as a visitor.
        store_tls: how the certificates of blob stores are checked.
        page_tls: to serve it by HTTPS; None: in the open.

    Raises:
        ConfigError: nobody can listen there.
    """
    clock = asyncio.get_running_loop().time
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    visitors = Visitors(open_bus=open_bus, clock=clock, filed=facts.filed)
    stores = StoreClient(facts.stores, store_tls)
    threads = ThreadPoolExecutor(2, thread_name_prefix="page")
    door = Door(page_tls)
    it = WebServer(
        settings, facts, site, door=door, visitors=visitors, stores=stores, threads=threads
    )
    try:
        async with _listening(it, settings.listen) as (server, sockets):
            # Not in the caller's group: see 3 above.
            beside = [
                asyncio.create_task(visitors.keep(), name="page.visitors"),
                asyncio.create_task(door.keep_moving(server), name="page.connections"),
                *(asyncio.create_task(door.let_in(server, at), name="page.door") for at in sockets),
            ]
            for each in beside:
                each.add_done_callback(_ended)
            at = f"{site.scheme}://{settings.listen}"
            LOG.event("page_served", at=at, passwords=facts.has_passwords)
            try:
                yield
            finally:
                for each in beside:
                    each.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
    finally:
        await stores.close()
        threads.shutdown(wait=False, cancel_futures=True)


def _ended(task: asyncio.Task[None]) -> None:
    """Say so if a part of the page ended by a mistake of ours: the rest of it goes on."""
    if not task.cancelled() and (error := task.exception()) is not None:
        LOG.warning("page_failed", what=task.get_name(), why=repr(error)[:500])


@asynccontextmanager
async def _listening(
    it: WebServer, at: Address
) -> AsyncIterator[tuple[web.Server, list[socket.socket]]]:
    """Have a server ready as long as the context is open, and sockets for the door."""
    # Of junk that is no request the library tells a page of our log each, for whoever sends it.
    mute = logging.getLogger("node.page.http")
    mute.setLevel(logging.CRITICAL)
    runner = web.AppRunner(
        it.app,
        access_log=None,
        logger=mute,
        shutdown_timeout=1.0,
        keepalive_timeout=IDLE_S,
        # Browsers pack no form, so only a bomb would be unpacked.
        auto_decompress=False,
    )
    await runner.setup()
    server = runner.server
    assert server is not None
    try:
        try:
            sockets = await listeners(at)
        except OSError as error:
            # A name that is unknown has a number below 0, and a text of its own.
            number = error.errno or 0
            why = os.strerror(number) if number > 0 else error.strerror
            raise ConfigError(f"cannot serve the page at {at}: {why}") from error
        try:
            yield server, sockets
        finally:
            for each in sockets:
                each.close()
    finally:
        left = [each.transport for each in server.connections]
        await runner.cleanup()
        # By TLS both sides say goodbye, which some never do.
        for transport in left:
            if transport is not None:
                transport.abort()
        await asyncio.sleep(0)
