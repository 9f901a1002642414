"""Goal: each attack on the page succeeds where what stops it is taken away.

Method: the page in this process, at a real broker without a node, with one control less; the same
requests as in test_hostile.py and test_secure.py, which show that with it they get nothing.
"""

from __future__ import annotations

import asyncio
import io
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import jinja2
from yarl import URL

from broker.web.attempt import OF_NAME, Attempts
from broker.web.desk import Desk
from broker.web.session import FormTokens, Sessions
from broker.web.site import Site
from tests.mosquitto_fixture import mosquitto_address
from tests.web.alone import allow, at_broker, page
from tests.web.visit import Visit
from workrs.ports.bus import Address, Bus, BusDeniedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

__all__ = ["mosquitto_address"]


def test_without_checks_of_its_origin_another_sites_form_is_taken(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Site, "check", allow)
    monkeypatch.setattr(FormTokens, "check", allow)

    async def run() -> None:
        async with page(tmp_path, at_broker(mosquitto_address)) as base, Visit(base) as visit:
            assert (await visit.get("/", Host="evil.example")).status == 200
            assert (await visit.sign_in("victim")).status == 303
            evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
            assert (await visit.send("/sign-out", {"token": ""}, **evil)).status == 303
            assert (await visit.get("/new")).status == 401

    asyncio.run(run())


def test_without_an_end_of_sessions_a_stolen_cookie_opens_the_page_for_ever(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sessions, "close", allow)

    async def run() -> None:
        async with (
            page(tmp_path, at_broker(mosquitto_address)) as base,
            Visit(base) as visit,
            Visit(base) as thief,
        ):
            assert (await visit.sign_in("owner")).status == 303
            taken = {each.key: each.value for each in visit.http.cookie_jar}
            await visit.send("/sign-out", {"token": (await visit.get("/")).token})
            thief.http.cookie_jar.update_cookies(taken, URL(base))
            assert (await thief.get("/new")).status == 200

    asyncio.run(run())


def test_without_a_count_of_tries_guessing_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Attempts, "wait_s", lambda *_: 0.0)
    asked: list[str] = []

    @asynccontextmanager
    async def refused(name: str, _: str | None) -> AsyncIterator[Bus]:
        asked.append(name)
        if asked:
            raise BusDeniedError("connect", "not authorized")
        yield

    async def run() -> None:
        async with page(tmp_path, refused) as base, Visit(base) as visit:
            tries = 3 * OF_NAME.burst
            found = {(await visit.sign_in("guessed")).status for _ in range(tries)}
            assert found == {401}
            assert len(asked) == tries

    asyncio.run(run())


def test_without_a_look_at_who_asks_a_job_of_another_is_shown(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Desk.visitor
    seen: list[Any] = []

    def first(it: Desk, request: Any) -> Any:
        seen.append(real(it, request))
        return seen[0]

    monkeypatch.setattr(Desk, "visitor", first)

    async def run() -> None:
        async with (
            page(tmp_path, at_broker(mosquitto_address)) as base,
            Visit(base) as owner,
            Visit(base) as other,
        ):
            assert (await owner.sign_in("owner")).status == 303
            where = await owner.start("echo", b"private")
            assert (await other.sign_in("other")).status == 303
            assert (await other.get(where)).status == 200

    asyncio.run(run())


def test_without_escaping_the_name_of_a_file_is_markup(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = jinja2.Environment

    def raw(**options: Any) -> jinja2.Environment:
        return real(**{**options, "autoescape": False})

    monkeypatch.setattr(jinja2, "Environment", raw)

    async def run() -> None:
        async with page(tmp_path, at_broker(mosquitto_address)) as base, Visit(base) as visit:
            assert (await visit.sign_in("injector")).status == 303
            where = await visit.start("echo", b"x", file="<img src=x>")
            assert "<img src=x>" in (await visit.get(where)).text

    asyncio.run(run())


def test_without_a_limit_every_upload_is_taken(mosquitto_address: Address, tmp_path: Path) -> None:
    async def run(limit_bytes: int) -> int:
        async with (
            page(tmp_path, at_broker(mosquitto_address), upload_max_bytes=limit_bytes) as base,
            Visit(base) as visit,
        ):
            assert (await visit.sign_in("large")).status == 303
            form = await visit.form("echo")
            form.add_field("data", io.BytesIO(b"x" * 30_000), filename="f")
            return (await visit.send("/new/echo", form)).status

    assert asyncio.run(run(20_000)) == 413
    assert asyncio.run(run(1 << 40)) == 303
