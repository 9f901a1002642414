"""What a daemon tells the service manager that started it: systemd's notification protocol.

Datagrams of `KEY=value` lines to the socket that NOTIFY_SOCKET names. Of our own, because it is
these few lines: `systemd-python` is built against libsystemd, `sdnotify` was last touched in 2017.

1. READY=1 is said once, when the daemon serves; that a majority of nodes is there is no part of
   it, or the first node of three would never have started. The status says so instead.
2. WATCHDOG=1 is said three times in the time after which the manager gives the daemon up, and only
   while a look at the daemon's own work finds that it goes on. A loop that stands still says
   nothing; one that turns over work that does not is not enough.
3. Nothing is waited for: what the manager does not take at once is left out.
4. The variables leave the environment: a Mosquitto that knows the protocol, or a job, is not to
   speak for its daemon.
5. What a watchdog kills says first where it stood: SIGABRT writes all stacks into the log.

Not promised: that a daemon which hangs before it is ready is found.
"""

import asyncio
import faulthandler
import os
import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Final, Self

from workrs.adapters import log

LOG = log.get("service")
PARTS: Final = 3
"""Looks in the time after which the manager gives a daemon up."""
STATUS_S: Final = 10.0
"""Longest time between two looks: the status is for people."""


class ServiceManager:
    """Whoever started this daemon and wants to hear of it."""

    def __init__(self, socket_name: str, *, watchdog_s: float | None = None) -> None:
        """Take the socket's path, `@` first where it is an abstract one, and the watchdog's time.

        Args:
            socket_name: what NOTIFY_SOCKET says.
            watchdog_s: after how long without a sign the daemon is given up; None: never.
        """
        self._address = "\0" + socket_name[1:] if socket_name.startswith("@") else socket_name
        self.watchdog_s = watchdog_s

    @classmethod
    def take(cls, environ: MutableMapping[str, str]) -> Self | None:
        """Return the one that *environ* names, and take it out there; None: there is none."""
        name = environ.pop("NOTIFY_SOCKET", "")
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        if not name.startswith(("/", "@")):
            return None
        is_ours = pid in ("", str(os.getpid()))
        has_watchdog = is_ours and usec.isdecimal() and int(usec) > 0
        return cls(name, watchdog_s=int(usec) / 1e6 if has_watchdog else None)

    def say(self, *lines: str) -> None:
        """Say some lines at once."""
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto("\n".join(lines).encode(), self._address)

    async def report(
        self,
        serves: asyncio.Event,
        *,
        look: Callable[[], str],
        status: Callable[[], str],
    ) -> None:
        """Say when the daemon is ready, and from then on that its work goes on.

        Args:
            serves: set when the daemon serves.
            look: returns what has come to a stand, nothing while all goes on.
            status: returns one line for people.
        """
        if self.watchdog_s is not None:
            faulthandler.enable()
        await serves.wait()
        self.say("READY=1", f"STATUS={status()}")
        pause_s = min(STATUS_S, (self.watchdog_s or STATUS_S * PARTS) / PARTS)
        while True:
            await asyncio.sleep(pause_s)
            if stands := look():
                LOG.warning("watchdog_withheld", why=stands)
                self.say(f"STATUS={stands}")
            else:
                self.say("WATCHDOG=1", f"STATUS={status()}")

    def stopping(self) -> None:
        """Say that the daemon was told to stop, and does."""
        self.say("STOPPING=1", "STATUS=it stops")
