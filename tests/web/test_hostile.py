"""Goal: whoever is not the visitor, or is one and means ill, gets nothing of others from the page.

Method: requests that no browser would send, and those that one sends for another site's page.
"""

from __future__ import annotations

import asyncio
import gzip
import io
from contextlib import suppress
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import aiohttp
import pytest
from yarl import URL

from broker.web.site import HEADERS
from tests.web.conftest import UPLOAD_MAX_BYTES
from tests.web.visit import Visit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.web.conftest import Page

OTHERS = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


async def raw(page: Page, request: bytes) -> bytes:
    """Send bytes; return what comes back until the connection ends."""
    at = urlsplit(page.base)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    writer.write(request)
    async with asyncio.timeout(30):
        found = await reader.read()
    writer.close()
    return found


async def get_raw(page: Page, path: str, *, cookies: str = "") -> bytes:
    head = f"GET {path} HTTP/1.1\r\nHost: {urlsplit(page.base).netloc}\r\nConnection: close\r\n"
    return await raw(page, f"{head}Cookie: {cookies}\r\n\r\n".encode())


async def jobs_of(visit: Visit) -> int:
    return (await visit.get("/")).text.count('scope="row"')


async def files_open(page: Page) -> list[str]:
    return [str(path) for path in (page.folder / "page").rglob("*")]


def test_another_host_name_shows_nothing(page: Page) -> None:
    async def run() -> None:
        async with Visit(page.base) as visit:
            for host in ("evil.example", f"evil.example:{urlsplit(page.base).port}", "127.0.0.1"):
                for path in ("/", "/static/page.js", "/new/echo", "/nothing"):
                    found = await visit.get(path, Host=host)
                    assert found.status == 421, (host, path)
                    assert "Set-Cookie" not in found.headers
                    assert "Workrs" not in found.text

    asyncio.run(run())


@pytest.mark.parametrize("headers", OTHERS, ids=str)
def test_what_another_site_sends_does_nothing(page: Page, headers: dict[str, str]) -> None:
    async def run() -> None:
        async with Visit(page.base) as visit:
            assert (await visit.sign_in("victim")).status == 303
            before = await jobs_of(visit)
            form = await visit.form("echo")  # even with the right token
            form.add_field("data", b"x", filename="x")
            refused = await visit.send("/new/echo", form, **headers)
            assert refused.status == 403
            assert "Workrs" not in refused.text
            token = (await visit.get("/")).token
            assert (await visit.send("/sign-out", {"token": token}, **headers)).status == 403
            signing = {"token": token, "name": "attacker"}
            assert (await visit.send("/sign-in", signing, **headers)).status == 403
            assert await jobs_of(visit) == before
            assert "victim" in (await visit.get("/")).text

    asyncio.run(run())


def test_a_form_without_its_token_or_with_anothers_does_nothing(page: Page) -> None:
    async def run() -> None:
        async with Visit(page.base) as visit, Visit(page.base) as other:
            assert (await visit.sign_in("forms")).status == 303
            assert (await other.sign_in("forms")).status == 303
            theirs = (await other.get("/new/echo")).token
            for token in ("", "0" * 64, theirs, "é"):
                form = aiohttp.FormData()
                form.add_field("token", token)
                form.add_field("data", b"x", filename="x")
                assert (await visit.send("/new/echo", form)).status == 403
                old = await visit.send("/sign-out", {"token": token})
                assert old.status == 403
                assert 'href="/"' in old.text  # one's own mistake is a page with a way on
                assert (await visit.send("/jobs/x/cancel", {"token": token})).status == 403
                assert (await visit.send("/sign-in", {"token": token, "name": "x"})).status == 403
            late = aiohttp.FormData()  # the file before the token
            late.add_field("data", b"x", filename="x")
            late.add_field("token", (await visit.get("/new/echo")).token)
            assert (await visit.send("/new/echo", late)).status == 403
            assert await jobs_of(visit) == 0

    asyncio.run(run())


