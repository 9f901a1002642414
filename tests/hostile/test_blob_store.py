"""Goal: a node's blob store takes nothing that nobody will read, and no more than anyone's share.

Method: a real server on the loopback. Each attack is made twice: against the store as it is, and
against one whose control is taken away, where it must succeed; else the test could not fail.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
import pytest
from yarl import URL

from broker import blob_directory, blob_name, blob_quota, blob_upload
from broker.blob_access import Access
from broker.blob_directory import BlobLimits
from broker.blob_guard import Guard
from broker.blob_server import BlobServer
from broker.limits import LINES_PER_BEAT
from tests.hostile.twice import played_twice
from workrs.domain.ids import ClientId, Epoch, JobId
from workrs.domain.record import Holder, Incarnation, Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

JOB = JobId("pump_1")
DATA = b"what a revived agent had in hand\n"
ROOMY = BlobLimits(free_min_bytes=0, job_max_bytes=1 << 20, tenant_max_bytes=2 << 20)


def votes(job: JobId) -> dict[ClientId, Record]:
    """Return what a node of three has seen: the job was taken over at epoch 2."""
    holder = Holder(client=ClientId("a2"), incarnation=Incarnation(1, "00" * 8))
    record = Record(job=JOB, epoch=Epoch(2), holder=holder)
    return {ClientId(name): record for name in ("n1", "n2")} if job == JOB else {}


def fencing() -> Guard:
    return Guard(access=Access(records=votes, nodes=3))


@asynccontextmanager
async def store(root: Path, guard: Guard, limits: BlobLimits = ROOMY) -> AsyncIterator[str]:
    server = BlobServer(root, "127.0.0.1", 0, guard=guard, limits=limits)
    await server.start()
    try:
        yield server.url
    finally:
        await server.stop()


async def put(url: str, path: str, data: bytes, *, expect100: bool = False) -> int:
    digest = hashlib.sha256(data).hexdigest()
    async with (
        aiohttp.ClientSession() as session,
        session.put(f"{url}{path}/{digest}", data=data, expect100=expect100) as answer,
    ):
        return answer.status


def puts(root: Path, guard: Guard, *blobs: tuple[str, bytes], **rest: object) -> list[int]:
    async def story() -> list[int]:
        async with store(root, guard, **rest) as url:  # type: ignore[arg-type]
            return [await put(url, path, data) for path, data in blobs]

    return asyncio.run(story())


@pytest.mark.parametrize("expect100", [True, False])
def test_a_stale_epoch_writes_nothing(tmp_path: Path, *, expect100: bool) -> None:
    async def attack(guard: Guard, epoch: int) -> int:
        async with store(tmp_path, guard) as url:
            return await put(url, f"/blobs/{JOB}/{epoch}", DATA, expect100=expect100)

    assert asyncio.run(attack(fencing(), 1)) == 409
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert asyncio.run(attack(fencing(), 2)) == 201
    assert asyncio.run(attack(Guard(), 1)) == 201, "the control taken away"


def test_a_job_and_a_tenant_have_no_more_than_their_share(tmp_path: Path) -> None:
    blobs = [bytes([number]) * (600 << 10) for number in range(5)]
    attack = [
        (f"/blobs/{JOB}/2", blobs[0]),
        (f"/blobs/{JOB}/2", blobs[1]),
        ("/inputs/pump.east", blobs[2]),
        ("/inputs/pump.west", blobs[3]),
        ("/inputs/pump.west", blobs[4]),
        ("/inputs/fan", blobs[4]),
    ]
    assert puts(tmp_path, fencing(), *attack) == [201, 507, 201, 201, 507, 201]
    again = [("/inputs/pump.south", blobs[1]), (f"/blobs/{JOB}/2", blobs[2])]
    assert puts(tmp_path, fencing(), *again) == [507, 507], "a restart forgets no share"
    wide = replace(ROOMY, job_max_bytes=1 << 30, tenant_max_bytes=1 << 30)
    assert puts(tmp_path, fencing(), *again, limits=wide) == [201, 201], "the control taken away"


@played_twice
def test_a_flood_of_names_meets_the_share_though_it_has_no_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """Else one device uses up the names of the disk, and the ledger's with them."""
    if not control:
        for module in (blob_directory, blob_quota, blob_upload):
            monkeypatch.setattr(module, "ENTRY_BYTES", 0)
    blobs = [("/inputs/pump", bytes([number])) for number in range(6)]
    limits = replace(ROOMY, tenant_max_bytes=4 * 16 * 1024 + 100)
    found = puts(tmp_path, fencing(), *blobs, limits=limits)
    assert found == ([201, 201, 201, 201, 507, 507] if control else [201] * 6)


