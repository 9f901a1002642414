"""Goal: whoever reaches the listener of `--metrics` can read from it, and do nothing else to it.

Method: the listener on a port of this machine, junk and silence sent to it by plain sockets.
"""

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.mosquitto_fixture import free_port
from workrs.adapters import metric
from workrs.adapters.metric_server import metrics_served
from workrs.ports.bus import Address

GOOD = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
LIMIT_S = 60.0


async def say(at: Address, request: bytes) -> bytes:
    """Send bytes and return the first line of the answer."""
    reader, writer = await asyncio.open_connection(at.host, at.port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.readline(), LIMIT_S)
    finally:
        writer.close()


async def served(requests: list[bytes], *, idle: int = 0) -> list[bytes]:
    """Return the first lines of the answers, with some connections open that say half a request."""
    at = Address(host="127.0.0.1", port=free_port())
    serving = metrics_served(
        at,
        metrics=lambda: [metric.gauge("workrs_one", "One.", 1)],
        health=lambda: "ok",
        ready=lambda: "ok",
    )
    async with serving, AsyncExitStack() as stack:
        for _ in range(idle):
            _, writer = await asyncio.open_connection(at.host, at.port)
            stack.callback(writer.close)
            writer.write(b"GET /metrics HTT")
        return [await say(at, request) for request in requests]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"400"),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET /health HTTP/1.1\r\n" + b"A: b\r\n" * 5_000 + b"\r\n", b"400"),
        (b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000000\r\n\r\n", b"405"),
        (b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
        (b"GET /%2e%2e/ledger.db HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
    ],
    ids=["junk", "huge path", "many headers", "huge body", "a file", "an encoded file"],
)
def test_what_is_no_question_is_refused_and_the_next_is_answered(
    request_: bytes, status: bytes
) -> None:
    first, second = asyncio.run(served([request_, GOOD]))
    assert first.split()[1] == status
    assert second.split()[1] == b"200"


def test_clients_that_say_half_a_request_keep_nobody_from_an_answer() -> None:
    (answer,) = asyncio.run(served([GOOD], idle=300))
    assert answer.split()[1] == b"200"
