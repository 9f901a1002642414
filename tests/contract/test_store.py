"""Goal: all stores keep the same promises: memory, a folder, a node over HTTP, S3, Azure.

Method: the same calls through each, against real servers; damage is done to what the store
keeps, behind its back.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import obstore
import pytest
from obstore.store import from_url

from broker.blob_directory import BlobLimits
from broker.blob_server import BlobServer
from tests.object_store_fixture import ObjectServer, azurite, seaweedfs
from workrs.adapters.stores.opener import Stores
from workrs.domain.errors import StoreError
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.ports.store import (
    BLOB_MAX_BYTES,
    BlobLostError,
    BlobStore,
    InputSpace,
    JobSpace,
    StoreRefusedError,
)
from workrs.testing.store import MemoryStores

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

__all__ = ["azurite", "seaweedfs"]  # fixtures

SPACE = JobSpace(job=JobId("pump_1"), epoch=Epoch(3))
DATA = random.Random(1).randbytes(700_000)
NAME = Digest(hashlib.sha256(DATA).hexdigest())
LIMITS = BlobLimits(blob_max_bytes=1 << 20, total_max_bytes=3 << 20, free_min_bytes=0)


@dataclass(slots=True, kw_only=True)
class World:
    """One store, and how to spoil the blobs in it."""

    store: BlobStore
    spoil: Callable[[bytes], None]


@contextlib.asynccontextmanager
async def memory(_: Path, __: ObjectServer | None) -> AsyncIterator[World]:
    store = MemoryStores().open("mem://1")

    def spoil(data: bytes) -> None:
        for key in store.blobs:
            store.blobs[key] = data

    yield World(store=store, spoil=spoil)


def _spoiler(root: Path) -> Callable[[bytes], None]:
    def spoil(data: bytes) -> None:
        for path in root.rglob("*"):
            if path.is_file():
                path.chmod(0o600)
                path.write_bytes(data)

    return spoil


@contextlib.asynccontextmanager
async def folder(path: Path, _: ObjectServer | None) -> AsyncIterator[World]:
    async with Stores() as stores:
        yield World(store=stores.open(path.as_uri()), spoil=_spoiler(path))


@contextlib.asynccontextmanager
async def http(path: Path, _: ObjectServer | None) -> AsyncIterator[World]:
    server = BlobServer(path, "127.0.0.1", 0, limits=LIMITS)
    await server.start()
    try:
        async with Stores() as stores:
            yield World(store=stores.open(server.url), spoil=_spoiler(path))
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def bucket(path: Path, server: ObjectServer | None) -> AsyncIterator[World]:
    assert server is not None
    url = f"{server.bucket}/{path.parent.name}"
    with server.environment():
        async with Stores() as stores:
            yield World(store=stores.open(url), spoil=_bucket_spoiler(url))


def _bucket_spoiler(url: str) -> Callable[[bytes], None]:
    client = from_url(url, client_options={"allow_http": True})

    def spoil(data: bytes) -> None:
        for page in obstore.list(client):
            for found in page:
                obstore.put(client, found["path"], data)

    return spoil


OPENERS = {
    "memory": (memory, None),
    "folder": (folder, None),
    "http": (http, None),
    "s3": (bucket, "seaweedfs"),
    "az": (bucket, "azurite"),
}
SHARED = [name for name in OPENERS if name != "http"]
Run = "Callable[[Callable[[World], Coroutine[Any, Any, None]]], None]"


@pytest.fixture(params=OPENERS)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    opener, needed = OPENERS[request.param]
    server = request.getfixturevalue(needed) if needed else None

    def runner(story: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            root = tmp_path / "store"
            root.mkdir()
            async with asyncio.timeout(150), opener(root, server) as world:
                await story(world)

        asyncio.run(main())

    return runner


def test_a_blob_comes_back_at_any_epoch(run: Run) -> None:
    async def story(world: World) -> None:
        await world.store.put(NAME, DATA, SPACE)
        await world.store.put(NAME, DATA, SPACE)
        assert await world.store.get(NAME, SPACE) == DATA
        later = JobSpace(job=SPACE.job, epoch=Epoch(9))
        assert await world.store.get(NAME, later) == DATA

    run(story)


def test_a_file_goes_in_and_comes_out(run: Run, tmp_path: Path) -> None:
    async def story(world: World) -> None:
        (tmp_path / "in").write_bytes(DATA)
        space = InputSpace(device=ClientId("pump"))
        with contextlib.suppress(StoreRefusedError):
            await world.store.put(NAME, tmp_path / "in", space)
            await world.store.fetch(NAME, tmp_path / "out", space, limit_bytes=1 << 20)
            assert (tmp_path / "out").read_bytes() == DATA
        await world.store.put(NAME, tmp_path / "in", SPACE)
        await world.store.fetch(NAME, tmp_path / "again", SPACE, limit_bytes=1 << 20)
        assert (tmp_path / "again").read_bytes() == DATA

    run(story)


def test_a_blob_of_another_job_is_not_found(run: Run) -> None:
    async def story(world: World) -> None:
        await world.store.put(NAME, DATA, SPACE)
        with pytest.raises(BlobLostError):
            await world.store.get(NAME, JobSpace(job=JobId("pump_2"), epoch=Epoch(3)))

    run(story)


def test_wrong_bytes_are_never_returned(run: Run, tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.store.put(NAME, DATA, SPACE)
        for damaged in (DATA[:-1], DATA + b"x", b"", bytes(len(DATA))):
            world.spoil(damaged)
            with pytest.raises(BlobLostError):
                await world.store.get(NAME, SPACE)
            with pytest.raises(BlobLostError):
                await world.store.fetch(NAME, tmp_path / "out", SPACE, limit_bytes=1 << 20)
            assert not (tmp_path / "out").exists()

    run(story)


def test_a_blob_under_a_wrong_name_is_refused(run: Run) -> None:
    async def story(world: World) -> None:
        with pytest.raises(StoreRefusedError):
            await world.store.put(Digest("0" * 64), DATA, SPACE)

    run(story)


def test_what_is_there_is_confirmed_and_never_replaced(run: Run) -> None:
    async def story(world: World) -> None:
        await world.store.put(NAME, DATA, SPACE)
        world.spoil(b"of somebody else")
        await world.store.put(NAME, DATA, SPACE)
        with pytest.raises(BlobLostError):
            await world.store.get(NAME, SPACE)

    run(story)


def test_many_writers_of_one_blob_agree(run: Run) -> None:
    async def story(world: World) -> None:
        await asyncio.gather(*(world.store.put(NAME, DATA, SPACE) for _ in range(4)))
        assert await world.store.get(NAME, SPACE) == DATA

    run(story)


def test_a_blob_larger_than_asked_for_is_not_read(run: Run) -> None:
    async def story(world: World) -> None:
        assert len(DATA) < BLOB_MAX_BYTES
        await world.store.put(NAME, DATA, SPACE)
        with pytest.raises(BlobLostError):
            await world.store.get(NAME, SPACE, limit_bytes=len(DATA) - 1)

    run(story)


def test_a_blob_is_deleted_at_its_epoch_alone(run: Run) -> None:
    async def story(world: World) -> None:
        await world.store.put(NAME, DATA, SPACE)
        await world.store.delete(NAME, JobSpace(job=SPACE.job, epoch=Epoch(4)))
        assert await world.store.get(NAME, SPACE) == DATA
        await world.store.delete(NAME, SPACE)
        await world.store.delete(NAME, SPACE)
        with pytest.raises(BlobLostError):
            await world.store.get(NAME, SPACE)

    run(story)


def test_a_store_over_its_quota_refuses(tmp_path: Path) -> None:
    async def story() -> None:
        async with http(tmp_path, None) as world:
            big = bytes(LIMITS.blob_max_bytes + 1)
            with pytest.raises(StoreRefusedError, match="413"):
                await world.store.put(Digest(hashlib.sha256(big).hexdigest()), big, SPACE)

    asyncio.run(story())


def test_silence_is_told_from_loss(tmp_path: Path) -> None:
    async def story() -> None:
        async with Stores() as stores:
            for url in ("http://127.0.0.1:9", (tmp_path / "unmounted").as_uri()):
                store = stores.open(url)
                for call in (
                    store.put(NAME, DATA, SPACE),
                    store.get(NAME, SPACE),
                    store.delete(NAME, SPACE),
                ):
                    with pytest.raises(StoreError) as caught:
                        await call
                    assert not isinstance(caught.value, BlobLostError | StoreRefusedError)

    asyncio.run(story())


def test_a_url_that_is_no_store_is_refused() -> None:
    async def story() -> None:
        async with Stores() as stores:
            for url in ("ftp://x", "http://", "file://host/x", "", "x"):
                with pytest.raises(StoreError, match="no blob store"):
                    stores.open(url)

    asyncio.run(story())
