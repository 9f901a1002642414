"""Whoever takes a page's time: connections that say little, and forms that never end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp

from broker.web import door, small_form, upload_form
from tests.web.visit import Visit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest

NEVER = 1e9
SHORT = 1.0
"""Longer than a busy machine keeps one part of a process from the next."""
ONE, OTHER, THIRD = "127.0.0.2", "127.0.0.3", "127.0.0.4"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connections(base: str, address: str, count: int, said: str = "") -> list[Stream]:
    """Open connections from an address, and begin to say something."""
    at = urlsplit(base)
    found = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(
            at.hostname, at.port, local_addr=(address, 0)
        )
        writer.write(said.encode())
        found.append((reader, writer))
    return found


def close(streams: list[Stream]) -> None:
    """Close connections."""
    for _, writer in streams:
        writer.close()


def begun(base: str) -> str:
    """Return a form of which most never comes."""
    head = f"POST /sign-in HTTP/1.1\r\nHost: {urlsplit(base).netloc}\r\nOrigin: {base}\r\n"
    kind = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\n"
    return f"{head}{kind}token="


async def a_while(base: str) -> None:
    """Return once what begins now and is never finished was given up: a form, or a header."""
    for said in (begun(base), "GET / HTTP/1.1\r\n"):
        streams = await connections(base, THIRD, 1, said)
        async with asyncio.timeout(60):
            await streams[0][0].read(1)
        close(streams)


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all times short, but for those that a test takes away after this."""
    monkeypatch.setattr(door, "_LOOK_S", SHORT / 3)
    monkeypatch.setattr(door, "IDLE_S", SHORT)
    monkeypatch.setattr(small_form, "WHOLE_S", SHORT)
    monkeypatch.setattr(upload_form, "STALLED_S", SHORT)


async def is_answered(base: str, address: str) -> bool:
    """Return whether the page is shown to who comes from an address."""
    try:
        async with Visit(base, address=address) as visit:
            return (await visit.get("/")).status == 200
    except aiohttp.ClientError:
        return False


async def begin(said: str, leave: asyncio.Event) -> AsyncIterator[bytes]:
    """Yield the beginning of a body, and then nothing."""
    yield said.encode()
    await leave.wait()
