"""Goal: nobody takes all the room or all the time of a page, and without its limits anybody does.

Method: each attack twice, with a limit made small and without it, at a page in this process. That
something goes on for longer than a limit would let it is seen by what began later and was ended
meanwhile (`a_while`), not by a clock. Connections are in test_door.py.
"""

from __future__ import annotations

import asyncio
import io
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import aiohttp
import pytest

from broker.web import new_job, own_jobs, session, traffic, upload_form
from broker.web.meter import Meters, Rate
from broker.web.traffic import Traffic
from broker.web.visitors import Visitors
from tests.browser import until
from tests.hostile.twice import played_twice
from tests.mosquitto_fixture import mosquitto_address
from tests.web.alone import at_broker, page
from tests.web.gated_store import gated_store
from tests.web.slow import NEVER, ONE, OTHER, a_while, is_answered, small
from tests.web.visit import Visit
from workrs.adapters.mqtt import connect
from workrs.domain.ids import ClientId, Instant, LocalJobId
from workrs.domain.job import BLOB_URL_PREFIX
from workrs.ports.bus import Message
from workrs.wire import topics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from workrs.ports.bus import Address

__all__ = ["mosquitto_address"]


async def silent(token: str, leave: asyncio.Event) -> AsyncIterator[bytes]:
    """Yield the beginning of an upload, and then nothing."""
    yield f'--b\r\nContent-Disposition: form-data; name="token"\r\n\r\n{token}\r\n'.encode()
    yield b'--b\r\nContent-Disposition: form-data; name="data"; filename="f"\r\n\r\nx'
    await leave.wait()


async def send(visit: Visit) -> int:
    form = await visit.form("echo")
    form.add_field("data", io.BytesIO(b"x"), filename="f")
    return (await visit.send("/new/echo", form)).status


async def under_way(visit: Visit, leave: asyncio.Event, count: int) -> list[asyncio.Task[int]]:
    """Begin uploads, each of which has its place when this returns."""
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    token = (await visit.get("/new/echo")).token
    began = asyncio.Semaphore(0)

    async def one() -> int:
        async def body() -> AsyncIterator[bytes]:
            async for piece in silent(token, leave):
                yield piece
                began.release()

        try:
            return (await visit.send("/new/echo", body(), **kind)).status
        except aiohttp.ClientError:
            return 0

    found = [asyncio.create_task(one()) for _ in range(count)]
    for _ in range(2 * count):
        await began.acquire()
    # What was sent is with the page once something that was sent later is answered.
    await visit.get("/")
    return found


