"""A door before a TCP port: what passes can be delayed, swallowed, or cut off with a reset.

For what a packet filter cannot do: the kernel may lack netem, and a lost packet is sent
again, while swallowed bytes are gone. The door is a process of its own, told what to do on
its standard input, so that it can stand in another namespace and ends with its owner.

1. Bytes of one direction keep their order. A delay is drawn for each piece that arrives,
   between the two bounds; a piece never overtakes the one before it.
2. A deaf direction swallows bytes and ends of streams alike; sockets stay open. When the door
   opens again, connections that lost something are reset: they could only talk nonsense.
3. What waits is bounded by PIECES_MAX pieces a direction; beyond that the sender is slowed.
4. An order is in force when the answer to it has been read.

Not promised: that a client which connects learns whether somebody listens behind the door.
It is let in first, and thrown out when nobody does.
"""

import argparse
import asyncio
import json
import random
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Final

from workrs.domain.errors import WorkrsError

PIECE_BYTES: Final = 64 * 1024
PIECES_MAX: Final = 64
_STOP_S: Final = 5.0
_CLOSING_S: Final = 1.0
"""Within so long what passes has met its reset; the door ends all the same."""
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""Linger for no time at all: closing sends a reset."""


class DoorError(WorkrsError):
    """The process of a door did not start, or has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How a connection is treated."""

    delay_min_s: float = 0.0
    delay_max_s: float = 0.0
    deaf_in: bool = False
    """Swallow what clients send."""
    deaf_out: bool = False
    """Swallow what clients are sent."""


@dataclass(slots=True)
class Door:
    """A running door. Made by `open_door`."""

    process: subprocess.Popen[str]

    def slow(self, delay_min_s: float, delay_max_s: float) -> None:
        """Delay each direction by between *delay_min_s* and *delay_max_s*."""
        self._order({"delay_min_s": delay_min_s, "delay_max_s": delay_max_s})

    def swallow(self, *, inbound: bool = True, outbound: bool = True, later: bool = True) -> None:
        """Swallow what clients send (*inbound*) and are sent (*outbound*).

        Args:
            inbound: From clients.
            outbound: To clients.
            later: Also on connections made from now on; else only on those that stand.
        """
        self._order({"deaf_in": inbound, "deaf_out": outbound}, later=later)

    def slam(self) -> None:
        """Reset every connection now, and let new ones pass."""
        self._order({}, reset=True)

    def open(self) -> None:
        """Let everything pass; reset what has lost bytes."""
        self._order({})

    def close(self) -> None:
        """End the door and all that passes through it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def _order(self, manners: dict[str, object], **more: bool) -> None:
        assert self.process.stdin is not None
        line = json.dumps({"manners": manners, **more})
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise DoorError(f"a door has ended with status {self.process.poll()}") from None
        self.expect("done")

    def expect(self, word: str) -> None:
        """Wait for the process to say *word*, or raise DoorError."""
        assert self.process.stdout is not None
        said = self.process.stdout.readline().strip()
        if said != word:
            raise DoorError(f"a door said {said!r} in place of {word!r}")


