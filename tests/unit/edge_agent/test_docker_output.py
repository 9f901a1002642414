"""Goal: a checkpoint holds what was printed before its instant, and waits for nothing else.

Method: an engine of a few lines at the other end of the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import struct
import time
from io import FileIO
from typing import TYPE_CHECKING

import pytest

from edge_agent.runtimes import docker_output
from edge_agent.runtimes.docker_output import Output
from workrs.domain.errors import ContainerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

LINE = b"the last line before the freeze\n"


class Engine:
    """What the output comes from."""

    def __init__(
        self,
        output: Output,
        stdout: Path,
        writer: asyncio.StreamWriter,
        stopped: asyncio.Event,
    ) -> None:
        self.output = output
        self.stopped = stopped
        self._stdout = stdout
        self._writer = writer

    def print(self, text: bytes) -> None:
        """Put a frame into the socket, while the agent does something else."""
        frame = struct.pack(">BxxxI", 1, len(text)) + text
        assert os.write(self._writer.get_extra_info("socket").fileno(), frame) == len(frame)

    @property
    def stored(self) -> bytes:
        return self._stdout.read_bytes()


@contextlib.asynccontextmanager
async def engine(folder: Path) -> AsyncIterator[Engine]:
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 UPGRADED\r\n\r\n")
        writers.append(writer)

    server = await asyncio.start_unix_server(serve, folder / "engine")
    stdout, stderr = folder / "stdout", folder / "stderr"
    stderr.touch()
    output = Output(stdout=stdout, stderr=stderr)
    await output.attach(f"unix://{folder / 'engine'}", "c1")

    stopped = asyncio.Event()

    async def stop() -> None:
        stopped.set()

    reading = asyncio.create_task(output.read(stop))
    try:
        async with asyncio.timeout(60):
            yield Engine(output, stdout, writers[0], stopped)
    finally:
        reading.cancel()
        await output.close()
        writers[0].close()
        server.close()


def since(seconds: float) -> float:
    return asyncio.get_running_loop().time() - seconds


def test_who_was_dumped_for_long_enough_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    nap = asyncio.sleep

    async def counted(delay_s: float) -> None:
        naps.append(delay_s)
        await nap(delay_s)

    async def story() -> None:
        async with engine(tmp_path) as made:
            monkeypatch.setattr("asyncio.sleep", counted)
            await made.output.drain(os.getpid(), frozen_at=since(1.0))
            assert not any(naps)
            # However late its turn comes, that is less than a while ago.
            await made.output.drain(os.getpid(), frozen_at=since(-0.5))
            assert any(naps)

    # Its own outputs may be full pipes here; a program's are looked at where there are programs.
    monkeypatch.setattr(docker_output, "_pipes_hold", lambda _: False)
    asyncio.run(story())


def test_what_came_while_the_agent_was_busy_is_stored_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with engine(tmp_path) as made:
            made.print(LINE)
            assert made.stored == b""
            await made.output.drain(os.getpid(), frozen_at=since(1.0))
            assert made.stored == LINE

    monkeypatch.setattr(docker_output, "_pipes_hold", lambda _: False)
    asyncio.run(story())


def test_what_just_came_may_not_have_been_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with engine(tmp_path) as made:
            made.print(LINE)
            loop = asyncio.get_running_loop()
            while made.stored != LINE:  # noqa: ASYNC110 (until the deadline of the story)
                await asyncio.sleep(0)
            loop.call_later(0.05, made.print, LINE)
            await made.output.drain(os.getpid(), frozen_at=since(1.0))
            assert made.stored == 2 * LINE

    # So long that this process has a turn in it, whatever else the machine does.
    monkeypatch.setattr(docker_output, "_QUIET_S", 0.5)
    monkeypatch.setattr(docker_output, "_DRAIN_S", 60.0)
    monkeypatch.setattr(docker_output, "_pipes_hold", lambda _: False)
    asyncio.run(story())


def test_a_pipe_that_stays_full_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with engine(tmp_path) as made:
            with pytest.raises(ContainerError, match="does not arrive"):
                await made.output.drain(os.getpid(), frozen_at=since(1.0))

    monkeypatch.setattr(docker_output, "_pipes_hold", lambda _: True)
    monkeypatch.setattr(docker_output, "_DRAIN_S", 0.05)
    begin = time.perf_counter()
    asyncio.run(story())
    assert time.perf_counter() - begin >= 0.05


def test_a_disk_that_becomes_full_loses_nothing_in_silence_and_lets_no_program_wait(
    tmp_path: Path,
) -> None:
    """It takes the beginning of what is written, and only the next write says why."""
    room = [len(LINE) // 2]

    class Disk(FileIO):
        def write(self, data: bytes) -> int:
            if not room[0]:
                raise OSError(errno.ENOSPC, "no space left")
            taken = super().write(data[: room[0]])
            room[0] -= taken
            return taken

    async def story() -> None:
        async with engine(tmp_path) as made:
            made.output._stdout.close()
            made.output._stdout = Disk(tmp_path / "stdout", "ab")
            made.print(LINE)
            await made.stopped.wait()
            assert made.output.lost
            assert not made.output.flooded

    asyncio.run(story())
