"""Under which client ids a user is connected, as the broker's log tells it.

Only operators choose their ids, to be connected more than once; when one is revoked, each of its
connections has to be ended by its id. All others are known by their names.

1. A line is believed from its end: an id may hold any text, the user's name cannot, nor can what
   the broker says behind an id. Of two readings the one with the longer id is right.
2. The broker cuts its lines, and at most `IDS_MAX` ids are kept. Of a connection that is not known
   for either reason `is_incomplete` tells: its user may be anybody who chooses ids.
"""

import re
from typing import Final

IDS_MAX: Final = 10_000
LINE_MAX_BYTES: Final = 999
"""Mosquitto ends a line there. What seems to be its end may stand in the middle of an id."""
_CAMES: Final = "New client connected from "
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
        self.is_incomplete = False
        """Whether somebody may be connected under an id that is not known."""

    def read(self, line: str) -> None:
        """Take in one line of the log."""
        if line.startswith(_CAMES):
            self._read_came(line)
        elif ids := [went[1] for end in _WENT if (went := end.fullmatch(line))]:
            self._users.pop(max(ids, key=len), None)

    def forget(self) -> None:
        """Note that the broker has ended, and every connection with it."""
        self._users.clear()
        self.is_incomplete = False

    def ids(self, user: str) -> list[str]:
        """Return the ids that a user has chosen and is connected under."""
        return sorted(client for client, of in self._users.items() if of == user)

    def _read_came(self, line: str) -> None:
        if len(line.encode()) >= LINE_MAX_BYTES:
            self.is_incomplete = True
        elif came := _CAME.fullmatch(line):
            client, user = came.groups()
            if client == user:
                return
            if len(self._users) < IDS_MAX:
                self._users[client] = user
            else:
                self.is_incomplete = True
