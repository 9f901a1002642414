"""Goal: where a cluster has credentials, a visitor is the device whose password was shown, no more.

Method: a node and an agent that `workrs init` and `workrs enrol` made; the page over HTTPS, as it
is served to other machines; what the bus and the blob store have of it, seen by an operator.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import pytest

from broker.web import attempt
from device_client import Device
from tests.browser import browse, until
from tests.mosquitto_fixture import HOST
from tests.secure_cluster import SecureCluster, jobs
from tests.web.visit import Visit
from workrs.cli.main import main
from workrs.domain.errors import BusError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.web.conftest import Page


def enrol(page: Page, name: str) -> str:
    """Enrol a device with a password, which the node has when this returns."""
    it = cluster(page)
    assert main(("enrol", "device", name, "--password", "--cluster", str(it.folder))) == 0
    it.bring("passwords", nodes=["n1"])
    who = it.credential(name)
    assert who.password is not None

    async def is_known() -> bool:
        try:
            async with it.connect(who):
                return True
        except BusError:
            return False

    asyncio.run(until(is_known))
    return who.password


def cluster(page: Page) -> SecureCluster:
    assert page.secure is not None
    return page.secure


def test_a_large_upload_and_its_result_pass_through_the_stores_as_the_visitors(
    secure_page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    password = enrol(secure_page, "uploader")
    data = bytes(range(256)) * 4096

    async def run() -> str:
        async with Visit(secure_page.base, secure_page.tls) as visit:
            assert (await visit.sign_in("uploader", password)).status == 303
            where = await visit.start("echo", data)
            text = await visit.until(where, "succeeded")
            assert "too large" in text
            async with visit.http.get(f"{secure_page.base}{where}/result") as found:
                assert await found.read() == data
            return where.removeprefix("/jobs/")

    job = asyncio.run(run())
    assert list((secure_page.folder / "blobs").rglob("*uploader*"))
    capsys.readouterr()
    assert cluster(secure_page).workrs("jobs", "--json") == 0
    assert jobs(capsys.readouterr().out)[f"uploader/{job}"]["state"] == "succeeded"


def test_cookies_are_for_this_page_by_https_alone(secure_page: Page) -> None:
    password = enrol(secure_page, "cookies")

    async def run() -> None:
        async with Visit(secure_page.base, secure_page.tls) as visit:
            answer = await visit.sign_in("cookies", password)
            made = SimpleCookie(answer.headers["Set-Cookie"])
            (name,) = made
            assert name.startswith("__Host-workrs-")
            assert made[name]["secure"]
            assert made[name]["httponly"]
            assert made[name]["samesite"] == "Strict"
            assert made[name]["domain"] == ""
        async with Visit(secure_page.base.replace("https:", "http:")) as visit:
            with pytest.raises(aiohttp.ClientError):
                await visit.get("/")

    asyncio.run(run())


def test_the_page_asks_browsers_for_no_certificate_and_shows_the_nodes(secure_page: Page) -> None:
    async def run() -> None:
        async with Visit(secure_page.base, ssl.create_default_context()) as visit:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await visit.get("/")
        async with Visit(secure_page.base, secure_page.tls) as visit:
            port = urlsplit(secure_page.base).port
            assert (await visit.get("/", Host=f"{HOST}:{port}")).status == 200
            assert (await visit.get("/", Host=f"0.0.0.0:{port}")).status == 421

    asyncio.run(run())


def test_a_wrong_password_is_refused_as_an_unknown_name_is(secure_page: Page) -> None:
    password = enrol(secure_page, "careful")

    async def run() -> None:
        async with Visit(secure_page.base, secure_page.tls) as visit:
            found = [
                await visit.sign_in("careful", password[:-1]),
                await visit.sign_in("nobody-at-all", password),
                await visit.sign_in("careful", ""),
                await visit.sign_in("ann", password),  # she has a certificate, and no password
                await visit.sign_in("n1", password),
            ]
            assert [each.status for each in found] == [401] * 5
            texts = [each.text.partition('role="alert">')[2].partition("<")[0] for each in found]
            assert set(texts) == {"Name or password is not right."}
            assert password not in "".join(each.text for each in found)
            assert (await visit.get("/new")).status == 401

    asyncio.run(run())


def test_guessing_is_slowed_by_name_and_the_broker_is_not_even_asked(secure_page: Page) -> None:
    async def run() -> None:
        clock, of_name = asyncio.get_running_loop().time, attempt.OF_NAME
        async with Visit(secure_page.base, secure_page.tls) as visit:
            began, tries = clock(), 0
            while (found := await visit.sign_in("guessed", f"{tries:032x}")).status == 401:
                tries += 1
            assert found.status == 429
            assert int(found.headers["Retry-After"]) > 0
            # While these were answered, further ones became free.
            free = int((clock() - began) * of_name.rate_per_s) + 1
            assert of_name.burst <= tries <= of_name.burst + free

    asyncio.run(run())


def test_a_visitor_is_connected_as_the_device_and_says_when_another_program_is(
    secure_page: Page,
) -> None:
    password = enrol(secure_page, "twice")
    it = cluster(secure_page)

    async def run() -> None:
        async with Visit(secure_page.base, secure_page.tls) as visit:
            assert (await visit.sign_in("twice", password)).status == 303
            assert "Another program" not in (await visit.get("/")).text
            with Device(credential=it.file("twice")) as device:
                await visit.until("/", "Another program seems to be connected")
                # And leaves the other its place.
                job = device.run("echo", b"from the device")
                found = await asyncio.to_thread(device.result, job, 60)
                assert found.value == b"from the device"
            assert (await visit.get("/new")).status == 200

    asyncio.run(run())


def test_whoever_is_revoked_is_out_at_once(secure_page: Page) -> None:
    password = enrol(secure_page, "leaving")

    async def run() -> None:
        async with Visit(secure_page.base, secure_page.tls) as visit:
            assert (await visit.sign_in("leaving", password)).status == 303
            assert (await visit.get("/new")).status == 200
            folder = str(cluster(secure_page).folder)
            done = await asyncio.to_thread(
                cluster(secure_page).workrs, "revoke", "leaving", "--cluster", folder
            )
            assert done == 0

            async def is_out() -> bool:
                return (await visit.get("/new")).status == 401

            await until(is_out)
            assert (await visit.sign_in("leaving", password)).status == 401

    asyncio.run(run())


def test_secrets_are_in_no_log_and_no_page(secure_page: Page) -> None:
    password = enrol(secure_page, "secret")

    async def run() -> list[str]:
        async with Visit(secure_page.base, secure_page.tls) as visit:
            assert (await visit.sign_in("secret", password)).status == 303
            pages = [(await visit.get(path)).text for path in ("/", "/new", "/new/echo", "/x")]
            tokens = [cookie.value for cookie in visit.http.cookie_jar]
            assert len(tokens) == 1
            return [*pages, *tokens]

    *pages, token = asyncio.run(run())
    log = secure_page.log.read_text()
    assert password not in log
    assert token not in log
    assert not [text for text in pages if password in text or token in text]


def test_a_person_signs_in_with_a_password_and_starts_a_job(
    secure_page: Page, tmp_path: Path
) -> None:
    password = enrol(secure_page, "person")

    async def act() -> None:
        # The cluster's own authority is none that a browser knows; people add it to theirs.
        async with browse(tmp_path / "profile", "--ignore-certificate-errors") as browser:
            await browser.watch()
            await browser.open(f"{secure_page.base}/")
            await browser.until_text("of farm")
            await browser.type("#name", "person")
            await browser.type("#password", "wrong")
            await browser.press("form button.main")
            await browser.until_text("Name or password is not right")
            assert await browser.value("document.querySelector('#name').value") == "person"
            await browser.type("#password", password)
            await browser.press("form button.main")
            await browser.until_text("No jobs yet")
            await browser.open(f"{secure_page.base}/new/echo")
            await browser.type("#text", "hello")
            await browser.press("form.card button.main")
            await browser.until_text("succeeded")
            assert json.dumps(browser.complaints) == "[]"

    asyncio.run(act())
