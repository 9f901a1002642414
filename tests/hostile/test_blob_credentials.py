"""Goal: a blob store gives and takes by who asks: each kind of client gets its own and no more.

Method: a real HTTPS server with a cluster's certificates; every request that is refused is made
again at a server without the control, and must succeed there.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import ssl
from base64 import b64encode
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
import pytest

from broker.blob_access import Access, Caller
from broker.blob_directory import BlobLimits
from broker.blob_guard import Guard
from broker.blob_identity import Identity
from broker.blob_server import BlobServer
from tests.hostile.door import careless, stranger
from tests.hostile.members import Cluster, cluster
from tests.hostile.twice import played_twice
from workrs.domain.ids import ClientId, Epoch, JobId
from workrs.domain.record import Holder, Incarnation, Record
from workrs.trust.kind import Kind
from workrs.trust.node_folder import NodeTrust

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.blob_guard import Identify
    from workrs.trust.credential import Credential

__all__ = ["cluster"]  # a fixture is found by its name in the module

JOB = JobId("pump_1")
DATA = b"a result\n"
NAME = hashlib.sha256(DATA).hexdigest()
BLOB = f"/blobs/{JOB}/2/{NAME}"
INPUT = f"/inputs/pump/{NAME}"
LEDGER = "/ledger?generation=0"


def votes(job: JobId) -> dict[ClientId, Record]:
    """Return what a node of three has seen: a1 holds the job at epoch 2."""
    holder = Holder(client=ClientId("a1"), incarnation=Incarnation(1, "00" * 8))
    record = Record(job=JOB, epoch=Epoch(2), holder=holder)
    return {ClientId(name): record for name in ("n1", "n2")} if job == JOB else {}


class Store(NamedTuple):
    """A running store that knows its callers."""

    url: str
    identity: Identity

    async def ask(
        self, who: Credential | None, method: str, path: str, *, authorization: str = ""
    ) -> int:
        """Return the status of one request, 0 if no connection came about."""
        headers = {"Authorization": authorization} if authorization else {}
        if who is not None and who.password is not None:
            headers = basic(who.name, who.password)
        tls = stranger() if who is None else careless(who)
        data = DATA if method == "PUT" else None
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.request(
                    method, self.url + path, data=data, headers=headers, ssl=tls
                ) as answer,
            ):
                await answer.read()
                return answer.status
        except (aiohttp.ClientError, ssl.SSLError, ConnectionError):
            return 0


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"}


@asynccontextmanager
async def store(
    root: Path,
    cluster: Cluster,
    *,
    ruled: bool = True,
    asks: bool = True,
    identify: Identify | None = None,
) -> AsyncIterator[Store]:
    """Serve.

    Args:
        root: where blobs lie.
        cluster: whose members are known.
        ruled: if not, everybody that is known may do everything.
        asks: for certificates, and looks at those that are shown.
        identify: says who asks, instead of the node's folder.
    """
    trust = cluster.trust()
    identity = Identity(trust)
    tls = trust.server_context()
    if not asks:
        tls.verify_mode = ssl.CERT_NONE
    access = Access(records=votes, nodes=3) if ruled else None
    server = BlobServer(
        root,
        "127.0.0.1",
        0,
        tls=tls,
        guard=Guard(access=access, identify=identify or identity),
        limits=BlobLimits(free_min_bytes=0),
        ledger=lambda _: iter([b"all that is known\n"]),
    )
    await server.start()
    try:
        yield Store(server.url, identity)
    finally:
        await server.stop()


async def fill(it: Store, cluster: Cluster) -> None:
    assert await it.ask(cluster.members["a1"], "PUT", BLOB) in (200, 201)
    assert await it.ask(cluster.members["pump"], "PUT", INPUT) in (200, 201)


ALLOWED = [
    ("a1", "PUT", BLOB),
    ("a1", "GET", f"/blobs/{JOB}/{NAME}"),
    ("a2", "GET", f"/blobs/{JOB}/{NAME}"),
    ("a2", "GET", INPUT),
    ("op", "GET", f"/blobs/{JOB}/{NAME}"),
    ("pump", "GET", f"/blobs/{JOB}/{NAME}"),
    ("pump", "GET", INPUT),
    ("sensor", "PUT", f"/inputs/sensor/{NAME}"),
    ("op", "PUT", f"/inputs/op/{NAME}"),
    ("n2", "GET", f"/blobs/{JOB}"),
    ("n2", "GET", LEDGER),
    ("sensor", "GET", "/health"),
    ("a1", "DELETE", BLOB),
]
FORBIDDEN = [
    *[(who, "GET", LEDGER) for who in ("a1", "op", "pump", "sensor")],
    *[(who, "GET", f"/blobs/{JOB}") for who in ("a1", "op", "pump", "sensor")],
    *[(who, "GET", f"/blobs/{JOB}/{NAME}") for who in ("fan", "sensor")],
    *[(who, "GET", INPUT) for who in ("fan", "sensor")],
    *[(who, "PUT", INPUT) for who in ("fan", "sensor", "a1", "op", "n2")],
    *[(who, "PUT", BLOB) for who in ("a2", "op", "pump", "sensor", "n2")],
    *[(who, "DELETE", BLOB) for who in ("a2", "op", "pump", "sensor", "n2")],
    ("a1", "PUT", f"/blobs/{JOB}/3/{NAME}"),
    ("a1", "PUT", f"/blobs/fan_1/1/{NAME}"),
]


def test_each_kind_of_client_gets_what_is_its_own(tmp_path: Path, cluster: Cluster) -> None:
    async def story() -> None:
        async with store(tmp_path / "blobs", cluster) as it:
            await fill(it, cluster)
            for who, method, path in ALLOWED:
                status = await it.ask(cluster.members[who], method, path)
                assert status in (200, 201, 204), (who, method, path, status)

    asyncio.run(story())


def test_no_kind_of_client_gets_what_is_anothers(
    tmp_path: Path, cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with store(tmp_path / "ruled", cluster) as ruled:
            await fill(ruled, cluster)
            for who, method, path in FORBIDDEN:
                status = await ruled.ask(cluster.members[who], method, path)
                assert status == 403, (who, method, path, status)
        async with store(tmp_path / "open", cluster, ruled=False) as unruled:
            await fill(unruled, cluster)
            for who, method, path in FORBIDDEN:
                status = await unruled.ask(cluster.members[who], method, path)
                assert status in (200, 201, 204, 404), "the control taken away"
                await fill(unruled, cluster)

    with caplog.at_level(logging.WARNING, "node.blobs"):
        asyncio.run(story())
    lines = [record.getMessage() for record in caplog.records if record.name == "node.blobs"]
    assert 'blob_refused who="agent a1" what="GET /ledger" status=403' in lines[0]


async def anybody(*_: object) -> Caller:
    """Take whoever asks for an operator."""
    return Caller(name=ClientId("op"), kind=Kind.OPERATOR)


def wrong_headers(password: str) -> list[str]:
    """Return what is no name and password of a member, or not as it should be written."""
    return [
        "",
        "Basic",
        "Basic %%%",
        "Basic " + b64encode(b"\xff\xfe").decode(),
        "Basic " + b64encode(b"sensor").decode(),
        "Basic " + "A" * 6_000,
        "Bearer " + b64encode(f"sensor:{password}".encode()).decode(),
        *(basic(*pair)["Authorization"] for pair in (("sensor", ""), ("sensor", "x"))),
        *(basic(name, password)["Authorization"] for name in ("pump", "a1", "")),
    ]


@played_twice
def test_who_is_nobody_gets_nothing(tmp_path: Path, cluster: Cluster, *, control: bool) -> None:
    """No request of a stranger, or with a wrong password, is even looked at."""
    password = cluster.members["sensor"].password or ""
    paths = [("GET", LEDGER), ("GET", INPUT), ("PUT", INPUT), ("GET", "/health"), ("GET", "/x")]

    async def story() -> set[int]:
        async with store(tmp_path, cluster, identify=None if control else anybody) as it:
            found = {await it.ask(None, method, path) for method, path in paths}
            for header in wrong_headers(password):
                found.add(await it.ask(None, "GET", "/health", authorization=header))
            right = basic("sensor", password)["Authorization"]
            assert await it.ask(None, "GET", "/health", authorization=right) == 200
            return found

    assert asyncio.run(story()) == ({401} if control else {403, 404, 200})


def test_a_header_of_a_megabyte_is_not_read_to_its_end(tmp_path: Path, cluster: Cluster) -> None:
    async def story() -> None:
        async with store(tmp_path, cluster) as it:
            long = "Basic " + "A" * 1_000_000
            assert await it.ask(None, "GET", "/health", authorization=long) in (0, 400)

    asyncio.run(story())


@played_twice
@pytest.mark.parametrize("who", ["old", "early", "foreign"])
def test_a_certificate_that_is_no_good_comes_to_no_connection(
    tmp_path: Path, cluster: Cluster, who: str, *, control: bool
) -> None:
    """Without the question for certificates TLS looks at none, and takes everybody."""

    async def story() -> int:
        identify = None if control else anybody
        async with store(tmp_path, cluster, asks=control, identify=identify) as it:
            assert await it.ask(cluster.members["a2"], "GET", "/health") == 200
            return await it.ask(cluster.members[who], "GET", "/health")

    assert asyncio.run(story()) == (0 if control else 200)


@played_twice
def test_who_is_revoked_gets_nothing_more(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """On the connection that stood before, on a new one, and with a password."""
    if not control:
        monkeypatch.setattr(NodeTrust, "is_revoked", lambda *_: False)
        monkeypatch.setattr(Identity, "take", lambda *_: None)

    async def story() -> list[int]:
        async with store(tmp_path, cluster) as it, aiohttp.ClientSession() as session:
            a1, url = cluster.members["a1"], f"{it.url}/health"
            tls = careless(a1)

            async def again() -> int:
                async with session.get(url, ssl=tls) as answer:
                    return answer.status

            assert await again() == 200
            cluster.revoke("a1")
            cluster.revoke("sensor")
            assert await again() == 200, "the node has not been told"
            it.identity.take(cluster.trust())
            found = [await again(), await it.ask(cluster.members["sensor"], "GET", "/health")]
            assert await it.ask(cluster.members["a2"], "GET", "/health") == 200
        async with store(tmp_path, cluster, asks=control) as it:
            return [*found, await it.ask(a1, "GET", "/health")]

    assert asyncio.run(story()) == ([401, 401, 0] if control else [200, 200, 401])
