"""Who may be connected to the page, and for how long without asking for anything.

1. At most CONNECTIONS_MAX are open, and CONNECTIONS_OF_ONE_MAX from one network
   (`broker.web.meter`): nobody takes them all. Those that have still to agree on TLS count.
2. One that waits IDLE_S for a request to be complete, or to agree on TLS, is ended, so nobody holds
   one by sending a header a minute.

Not promised: a connection for a stranger while strangers in several networks hold all.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from aiohttp import web

from broker.web.meter import network_of
from workrs.ports.bus import Address

CONNECTIONS_MAX: Final = 256
CONNECTIONS_OF_ONE_MAX: Final = 64
"""A browser has six at most, and an open page one."""
IDLE_S: Final = 15.0
_LOOK_S: Final = 2.0
_FULL_S: Final = 1.0
"""Until the system is asked again for a connection that it had no room for."""


class Door:
    """See the module. `let_in` and `keep_moving` run beside the server, for ever."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        """Let in by TLS, or in the open."""
        self._tls = tls
        self._entering: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[object] = set()
        self._idle_since: dict[object, float] = {}

    @contextmanager
    def answering(self, connection: object) -> Iterator[None]:
        """Note that a request of a connection is answered as long as the context is open."""
        self._busy.add(connection)
        try:
            yield
        finally:
            self._busy.discard(connection)
            self._idle_since.pop(connection, None)

    async def let_in(self, server: web.Server, listener: socket.socket) -> None:
        """Take what connects, for ever; when cancelled, leave outside who has not entered."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    found, at = await loop.sock_accept(listener)
                except ConnectionError:
                    continue  # it went away meanwhile
                except OSError:
                    await asyncio.sleep(_FULL_S)
                    continue
                network = network_of(at[0])
                if not self._has_room(server, network):
                    found.close()
                    continue
                self._entering[network] += 1
                entering = asyncio.create_task(
                    self._enter(server, found, network), name="page.entering"
                )
                self._tasks.add(entering)
                entering.add_done_callback(self._tasks.discard)
                # One that is cancelled before its first step closes nothing itself.
                entering.add_done_callback(partial(_close_if_cancelled, found))
        finally:
            left = list(self._tasks)
            for each in left:
                each.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def _has_room(self, server: web.Server, network: str) -> bool:
        networks = self._entering + Counter(map(_network, server.connections))
        return networks.total() < CONNECTIONS_MAX and networks[network] < CONNECTIONS_OF_ONE_MAX

    async def _enter(self, server: web.Server, found: socket.socket, network: str) -> None:
        limit_s = IDLE_S if self._tls else None
        try:
            # Whoever fails to agree on TLS is gone by then, and nobody has to be told.
            with suppress(OSError):
                await asyncio.get_running_loop().connect_accepted_socket(
                    server, found, ssl=self._tls, ssl_handshake_timeout=limit_s
                )
        finally:
            self._entering[network] -= 1
            if not self._entering[network]:
                # A count of none is one more place to look at, for everybody who comes.
                del self._entering[network]

    async def keep_moving(self, server: web.Server) -> None:
        """End connections that ask for nothing, for ever."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(_LOOK_S)
            now, waiting = clock(), [c for c in server.connections if c not in self._busy]
            self._idle_since = {c: self._idle_since.get(c, now) for c in waiting}
            for connection in waiting:
                if now - self._idle_since[connection] >= IDLE_S:
                    connection.force_close()


def _close_if_cancelled(found: socket.socket, entering: "asyncio.Task[None]") -> None:
    if entering.cancelled():
        found.close()


def _network(connection: web.RequestHandler) -> str:
    peer = connection.transport and connection.transport.get_extra_info("peername")
    return network_of(peer[0]) if peer else ""


async def listeners(at: Address) -> list[socket.socket]:
    """Listen at an address, or at all that a name stands for.

    Raises:
        OSError: nobody can listen there.
    """
    found: list[socket.socket] = []
    try:
        for family, *_, place in await asyncio.get_running_loop().getaddrinfo(
            at.host, at.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            it = socket.create_server(place[:2], family=family, backlog=CONNECTIONS_MAX)
            it.setblocking(False)
            found.append(it)
    except OSError:
        for it in found:
            it.close()
        raise
    return found
