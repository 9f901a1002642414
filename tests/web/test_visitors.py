"""Goal: who is signed in at a node, and until when, follows the credential that was shown last.

Method: visitors at a real broker that asks nobody for anything: which passwords are right is not
what is tested here.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from broker.web.page_error import NotSignedInError, WrongPasswordError
from broker.web.visitors import Visitors
from tests.mosquitto_fixture import mosquitto_address
from tests.web.alone import at_broker
from workrs.domain.ids import ClientId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from workrs.ports.bus import Address, Bus

__all__ = ["mosquitto_address"]
NAME = ClientId("lena")


def test_a_sign_in_with_a_new_password_ends_the_sessions_of_the_former(
    mosquitto_address: Address,
) -> None:
    async def run() -> None:
        it = Visitors(open_bus=at_broker(mosquitto_address), clock=time.monotonic)
        keeping = asyncio.create_task(it.keep())
        old = await it.enter(NAME, "old", address="::1")
        again = await it.enter(NAME, "old", address="::1")
        it.find(old)
        new = await it.enter(NAME, "new", address="::1")
        for token in (old, again):
            with pytest.raises(NotSignedInError):
                it.find(token)
        assert it.find(new)[1].password == "new"
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(run())


def test_a_page_that_ends_does_not_wait_for_whoever_is_just_coming(
    mosquitto_address: Address,
) -> None:
    let_in = asyncio.Event()

    @asynccontextmanager
    async def slow(name: ClientId, password: str | None) -> AsyncIterator[Bus]:
        await let_in.wait()
        async with at_broker(mosquitto_address)(name, password) as bus:
            yield bus

    async def run() -> None:
        it = Visitors(open_bus=slow, clock=time.monotonic)
        keeping = asyncio.create_task(it.keep())
        entering = asyncio.create_task(it.enter(NAME, "word", address="::1"))
        await asyncio.sleep(0)  # both have begun
        await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.sleep(0)
        let_in.set()
        async with asyncio.timeout(20):
            await asyncio.gather(keeping, return_exceptions=True)
        entering.cancel()
        await asyncio.gather(entering, return_exceptions=True)

    asyncio.run(run())


def test_a_visit_ends_with_its_password_though_the_broker_did_not_say_so(
    mosquitto_address: Address,
) -> None:
    filed: dict[str, str | None] = {NAME: "hash 1"}

    async def run() -> None:
        it = Visitors(
            open_bus=at_broker(mosquitto_address), clock=time.monotonic, filed=filed.__getitem__
        )
        keeping = asyncio.create_task(it.keep())
        token = await it.enter(NAME, "word", address="::1")
        it.find(token)
        filed[NAME] = "hash 2"
        with pytest.raises(NotSignedInError):
            it.find(token)
        swept = await it.enter(NAME, "word", address="::1")
        filed[NAME] = None
        it.sweep()
        assert len(it.sessions) == 0
        with pytest.raises(NotSignedInError):
            it.find(swept)
        with pytest.raises(WrongPasswordError):
            await it.enter(NAME, "word", address="::1")
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)

    asyncio.run(run())
