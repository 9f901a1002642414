"""Everybody who is signed in at this node, by name: lets them in, and ends what nobody uses.

1. A credential is checked by connecting to the broker with it. Only the very password that a
   standing connection was made with is believed without another.
2. Tries are limited (`broker.web.attempt`), and ENTERING_MAX are made at a time.
3. A visit ends when its last session does.
4. A sign-in with a new password ends the sessions that began with the former one.
5. A visit ends with its password: as soon as the node files another one under the name, or none.
"""

import asyncio
import hmac
from collections.abc import Callable
from typing import Final, NamedTuple

from broker.web.attempt import Attempts
from broker.web.page_error import NotSignedInError, PageError, WrongPasswordError
from broker.web.session import Session, Sessions
from broker.web.visitor import OpenBus, Visitor
from workrs.adapters import log
from workrs.domain.ids import ClientId, Instant

LOG = log.get("node.page")
ENTERING_MAX: Final = 4
ENTER_S: Final = 10.0
SWEEP_S: Final = 5.0


class _Visit(NamedTuple):
    """Somebody who is here."""

    visitor: Visitor
    running: "asyncio.Task[None]"
    filed: str | None
    """Under what the password was filed when they came."""


class Visitors:
    """See the module. For the event loop's thread alone; `keep` runs beside the server."""

    def __init__(
        self,
        *,
        open_bus: OpenBus,
        clock: Callable[[], float],
        filed: Callable[[str], str | None] = lambda _: "",
    ) -> None:
        """Begin with nobody.

        Args:
            open_bus: connects as a visitor.
            clock: time of sessions and boards, in seconds.
            filed: under what a name's password is filed now (`broker.web.settings`).
        """
        self.sessions = Sessions()
        self._open_bus = open_bus
        self._clock = clock
        self._filed = filed
        self._attempts = Attempts()
        self._entering = 0
        self._visitors: dict[ClientId, _Visit] = {}
        self._running: set[asyncio.Task[None]] = set()

    def now(self) -> Instant:
        """Return the time of sessions and boards."""
        return Instant(self._clock())

    async def enter(self, name: ClientId, password: str | None, *, address: str) -> str:
        """Sign somebody in; return the session's token.

        Args:
            name: who they say they are.
            password: what they show for it; None in a cluster that asks for none.
            address: where they come from.

        Raises:
            PageError: they are not let in.
        """
        wait_s = self._attempts.wait_s(address, name, self.now())
        if wait_s:
            text = f"too many tries; wait {wait_s:.0f} s and try again"
            raise PageError(429, text, retry_after_s=wait_s)
        if self._entering >= ENTERING_MAX:
            raise PageError(503, "many people sign in just now; try again", retry_after_s=1.0)
        known = self._visitors.get(name)
        if known is None or not _is_proven(known.visitor, password):
            await self._open(name, password)
            if known is not None and known.visitor.password != password:
                # Whoever is still signed in by the former password has lost the right to be.
                self.sessions.close_all(name)
        self._attempts.was_right(address, name)
        token = self.sessions.open(name, self.now())
        LOG.event("page_signed_in", name=name, address=address)
        return token

    async def _open(self, name: ClientId, password: str | None) -> None:
        filed = self._filed(name)
        visitor = Visitor(name, password, open_bus=self._open_bus, clock=self._clock)
        running = asyncio.create_task(visitor.run(), name=f"page.visitor[{name}]")
        self._running.add(running)
        running.add_done_callback(self._ran)
        self._entering += 1
        try:
            async with asyncio.timeout(ENTER_S):
                await visitor.entered
        except TimeoutError as error:
            running.cancel()
            raise PageError(503, "this node's broker does not answer now; try again") from error
        except BaseException:
            running.cancel()
            raise
        finally:
            self._entering -= 1
        if filed is None or filed != self._filed(name):
            # The node knows already what its broker is about to read.
            running.cancel()
            raise WrongPasswordError
        self._end(name)
        self._visitors[name] = _Visit(visitor, running, filed)

    def _ran(self, running: "asyncio.Task[None]") -> None:
        self._running.discard(running)
        if not running.cancelled() and (error := running.exception()) is not None:
            LOG.warning("page_visit_failed", who=running.get_name(), why=repr(error))

    def find(self, token: str) -> tuple[Session, Visitor]:
        """Return whose session a token is.

        Raises:
            NotSignedInError: nobody's, or the node lets them in no more.
        """
        session = self.sessions.use(token, self.now()) if token else None
        known = self._visitors.get(session.name) if session is not None else None
        if session is None or known is None:
            raise NotSignedInError
        if not self._is_let_in(session.name, known):
            self.sessions.close_all(session.name)
            self._end(session.name)
            raise NotSignedInError(f"the node does not let {session.name} in by that password now")
        if known.visitor.ended or known.running.done():
            self.sessions.close_all(session.name)
            raise NotSignedInError(known.visitor.ended or "sign in again")
        return session, known.visitor

    def _is_let_in(self, name: ClientId, visit: "_Visit") -> bool:
        return visit.filed is not None and visit.filed == self._filed(name)

    def leave(self, token: str) -> None:
        """End a session, and the visit if it was the last."""
        self.sessions.close(token)
        self.sweep()

    def sweep(self) -> None:
        """End visits that no session is left of, and those that lost the right to be."""
        for name, visit in self._visitors.items():
            if not self._is_let_in(name, visit):
                self.sessions.close_all(name)
        present = self.sessions.end_old(self.now())
        for name in [name for name in self._visitors if name not in present]:
            self._end(name)

    async def keep(self) -> None:
        """Sweep for ever; in the end see everybody out."""
        try:
            while True:
                await asyncio.sleep(SWEEP_S)
                self.sweep()
        finally:
            self._visitors.clear()
            # Also of those who are just coming: they would be let in, and nobody sees them out.
            for each in self._running:
                each.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def _end(self, name: ClientId) -> None:
        found = self._visitors.pop(name, None)
        if found is not None:
            found.running.cancel()


def _is_proven(visitor: Visitor, password: str | None) -> bool:
    if not visitor.is_connected:
        return False
    if visitor.password is None or password is None:
        return visitor.password == password
    return hmac.compare_digest(visitor.password.encode(), password.encode())