def open_door(*, prefix: Sequence[str] = (), port: int, behind: tuple[str, int]) -> Door:
    """Start a door at all addresses' *port*; what passes it is led to *behind*.

    Args:
        prefix: Words before the command, to run it in a namespace.
        port: Where it listens.
        behind: Address and port that it stands before.

    Raises:
        DoorError: It did not start.
    """
    host, behind_port = behind
    words = ["-m", __name__, str(port), host, str(behind_port)]
    process = subprocess.Popen(
        [*prefix, sys.executable, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    door = Door(process)
    try:
        door.expect("ready")
    except DoorError:
        door.close()
        raise
    return door


@dataclass(slots=True, eq=False)
class _Passage:
    """One connection through the door."""

    manners: Manners
    writers: list[asyncio.StreamWriter]
    has_lost: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """It is to end."""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """It has."""

    def reset(self) -> None:
        """Cut both halves off, so that both ends see a reset."""
        for writer in self.writers:
            found: socket.socket | None = writer.get_extra_info("socket")
            if found is not None and found.fileno() >= 0:
                found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            writer.transport.abort()
        self.ended.set()


@dataclass(slots=True)
class _Keeper:
    """The door's own side: lets clients pass as it was told."""

    behind: tuple[str, int]
    rng: random.Random
    manners: Manners = field(default_factory=Manners)
    passages: set[_Passage] = field(default_factory=set)

    async def welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one client's bytes to and fro until either end is done."""
        # The door ends with connections in it, and asyncio's streams cannot bear that in silence.
        with suppress(asyncio.CancelledError):
            await self._let_pass(reader, writer)

    async def _let_pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passage = _Passage(self.manners, [writer])
        self.passages.add(passage)
        try:
            back_reader, back_writer = await asyncio.open_connection(*self.behind)
            passage.writers.append(back_writer)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(passage, reader, back_writer, inbound=True))
                both.create_task(self._carry(passage, back_reader, writer, inbound=False))
        except* OSError:
            passage.reset()
        finally:
            self.passages.discard(passage)
            for each in passage.writers:
                each.close()
            passage.gone.set()

    async def _carry(
        self,
        passage: _Passage,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        inbound: bool,
    ) -> None:
        """Carry one direction, late by as much as the manners say."""
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(PIECES_MAX)
        async with asyncio.TaskGroup() as both:
            both.create_task(self._take(passage, reader, waiting, inbound=inbound))
            both.create_task(self._give(waiting, writer))

    async def _take(
        self,
        passage: _Passage,
        reader: asyncio.StreamReader,
        waiting: asyncio.Queue[tuple[float, bytes]],
        *,
        inbound: bool,
    ) -> None:
        clock = asyncio.get_running_loop().time
        due = 0.0
        while True:
            piece = await reader.read(PIECE_BYTES)
            manners = passage.manners
            if manners.deaf_in if inbound else manners.deaf_out:
                passage.has_lost = True
                if piece:
                    continue
                await passage.ended.wait()
            delay_s = self.rng.uniform(manners.delay_min_s, manners.delay_max_s)
            due = max(due, clock() + delay_s)
            await waiting.put((due, piece))
            if not piece:
                return

    async def _give(
        self, waiting: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            due, piece = await waiting.get()
            if due > clock():
                await asyncio.sleep(due - clock())
            if not piece:
                writer.write_eof()
                return
            writer.write(piece)
            await writer.drain()

    def obey(self, line: str) -> None:
        """Do what one line of the standard input says."""
        order = json.loads(line)
        manners = Manners(**order["manners"])
        is_reset = order.get("reset", False)
        for passage in list(self.passages):
            passage.manners = manners
            if is_reset or (passage.has_lost and manners == Manners()):
                passage.reset()
        self.manners = manners if order.get("later", True) else Manners()


async def _keep(port: int, behind: tuple[str, int], orders: IO[str]) -> None:
    keeper = _Keeper(behind, random.Random(port))  # noqa: S311 (delays, not secrets)
    server = await asyncio.start_server(keeper.welcome, port=port)
    async with server:
        print("ready", flush=True)  # noqa: T201 (its owner waits for the line)
        while line := await asyncio.to_thread(orders.readline):
            keeper.obey(line)
            print("done", flush=True)  # noqa: T201
        passages = list(keeper.passages)
        for passage in passages:
            passage.reset()
        # One that is cancelled while it meets its reset would be told as an error.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_S):
                for passage in passages:
                    await passage.gone.wait()


def main() -> None:
    """Run a door until the standard input ends."""
    parser = argparse.ArgumentParser(description="a door before a TCP port")
    parser.add_argument("port", type=int)
    parser.add_argument("behind_host")
    parser.add_argument("behind_port", type=int)
    asked = parser.parse_args()
    asyncio.run(_keep(asked.port, (asked.behind_host, asked.behind_port), sys.stdin))


if __name__ == "__main__":
    main()
