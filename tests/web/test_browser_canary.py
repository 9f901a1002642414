"""Goal: what protects a visitor only in a browser does, and without it the attack succeeds.

Method: headless Chromium at a page in this process, each attack twice. Other checks that would stop
it as well are taken away both times, so that it is this one that is seen to work.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import jinja2
from aiohttp import web

from broker.web.desk import Desk
from broker.web.session import FormTokens
from broker.web.site import HEADERS, Site
from tests.browser import Browser, browse, until
from tests.hostile.twice import played_twice
from tests.mosquitto_fixture import HOST, mosquitto_address
from tests.web.alone import PAGE, allow, at_broker, certificate, page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    import pytest

    from workrs.ports.bus import Address

__all__ = ["mosquitto_address"]

EVIL = "evil.test"
HERE = ("--host-resolver-rules=MAP *.test 127.0.0.1", "--disable-features=HttpsUpgrades")


@asynccontextmanager
async def another_site(
    answer: Callable[[web.Request], Awaitable[web.Response]],
) -> AsyncIterator[int]:
    """Serve a site of somebody else's, or what an eavesdropper hears; yield its port."""
    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, HOST, 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def sign_in(browser: Browser, base: str) -> None:
    await browser.open(f"{base}/")
    await browser.type("#name", "victim")
    if await browser.value("document.querySelector('#password') !== null"):
        await browser.type("#password", "secret")
    await browser.press("form button.main")
    await browser.until_text("Your jobs")


async def start(browser: Browser, base: str, file: Path) -> str:
    """Upload a file; return the job's page. Nobody answers, so the job goes on being sent."""
    file.write_text("x")  # noqa: ASYNC240 (a moment)
    await browser.open(f"{base}/new/echo")
    await browser.choose("#data", file)
    await browser.press("form.card button.main")
    await browser.until("location.pathname.startsWith('/jobs/')")
    await browser.until_text("sent")
    return str(await browser.value("location.pathname"))


def without_cookie_words(monkeypatch: pytest.MonkeyPatch, **words: object) -> None:
    """Have cookies made with other words than the page's own."""
    real = web.StreamResponse.set_cookie

    def set_cookie(it: web.StreamResponse, name: str, value: str, **options: Any) -> None:
        real(it, name, value, **{**options, **words})

    monkeypatch.setattr(web.StreamResponse, "set_cookie", set_cookie)


@played_twice
def test_a_script_that_was_put_into_a_page_does_not_run(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    real = jinja2.Environment
    # Escaping, which would make it text, is taken away both times.
    monkeypatch.setattr(jinja2, "Environment", lambda **it: real(**{**it, "autoescape": False}))
    if not control:
        monkeypatch.delitem(HEADERS, "Content-Security-Policy")

    async def run() -> None:
        async with (
            page(tmp_path, at_broker(mosquitto_address)) as base,
            browse(tmp_path / "profile") as browser,
        ):
            await browser.watch()
            await sign_in(browser, base)
            await start(browser, base, tmp_path / "<img src=x onerror=window.hacked=1>")
            if control:

                async def is_refused() -> bool:
                    await browser.value("1")
                    return any("Content Security Policy" in each for each in browser.complaints)

                await until(is_refused)
                assert await browser.value("window.hacked") is None
            else:
                await browser.until("window.hacked === 1")

    asyncio.run(run())


@played_twice
def test_a_script_in_a_page_cannot_read_the_cookie(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    if not control:
        without_cookie_words(monkeypatch, httponly=False)

    async def run() -> None:
        async with (
            page(tmp_path, at_broker(mosquitto_address)) as base,
            browse(tmp_path / "profile") as browser,
        ):
            await sign_in(browser, base)
            port = base.rpartition(":")[2]
            read = await browser.value("document.cookie")
            assert (f"workrs-{port}=" in read) != control

    asyncio.run(run())


@played_twice
def test_another_site_cannot_use_the_cookie(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    # The page's looks at who caused a request, and the token in each form, are gone both times.
    monkeypatch.setattr(Site, "check", allow)
    monkeypatch.setattr(FormTokens, "check", allow)
    if not control:
        without_cookie_words(monkeypatch, samesite=None)
    action = ""

    async def evil(_: web.Request) -> web.Response:
        form = f"<form method=post action='{action}'></form><script>document.forms[0].submit()"
        return web.Response(text=f"{form}</script>", content_type="text/html")

    async def run() -> None:
        nonlocal action
        async with (
            page(tmp_path, at_broker(mosquitto_address)) as base,
            another_site(evil) as port,
            browse(tmp_path / "profile", *HERE) as browser,
        ):
            await sign_in(browser, base)
            action = f"{base}{await start(browser, base, tmp_path / 'data')}/cancel"
            await browser.do("Page.navigate", url=f"http://{EVIL}:{port}/")
            await browser.until_text("Sign in first" if control else "its end was asked for")

    asyncio.run(run())


@played_twice
def test_a_cookie_is_not_sent_in_the_open(
    mosquitto_address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """Somebody on the way answers `http://` in the name of a page that is served by HTTPS."""
    if not control:
        without_cookie_words(monkeypatch, secure=False)
        real = Desk.__init__

        def plain(it: Desk, *words: Any) -> None:
            real(it, *words)
            it._session_cookie = it._session_cookie.removeprefix("__Host-")
            it._visit_cookie = it._visit_cookie.removeprefix("__Host-")

        monkeypatch.setattr(Desk, "__init__", plain)
    heard: list[str] = []

    async def hear(request: web.Request) -> web.Response:
        heard.append(request.headers.get("Cookie", ""))
        return web.Response(text="heard")

    async def run() -> None:
        tls = certificate(tmp_path)
        async with (
            page(tmp_path, at_broker(mosquitto_address), tls=tls, name=PAGE) as base,
            another_site(hear) as port,
            browse(tmp_path / "profile", *HERE, "--ignore-certificate-errors") as browser,
        ):
            await sign_in(browser, base)
            await browser.open(f"http://{PAGE}:{port}/")
            await browser.until_text("heard")
            assert ("workrs-" in heard[0]) != control

    asyncio.run(run())
