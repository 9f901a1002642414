"""Goal: a peer that is silent, refuses, talks nonsense or stops answering is told in time.

Method: the adapter against a small TCP server that plays such a broker.
"""

from __future__ import annotations

import asyncio
import select
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import mqtt5
import pytest
import uvloop

from workrs.adapters.mqtt import connect
from workrs.adapters.mqtt_outbox import MESSAGES_MAX
from workrs.ports.bus import (
    Address,
    BusClosedError,
    BusDeniedError,
    BusFullError,
    BusUnreachableError,
    Message,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

WELCOME = mqtt5.ConnAckPacket(receive_max=10).write()


@asynccontextmanager
async def peer(answer: bytes, *, then_close: bool = False) -> AsyncIterator[Address]:
    """Listen, answer the first bytes of each connection, and read on without a word."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        while not then_close and await reader.read(65_536):
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield Address(host="127.0.0.1", port=server.sockets[0].getsockname()[1])


def test_a_peer_that_never_answers_is_unreachable() -> None:
    async def scenario() -> None:
        async with peer(b"") as address:
            with pytest.raises(BusUnreachableError, match=r"no answer in 0.1 s"):
                async with connect(address=address, client_id="a", timeout_s=0.1):
                    pass

    asyncio.run(scenario())


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_name_that_no_host_can_have_is_unreachable(run: Callable[..., None]) -> None:
    """Both loops' resolvers raise UnicodeError, which is no OSError."""

    async def scenario() -> None:
        with pytest.raises(BusUnreachableError, match="no host can have such a name"):
            async with connect(address=Address(host="a..b", port=1883), client_id="a"):
                pass

    run(scenario())


@pytest.mark.parametrize("turns", range(6))
def test_a_process_that_stood_still_while_it_connected_hears_of_a_silent_peer(turns: int) -> None:
    """Socket and timeout then come about in one turn of the loop, as after a SIGSTOP."""

    async def scenario() -> None:
        async def open_one(address: Address) -> None:
            async with connect(address=address, client_id="a", timeout_s=0.02):
                pass

        async with peer(b"") as address:
            connecting = asyncio.create_task(open_one(address))
            for _ in range(turns):
                await asyncio.sleep(0)
            select.select([], [], [], 0.03)
            with pytest.raises(BusUnreachableError):
                await connecting

    uvloop.run(scenario())


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"", WELCOME[:3], b"\x20\xff\xff\xff\x7f"]
)
def test_a_peer_that_is_no_broker_is_unreachable(answer: bytes) -> None:
    async def scenario() -> None:
        async with peer(answer, then_close=True) as address:
            with pytest.raises(BusUnreachableError):
                async with connect(address=address, client_id="a"):
                    pass

    asyncio.run(scenario())


def test_a_refusal_says_why() -> None:
    answer = mqtt5.ConnAckPacket(reason_code=mqtt5.ConnAckReasonCode.NOT_AUTHORIZED).write()

    async def scenario() -> None:
        async with peer(answer) as address:
            with pytest.raises(BusDeniedError, match="connect: not authorized"):
                async with connect(address=address, client_id="a"):
                    pass

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("last_bytes", "reason"),
    [
        (mqtt5.DisconnectPacket(reason_code=mqtt5.DisconnectReasonCode.QUOTA_EXCEEDED).write(),
         "quota exceeded"),
        (b"\xf0\x02ab", "malformed"),
        (b"\x30\x03\xff\xff\x00", "malformed"),
        (b"", "closed by the broker"),
    ],
)  # fmt: skip
def test_the_end_of_a_connection_has_a_reason(last_bytes: bytes, reason: str) -> None:
    async def scenario() -> None:
        async with (
            peer(WELCOME + last_bytes, then_close=True) as address,
            connect(address=address, client_id="a") as bus,
        ):
            with pytest.raises(BusClosedError, match=reason):
                await bus.receive()
            with pytest.raises(BusClosedError, match=reason):
                bus.publish(Message("a", b""))

    asyncio.run(scenario())


def test_a_peer_that_stops_answering_is_given_up() -> None:
    async def scenario() -> None:
        clock = asyncio.get_running_loop().time
        async with peer(WELCOME) as address:
            for _ in range(5):  # a busy machine only adds, and not every time
                connecting_s = clock()
                async with connect(address=address, client_id="a", keepalive_s=1) as bus:
                    bus.publish(Message("a", b""))
                    sent_s = clock()
                    with pytest.raises(BusClosedError, match="does not answer"):
                        await bus.flush()
                    given_up_s = clock()
                assert given_up_s - connecting_s > 0.35
                if given_up_s - sent_s < 2:
                    break
            assert given_up_s - sent_s < 2

    asyncio.run(scenario())


def test_what_a_peer_does_not_acknowledge_is_bounded() -> None:
    async def scenario() -> None:
        async with peer(WELCOME) as address, connect(address=address, client_id="a") as bus:
            for _ in range(MESSAGES_MAX):
                bus.publish(Message("a", b""))
            with pytest.raises(BusFullError):
                bus.publish(Message("a", b""))

    asyncio.run(scenario())