PATHS = [
    "/static/../server.py",
    "/static/%2e%2e/server.py",
    "/static/..%2fserver.py",
    "/static/..%5cserver.py",
    "/static//etc/passwd",
    "/static/%00",
    "/static/page.css%00.js",
    "/static/",
    "//etc/passwd",
    "/jobs/../../../../etc/passwd",
    "/jobs/%2e%2e%2f%2e%2e%2fledger.db",
    "/jobs/..%2f..%2fledger.db/result",
    "/jobs/%00/result",
    "/new/..%2f..%2fetc%2fpasswd",
    "/new/%7b%7b7777*7777%7d%7d",
    "/jobs/%7b%7b7777*7777%7d%7d",
    "/templates/base.html",
    "http://evil.example/",
    "*",
    "/" + "a" * 7000,
]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40])
def test_no_path_leads_out_of_the_page(page: Page, path: str) -> None:
    async def run() -> None:
        async with Visit(page.base) as visit:
            assert (await visit.sign_in("paths")).status == 303
            cookies = "; ".join(f"{each.key}={each.value}" for each in visit.http.cookie_jar)
            found = await get_raw(page, path, cookies=cookies)
            status = int(found.split(maxsplit=2)[1])
            assert 400 <= status < 500, found[:200]
            for leak in (b"root:", b"import ", b"SQLite", b"{%", b"60481729", b"Traceback"):
                assert leak not in found.partition(b"\r\n\r\n")[2], leak

    asyncio.run(run())


def test_every_answer_has_the_policy(page: Page) -> None:
    async def run() -> None:
        async with Visit(page.base) as visit:
            found = [await visit.get(path) for path in ("/", "/static/page.js", "/x", "/new")]
            found += [await visit.send("/sign-in", {}), await visit.get("/", Host="evil.example")]
            found += [await visit.ask("DELETE", "/"), await visit.sign_in("policy")]
            found += [await visit.get("/"), await visit.get("/jobs/none")]
            for answer in found:
                for name in set(HEADERS) - {"Cache-Control"}:
                    assert answer.headers[name] == HEADERS[name]
                assert "aiohttp" not in answer.headers["Server"]

    asyncio.run(run())


def test_a_file_may_be_called_as_it_likes(page: Page) -> None:
    async def run() -> None:
        async with Visit(page.base) as visit:
            assert (await visit.sign_in("names")).status == 303
            for name, shown in (
                ("../../../../tmp/evil", "evil"),
                ("..\\..\\evil.txt", "evil.txt"),
                ("a\u202eb" + "c" * 500, "ab" + "c" * 98),
                ("/", ""),
            ):
                where = await visit.start("echo", b"x", file=name)
                text = await visit.until(where, "succeeded")
                assert f"<bdi>{shown}</bdi>" in text or not shown
            assert await files_open(page) == []

    asyncio.run(run())


