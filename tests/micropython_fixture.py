"""The real MicroPython, its Unix port, running a program that has device_client/micropython.

A program gets its arguments as `sys.argv[1:]`, and a heap that is as small as a board's.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Self

import pytest

ROOT = Path(__file__).parent.parent
CLIENT = ROOT / "device_client" / "micropython"
WAIT_S = 60.0
"""The longest a test waits for a board. Only failures take that long."""
LONELY = """
def lonely_ms():
    "Return milliseconds without those in which another process had the core: a board has its own."
    with open("/proc/self/schedstat") as file:
        return time.ticks_ms() - int(file.read().split()[1]) // 1000000
"""
"""For programs that measure how long they take."""
HEAP = "160k"
"""Pointers of 8 bytes; about what 80 KiB are to a board, most of it to compile."""


def find_micropython(name: str) -> str:
    """Return the program's path, or fail with what to type."""
    prefix = os.environ.get("WORKRS_PREFIX", "/opt/workrs")
    found = shutil.which(name, path=f"{prefix}/bin") or shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed; type: sudo ./run setup")
    return found


class Board:
    """One run of a program. Its output is read as it comes."""

    def __init__(
        self,
        program: str,
        *words: str,
        folder: Path,
        feeds: bool = False,
        port: str = "micropython",
    ) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self.process = subprocess.Popen(
            [find_micropython(port), "-X", f"heapsize={HEAP}", "-c", program, *words],
            cwd=folder,
            env={"MICROPYPATH": str(CLIENT), "PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE if feeds else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, name="board.reader")
        self._reader.start()

    def __enter__(self) -> Self:
        """Let it run."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, if it has not ended."""
        self.kill()

    def kill(self) -> None:
        """Take its power away."""
        self.process.kill()
        self.process.wait(WAIT_S)
        self._reader.join(WAIT_S)

    def wait_for(self, line: str) -> None:
        """Wait until it has printed this."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: line in self.lines or not self._reader.is_alive(), WAIT_S
            )
            assert found, f"in vain: {line!r} of {self.lines}"
            assert line in self.lines, self.lines

    def press_enter(self) -> None:
        """Let a program that reads a line go on; for one that `feeds`."""
        assert self.process.stdin is not None
        with self.process.stdin as stream:
            stream.write("\n")

    def output(self, timeout_s: float = WAIT_S) -> list[str]:
        """Wait for the program's end and return all that it printed; it must not have failed."""
        code = self.process.wait(timeout_s)
        self._reader.join(WAIT_S)
        assert code == 0, self.lines
        return self.lines

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()
