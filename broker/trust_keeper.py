"""Keeps a running node's trust as its folder has it: new lists, passwords and certificates.

1. The folder is looked at every `LOOK_S`. What is damaged or older than what is in use changes
   nothing and is logged once.
2. Whoever a new list or file of passwords shuts out is let in no more, and then every connection
   under that name is ended: the daemon takes its client id, as only the daemon can.

Not promised: that a server with a revoked certificate is found out by its clients. A node that
was broken into is to be taken out of their lists of nodes, too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from broker.mosquitto_config import write_trust
from workrs.adapters import log
from workrs.domain.errors import BusError, ConfigError
from workrs.trust.node_folder import NodeTrust, check_newer, load_node, shut_out

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from workrs.ports.bus import Address, Connect

LOOK_S: Final = 2.0
_RELOADED_S: Final = 0.5
"""By then the broker has read its files again: it looks for the signal after each event."""
_ROUNDS: Final = 3
"""How often the shut out are ended, so that none that came in at that moment stays."""

Stamp = tuple[tuple[str, int, int], ...]


class TrustKeeper:
    """The trust in use, and what brings it up to date."""

    def __init__(
        self,
        trust: NodeTrust,
        *,
        broker_folder: Path,
        own: Address,
        connect: Connect,
        reload: Callable[[], None],
        ids: Callable[[str], list[str]],
    ) -> None:
        """Begin with *trust*, which the broker has been given.

        Args:
            trust: the node's folder, checked.
            broker_folder: where the broker's copies are.
            own: the daemon's way to the broker.
            connect: how to get a connection.
            reload: has the broker read its files again.
            ids: under which further client ids somebody is connected.
        """
        self.trust = trust
        self.changed: list[Callable[[NodeTrust], None]] = []
        """Called with what is in use from now on."""
        self._broker_folder = broker_folder
        self._own = own
        self._connect = connect
        self._reload = reload
        self._ids = ids
        self._stamp = stamp(trust.folder)
        self._log = log.get(f"node[{trust.credential.name}]")

    async def keep(self) -> None:
        """Look at the folder for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            now = stamp(self.trust.folder)
            if now != self._stamp:
                self._stamp = now
                await self._take()

    async def _take(self) -> None:
        old = self.trust
        try:
            new = load_node(old.folder)
            check_newer(old, new)
        except ConfigError as error:
            self._log.warning("trust_not_taken", why=str(error))
            return
        write_trust(self._broker_folder, new)
        self.trust = new
        names = shut_out(old, new)
        self._log.event("trust_taken", folder=new.folder, shut_out=" ".join(sorted(names)))
        self._reload()
        for tell in self.changed:
            tell(new)
        for _ in range(_ROUNDS if names else 0):
            await asyncio.sleep(_RELOADED_S)
            for name in sorted(names):
                for client in (name, *self._ids(name)):
                    await self._end(client)

    async def _end(self, client: str) -> None:
        """End the connection under a client id by taking it."""
        try:
            async with self._connect(address=self._own, client_id=client):
                pass
        except BusError as error:
            self._log.warning("not_ended", client=client, why=str(error))


def stamp(folder: Path) -> Stamp:
    """Return what changes whenever a file of the folder does."""
    found = []
    for path in sorted(folder.glob("*")):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        found.append((path.name, status.st_mtime_ns, status.st_size))
    return tuple(found)
