"""Under which client ids a user is connected, as the broker's log tells it.

Only operators choose their ids, to be connected more than once; when one is revoked, each of its
connections has to be ended by its id. All others are known by their names.

1. A line is believed from its end: an id may hold any text, the user's name cannot.
2. At most `IDS_MAX` ids are kept. Beyond, a new one is not, and is not found when its user is
   revoked; the broker takes fewer connections than that from the one listener.
"""

import re
from typing import Final

IDS_MAX: Final = 10_000
_CAME: Final = re.compile(r"New client connected from \S+ as (.*) \(p\d, c\d, k\d+, u'([^']*)'\)\.")
_ENDS: Final = (
    r"Client (.*) disconnected(?:: [^:]*| due to [^:]*|, not authorised)?\.",
    r"Client (.*) closed its connection\.",
    r"Client (.*) has exceeded timeout, disconnecting\.",
    r"Client (.*) been disconnected by administrative action\.",
    r"Bad socket read/write on client (.*): [^:]*",
)
_WENT: Final = [re.compile(text) for text in _ENDS]
"""Every way in which Mosquitto says it; one that were missing would fill the table with ids of
nobody, until the next one is not found."""


class Connected:
    """Ids by user; those that are the user's own name are left out."""

    def __init__(self) -> None:
        """Begin with nobody."""
        self._users: dict[str, str] = {}

    def read(self, line: str) -> None:
        """Take in one line of the log."""
        if came := _CAME.fullmatch(line):
            client, user = came.groups()
            if client != user and len(self._users) < IDS_MAX:
                self._users[client] = user
            return
        for end in _WENT:
            if went := end.fullmatch(line):
                self._users.pop(went[1], None)
                return

    def forget(self) -> None:
        """Note that the broker has ended, and every connection with it."""
        self._users.clear()

    def ids(self, user: str) -> list[str]:
        """Return the ids that a user has chosen and is connected under."""
        return sorted(client for client, of in self._users.items() if of == user)
