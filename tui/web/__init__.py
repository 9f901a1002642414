"""The dashboard in a browser, by textual-serve, behind rules of our own.

1. Loopback only. The address has a key of 128 random bits; without it there is nothing.
2. A page of another origin is refused, and so is a request under another host name: a name that
   somebody else's DNS points to this machine would otherwise pass for our own origin.
3. The page loads nothing from elsewhere, and no page may frame it.
4. Each open page is a program of its own; at most SESSIONS_MAX. It ends with its page, within
   END_S, and with this server, however that ends.

Not promised: protection from other users of this machine who can read its processes' memory.
"""

import asyncio
import secrets
import shlex
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import aiohttp_jinja2
import jinja2
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from textual_serve.app_service import AppService
from textual_serve.server import Server, to_int

HOST: Final = "127.0.0.1"
SESSIONS_MAX: Final = 8
END_S: Final = 2.0
_TEMPLATES: Final = Path(__file__).parent
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self' ws://{at}; "
    "frame-ancestors 'none'; base-uri 'none'"
)


class Session(AppService):
    """One page's program."""

    async def end(self) -> None:
        """Ask the program to end, and make it end if it does not."""
        process = self._process
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(END_S):
                await self.stop()
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def command(words: Sequence[str]) -> str:
    """Return the command line of a page's program; it dies with the server that started it."""
    setpriv = shutil.which("setpriv")
    prefix = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
    # `exec`: the shell in between would be what is killed.
    return "exec " + shlex.join([*prefix, sys.executable, "-m", "workrs.cli.main", "tui", *words])


class WebServer(Server):
    """Serves pages under an address that only its owner knows."""

    def __init__(self, words: Sequence[str], *, port: int) -> None:
        self.key = secrets.token_hex(16)
        self.sessions = 0
        super().__init__(
            command(words), host=HOST, port=port, title="workrs", templates_path=_TEMPLATES
        )

    @property
    def address(self) -> str:
        """Return what to open."""
        return f"{self.public_url}/{self.key}/"

    async def _make_app(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        aiohttp_jinja2.setup(app, loader=jinja2.FileSystemLoader(_TEMPLATES))
        base = f"/{self.key}"
        app.add_routes(
            [
                web.get(f"{base}/", self.handle_index, name="index"),
                web.get(f"{base}/ws", self.handle_websocket, name="websocket"),
                web.static(f"{base}/static", self.statics_path, name="static"),
            ]
        )
        return app

    @property
    def _guard(self) -> Middleware:
        own = {f"{HOST}:{self.port}", f"localhost:{self.port}"}
        policy = _POLICY.format(at=f"{HOST}:{self.port}")

        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            origin = request.headers.get("Origin")
            is_own = origin is None or origin in {f"http://{at}" for at in own}
            if request.headers.get("Host") not in own or not is_own:
                raise web.HTTPForbidden(text="not from here")
            if origin is None and request.path.endswith("/ws"):
                # Every browser names the origin of a web socket.
                raise web.HTTPForbidden(text="not from here")
            response = await handler(request)
            if not response.prepared:
                response.headers["Content-Security-Policy"] = policy
                response.headers["Referrer-Policy"] = "no-referrer"
                response.headers["X-Content-Type-Options"] = "nosniff"
            return response

        return guard

    @aiohttp_jinja2.template("index.html")
    async def handle_index(self, request: web.Request) -> dict[str, object]:
        """Return what the page is made of."""
        at = f"{HOST}:{self.port}" if request.host.startswith(HOST) else request.host
        base = f"//{at}/{self.key}/"
        return {
            "font_size": to_int(request.query.get("fontsize", "14"), 14),
            "app_websocket_url": f"ws:{base}ws",
            "config": {"static": {"url": f"{base}static/"}},
            "application": {"name": self.title},
        }

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """Run a program for as long as the page is open."""
        if self.sessions >= SESSIONS_MAX:
            raise web.HTTPServiceUnavailable(text=f"{SESSIONS_MAX} pages are open already")
        # Counted before the first wait, or many at once would all find room.
        self.sessions += 1
        try:
            return await self._run(request)
        finally:
            self.sessions -= 1

    async def _run(self, request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse(heartbeat=15)
        await websocket.prepare(request)

        async def close() -> None:
            await websocket.close()

        session = Session(
            self.command,
            write_bytes=websocket.send_bytes,
            write_str=websocket.send_str,
            close=close,
            download_manager=self.download_manager,
        )
        try:
            width, height = (
                to_int(request.query.get(name, ""), least)
                for name, least in (("width", 80), ("height", 24))
            )
            await session.start(width, height)
            await self._process_messages(websocket, session)
        finally:
            # Not cancelled with the request: a program left alone takes a whole core.
            await asyncio.shield(session.end())
        return websocket

    def serve(self, debug: bool = False) -> None:  # noqa: FBT001, FBT002 (textual-serve's form)
        """Serve until SIGINT or SIGTERM; say where, once somebody listens there."""
        del debug
        said = f"Open {self.address} in a browser of this machine; Ctrl-C ends it."
        web.run_app(
            self._make_app(),
            host=HOST,
            port=self.port,
            print=lambda *_: print(said, flush=True),  # noqa: T201
        )
