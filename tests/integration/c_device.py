"""The C client as a process whose jobs a test writes and whose words it reads."""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING, NamedTuple, Self

from tests.c_compiler import SOURCES, compiled
from tests.integration.device_peer import WAIT_S, Broker

if TYPE_CHECKING:
    from collections.abc import Callable


class Patience(NamedTuple):
    """The times of `workrs_timing`, in its order.

    Of a device that neither leaves a slow node nor asks twice, unless a test says otherwise.
    """

    connect_ms: int = 60_000
    answer_ms: int = 60_000
    keepalive_ms: int = 60_000
    pong_ms: int = 60_000
    reask_ms: int = 60_000
    grace_ms: int = 200
    out_ms: int = 60_000
    backoff_min_ms: int = 100
    backoff_max_ms: int = 400


class CDevice:
    """The driver of tests/c_client on one or more brokers. Use as a context manager."""

    def __init__(
        self,
        *brokers: Broker,
        name: str = "pump-7",
        rx_bytes: int = 128,
        tx_bytes: int = 128,
        piece_bytes: int = 4096,
        patience: Patience = Patience(),  # noqa: B008 (it cannot change)
    ) -> None:
        sizes = [str(n) for n in (rx_bytes, tx_bytes, piece_bytes)]
        times = ",".join(map(str, patience))
        self._process = subprocess.Popen(
            [compiled(SOURCES / "driver.c"), name, *sizes, times, *(str(b.port) for b in brokers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        """Return itself: it connects by itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it, and fail if a sanitizer complained."""
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        if self._process.poll() is None:
            self.say("end")
        said = self._process.stderr.read()
        code = self._process.wait(WAIT_S)
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        assert code == 0, said

    def say(self, command: str) -> None:
        """Hand it one line."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def run(self, job: str, text: str = "1 2 3", *, function: str = "f", size: int = -1) -> None:
        """Have *text*, repeated up to *size* bytes, sent to a function."""
        self.say(f"run {function} {job} {len(text) if size < 0 else size} {text}")

    def wait_for(self, what: str, condition: Callable[[list[str]], object] | None = None) -> None:
        """Wait for a line *what*, or for a condition on all lines."""
        look = condition or (lambda lines: what in lines)
        with self._changed:
            found = self._changed.wait_for(lambda: look(self.lines), WAIT_S)
        assert found, f"in vain: {what}; heard: {self.lines[-20:]}"

    def states(self, job: str) -> list[str]:
        """Return the words said of a job, with what stood beside them."""
        return [line.removeprefix(f"state {job} ").strip() for line in self.lines_of("state", job)]

    def result(self, job: str) -> bytes:
        """Return the bytes of the last message about a job, put together."""
        found = b""
        for line in self.lines_of("bytes", job):
            offset, total, *pieces = line.split()[2:]
            found = found[: int(offset)]
            assert len(found) == int(offset), "a gap"
            found += bytes.fromhex(pieces[0] if pieces else "")
            assert len(found) <= int(total)
        return found

    def lines_of(self, kind: str, job: str) -> list[str]:
        """Return the lines of one kind about a job."""
        with self._changed:
            return [line for line in self.lines if line.startswith(f"{kind} {job} ")]

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self.lines.append(line.strip())
                self._changed.notify_all()
