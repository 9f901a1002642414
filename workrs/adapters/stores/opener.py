"""One place that opens stores by URL and owns what they share."""

from collections.abc import Collection
from types import TracebackType
from typing import TYPE_CHECKING, Self

from workrs.adapters.stores.address import StoreAddress, store_address
from workrs.adapters.stores.folder import FolderStore
from workrs.domain.errors import ConfigError, StoreError
from workrs.ports.store import BlobStore, SharedStore

if TYPE_CHECKING:
    import ssl

    import aiohttp

_CONNECT_S = 2.0
_SILENT_S = 8.0
"""Longest wait for the next bytes. A store that fsyncs on a slow disk may need seconds."""
_CONNECTIONS_MAX = 32
_SHARED_MAX = 64
"""Shared stores kept open; a forged location costs no more."""


class Stores:
    """Opens stores of nodes, folders and object stores; satisfies OpenStore with `open`.

    An async context manager: leaving it closes all connections.
    """

    def __init__(
        self, shared: Collection[str] | None = None, *, tls: "ssl.SSLContext | None" = None
    ) -> None:
        """Open nothing yet.

        Args:
            shared: locations of the stores of no node that may be opened; None: any. A record
                can name any bucket, and this process's credentials may be good for others.
            tls: proves who this is to nodes, and they to it; None: they ask nobody.
        """
        self._is_entered = False
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None
        self._allowed = shared
        self._shared: dict[str, SharedStore] = {}

    async def __aenter__(self) -> Self:
        """Allow stores to be opened."""
        self._is_entered = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close all connections."""
        self._is_entered = False
        if self._session is not None:
            await self._session.close()

    def open(self, url: str) -> BlobStore:
        """Return the store at *url*."""
        address = store_address(url)
        if address.is_shared:
            return self.open_shared(url)
        if not self._is_entered:
            raise StoreError("stores are opened within `async with`")
        return self._open_http(url)

    def _open_http(self, url: str) -> BlobStore:
        if self._tls is not None and not url.startswith("https://"):
            raise StoreError(f"{url[:200]!r} has no TLS, and this cluster has certificates")
        # A third of what an agent loads, and none of it is needed at its start.
        import aiohttp  # noqa: PLC0415

        from workrs.adapters.stores.http import HttpStore  # noqa: PLC0415

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=_CONNECT_S, sock_read=_SILENT_S
                ),
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX, ssl=self._tls or True),
                # What is stored is compressed, and a store that says otherwise is not believed.
                auto_decompress=False,
            )
        return HttpStore(url, self._session)

    def open_configured(self) -> list[SharedStore]:
        """Return all shared stores that may be opened, in their order.

        Raises:
            ConfigError: one of them cannot be used here.
        """
        try:
            return [self.open_shared(url) for url in self._allowed or ()]
        except StoreError as error:
            raise ConfigError(str(error)) from error

    def open_shared(self, url: str) -> SharedStore:
        """Return the store at *url*, which must belong to no node."""
        address = store_address(url)
        if self._allowed is not None and address.location not in self._allowed:
            raise StoreError(
                f"{address.location} is not among the stores configured here: add --store "
                f"{address.location}"
            )
        found = self._shared.get(address.location)
        if found is not None:
            return found
        if address.scheme == "file":
            made: SharedStore = FolderStore(address.path)
        elif address.is_shared:
            made = _open_object_store(address)
        else:
            raise StoreError(f"{url[:200]!r} belongs to a node")
        if len(self._shared) >= _SHARED_MAX:
            self._shared.clear()
        self._shared[address.location] = made
        return made


def _open_object_store(address: StoreAddress) -> SharedStore:
    # 16 MB of library, which few agents use.
    try:
        from workrs.adapters.stores.object import open_object_store  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{address.location} needs {error.name}: pip install 'workrs[objects]'"
        ) from error
    return open_object_store(address)