def test_an_upload_above_the_limit_is_refused_and_leaves_nothing(page: Page) -> None:
    async def pieces(token: str) -> AsyncIterator[bytes]:
        """Yield a form that does not say how large it is."""
        yield f'--b\r\nContent-Disposition: form-data; name="token"\r\n\r\n{token}\r\n'.encode()
        head = 'Content-Disposition: form-data; name="data"; filename="f"'
        yield f"--b\r\n{head}\r\n\r\n".encode()
        for _ in range(2 * UPLOAD_MAX_BYTES // 65536):
            yield b"x" * 65536
        yield b"\r\n--b--\r\n"

    async def run() -> None:
        async with Visit(page.base) as visit:
            assert (await visit.sign_in("large")).status == 303
            form = await visit.form("echo")
            form.add_field("data", io.BytesIO(b"x" * (UPLOAD_MAX_BYTES * 3)), filename="said")
            with suppress(aiohttp.ClientError):  # cut while it was sending: refused as well
                assert (await visit.send("/new/echo", form)).status == 413
            kind = {"Content-Type": "multipart/form-data; boundary=b"}
            body = pieces((await visit.get("/new/echo")).token)
            with suppress(aiohttp.ClientError):
                found = await visit.send("/new/echo", body, **kind)
                assert found.status == 413
                assert 'href="/new/echo"' in found.text
            form = await visit.form("echo")
            form.add_field("text", "x" * (33 * 1024))
            assert (await visit.send("/new/echo", form)).status == 413
            assert await jobs_of(visit) == 0
            assert await files_open(page) == []
            exact = b"x" * (UPLOAD_MAX_BYTES - 4096)
            where = await visit.start("echo", exact)
            await visit.until(where, "succeeded")
            assert len((await visit.get(f"{where}/result")).text) == len(exact)

    asyncio.run(run())


def test_a_job_of_another_is_not_there(page: Page) -> None:
    async def run() -> None:
        async with Visit(page.base) as owner, Visit(page.base) as other:
            assert (await owner.sign_in("owner")).status == 303
            assert (await other.sign_in("other")).status == 303
            where = await owner.start("echo", b"private")
            await owner.until(where, "succeeded")
            token = (await other.get("/new/echo")).token
            nowhere = await other.get("/jobs/echo-261122-000000-0000")
            for name in (where, f"{where}/result", f"{where}/cancel", f"/jobs/owner_{where[6:]}"):
                found = await other.get(name)
                assert found.status == 404
                assert found.text.replace(token, "") == nowhere.text.replace(token, "")
            assert (await other.send(f"{where}/cancel", {"token": token})).status == 404
            assert (await owner.get(f"{where}/result")).text == "private"
            assert await jobs_of(other) == 0

    asyncio.run(run())


def test_a_function_of_others_is_not_there(page: Page) -> None:
    async def run() -> None:
        async with Visit(page.base) as visit:
            assert (await visit.sign_in("guest")).status == 303
            assert "theirs" not in (await visit.get("/new")).text
            assert (await visit.get("/new/theirs")).status == 404
            form = await visit.form("echo")
            form.add_field("data", b"x", filename="x")
            assert (await visit.send("/new/theirs", form)).status == 404
            assert (await visit.sign_in("other-one")).status == 303
            assert "of somebody else" in (await visit.get("/new")).text

    asyncio.run(run())


def test_a_script_is_taken_only_where_an_operator_allows_it(page: Page) -> None:
    async def run() -> None:
        async with Visit(page.base) as visit:
            assert (await visit.sign_in("scripts")).status == 303
            where = await visit.start("echo", b"data", script="print('mine')")
            await visit.until(where, "succeeded")
            assert (await visit.get(f"{where}/result")).text == "data"
            where = await visit.start("python", b"data", script="print('mine')")
            await visit.until(where, "succeeded")
            assert (await visit.get(f"{where}/result")).text == "mine\n"

    asyncio.run(run())


def test_a_result_is_saved_and_never_shown_as_a_page(page: Page) -> None:
    async def run() -> None:
        async with Visit(page.base) as visit:
            assert (await visit.sign_in("saver")).status == 303
            where = await visit.start("echo", b"<html><script>alert(1)</script>")
            await visit.until(where, "succeeded")
            found = await visit.get(f"{where}/result")
            assert found.headers["Content-Type"] == "application/octet-stream"
            assert found.headers["Content-Disposition"].startswith("attachment; filename=")
            assert found.headers["X-Content-Type-Options"] == "nosniff"
            large = await visit.start("echo", b"x" * 40_000)
            await visit.until(large, "succeeded")
            streamed = (await visit.get(f"{large}/result")).headers
            assert {name: streamed[name] for name in HEADERS} == dict(HEADERS)

    asyncio.run(run())


def test_a_session_is_new_at_each_sign_in_and_ends_at_sign_out(page: Page) -> None:
    def cookie(visit: Visit) -> str:
        return next(e.value for e in visit.http.cookie_jar if "visit" not in e.key)

    name = f"workrs-{urlsplit(page.base).port}"

    def put(visit: Visit, value: str) -> None:
        visit.http.cookie_jar.update_cookies({name: value}, URL(page.base))

    async def run() -> None:
        async with Visit(page.base) as visit, Visit(page.base) as thief:
            put(visit, "fixed-by-an-attacker")
            answer = await visit.sign_in("fixated")
            first = cookie(visit)
            assert first != "fixed-by-an-attacker"
            made = SimpleCookie(answer.headers["Set-Cookie"])[name]
            assert (made["httponly"], made["samesite"], made["path"]) == (True, "Strict", "/")
            put(thief, "fixed-by-an-attacker")
            assert (await thief.get("/new")).status == 401
            assert (await visit.sign_in("fixated")).status == 303
            assert cookie(visit) != first
            put(thief, first)
            assert (await thief.get("/new")).status == 401
            put(thief, cookie(visit))
            assert (await thief.get("/new")).status == 200
            await visit.send("/sign-out", {"token": (await visit.get("/")).token})
            assert (await thief.get("/new")).status == 401

    asyncio.run(run())


def test_names_that_are_none_are_refused(page: Page) -> None:
    async def run() -> None:
        async with Visit(page.base) as visit:
            for name in ("", "+", "#", "a/b", "../x", "A", "<script>", "x" * 64, "a_b"):
                found = await visit.sign_in(name)
                assert found.status in (400, 429)
                assert "<script>window" not in found.text
                assert 'value="<' not in found.text

    asyncio.run(run())


JUNK = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200,
    b"\x00" * 10_000,
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5_000 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: " + b"h" * 100_000 + b"\r\n\r\n",
    b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /sign-in HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nzz\r\n",
]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk[:20]))
def test_junk_is_answered_or_cut_and_the_page_goes_on(page: Page, junk: bytes) -> None:
    async def run() -> None:
        found = await raw(page, junk)
        assert not found or 400 <= int(found.split(maxsplit=2)[1]) < 500
        assert "Traceback" not in page.log.read_text()
        async with Visit(page.base) as visit:
            assert (await visit.get("/")).status == 200

    asyncio.run(run())


