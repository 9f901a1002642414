"""What a container prints, read from the engine as it comes.

The engine's log files are not used. They hold back a line until it is whole, so what was
printed before a freeze could be missing; they rotate, which loses the beginning of a result;
and a job could fill the engine's disk with them.

1. Every byte that the program wrote goes to the attempt's `stdout` or `stderr`, in order.
2. What cannot be kept ends the program: `flooded` says that it was more than STDOUT_BYTES_MAX,
   `lost` that the disk was full or the engine gone. Of stderr the end is kept.
3. Not reading makes the engine, and then the program, wait: a busy agent loses nothing.
"""

import asyncio
import contextlib
import fcntl
import os
import struct
import termios
from collections.abc import Awaitable, Callable
from io import FileIO
from pathlib import Path
from urllib.parse import urlsplit

from workrs.domain.errors import ContainerError

STDOUT_BYTES_MAX = 64 << 20
_STDERR_BYTES_MAX = 1 << 20
_QUIET_S = 0.01
_DRAIN_S = 2.0
_TURNS = 4
"""Of the event loop, in which what was read from a socket is stored: it takes two."""
_READ_BYTES = 256 << 10
_STDERR = 2
_HEADER = struct.Struct(">BxxxI")


class Output:
    """The two streams of one container."""

    def __init__(self, *, stdout: Path, stderr: Path) -> None:
        """Append to *stdout* and *stderr*."""
        self.flooded = False
        self.lost = False
        """The engine closed the stream in the middle of a frame, or the disk is full."""
        self._stdout = stdout.open("ab", buffering=0)
        self._stderr = stderr.open("r+b", buffering=0)
        self._stdout_bytes = self._stdout.tell()
        self._stderr_bytes = 0
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._last_s = 0.0

    async def attach(self, engine: str, container_id: str) -> None:
        """Ask for the streams. Call before the container is started.

        Raises:
            ContainerError: the engine refuses.
        """
        parts = urlsplit(engine)
        try:
            if parts.scheme == "unix":
                self._reader, self._writer = await asyncio.open_unix_connection(
                    parts.path, limit=_READ_BYTES
                )
            else:
                self._reader, self._writer = await asyncio.open_connection(
                    parts.hostname, parts.port or 2375, limit=_READ_BYTES
                )
            self._writer.write(
                f"POST /containers/{container_id}/attach?stream=1&stdout=1&stderr=1 HTTP/1.1\r\n"
                "Host: engine\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode()
            )
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError) as error:
            raise ContainerError(f"the engine's output cannot be read: {error}") from error
        if head.split(b" ", 2)[1] not in (b"101", b"200"):
            raise ContainerError(f"the engine gives no output: {head.splitlines()[0]!r}")

    async def read(self, stop: Callable[[], Awaitable[None]]) -> None:
        """Store what comes until the container has ended; *stop* ends it if that cannot be."""
        assert self._reader is not None
        clock = asyncio.get_running_loop().time
        try:
            while True:
                stream, left = _HEADER.unpack(await self._reader.readexactly(_HEADER.size))
                while left:
                    data = await self._reader.read(min(left, _READ_BYTES))
                    if not data:
                        self.lost = True
                        return
                    left -= len(data)
                    self._last_s = clock()
                    self._store(stream, data)
                if self._stdout_bytes > STDOUT_BYTES_MAX and not self.flooded:
                    self.flooded = True
                    await stop()
        except asyncio.IncompleteReadError as error:
            self.lost = bool(error.partial)
        except OSError:
            self.lost = True
            # Nobody reads any more: it would wait at a full pipe until its time is over.
            await stop()

    def _store(self, stream: int, data: bytes) -> None:
        if stream == _STDERR:
            if self._stderr_bytes + len(data) > _STDERR_BYTES_MAX:
                self._stderr.truncate(0)
                self._stderr.seek(0)
                self._stderr_bytes = 0
            _write(self._stderr, data)
            self._stderr_bytes += len(data)
        elif self._stdout_bytes <= STDOUT_BYTES_MAX:
            _write(self._stdout, data)
            self._stdout_bytes += len(data)

    async def drain(self, pid: int, *, frozen_at: float) -> None:
        """Return when all that the frozen program *pid* has printed is stored.

        The bytes pass a pipe, the container's shim, the engine and a socket. Pipe and socket can
        be looked into; for the rest, nothing must have come for a while since it was frozen, in
        which nothing stood in anybody's way. A dump of memory takes longer than that.

        Args:
            pid: its first process.
            frozen_at: when it stood still, by the loop's clock.

        Raises:
            ContainerError: they do not arrive.
        """
        clock = asyncio.get_running_loop().time
        begin = clock()
        while (
            clock() - max(self._last_s, frozen_at) < _QUIET_S
            or _pipes_hold(pid)
            or await self._is_behind()
        ):
            if clock() - begin > _DRAIN_S:
                raise ContainerError("what the program printed does not arrive")
            await asyncio.sleep(_QUIET_S / 4)

    async def _is_behind(self) -> bool:
        """Return whether bytes have come that are not stored, because this process was busy."""
        last_s = self._last_s
        assert self._writer is not None
        waiting = _unread(self._writer.get_extra_info("socket").fileno())
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        return waiting > 0 or self._last_s != last_s

    async def close(self) -> None:
        """Stop reading."""
        self._stdout.close()
        self._stderr.close()
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()


def _write(file: FileIO, data: bytes) -> None:
    """Write all of *data*. A disk that becomes full takes the beginning, and says no error."""
    while data:
        data = data[file.write(data) :]


def _pipes_hold(pid: int) -> bool:
    """Return whether unread bytes are in the pipes behind the first process's output."""
    for number in (1, 2):
        place = Path(f"/proc/{pid}/fd/{number}")
        with contextlib.suppress(OSError):
            # The program may have put anything there; only a pipe is opened, at its other end.
            if not str(place.readlink()).startswith("pipe:"):
                continue
            descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                if _unread(descriptor):
                    return True
            finally:
                os.close(descriptor)
    return False


def _unread(descriptor: int) -> int:
    """Return how many bytes can be read at once."""
    found: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.FIONREAD, bytes(4)))[0]
    return found
