"""The connections of a node's blob store: those that nobody has shown himself on are few and short.

The store is a part of the daemon, and shares its file handles with the ledger and the broker's
socket: whoever takes them all stops a vote. So connections are accepted here, one by one:

1. A connection waits in the anteroom until its first request is admitted (`admit`). There is room
   for WAITING_MAX; beyond, the one that has waited longest is closed. An honest client is through
   in milliseconds, so a flood that does not show itself costs it nothing.
2. Nobody waits longer than `first_s`, TLS handshake included.
3. A member has at most PER_CALLER_MAX connections. Beyond, its next one is refused, and no other's.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from aiohttp.base_protocol import BaseProtocol

from workrs.adapters import log

LOG = log.get("node.blobs")
WAITING_MAX: Final = 256
PER_CALLER_MAX: Final = 128
"""An agent's own client opens no more than 100."""
FIRST_S: Final = 10.0
_BACKLOG: Final = 128
_NO_HANDLES_S: Final = 0.1
"""Pause when not one more file can be opened."""


class BlobDoor:
    """Takes connections for an HTTP server. `open` it, `close` it, both once."""

    def __init__(
        self,
        serve: Callable[[], BaseProtocol],
        *,
        tls: ssl.SSLContext | None,
        first_s: float = FIRST_S,
    ) -> None:
        """Listen nowhere yet.

        Args:
            serve: makes what serves one connection.
            tls: of the server; None: plain.
            first_s: how long a connection may wait to be admitted.
        """
        self._serve = serve
        self._tls = tls
        self._first_s = first_s
        self._listeners: list[socket.socket] = []
        self._work: asyncio.Task[None] | None = None
        self._anteroom: dict[asyncio.Task[None], None] = {}
        """Who waits, the longest first."""
        self._shown: dict[BaseProtocol, asyncio.Event] = {}
        self._of_callers: dict[str, set[BaseProtocol]] = {}

    async def open(self, host: str, port: int) -> int:
        """Listen at all addresses of *host*; return the port, for 0 the one that was free.

        Raises:
            OSError: an address is taken, or none of this machine's.
        """
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        try:
            for family, _, _, _, address in dict.fromkeys(found):
                made = socket.create_server(
                    (str(address[0]), port), family=family, backlog=_BACKLOG
                )
                made.setblocking(False)
                self._listeners.append(made)
                port = made.getsockname()[1]
        except OSError:
            self._close_listeners()
            raise
        self._work = loop.create_task(self._keep(), name="blobs.door")
        return port

    async def close(self) -> None:
        """Listen no more, and close what waits. Those that were admitted stay as they are."""
        self._close_listeners()
        if self._work is not None:
            self._work.cancel()
            with suppress(asyncio.CancelledError):
                await self._work
            self._work = None

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    async def _keep(self) -> None:
        async with asyncio.TaskGroup() as group:
            for listener in self._listeners:
                group.create_task(self._accept(listener, group), name="blobs.door.accept")

    async def _accept(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:
                LOG.warning("blob_door", why=error.strerror)
                self._close_longest()
                await asyncio.sleep(_NO_HANDLES_S)
                continue
            if len(self._anteroom) >= WAITING_MAX:
                self._close_longest()
            task = group.create_task(self._let_in(connection), name="blobs.door.waiting")
            self._anteroom[task] = None
            task.add_done_callback(self._leave)

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._anteroom.pop(task, None)

    def _close_longest(self) -> None:
        task = next(iter(self._anteroom), None)
        if task is not None:
            task.cancel()
            self._leave(task)

    async def _let_in(self, connection: socket.socket) -> None:
        protocol = self._serve()
        shown = self._shown[protocol] = asyncio.Event()
        try:
            async with asyncio.timeout(self._first_s):
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: protocol, connection, ssl=self._tls
                )
                await shown.wait()
        except OSError:
            pass  # an error of TLS, or the time is over: nobody is there who could be told
        except Exception as error:  # noqa: BLE001 (one connection must not end all others)
            LOG.warning("blob_door", why=repr(error))
        finally:
            del self._shown[protocol]
            if not shown.is_set():
                if protocol.transport is not None:
                    protocol.transport.abort()
                connection.close()

    def admit(self, protocol: BaseProtocol, caller: str) -> bool:
        """Let a connection stay, on which *caller* has shown itself; False if it has too many.

        Args:
            protocol: what serves the connection.
            caller: its name; empty where nobody is told apart.
        """
        if caller and not self._is_one_of(protocol, caller):
            return False
        shown = self._shown.get(protocol)
        if shown is not None:
            shown.set()
        return True

    def _is_one_of(self, protocol: BaseProtocol, caller: str) -> bool:
        own = self._of_callers.setdefault(caller, set())
        if protocol in own:
            return True
        own.difference_update([each for each in own if not each.connected])
        if len(own) >= PER_CALLER_MAX:
            return False
        own.add(protocol)
        return True