@played_twice
def test_uploads_that_stop_hold_no_place(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    small(monkeypatch)
    if not control:
        monkeypatch.setattr(upload_form, "STALLED_S", NEVER)

    async def run() -> None:
        leave = asyncio.Event()
        async with (
            page(tmp_path, at_broker(mosquitto_address)) as base,
            Visit(base) as attacker,
            Visit(base) as second,
            Visit(base) as visit,
        ):
            assert (await attacker.sign_in("attacker")).status == 303
            assert (await second.sign_in("second")).status == 303
            assert (await visit.sign_in("visitor")).status == 303
            held = await under_way(attacker, leave, 2) + await under_way(second, leave, 2)

            async def is_taken() -> bool:
                return await send(visit) == 303

            if control:
                await until(is_taken)
                assert {await each for each in held} <= {408, 0}
            else:
                await a_while(base)
                assert await send(visit) == 503
            leave.set()
            await asyncio.gather(*held)

    asyncio.run(run())


@played_twice
def test_uploads_at_one_time_have_a_bound(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    monkeypatch.setattr(upload_form, "STALLED_S", NEVER)
    if not control:
        monkeypatch.setattr(new_job, "UPLOADS_MAX", 10**9)
        monkeypatch.setattr(new_job, "UPLOADS_OF_ONE_MAX", 10**9)

    async def run() -> None:
        leave = asyncio.Event()
        async with (
            page(tmp_path, at_broker(mosquitto_address)) as base,
            Visit(base) as one,
            Visit(base) as other,
            Visit(base) as visit,
        ):
            for each, name in ((one, "one"), (other, "other"), (visit, "visitor")):
                assert (await each.sign_in(name)).status == 303
            held = await under_way(one, leave, 2)
            assert await send(one) == (503 if control else 303)
            assert await send(visit) == 303  # one name leaves room for another
            held += await under_way(other, leave, 2)
            assert await send(visit) == (503 if control else 303)
            leave.set()
            await asyncio.gather(*held)

    asyncio.run(run())


@played_twice
def test_downloads_at_one_time_have_a_bound(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    monkeypatch.setattr(own_jobs, "DOWNLOADS_MAX", 2 if control else 10**9)
    job, digest = LocalJobId("done"), "a" * 64
    told = Message(
        topics.down(ClientId("reader"), job, "state"),
        f"succeeded {BLOB_URL_PREFIX}{digest}".encode(),
    )

    async def run() -> None:
        async with (
            AsyncExitStack() as stack,
            gated_store() as store,
            page(tmp_path, at_broker(mosquitto_address), stores=[store.base]) as base,
            Visit(base) as visit,
            connect(address=mosquitto_address, client_id="a-node") as bus,
        ):
            assert (await visit.sign_in("reader")).status == 303
            bus.publish(told)
            await visit.until("/jobs/done", "succeeded")
            for _ in range(2):
                held = await stack.enter_async_context(visit.http.get(f"{base}/jobs/done/result"))
                assert held.status == 200
            third = await stack.enter_async_context(visit.http.get(f"{base}/jobs/done/result"))
            assert third.status == (503 if control else 200)
            store.leave.set()

    asyncio.run(run())


@played_twice
def test_sessions_have_a_bound(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    monkeypatch.setattr(session, "SESSIONS_MAX", 3 if control else 10**9)
    monkeypatch.setattr(session, "SESSIONS_OF_ONE_MAX", 2 if control else 10**9)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            base = await stack.enter_async_context(page(tmp_path, at_broker(mosquitto_address)))
            visits = [await stack.enter_async_context(Visit(base)) for _ in range(5)]
            names = ("taken", "taken", "taken", "second", "third")
            found = [
                (await visit.sign_in(name)).status
                for visit, name in zip(visits, names, strict=True)
            ]
            assert found == [303] * 4 + [503 if control else 303]
            # Of one name the oldest ends, whoever has it meanwhile.
            assert (await visits[0].get("/new")).status == (401 if control else 200)
            assert (await visits[2].get("/new")).status == 200

    asyncio.run(run())


@pytest.mark.parametrize("limit", ["IDLE_S", "LONGEST_S"])
@played_twice
def test_a_cookie_that_was_taken_is_of_no_use_later(
    mosquitto_address: Address,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
    *,
    control: bool,
) -> None:
    """Time is what the page says it is: it is moved on, and nobody waits."""
    moved_s = [0.0]
    real = Visitors.now
    monkeypatch.setattr(Visitors, "now", lambda it: Instant(real(it) + moved_s[0]))
    steps = {"IDLE_S": 1, "LONGEST_S": 24}[limit]
    if not control:
        monkeypatch.setattr(session, limit, NEVER)

    async def run() -> None:
        async with page(tmp_path, at_broker(mosquitto_address)) as base, Visit(base) as visit:
            assert (await visit.sign_in("owner")).status == 303
            for step in range(steps):
                assert (await visit.get("/new")).status == 200, step
                moved_s[0] += 3601.0 if limit == "IDLE_S" else 1801.0
            assert (await visit.get("/new")).status == (401 if control else 200)

    asyncio.run(run())


FEW, MORE = Rate(30, 1e-9), Rate(60, 1e-9)


async def flood(base: str, address: str) -> set[int]:
    """Ask from an address for more than it may; return the statuses."""
    async with Visit(base, address=address) as stranger:
        many = [stranger.get("/static/icon.svg") for _ in range(MORE.burst)]
        return {each.status for each in await asyncio.gather(*many)}


@pytest.mark.parametrize("taken", ["network", "visitor", "all"])
@played_twice
def test_a_flood_of_one_keeps_nobody_else_out(
    mosquitto_address: Address,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    taken: str,
    *,
    control: bool,
) -> None:
    for name, rate in (("OF_NETWORK", FEW), ("OF_STRANGERS", MORE), ("OF_VISITOR", FEW)):
        monkeypatch.setattr(traffic, name, rate)
    real = Traffic.wait_s
    if not control and taken == "network":
        monkeypatch.setattr(traffic, "network_of", lambda _: "any")
    if not control and taken == "visitor":
        monkeypatch.setattr(Traffic, "wait_s", lambda it, at, _, now: real(it, at, None, now))
    if not control and taken == "all":
        monkeypatch.setattr(Meters, "spend", lambda *_: 0.0)

    async def run() -> None:
        async with (
            page(tmp_path, at_broker(mosquitto_address)) as base,
            Visit(base, address=ONE) as near,
        ):
            assert (await near.sign_in("near")).status == 303
            found = await flood(base, ONE)
            if taken == "all":
                assert found == ({200, 429} if control else {200})
                return
            assert found == {200, 429}
            assert await is_answered(base, ONE) is False
            served = {
                "network": await is_answered(base, OTHER),
                "visitor": (await near.get("/new")).status == 200,
            }
            assert served[taken] == control

    asyncio.run(run())
