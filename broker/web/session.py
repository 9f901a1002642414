"""Who is signed in, by the random token in a browser's cookie. Pure: clock and tokens are given.

1. A token is made at each sign-in and never taken from a request, so nobody can be made to use one
   that somebody else knows.
2. The table has hashes of tokens alone.
3. A session ends when it was not used for IDLE_S, after LONGEST_S in any case, and at sign-out.
4. There are at most SESSIONS_MAX, and SESSIONS_OF_ONE_MAX of one name: its oldest ends for another.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from broker.web.page_error import PageError
from workrs.domain.ids import ClientId, Instant

IDLE_S: Final = 3600.0
LONGEST_S: Final = 12 * 3600.0
SESSIONS_MAX: Final = 128
SESSIONS_OF_ONE_MAX: Final = 4
_TOKEN_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody at one browser."""

    name: ClientId
    began: Instant
    used: Instant

    def is_over(self, now: Instant) -> bool:
        """Return whether it has ended by itself."""
        return now >= self.used + IDLE_S or now >= self.began + LONGEST_S


class Sessions:
    """All of a node."""

    def __init__(self, make_token: Callable[[], str] = secrets.token_urlsafe) -> None:
        """Begin without any."""
        self._make_token = make_token
        self._sessions: dict[bytes, Session] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._sessions)

    def open(self, name: ClientId, now: Instant) -> str:
        """Begin a session; return its token.

        Raises:
            PageError: too many people are signed in.
        """
        self.end_old(now)
        own = [mark for mark, session in self._sessions.items() if session.name == name]
        for mark in own[: max(0, len(own) - SESSIONS_OF_ONE_MAX + 1)]:
            del self._sessions[mark]
        if len(self._sessions) >= SESSIONS_MAX:
            raise PageError(503, "too many people are signed in at this node; try another one")
        token = self._make_token()
        self._sessions[_mark(token)] = Session(name=name, began=now, used=now)
        return token

    def use(self, token: str, now: Instant) -> Session | None:
        """Return whose session a token is, and keep it alive; None: nobody's."""
        mark = _mark(token)
        found = self._sessions.get(mark)
        if found is None or found.is_over(now):
            self._sessions.pop(mark, None)
            return None
        self._sessions[mark] = replace(found, used=now)
        return found

    def close(self, token: str) -> None:
        """End the session of a token, if there is one."""
        self._sessions.pop(_mark(token), None)

    def close_all(self, name: ClientId) -> None:
        """End all sessions of a name."""
        for mark in [mark for mark, found in self._sessions.items() if found.name == name]:
            del self._sessions[mark]

    def end_old(self, now: Instant) -> frozenset[ClientId]:
        """Forget what is over; return the names that are signed in."""
        for mark in [mark for mark, found in self._sessions.items() if found.is_over(now)]:
            del self._sessions[mark]
        return frozenset(found.name for found in self._sessions.values())


def _mark(token: str) -> bytes:
    return hashlib.sha256(token[:_TOKEN_MAX].encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class FormTokens:
    """What a form repeats, bound to the browser's cookie: no other site can have made it."""

    key: bytes

    def make(self, cookie: str) -> str:
        """Return the token for the forms of whoever has this cookie."""
        text = cookie[:_TOKEN_MAX].encode("utf-8", "surrogatepass")
        return hmac.new(self.key, text, hashlib.sha256).hexdigest()

    def check(self, cookie: str, shown: str) -> None:
        """Raise PageError unless the form was made for this cookie."""
        wanted = self.make(cookie).encode()
        if not cookie or not hmac.compare_digest(wanted, shown.encode("utf-8", "surrogatepass")):
            raise PageError(403, "this form is too old: go back, load the page anew, try again")
