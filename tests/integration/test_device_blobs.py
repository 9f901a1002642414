"""Goal: inputs and results too big for a message arrive whole, or not at all.

Method: a real Mosquitto and a scripted node, with HTTP servers as the nodes' blob stores.
"""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from device_client import Device, JobRejectedError, ResultUnavailableError, State
from tests.integration.device_peer import WAIT_S, Broker, ScriptedNode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 1024
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = Broker(tmp_path)
    yield made
    made.kill()


class BlobStore(ThreadingHTTPServer):
    """A node's blob store, as far as a device sees it."""

    daemon_threads = True

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.failures_left = 0
        self.failure = 507
        super().__init__(("127.0.0.1", 0), _BlobHandler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _BlobHandler(BaseHTTPRequestHandler):
    server: BlobStore

    def log_message(self, *_: object) -> None:
        """Stay silent."""

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        body = self.server.blobs.get(self.path)
        self._answer(404) if body is None else self._answer(200, body)

    do_HEAD = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.failures_left:
            self.server.failures_left -= 1
            self._answer(self.server.failure)
            return
        self.server.blobs[self.path] = body
        self._answer(201)


@pytest.fixture
def stores() -> Iterator[list[BlobStore]]:
    made = [BlobStore(), BlobStore()]
    yield made
    for store in made:
        store.stop()


def test_big_inputs_and_results_travel_by_the_blob_stores(
    broker: Broker, stores: list[BlobStore]
) -> None:
    stores[1].failures_left = 2

    def answer(peer: ScriptedNode, device: str, job: str, payload: bytes) -> None:
        body = json.loads(payload)
        assert (body["function"], body["input_url"]) == ("sum", f"workrs:sha256/{DIGEST}")
        assert all(f"/inputs/{device}/{DIGEST}" in store.blobs for store in stores), (
            "no job is sent before two stores have its input"
        )
        stores[0].blobs[f"/blobs/{device}_{job}/{DIGEST}"] = b"x" + DATA[1:]
        stores[1].blobs[f"/blobs/{device}_{job}/{DIGEST}"] = DATA
        peer.say(device, job, "succeeded", result_url=f"workrs:sha256/{DIGEST}")

    with ScriptedNode(broker, blobs_url=stores[0].url, nodes=("node-1", "node-2")) as one:
        one.publish(
            "workrs/1/node/node-2/state",
            json.dumps({"nodes": ["node-1", "node-2"], "blobs_url": stores[1].url}).encode(),
        )
        one.on_job = answer
        with Device("pump-7", [broker.address]) as device:
            result = device.result(device.run("sum", DATA), timeout=WAIT_S)
    assert result.value == DATA, "the damaged copy of the first store was not taken"


def test_an_input_waits_in_the_outbox_until_stores_take_it(
    broker: Broker, stores: list[BlobStore], tmp_path: Path
) -> None:
    for store in stores:
        store.failures_left = 1_000_000
    urls, box = [store.url for store in stores], tmp_path / "box"
    with ScriptedNode(broker) as node:
        with Device("pump-7", [broker.address], outbox=box, blob_urls=urls) as device:
            job = device.run("sum", DATA)
            node.wait_for(lambda: stores[0].failures_left < 999_999, "a second attempt")
            assert device.state(job).state is State.KEPT
        assert node.jobs == {}
        for store in stores:
            store.failures_left = 0
        node.on_job = lambda peer, name, job, _: peer.say(name, job, "succeeded", result="1")
        with Device("pump-7", [broker.address], outbox=box, blob_urls=urls) as device:
            assert device.result(job, timeout=WAIT_S).text == "1"
        assert all(f"/inputs/pump-7/{DIGEST}" in store.blobs for store in stores)


def test_an_input_that_no_store_will_ever_take_is_rejected(
    broker: Broker, stores: list[BlobStore]
) -> None:
    for store in stores:
        store.failures_left, store.failure = 1_000_000, 413
    urls = [store.url for store in stores]
    with (
        ScriptedNode(broker),
        Device("pump-7", [broker.address], blob_urls=urls) as device,
        pytest.raises(JobRejectedError, match="413"),
    ):
        device.result(device.run("sum", DATA), timeout=WAIT_S)


def test_a_result_that_is_not_there_is_an_error_and_may_be_asked_for_again(
    broker: Broker, stores: list[BlobStore]
) -> None:
    with ScriptedNode(broker) as node:
        node.on_job = lambda peer, name, job, _: peer.say(
            name, job, "succeeded", result_url=f"workrs:sha256/{DIGEST}"
        )
        with Device("pump-7", [broker.address], blob_urls=[stores[0].url]) as device:
            job = device.submit(image="i", command=["c"])
            with pytest.raises(ResultUnavailableError, match="404"):
                device.result(job, timeout=WAIT_S)
            stores[0].blobs[f"/blobs/pump-7_{job}/{DIGEST}"] = DATA
            assert device.result(job, timeout=WAIT_S).value == DATA