def test_what_goes_gives_its_share_back(tmp_path: Path) -> None:
    blobs = [bytes([number]) * (600 << 10) for number in range(3)]

    async def story() -> None:
        async with store(tmp_path, fencing()) as url, aiohttp.ClientSession() as session:
            path = f"/blobs/{JOB}/2"
            assert await put(url, path, blobs[0]) == 201
            assert await put(url, path, blobs[1]) == 507
            first = f"{url}{path}/{hashlib.sha256(blobs[0]).hexdigest()}"
            async with session.delete(first) as answer:
                assert answer.status == 204
            # A wrong hash leaves nothing behind either, of the file or of the share.
            async with session.put(f"{url}{path}/{'0' * 64}", data=blobs[2]) as answer:
                assert answer.status == 400
            assert await put(url, path, blobs[1]) == 201

    asyncio.run(story())


def test_refusals_are_counted_and_logged_with_who_and_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    flood = LINES_PER_BEAT + 5

    async def story() -> int:
        async with store(tmp_path, fencing()) as url, aiohttp.ClientSession() as session:
            for _ in range(flood):
                assert await put(url, f"/blobs/{JOB}/1", DATA) == 409
            async with session.get(f"{url}/health") as answer:
                return int((await answer.json())["refused"])

    with caplog.at_level(logging.WARNING, "node.blobs"):
        assert asyncio.run(story()) == flood
    lines = [record.getMessage() for record in caplog.records if record.name == "node.blobs"]
    assert len(lines) == LINES_PER_BEAT
    assert "blob_refused who=127.0.0.1" in lines[0]
    assert "epoch 1 of job pump_1 is past: it is at 2" in lines[0]
    assert DATA.decode().strip() not in "".join(lines)


class Believing:
    """A hash that finds what it was told to find."""

    def __init__(self, digest: str) -> None:
        self._digest = digest

    def update(self, _: bytes) -> None:
        """Look at nothing."""

    def hexdigest(self) -> str:
        """Return the name."""
        return self._digest


@played_twice
def test_content_that_is_not_its_name_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """Else who may write anything for a job could write what others will take for its result."""
    named = hashlib.sha256(b"the true result").hexdigest()
    if not control:
        monkeypatch.setattr(hashlib, "sha256", lambda *_: Believing(named))

    async def story() -> tuple[int, int]:
        async with store(tmp_path, fencing()) as url, aiohttp.ClientSession() as session:
            async with session.put(f"{url}/blobs/{JOB}/2/{named}", data=DATA) as answer:
                put = answer.status
            async with session.get(f"{url}/blobs/{JOB}/{named}") as answer:
                return put, answer.status

    assert asyncio.run(story()) == ((400, 404) if control else (201, 200))


@played_twice
def test_an_id_that_leads_elsewhere_names_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    if not control:
        monkeypatch.setattr(blob_name, "split_job_id", lambda _: ("", ""))
    root = tmp_path / "node" / "blobs"

    async def story() -> int:
        async with store(root, Guard()) as url, aiohttp.ClientSession() as session:
            digest = hashlib.sha256(DATA).hexdigest()
            where = URL(f"{url}/blobs/..%2F..%2F..%2Foutside/1/{digest}", encoded=True)
            async with session.put(where, data=DATA) as answer:
                return answer.status

    assert asyncio.run(story()) == (404 if control else 201)
    assert (tmp_path / "outside").exists() is not control
