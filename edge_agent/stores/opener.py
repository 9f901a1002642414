"""One place that opens stores by URL and owns what they share."""

from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit

import aiohttp

from edge_agent.stores.folder import FolderStore
from edge_agent.stores.http import HttpStore
from workrs.domain.errors import StoreError
from workrs.ports.store import BlobStore

_CONNECT_S = 2.0
_SILENT_S = 8.0
"""Longest wait for the next bytes. A store that fsyncs on a slow disk may need seconds."""
_CONNECTIONS_MAX = 32


class Stores:
    """Opens `http://…`, `https://…` and `file:///…`; satisfies OpenStore with `open`.

    An async context manager: leaving it closes all connections.
    """

    def __init__(self) -> None:
        """Open nothing yet."""
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Make the pool of connections."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S, sock_read=_SILENT_S),
            connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX),
            # What is stored is compressed, and a store that says otherwise is not believed.
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def open(self, url: str) -> BlobStore:
        """Return the store at *url*."""
        parts = urlsplit(url)
        if parts.scheme == "file" and not parts.netloc and parts.path.startswith("/"):
            return FolderStore(Path(unquote(parts.path)))
        if parts.scheme in ("http", "https") and parts.hostname:
            if self._session is None:
                raise StoreError("stores are opened within `async with`")
            return HttpStore(url, self._session)
        raise StoreError(f"{url[:200]!r} is no blob store: http://…, https://… or file:///…")
