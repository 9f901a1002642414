"""Inputs to, and results from, the nodes' blob stores, as the visitor whose they are.

1. Every request carries the visitor's own password, and never the node's certificate. So where
   visitors have passwords only stores with HTTPS are asked, whatever a peer says of itself.
2. An input is at `copies` stores before its job is sent, as the device client does it.
3. The end of a result is passed on only once the whole has the hash it was asked by: a damaged one
   is a download that breaks off.
4. No redirect is followed: a store would else choose what this node asks, and who gets the upload.
"""

import asyncio
import base64
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import aiohttp

from broker.web.page_error import PageError
from broker.web.upload_form import UploadedFile
from broker.web.visitor import Visitor
from workrs.domain.ids import is_digest
from workrs.domain.job import BLOB_URL_PREFIX

COPIES: Final = 2
_CONNECT_S: Final = 5.0
_STALLED_S: Final = 30.0
_PIECE_BYTES: Final = 256 * 1024


def may_be_asked(base: str, password: str | None) -> bool:
    """Return whether a store may be told a visitor's password, if there is one."""
    return password is None or base.startswith("https://")


class DamagedResultError(PageError):
    """A result does not have the hash it is named by."""

    def __init__(self) -> None:
        super().__init__(502, "the stored result is damaged; try again")


class StoreClient:
    """Asks the stores that are known at the moment. `close` it."""

    def __init__(self, bases: Callable[[], Sequence[str]], tls: ssl.SSLContext | None) -> None:
        """Know where the stores are, this node's first, and how their certificates are checked."""
        self._bases = bases
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=_STALLED_S)
        self._http = aiohttp.ClientSession(
            timeout=timeout,
            connector=aiohttp.TCPConnector(ssl=True if tls is None else tls, limit=16),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )

    async def close(self) -> None:
        """End all connections."""
        await self._http.close()

    def _known(self, who: Visitor) -> list[str]:
        return [base for base in self._bases() if may_be_asked(base, who.password)]

    async def _ask(
        self,
        method: str,
        url: str,
        who: Visitor,
        *,
        data: AsyncIterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> aiohttp.ClientResponse:
        """Send a request; return its answer, to be closed. See 1 and 4 above."""
        shown = dict(headers or {})
        if who.password is not None:
            proof = base64.b64encode(f"{who.name}:{who.password}".encode()).decode()
            shown["Authorization"] = f"Basic {proof}"
        return await self._http.request(
            method, url, data=data, headers=shown, allow_redirects=False
        )

    async def put(self, who: Visitor, file: UploadedFile) -> str:
        """Store an input; return the URL that a spec names it by.

        Raises:
            PageError: too few stores took it; the text has what they said.
        """
        bases = self._known(who)
        wanted, stored, told = min(COPIES, len(bases)), 0, []
        for base in bases:
            if stored >= wanted:
                break
            said = await self._put(f"{base}/inputs/{who.name}/{file.digest}", who, file)
            stored += not said
            told += [said] if said else []
        if not bases:
            raise PageError(503, "no node's store can be reached now; try again in a moment")
        if stored < wanted:
            why = f": {told[0]}" if told else ""
            raise PageError(507, f"the input is stored at {stored} of {wanted} nodes{why}")
        return f"{BLOB_URL_PREFIX}{file.digest}"

    async def _put(self, url: str, who: Visitor, file: UploadedFile) -> str:
        """Return an empty text, or why it is not stored there."""
        try:
            async with await self._ask("HEAD", url, who) as known:
                if known.status == 200:
                    return ""
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(file.size_bytes),
            }
            async with await self._ask(
                "PUT", url, who, data=_pieces(file), headers=headers
            ) as done:
                if done.status in (200, 201):
                    return ""
                return (await done.text())[:200] or f"status {done.status}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return str(error)[:200] or type(error).__name__

    @asynccontextmanager
    async def result(
        self, who: Visitor, job: str, url: str
    ) -> AsyncIterator[tuple[int | None, AsyncIterator[bytes]]]:
        """Open a result: its size, if it is told, and its bytes.

        Raises:
            PageError: no store has it. While its bytes are read: `DamagedResultError`.
        """
        digest = url.removeprefix(BLOB_URL_PREFIX)
        if not url.startswith(BLOB_URL_PREFIX) or not is_digest(digest):
            text = "this result lies elsewhere, and the page fetches nothing from there"
            raise PageError(502, text)
        for base in self._known(who):
            place = f"{base}/blobs/{who.name}_{job}/{digest}"
            try:
                answer = await self._ask("GET", place, who)
            except (aiohttp.ClientError, TimeoutError, OSError):
                continue
            async with answer:
                if answer.status == 200:
                    yield answer.content_length, _checked(answer, digest)
                    return
        raise PageError(404, "no node has this result any more, or none can be reached now")


async def _pieces(file: UploadedFile) -> AsyncIterator[bytes]:
    file.handle.seek(0)
    while piece := await asyncio.to_thread(file.handle.read, _PIECE_BYTES):
        yield piece


async def _checked(answer: aiohttp.ClientResponse, digest: str) -> AsyncIterator[bytes]:
    found, held = hashlib.sha256(), b""
    try:
        async for piece in answer.content.iter_chunked(_PIECE_BYTES):
            found.update(piece)
            if held:
                yield held
            held = piece
    except (aiohttp.ClientError, TimeoutError) as error:
        raise DamagedResultError from error
    if found.hexdigest() != digest:
        raise DamagedResultError
    yield held