FORM = "application/x-www-form-urlencoded"
NO_FORMS = [
    ("multipart/form-data; boundary=b", "x" * 100, 415),
    ("multipart/form-data", "x" * 10, 415),
    ("text/plain", "token=x&name=x", 415),
    (f"{FORM}; charset=nope", "a=b", 403),
    (FORM, "&".join(["a=b"] * 1000), 400),
    (FORM, "x" * 20_000, 413),
    (FORM, "%ff%00=%", 403),
    (f"{FORM}\r\nContent-Encoding: br", "no brotli", 403),
]


@pytest.mark.parametrize(("kind", "body", "status"), NO_FORMS, ids=lambda text: str(text)[-24:])
def test_what_is_no_form_is_refused_and_no_mistake(
    page: Page, kind: str, body: str, status: int
) -> None:
    async def run() -> None:
        head = f"Host: {urlsplit(page.base).netloc}\r\nOrigin: {page.base}\r\n"
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        found = await raw(page, f"POST /sign-in HTTP/1.1\r\n{head}\r\n{body}".encode())
        assert int(found.split(maxsplit=2)[1]) == status, found[:200]
        assert "Traceback" not in page.log.read_text()

    asyncio.run(run())


def test_a_form_that_is_packed_is_not_unpacked(page: Page) -> None:
    async def run() -> None:
        async with Visit(page.base) as visit:
            form = urlencode({"token": (await visit.get("/sign-in")).token, "name": "packer"})
            packed = {"Content-Type": FORM, "Content-Encoding": "gzip"}
            body = gzip.compress(form.encode())
            assert (await visit.send("/sign-in", body, **packed)).status == 403
            assert (await visit.send("/sign-in", form, **{"Content-Type": FORM})).status == 303

    asyncio.run(run())
