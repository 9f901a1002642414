"""Goal: strangers and greedy members at a node's store take no room from others, nor from the node.

Method: a real server; connections that say nothing, and members with too many of them. Each attack
is played twice (tests/hostile/twice.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import aiohttp

from broker import blob_door, blob_guard
from broker.blob_access import Caller
from broker.blob_guard import Guard
from broker.blob_server import BlobServer
from tests.hostile.twice import played_twice
from workrs.domain.ids import ClientId
from workrs.trust.kind import Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

WAITING_MAX = 8
OWN_MAX = 3


async def by_header(_: object, authorization: str) -> Caller | None:
    """Believe the header: who it is is not what is tried here."""
    return Caller(name=ClientId(authorization), kind=Kind.AGENT) if authorization else None


@contextlib.asynccontextmanager
async def serving(root: Path, *, first_s: float = 30.0) -> AsyncIterator[BlobServer]:
    server = BlobServer(root, "127.0.0.1", 0, guard=Guard(identify=by_header), first_s=first_s)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def silent(server: BlobServer, stack: contextlib.AsyncExitStack) -> asyncio.StreamReader:
    """Connect, and say nothing."""
    port = int(server.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    stack.callback(writer.close)
    return reader


async def health(session: aiohttp.ClientSession, server: BlobServer, who: str) -> int:
    headers = {"Authorization": who} if who else {}
    async with session.get(f"{server.url}/health", headers=headers) as answer:
        await answer.read()
        return answer.status


async def is_ended(reader: asyncio.StreamReader, within_s: float) -> bool:
    with contextlib.suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(within_s):
            return await reader.read(1) == b""
        return True
    return False


@played_twice
def test_a_flood_of_silent_connections_takes_no_more_room_than_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """And the honest come in meanwhile: those that have waited longest go."""
    flood = 3 * WAITING_MAX
    monkeypatch.setattr(blob_door, "WAITING_MAX", WAITING_MAX if control else 10 * flood)

    async def story() -> int:
        async with (
            serving(tmp_path, first_s=600.0) as server,
            contextlib.AsyncExitStack() as stack,
        ):
            readers = [await silent(server, stack) for _ in range(flood)]
            async with aiohttp.ClientSession() as session:
                assert await health(session, server, "a1") == 200
            within_s = 60.0 if control else 0.1
            ended = [await is_ended(reader, within_s) for reader in readers[: flood - WAITING_MAX]]
            return sum(ended)

    assert asyncio.run(story()) == (2 * WAITING_MAX if control else 0)


@played_twice
def test_who_says_nothing_is_given_up(tmp_path: Path, *, control: bool) -> None:
    async def story() -> bool:
        async with (
            serving(tmp_path, first_s=0.2 if control else 600.0) as server,
            contextlib.AsyncExitStack() as stack,
        ):
            return await is_ended(await silent(server, stack), 60.0 if control else 1.0)

    assert asyncio.run(story()) is control


@played_twice
def test_a_member_has_no_more_connections_than_one_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """Each may have an upload under way, which takes memory of the node."""
    for module in (blob_door, blob_guard):
        monkeypatch.setattr(module, "PER_CALLER_MAX", OWN_MAX if control else 100)

    async def story() -> list[int]:
        async with serving(tmp_path) as server, contextlib.AsyncExitStack() as stack:
            found = []
            for _ in range(OWN_MAX + 2):
                session = await stack.enter_async_context(aiohttp.ClientSession())
                found.append(await health(session, server, "a1"))
                assert await health(session, server, "a1") == found[-1]
            async with aiohttp.ClientSession() as session:
                assert await health(session, server, "a2") == 200
            return found

    assert asyncio.run(story()) == [200] * OWN_MAX + [503 if control else 200] * 2


def test_who_goes_leaves_room_for_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blob_door, "PER_CALLER_MAX", OWN_MAX)

    async def story() -> None:
        async with serving(tmp_path) as server:
            for _ in range(3 * OWN_MAX):
                async with aiohttp.ClientSession() as session:
                    assert await health(session, server, "a1") == 200

    asyncio.run(story())


def test_a_stranger_is_refused_and_its_connection_ends(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(tmp_path) as server, contextlib.AsyncExitStack() as stack:
            port = int(server.url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            writer.write(b"GET /health HTTP/1.1\r\nHost: n1\r\n\r\n" * 2)
            async with asyncio.timeout(60):
                said = await reader.read()
            assert said.count(b"HTTP/1.1 401") == 1

    asyncio.run(story())
