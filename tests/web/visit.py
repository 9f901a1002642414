"""A visitor without a browser: sends what a browser would, or what it never would."""

from __future__ import annotations

import asyncio
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import aiohttp

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

WAIT_S = 60.0
_TOKEN = re.compile(r'name="token" value="([0-9a-f]+)"')
_JOB = re.compile(r'name="job" value="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def token(self) -> str:
        """Return what the page's forms repeat."""
        found = _TOKEN.findall(self.text)
        return str(found[-1]) if found else ""

    @property
    def job(self) -> str:
        """Return the id of the job that the page's form would make."""
        found = _JOB.search(self.text)
        return found[1] if found else ""


class Visit:
    """One browser's worth of cookies at one page."""

    def __init__(
        self, base: str, tls: ssl.SSLContext | None = None, *, address: str | None = None
    ) -> None:
        """Come from an *address* of this machine, if one is given."""
        self.base = base
        jar = aiohttp.CookieJar(unsafe=True)
        connector = aiohttp.TCPConnector(
            limit=20,
            # One that is kept may have been ended by the page, and no form is sent twice. With TLS
            # such an end waits for the page's goodbye, and outlives the loop.
            force_close=tls is None,
            ssl=True if tls is None else tls,
            local_addr=None if address is None else (address, 0),
        )
        self.http = aiohttp.ClientSession(cookie_jar=jar, connector=connector)

    async def __aenter__(self) -> Self:
        """Return the visit."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Forget the cookies."""
        await self.http.close()

    async def ask(self, method: str, path: str, **options: Any) -> Answer:
        """Send a request as it is told, and follow nothing."""
        async with self.http.request(
            method, f"{self.base}{path}", allow_redirects=False, **options
        ) as found:
            return Answer(found.status, await found.text(errors="replace"), found.headers.copy())

    async def get(self, path: str, **headers: str) -> Answer:
        """Open a page."""
        return await self.ask("GET", path, headers=headers)

    async def send(self, path: str, data: object, **headers: str) -> Answer:
        """Send a form, as one of the page's own unless *headers* say otherwise."""
        headers.setdefault("Origin", self.base)
        return await self.ask("POST", path, data=data, headers=headers)

    async def sign_in(self, name: str, password: str = "") -> Answer:
        """Sign in; the answer is 303 if that was right."""
        token = (await self.get("/sign-in")).token
        return await self.send("/sign-in", {"token": token, "name": name, "password": password})

    async def form(self, function: str) -> aiohttp.FormData:
        """Return what the form of a function begins with."""
        page = await self.get(f"/new/{function}")
        assert page.status == 200, page.text
        found = aiohttp.FormData(quote_fields=False, default_to_multipart=True)  # as browsers
        found.add_field("token", page.token)
        found.add_field("job", page.job)
        return found

    async def start(
        self, function: str, data: bytes, *, file: str = "data", script: str | None = None
    ) -> str:
        """Upload data for a function; return the job's page."""
        form = await self.form(function)
        if script is not None:
            form.add_field("script", script.encode(), filename="script.py")
        form.add_field("data", io.BytesIO(data), filename=file)
        sent = await self.send(f"/new/{function}", form)
        assert sent.status == 303, sent.text
        return sent.headers["Location"]

    async def until(self, page: str, wanted: str) -> str:
        """Wait until something stands in a page; return the page."""
        async with asyncio.timeout(WAIT_S):
            while wanted not in (found := await self.get(page)).text:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        return found.text
