"""Keeps a running node's trust up to date: new lists, passwords and certificates.

1. Two ways lead here: the node's folder, which is looked at every `LOOK_S`, and lists of the
   revoked that come over the bus (`trust_line`). What is damaged, foreign or older than what is
   in use changes nothing, and is logged.
2. A list is on this node's disk before it counts, so no start forgets it.
3. The broker is told to read its files again only when it has done so for the time before, and
   nothing is said to be in force before it has read it.
4. Whoever a new list or file of passwords shuts out is let in no more, and then every connection
   under that name is ended: the daemon takes its client id, as only the daemon can. If an operator
   is shut out, who may have ids that are not known, the broker is ended with all its connections.

Not promised: that a server with a revoked certificate is found out by its clients. A node that
was broken into is to be taken out of their lists of nodes, too.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Final

from broker.mosquitto import write_private
from broker.mosquitto_config import write_trust
from workrs.adapters import log
from workrs.adapters.disk import sync_directory
from workrs.domain.errors import BusError, ConfigError
from workrs.trust.kind import Kind
from workrs.trust.node_folder import REVOKED_NAME, NodeTrust, load_node, revoked_since, shut_out
from workrs.trust.revocation import newer, read_list

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from broker.mosquitto import MosquittoProcess
    from workrs.ports.bus import Address, Connect

LOOK_S: Final = 2.0
_ROUNDS: Final = 3
"""How often the shut out are ended, so that none that came in at that moment stays."""
_PAUSE_S: Final = 0.5
"""Between two rounds, and before the broker is asked again whether it listens."""

Stamp = tuple[tuple[str, int, int], ...]


class TrustKeeper:
    """The trust in use, and what brings it up to date."""

    def __init__(
        self,
        trust: NodeTrust,
        *,
        kept: Path,
        broker_folder: Path,
        own: Address,
        connect: Connect,
        broker: MosquittoProcess | None,
    ) -> None:
        """Begin with *trust*, which the broker has been given.

        Args:
            trust: the node's folder and the kept lists, checked.
            kept: where lists that came over the bus are kept.
            broker_folder: where the broker's copies are.
            own: the daemon's way to the broker.
            connect: how to get a connection.
            broker: reads its files again when it is told to; None: it is somebody else's, who
                tells it, and ends whom it shut out.
        """
        self.trust = trust
        self.changed: list[Callable[[NodeTrust], None]] = []
        """Called with what this node uses from now on."""
        self.in_force = trust
        """What the broker has read, too."""
        self.when_in_force: list[Callable[[], None]] = []
        """Called when that is news."""
        self._kept = kept
        self._broker_folder = broker_folder
        self._own = own
        self._connect = connect
        self._broker = broker
        self._stamp = stamp(trust.folder)
        self._unread = asyncio.Event()
        """Whether the broker has not read what is in use."""
        self._shut_out: set[str] = set()
        """Whom that shuts out."""
        self._anew = False
        """Whether it is to be ended, and read it at its start."""
        self._doomed: dict[str, int] = {}
        """Names whose connections are to be ended, and how often yet."""
        self._doom = asyncio.Event()
        self._log = log.get(f"node[{trust.credential.name}]")

    async def keep(self) -> None:
        """Look at the folder, have the broker read what is new, end connections; for ever."""
        async with asyncio.TaskGroup() as tasks:
            name = f"node[{self.trust.credential.name}].trust"
            tasks.create_task(self._look(), name=f"{name}.folder")
            tasks.create_task(self._have_all_read(), name=f"{name}.broker")
            tasks.create_task(self._end_all(), name=f"{name}.ends")

    def take_list(self, text: str, *, by: str) -> bool:
        """Put a list that came over the bus in force; return whether it was news.

        Args:
            text: PEM.
            by: who brought it, for the log and the error's text.

        Raises:
            ListRefusedError: it is damaged, foreign, or older than the one in use.
            OSError: it cannot be kept, or not be given to the broker; what was in use is, and the
                same list may be brought again.
        """
        offered = read_list(text, self.trust.authorities, where=f"the list that {by} sent")
        if not newer(self.trust.lists[offered.kind], offered):
            return False
        write_private(self._kept, REVOKED_NAME.format(offered.kind.value), offered.text, sync=True)
        sync_directory(self._kept)
        self._put_in_force(self.trust.with_lists([offered]), source=by)
        return True

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            now = stamp(self.trust.folder)
            if now != self._stamp:
                self._stamp = now
                self._take_folder()

    def _take_folder(self) -> None:
        try:
            found = load_node(self.trust.folder)
            new = found.with_lists(self.trust.lists.values())
        except ConfigError as error:
            self._log.warning("trust_not_taken", why=str(error))
            return
        older = [k.value for k in Kind if found.lists[k].number < self.trust.lists[k].number]
        if older:
            self._log.event("older_lists_left", folder=new.folder, kinds=" ".join(older))
        try:
            self._put_in_force(new, source=str(new.folder))
        except OSError as error:
            self._log.warning("trust_not_taken", why=str(error))
            self._stamp = ()  # the next look tries again

    def _put_in_force(self, new: NodeTrust, *, source: str) -> None:
        old = self.trust
        write_trust(self._broker_folder, new)
        self.trust = new
        # The node's own name at its own broker is the daemon, which came by the socket.
        names = shut_out(old, new) - {new.credential.name}
        self._log.event("trust_taken", source=source, shut_out=" ".join(sorted(names)))
        for tell in self.changed:
            tell(new)
        if self._broker is not None:
            self._shut_out |= names
            is_operator = bool(revoked_since(old, new, Kind.OPERATOR))
            self._anew |= is_operator and self._broker.connected.is_incomplete
        self._unread.set()

    async def _have_all_read(self) -> None:
        """Have the broker read what is new, and only then say that it is in force; for ever."""
        while True:
            await self._unread.wait()
            self._unread.clear()
            new, names, anew = self.trust, self._shut_out, self._anew
            self._shut_out, self._anew = set(), False
            if self._broker is not None:
                await self._have_read(self._broker, anew=anew)
            self.in_force = new
            for tell in self.when_in_force:
                tell()
            self._doomed |= dict.fromkeys(names, _ROUNDS)
            if names:
                self._doom.set()

    async def _have_read(self, broker: MosquittoProcess, *, anew: bool) -> None:
        if anew:
            self._log.event("broker_ended", why="an operator's connections are not all known")
            restarts = broker.restarts
            broker.end()
            await broker.wait_restarted(since=restarts)
            return
        await broker.reload()
        # It has one thread: whoever is let in now is let in after it has read all.
        while await self._take(f"trust_read_{secrets.token_hex(8)}"):  # noqa: ASYNC110 (its word)
            await asyncio.sleep(_PAUSE_S)

    async def _end_all(self) -> None:
        while True:
            await self._doom.wait()
            for name, rounds in list(self._doomed.items()):
                ids = [] if self._broker is None else self._broker.connected.ids(name)
                # The connection under an id ends when another one takes it.
                for client in (name, *ids):
                    if why := await self._take(client):
                        self._log.warning("not_ended", client=client, why=why)
                self._doomed[name] = rounds - 1
            self._doomed = {name: rounds for name, rounds in self._doomed.items() if rounds}
            if not self._doomed:
                self._doom.clear()
            await asyncio.sleep(_PAUSE_S)

    async def _take(self, client: str) -> str:
        """Connect under a client id for a moment; return why that was not possible, or nothing."""
        try:
            async with self._connect(address=self._own, client_id=client):
                return ""
        except BusError as error:
            return str(error)


def with_kept_lists(trust: NodeTrust, kept: Path) -> NodeTrust:
    """Return a node's trust with the lists that came over the bus before its last end.

    Raises:
        ConfigError: one cannot be read or is damaged. Without it the revoked might get in.
    """
    found = []
    for path in sorted(kept.glob(REVOKED_NAME.format("*"))):
        try:
            found.append(read_list(path.read_text(), trust.authorities, where=str(path)))
        except (OSError, ConfigError) as error:
            raise ConfigError(
                f"{error}. It is a list of the revoked that this node took: copy the newest ones "
                f"of the cluster's directory into {trust.folder}, and delete this one"
            ) from error
    return trust.with_lists(found)


def stamp(folder: Path) -> Stamp:
    """Return what changes whenever a file of the folder does."""
    found = []
    for path in sorted(folder.glob("*")):
        try:
            status = path.stat()
        except OSError:
            continue  # gone again, or not to be looked at: who reads it next says why
        found.append((path.name, status.st_mtime_ns, status.st_size))
    return tuple(found)
