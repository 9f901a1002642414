"""A pseudo-terminal with a program in it, and what a person does at it: press keys, and look."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")
SIZE: Final = (50, 160)
SEQUENCE: Final = re.compile(r"\x1b\[[0-9;?<>]*[a-zA-Z]")
CURSOR: Final = re.compile(r"\x1b\[(\d+);1H(?:\x1b\[[\d;]*m)*\N{LEFT HALF BLOCK}")
"""The mark of a list's cursor, and of the list's heading, with the line it is painted on."""
HEADING: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Press:
    """A key, from its byte in the terminal to the picture it changes."""

    begun: float
    """On the monotonic clock."""
    took_ms: float
    core_ms: float
    """Of these, how long the program's main thread was ready to run and had no core."""


class Terminal:
    """A pseudo-terminal with a program in it."""

    def __init__(self, words: list[str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *SIZE, 0, 0))
        self.started = time.monotonic()
        environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        self.process = subprocess.Popen(
            words, stdin=slave, stdout=slave, stderr=slave, env=environ, start_new_session=True
        )
        os.close(slave)
        self.written = ""
        self._read_at = self.started
        self._line = 0
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        while True:
            select.select([self._master], [], [])
            try:
                data = os.read(self._master, 1 << 16)
            except OSError:
                return
            with self._news:
                self._read_at = time.monotonic()
                self.written += data.decode(errors="replace")
                self._news.notify_all()

    def wait(self, pattern: str, timeout_s: float = 20.0) -> float:
        """Return when what was written since the last call had *pattern*."""

        # Only words are looked for: the sequences between them would part them.
        def is_there() -> bool:
            return bool(re.search(pattern, SEQUENCE.sub("", self.written), re.DOTALL))

        with self._news:
            read_at = self._await(is_there, pattern, timeout_s)
            self.written = ""
        return read_at

    def press(self, key: str, pattern: str) -> Press:
        """Press a key; look until the screen has *pattern*."""
        with self._news:
            self.written = ""
        return self._press(key, lambda: self.wait(pattern))

    def move(self, key: str) -> Press:
        """Press a key that moves the cursor; look until it is seen to."""
        with self._news:
            # Where it is by now: a list in another order takes it along.
            before = self._cursor()
            self.written = ""

            def moved() -> float:
                return self._await(lambda: self._cursor() != before, f"{key!r} moves", 5.0)

            return self._press(key, moved)

    def _press(self, key: str, seen: Callable[[], float]) -> Press:
        begun, core_s = time.monotonic(), self._without_core_s()
        os.write(self._master, key.encode())
        took_s = seen() - begun
        core_s = self._without_core_s() - core_s
        return Press(begun=begun, took_ms=took_s * 1000, core_ms=core_s * 1000)

    def _await(self, condition: Callable[[], bool], what: str, timeout_s: float) -> float:
        """Return when that was read which made the condition true; the lock is held."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if not self._news.wait(deadline - time.monotonic()):
                raise SystemExit(f"no {what} within {timeout_s} s: {self.written[-2000:]!r}")
        return self._read_at

    def _cursor(self) -> int:
        """Return the line the cursor was painted on last."""
        for found in CURSOR.finditer(self.written):
            self._line = int(found[1]) if int(found[1]) > HEADING else self._line
        return self._line

    def _without_core_s(self) -> float:
        # Of the main thread alone, so that no wait is counted twice.
        return int(self._proc("schedstat").split()[1]) / 1e9

    def cpu_s(self) -> float:
        """Return the CPU time of the program so far."""
        parts = self._proc("stat").rpartition(")")[2].split()
        return (int(parts[11]) + int(parts[12])) / TICKS

    def memory_mib(self) -> float:
        """Return its resident memory."""
        return int(self._proc("statm").split()[1]) * PAGE / 2**20

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text()
