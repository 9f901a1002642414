"""Goal: what comes from a blob store is what was asked for, or an error that says why not.

Method: a real HTTP server that misbehaves as the test wants.
"""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from device_client.blob import Access, InputRefusedError, get_result, put_input
from device_client.error import ResultTooLargeError, ResultUnavailableError
from device_client.store_directory import StoreDirectory, Stores
from workrs.domain.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = b"result" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()
URL = f"workrs:sha256/{DIGEST}"
ACCESS = Access(username="dev", password="secret")


class Server(ThreadingHTTPServer):
    """Answers each request with what `answer` says: status, headers, body."""

    daemon_threads = True

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str | None]] = []
        self.answer: Callable[[str, str], tuple[int, dict[str, str], bytes]] = (
            lambda _method, _path: (200, {}, DATA)
        )
        super().__init__(("127.0.0.1", 0), _Handler)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def _serve(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.command, self.path, self.headers.get("Authorization")))
        status, headers, body = self.server.answer(self.command, self.path)
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = _serve  # noqa: N815


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    made = [Server(), Server(), Server()]
    yield made
    for server in made:
        server.shutdown()
        server.server_close()
        server.thread.join()


def get(url: str, bases: list[str], *, limit_bytes: int = 1 << 20) -> bytes:
    return get_result(url, "dev_a", bases, limit_bytes=limit_bytes, access=ACCESS, timeout_s=60.0)


def test_a_damaged_or_missing_copy_is_passed_over(servers: list[Server]) -> None:
    servers[0].answer = lambda *_: (404, {}, b"")
    servers[1].answer = lambda *_: (200, {}, DATA[:-1] + b"?")
    assert get(URL, [server.url + "/" for server in servers]) == DATA
    assert servers[2].seen == [("GET", f"/blobs/dev_a/{DIGEST}", "Basic ZGV2OnNlY3JldA==")]


@pytest.mark.parametrize(
    ("status", "headers", "body", "why"),
    [
        (500, {}, b"", "500"),
        (200, {}, b"other", "does not have the hash"),
        (200, {"Content-Length": "9000"}, DATA, "cut off|IncompleteRead"),
        (302, {"Location": "http://127.0.0.1:1/"}, b"", "302"),
    ],
)
def test_a_bad_answer_is_an_error_that_names_it(
    servers: list[Server], status: int, headers: dict[str, str], body: bytes, why: str
) -> None:
    servers[0].answer = lambda *_: (status, headers, body)
    with pytest.raises(ResultUnavailableError, match=why):
        get(URL, [servers[0].url])


def test_no_store_a_dead_one_and_a_bad_name_are_errors(servers: list[Server]) -> None:
    with pytest.raises(ResultUnavailableError, match="no blob store"):
        get(URL, [])
    with pytest.raises(ResultUnavailableError, match="refused"):
        get(URL, ["http://127.0.0.1:1"])
    for bad in ("workrs:sha256/../../etc", "workrs:sha256/" + "A" * 64, "file:///etc/passwd"):
        with pytest.raises((ResultUnavailableError, ValueError)):
            get(bad, [servers[0].url])
    assert servers[0].seen == []


def test_too_much_is_not_read(servers: list[Server]) -> None:
    assert get(URL, [servers[0].url], limit_bytes=len(DATA)) == DATA
    with pytest.raises(ResultTooLargeError, match="result_max_bytes"):
        get(URL, [server.url for server in servers], limit_bytes=len(DATA) - 1)
    assert servers[1].seen == [], "it is as large everywhere"


def test_a_foreign_url_gets_no_password(servers: list[Server]) -> None:
    assert get(servers[0].url + "/x", []) == DATA
    assert servers[0].seen == [("GET", "/x", None)]


def put(bases: list[str], *, copies: int = 2) -> None:
    put_input(bases, "dev", DATA, copies=copies, access=ACCESS, timeout_s=60.0)


def test_an_input_goes_to_as_many_stores_as_wanted_and_is_not_sent_twice(
    servers: list[Server],
) -> None:
    servers[0].answer = lambda *_: (507, {}, b"")
    servers[1].answer = lambda method, _: (404 if method == "HEAD" else 201, {}, b"")
    put([server.url for server in servers])
    assert [method for method, _, _ in servers[1].seen] == ["HEAD", "PUT"]
    assert [method for method, _, _ in servers[2].seen] == ["HEAD"], "it was there"
    assert servers[1].seen[1][1] == f"/inputs/dev/{DIGEST}"


def test_too_few_copies_are_an_error_and_too_big_everywhere_a_final_one(
    servers: list[Server],
) -> None:
    servers[0].answer = lambda *_: (507, {}, b"")
    with pytest.raises(StoreError, match=r"1 of 2 nodes.*507"):
        put([server.url for server in servers[:2]])
    for server in servers:
        server.answer = lambda method, _: (404 if method == "HEAD" else 413, {}, b"")
    with pytest.raises(InputRefusedError, match="413"):
        put([server.url for server in servers])


def directory(*fixed: str) -> tuple[StoreDirectory, list[str]]:
    calls: list[str] = []
    now = iter(range(1000))
    return (
        StoreDirectory(
            fixed,
            clock=lambda: float(next(now)),
            watch=lambda: calls.append("watch"),
            unwatch=lambda: calls.append("unwatch"),
        ),
        calls,
    )


def state(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_given_stores_are_used_and_nobody_is_asked() -> None:
    stores, calls = directory("http://a", "https://b", "http://c")
    assert stores.find(1.0) == Stores(("http://a", "https://b", "http://c"), 2)
    assert directory("http://a")[0].find(1.0).copies == 1
    assert calls == []
    with pytest.raises(ConfigError):
        directory("ftp://a")


def test_stores_are_learned_from_the_nodes_and_junk_is_not() -> None:
    stores, calls = directory()

    def tell() -> None:
        calls.append("watch")
        nodes = ["n1", "n2", "n3"]
        for name, payload in {
            "n2": state(blobs_url="http://two", nodes=nodes),
            "n1": state(blobs_url="http://one", nodes=nodes, live=True),
            "n3": state(blobs_url="http://three", nodes=nodes, live=False),
            "n4": b"junk",
            "n5": b"[]",
        }.items():
            stores.heard(f"workrs/1/node/{name}/state", payload)
        stores.heard("workrs/1/node/n6/state", state(blobs_url="file:///etc"))
        stores.heard("workrs/1/down/dev/a", state(blobs_url="http://evil"))

    stores._watch = tell
    assert stores.find(1.0) == Stores(("http://one", "http://two"), 2)
    stores.find(1.0)
    assert calls == ["watch", "unwatch"], "it is remembered for a while"
    stores.forget()
    stores.find(1.0)
    assert calls == ["watch", "unwatch"] * 2


def test_a_bus_that_tells_nothing_is_an_error_that_says_what_to_do() -> None:
    stores, _ = directory()
    with pytest.raises(StoreError, match="give the device blob_urls"):
        stores.find(0.01)


@pytest.mark.parametrize("url", ["nowhere", "", "http://[x", "http:", "ftp://a/b"])
def test_an_address_that_is_none_is_told_like_one_that_does_not_answer(url: str) -> None:
    """A node, or an agent, may name any: whoever waits is not to be met by a ValueError."""
    with pytest.raises(ResultUnavailableError):
        get_result(url, "dev_j", (), limit_bytes=9, access=ACCESS, timeout_s=1)
    with pytest.raises(StoreError, match="0 of 1"):
        put_input([url], "dev", b"x", copies=1, access=ACCESS, timeout_s=1)
