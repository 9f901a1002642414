"""Goal: nobody holds a page's connections, and without its limits anybody does.

Method: each attack twice, with a limit made small and without it, at a page in this process with
real sockets of several addresses. That something goes on for longer than a limit would let it is
seen by what began later and was ended meanwhile, not by a clock.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from broker.web import door, small_form
from tests.browser import until
from tests.hostile.twice import played_twice
from tests.mosquitto_fixture import mosquitto_address
from tests.web.alone import PAGE, at_broker, certificate, page
from tests.web.slow import (
    NEVER,
    ONE,
    OTHER,
    THIRD,
    begin,
    begun,
    close,
    connections,
    is_answered,
    small,
)
from tests.web.visit import Visit

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from aiohttp import web

    from workrs.ports.bus import Address

__all__ = ["mosquitto_address"]


@played_twice
def test_connections_of_one_address_leave_room_for_others(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    monkeypatch.setattr(door, "CONNECTIONS_MAX", 12)
    monkeypatch.setattr(door, "CONNECTIONS_OF_ONE_MAX", 8 if control else 10**9)
    monkeypatch.setattr(door, "IDLE_S", NEVER)

    async def run() -> None:
        async with page(tmp_path, at_broker(mosquitto_address)) as base:
            held = await connections(base, ONE, 20)
            assert not await is_answered(base, ONE)
            assert await is_answered(base, OTHER) == control
            close(held)
            await until(lambda: is_answered(base, ONE))

    asyncio.run(run())


@played_twice
def test_connections_that_never_agree_on_tls_count(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    monkeypatch.setattr(door, "CONNECTIONS_OF_ONE_MAX", 8)
    monkeypatch.setattr(door, "IDLE_S", NEVER)
    if not control:

        def has_room(_: door.Door, server: web.Server, network: str) -> bool:
            here = Counter(map(door._network, server.connections))
            return here[network] < door.CONNECTIONS_OF_ONE_MAX

        monkeypatch.setattr(door.Door, "_has_room", has_room)
    tls = certificate(tmp_path)
    known = ssl.create_default_context(cafile=tmp_path / "certificate")

    async def run() -> None:
        async with (
            page(tmp_path, at_broker(mosquitto_address), tls=tls) as base,
            Visit(base, known, address=OTHER) as visit,
        ):
            held = await connections(base, ONE, 20)
            # Who comes after them is let in, so all of them were looked at.
            assert (await visit.get("/")).status == 200

            async def are_as_many_as_may_be() -> bool:
                return sum(not reader.at_eof() for reader, _ in held) == (8 if control else 20)

            await until(are_as_many_as_may_be)
            close(held)

    asyncio.run(run())


@played_twice
def test_connections_that_never_agree_on_tls_are_ended(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    small(monkeypatch)
    if not control:
        monkeypatch.setattr(door, "IDLE_S", NEVER)
    tls = certificate(tmp_path)
    known = ssl.create_default_context(cafile=tmp_path / "certificate")

    async def run() -> None:
        async with (
            page(tmp_path, at_broker(mosquitto_address), tls=tls) as base,
            Visit(base, known) as visit,
        ):
            ((reader, writer),) = await connections(base, ONE, 1)
            if control:
                async with asyncio.timeout(60):
                    assert await reader.read() == b""
            else:
                held = asyncio.Event()
                token = (await visit.get("/sign-in")).token
                form = {"Content-Type": "application/x-www-form-urlencoded"}
                slow = visit.send("/sign-in", begin(f"token={token}", held), **form)
                assert (await slow).status == 408  # began later, and was ended
                held.set()
                assert not reader.at_eof()
            writer.close()

    asyncio.run(run())


@played_twice
def test_connections_that_ask_for_nothing_are_ended(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    small(monkeypatch)
    monkeypatch.setattr(door, "CONNECTIONS_OF_ONE_MAX", 8)
    if not control:
        monkeypatch.setattr(door, "IDLE_S", NEVER)

    async def run() -> None:
        async with page(tmp_path, at_broker(mosquitto_address)) as base:
            held = await connections(base, ONE, 4)
            held += await connections(base, ONE, 4, "GET / HTTP/1.1\r\nHost: x\r\n")
            if control:
                await until(lambda: is_answered(base, ONE))
            else:
                later = await connections(base, THIRD, 1, begun(base))
                await later[0][0].read(1)
                assert not await is_answered(base, ONE)
                held += later
            close(held)

    asyncio.run(run())


@played_twice
def test_forms_that_never_end_hold_no_connection(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    small(monkeypatch)
    monkeypatch.setattr(door, "CONNECTIONS_OF_ONE_MAX", 8)
    if not control:
        monkeypatch.setattr(small_form, "WHOLE_S", NEVER)

    async def run() -> None:
        async with page(tmp_path, at_broker(mosquitto_address)) as base:
            held = await connections(base, ONE, 8, begun(base))
            if control:
                answers = [await reader.readline() for reader, _ in held]
                assert {int(each.split()[1]) for each in answers} == {408}
                await until(lambda: is_answered(base, ONE))
            else:
                later = await connections(base, THIRD, 1, "GET / HTTP/1.1\r\n")
                await later[0][0].read(1)
                assert not await is_answered(base, ONE)
                held += later
            close(held)

    asyncio.run(run())


def test_a_connection_that_says_no_goodbye_ends_with_the_page(
    mosquitto_address: Address, tmp_path: Path
) -> None:
    tls = certificate(tmp_path)
    known = ssl.create_default_context(cafile=tmp_path / "certificate")

    def come(base: str) -> ssl.SSLSocket:
        """Connect, and then do nothing; a library would say goodbye when it is told."""
        at = urlsplit(base)
        plain = socket.create_connection((str(at.hostname), at.port or 0), 60)
        it = known.wrap_socket(plain, server_hostname=PAGE)
        it.sendall(f"GET /sign-in HTTP/1.1\r\nHost: {at.netloc}\r\n\r\n".encode())
        assert b" 200 " in it.recv(100)
        return it

    async def run() -> ssl.SSLSocket:
        async with page(tmp_path, at_broker(mosquitto_address), tls=tls) as base:
            return await asyncio.to_thread(come, base)

    with asyncio.run(run()):
        gc.collect()  # warns of what is left, which fails this test
