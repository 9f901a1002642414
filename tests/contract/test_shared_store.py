"""Goal: stores of no node can be emptied of a job, take large files, and say what is wrong.

Method: memory, a folder, a real S3 server and a real Azure server; wrong keys, no bucket, nobody
there.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
import sys
from typing import TYPE_CHECKING, Any

import obstore
import pytest
from obstore.store import from_url

from tests.object_store_fixture import ObjectServer, azurite, seaweedfs
from workrs.adapters.stores.opener import Stores
from workrs.domain.errors import ConfigError, StoreError
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.ports.store import (
    BLOB_MAX_BYTES,
    BlobLostError,
    InputSpace,
    JobSpace,
    SharedStore,
    StoreRefusedError,
)
from workrs.testing.store import MemoryStores

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

__all__ = ["azurite", "seaweedfs"]  # fixtures are found by their names in the module

LARGE = random.Random(2).randbytes(2 * BLOB_MAX_BYTES + 1000)
Run = "Callable[[Callable[[SharedStore], Coroutine[Any, Any, None]]], None]"


def name_of(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


def space(job: str, epoch: int = 1) -> JobSpace:
    return JobSpace(job=JobId(job), epoch=Epoch(epoch))


def run_with(url: str, story: Callable[[SharedStore], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(150), Stores() as stores:
            await story(stores.open_shared(url))

    asyncio.run(main())


@pytest.fixture(params=["memory", "folder", "seaweedfs", "azurite"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    def in_memory(story: Callable[[SharedStore], Coroutine[Any, Any, None]]) -> None:
        asyncio.run(story(MemoryStores().open("mem://1")))

    match request.param:
        case "memory":
            yield in_memory
        case "folder":
            (tmp_path / "store").mkdir()
            yield lambda story: run_with((tmp_path / "store").as_uri(), story)
        case server:
            found = request.getfixturevalue(server)
            with found.environment():
                yield lambda story: run_with(f"{found.bucket}/{tmp_path.name}/deep", story)


def test_dropping_a_job_takes_all_of_it_and_nothing_else(run: Run) -> None:
    async def story(store: SharedStore) -> None:
        for number in range(5):
            data = bytes([number])
            await store.put(name_of(data), data, space("pump_1", epoch=number))
        other = space("pump_10")
        await store.put(name_of(b"x"), b"x", other)
        assert sorted(await store.jobs()) == ["pump_1", "pump_10"]
        await store.drop(JobId("pump_1"))
        await store.drop(JobId("pump_1"))
        assert "pump_10" in await store.jobs()
        with pytest.raises(BlobLostError):
            await store.get(name_of(bytes([0])), space("pump_1", epoch=0))
        assert await store.get(name_of(b"x"), other) == b"x"

    run(story)


def test_a_job_that_was_dropped_can_be_stored_again(run: Run) -> None:
    async def story(store: SharedStore) -> None:
        for _ in range(2):
            await store.put(name_of(b"x"), b"x", space("pump_1"))
            assert await store.get(name_of(b"x"), space("pump_1", epoch=7)) == b"x"
            await store.drop(JobId("pump_1"))
            with pytest.raises(BlobLostError):
                await store.get(name_of(b"x"), space("pump_1"))

    run(story)


def test_inputs_belong_to_no_job(run: Run) -> None:
    async def story(store: SharedStore) -> None:
        inputs = InputSpace(device=ClientId("pump"))
        await store.put(name_of(b"x"), b"x", inputs)
        assert await store.jobs() == []
        assert await store.get(name_of(b"x"), inputs) == b"x"

    run(story)


def test_a_file_larger_than_a_part_goes_in_and_comes_out(run: Run, tmp_path: Path) -> None:
    async def story(store: SharedStore) -> None:
        (tmp_path / "in").write_bytes(LARGE)
        for _ in range(2):
            await store.put(name_of(LARGE), tmp_path / "in", space("pump_1"))
        later = space("pump_1", epoch=2)
        limit = len(LARGE)
        await store.fetch(name_of(LARGE), tmp_path / "out", later, limit_bytes=limit)
        assert (tmp_path / "out").read_bytes() == LARGE
        with pytest.raises(BlobLostError):
            await store.fetch(name_of(LARGE), tmp_path / "no", later, limit_bytes=limit - 1)
        assert not (tmp_path / "no").exists()

    run(story)


def test_a_large_file_under_a_wrong_name_leaves_nothing(run: Run, tmp_path: Path) -> None:
    async def story(store: SharedStore) -> None:
        (tmp_path / "in").write_bytes(LARGE)
        with pytest.raises(StoreRefusedError):
            await store.put(name_of(b"x"), tmp_path / "in", space("pump_1"))
        with pytest.raises(BlobLostError):
            await store.get(name_of(b"x"), space("pump_2"))

    run(story)


def test_a_draft_of_a_wrong_file_is_removed(seaweedfs: ObjectServer, tmp_path: Path) -> None:
    url = f"{seaweedfs.bucket}/{tmp_path.name}"

    async def story(store: SharedStore) -> None:
        (tmp_path / "in").write_bytes(LARGE)
        with pytest.raises(StoreRefusedError):
            await store.put(name_of(b"x"), tmp_path / "in", space("pump_1"))
        client = from_url(url, client_options={"allow_http": True})
        assert await obstore.list(client).collect_async() == []

    with seaweedfs.environment():
        run_with(url, story)


CALLS: list[Callable[[SharedStore], Coroutine[Any, Any, object]]] = [
    lambda store: store.put(name_of(b"x"), b"x", space("pump_1")),
    lambda store: store.get(name_of(b"x"), space("pump_1")),
    lambda store: store.delete(name_of(b"x"), space("pump_1")),
    lambda store: store.jobs(),
    lambda store: store.drop(JobId("pump_1")),
]
REFUSALS = [
    ("seaweedfs", {"AWS_SECRET_ACCESS_KEY": "wrong"}, "AWS_SECRET_ACCESS_KEY"),
    ("azurite", {"AZURE_STORAGE_ACCOUNT_KEY": "d3Jvbmc="}, "AZURE_STORAGE_ACCOUNT_KEY"),
]


@pytest.mark.parametrize(("server", "wrong", "advice"), REFUSALS)
def test_wrong_keys_are_refused_in_words_that_name_them(
    request: pytest.FixtureRequest, server: str, wrong: dict[str, str], advice: str
) -> None:
    found: ObjectServer = request.getfixturevalue(server)

    async def story(store: SharedStore) -> None:
        for call in CALLS:
            with pytest.raises(StoreRefusedError, match=advice) as caught:
                await call(store)
            for secret in wrong.values():
                assert secret not in str(caught.value)

    with found.environment(**wrong):
        run_with(f"{found.bucket}/refused", story)


@pytest.mark.parametrize(
    ("server", "url"), [("seaweedfs", "s3://nosuch"), ("azurite", "az://nosuch")]
)
def test_a_missing_bucket_is_no_lost_blob(
    request: pytest.FixtureRequest, server: str, url: str
) -> None:
    found: ObjectServer = request.getfixturevalue(server)

    async def story(store: SharedStore) -> None:
        with pytest.raises(StoreError, match="make it") as caught:
            await store.get(name_of(b"x"), space("pump_1"))
        assert not isinstance(caught.value, BlobLostError)

    with found.environment():
        run_with(url, story)


@pytest.mark.parametrize(
    ("server", "endpoint"),
    [("seaweedfs", "AWS_ENDPOINT_URL"), ("azurite", "AZURE_STORAGE_ENDPOINT")],
)
def test_nobody_there_is_silence_and_soon_known(
    request: pytest.FixtureRequest, server: str, endpoint: str
) -> None:
    found: ObjectServer = request.getfixturevalue(server)

    async def story(store: SharedStore) -> None:
        async with asyncio.timeout(100):
            for call in CALLS:
                with pytest.raises(StoreError, match="does not answer") as caught:
                    await call(store)
                assert not isinstance(caught.value, BlobLostError | StoreRefusedError)

    with found.environment(**{endpoint: "http://127.0.0.1:9/x"}):
        run_with(f"{found.bucket}/silent", story)


def test_a_missing_library_is_said_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    for name in ("object", "object_client"):
        monkeypatch.delitem(sys.modules, f"workrs.adapters.stores.{name}", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'workrs\[objects\]'"):
        Stores(["s3://bucket"]).open_configured()
    assert Stores([]).open_configured() == []


def test_only_the_stores_of_the_configuration_are_opened(tmp_path: Path) -> None:
    async def story() -> None:
        async with Stores(shared=["s3://ours/a", tmp_path.as_uri()]) as stores:
            assert stores.open(f"{tmp_path.as_uri()}/").location == tmp_path.as_uri()
            for url in ("s3://theirs", "s3://ours", "file:///etc"):
                with pytest.raises(StoreError, match="--store"):
                    stores.open(url)
            assert stores.open("http://127.0.0.1:1").location == "http://127.0.0.1:1"
            with contextlib.suppress(StoreError):
                stores.open_shared("http://127.0.0.1:1")
                pytest.fail("a node's store is not shared")

    asyncio.run(story())
