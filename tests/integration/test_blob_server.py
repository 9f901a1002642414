"""The blob store over real HTTP: what it keeps, what it refuses, what it leaves behind.

Every test starts a server on a free port of the loopback and ends by looking at its
directory: nothing but finished blobs may be there.
"""

import asyncio
import hashlib
import io
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from broker.blob_directory import BlobDirectory, BlobLimits
from broker.blob_name import checkpoint_name
from broker.blob_quota import ENTRY_BYTES
from broker.blob_server import BlobServer
from workrs.domain.errors import ConfigError
from workrs.domain.ids import ClientId, Digest, JobId

JOB = "pump-7_sum"
DATA = b"state of the job\n" * 1000
LIMITS = BlobLimits(blob_max_bytes=1 << 20, total_max_bytes=3 << 20, free_min_bytes=0)


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Store:
    """A running server and a client of it."""

    def __init__(self, server: BlobServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    async def put(
        self, path: str, data: bytes | AsyncIterator[bytes], *, expect100: bool = False
    ) -> int:
        body = io.BytesIO(data) if isinstance(data, bytes) else data
        url = self.server.url + path
        async with self.session.put(url, data=body, expect100=expect100) as answer:
            text = await answer.text()
            assert answer.status < 300 or '"error"' in text
            return answer.status

    async def get(self, path: str, **headers: str) -> tuple[int, bytes]:
        async with self.session.get(self.server.url + path, headers=headers) as answer:
            return answer.status, await answer.read()

    async def raw(self, request: bytes, *, half_close: bool = False) -> bytes:
        """Send bytes as they are and return what comes back first."""
        port = int(self.server.url.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            if half_close:
                writer.write_eof()
            return await reader.read(4096)
        finally:
            writer.close()
            await writer.wait_closed()

    def files(self) -> set[str]:
        root = self.server.directory.root
        return {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}


@asynccontextmanager
async def running(root: Path, limits: BlobLimits, stalled_s: float) -> AsyncIterator[Store]:
    server = BlobServer(root, "127.0.0.1", 0, limits=limits, stalled_s=stalled_s)
    await server.start()
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            yield Store(server, session)
    finally:
        await server.stop()


def serve(
    root: Path,
    story: Callable[[Store], Awaitable[None]],
    limits: BlobLimits = LIMITS,
    *,
    stalled_s: float = 60.0,
) -> None:
    async def main() -> None:
        async with asyncio.timeout(60), running(root, limits, stalled_s) as store:
            await story(store)

    asyncio.run(main())


def test_a_blob_is_stored_once_and_read_from_any_epoch(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        digest = sha(DATA)
        assert await store.put(f"/blobs/{JOB}/3/{digest}", DATA) == 201
        assert await store.put(f"/blobs/{JOB}/3/{digest}", DATA) == 200
        assert await store.get(f"/blobs/{JOB}/{digest}") == (200, DATA)
        assert await store.get(f"/blobs/{JOB}/{digest}", Range="bytes=0-4") == (206, DATA[:5])
        async with store.session.head(f"{store.server.url}/blobs/{JOB}/{digest}") as answer:
            assert answer.status == 200
            assert answer.content_length == len(DATA)
        assert await store.put(f"/blobs/{JOB}/4/{digest}", DATA) == 201
        assert store.server.directory.used_bytes == 2 * len(DATA)
        assert store.server.directory.epochs(JobId(JOB)) == [3, 4]
        assert store.files() == {f"blobs/{JOB}/3/{digest}", f"blobs/{JOB}/4/{digest}"}

    serve(tmp_path, story)


def test_the_empty_blob_is_a_blob(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        assert await store.put(f"/blobs/{JOB}/0/{sha(b'')}", b"") == 201
        assert await store.get(f"/blobs/{JOB}/{sha(b'')}") == (200, b"")

    serve(tmp_path, story)


def test_inputs_lie_apart_by_device(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        path = f"/inputs/pump-7/{sha(DATA)}"
        assert await store.put(path, DATA) == 201
        assert await store.put(path, DATA) == 200
        assert await store.get(path) == (200, DATA)
        assert (await store.get(f"/inputs/pump-8/{sha(DATA)}"))[0] == 404

    serve(tmp_path, story)


def test_an_upload_without_a_length_or_with_expect_is_taken(tmp_path: Path) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(DATA), 1000):
            yield DATA[start : start + 1000]

    async def story(store: Store) -> None:
        assert await store.put(f"/blobs/{JOB}/1/{sha(DATA)}", chunks()) == 201
        assert await store.put(f"/blobs/{JOB}/2/{sha(DATA)}", DATA, expect100=True) == 201
        assert await store.put(f"/blobs/{JOB}/2/{sha(DATA)}", DATA, expect100=True) == 200

    serve(tmp_path, story)


def test_content_that_is_not_its_name_is_not_kept(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        assert await store.put(f"/blobs/{JOB}/1/{sha(b'other')}", DATA) == 400
        assert store.files() == set()
        assert store.server.directory.used_bytes == 0
        assert store.server.directory.free_bytes() == LIMITS.total_max_bytes

    serve(tmp_path, story)


@pytest.mark.parametrize("half_close", [True, False])
def test_an_upload_cut_short_leaves_nothing(tmp_path: Path, *, half_close: bool) -> None:
    head = (
        f"PUT /blobs/{JOB}/1/{sha(DATA)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\n\r\n"
    )

    async def story(store: Store) -> None:
        # Half closed, or silent until the server gives the sender up after stalled_s.
        answer = await store.raw(head.encode() + DATA[:5000], half_close=half_close)
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 408")) or answer == b""
        # The connection may end before the server has cleared up, and nobody tells when a
        # folder is empty. `serve` has a deadline.
        while store.files() or store.server.directory.free_bytes() != LIMITS.total_max_bytes:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        store.server._stalled_s = 60.0
        assert await store.put(f"/blobs/{JOB}/1/{sha(DATA)}", DATA) == 201

    serve(tmp_path, story, stalled_s=0.3)


BAD_PATHS = [
    f"/blobs/../{JOB}/1/{sha(DATA)}",
    f"/blobs/..%2f..%2fetc/1/{sha(DATA)}",
    f"/blobs/%2e%2e/1/{sha(DATA)}",
    f"/blobs/{JOB}/..%2f1/{sha(DATA)}",
    f"/blobs/{JOB}/-1/{sha(DATA)}",
    f"/blobs/{JOB}/+1/{sha(DATA)}",
    f"/blobs/{JOB}/01/{sha(DATA)}",
    f"/blobs/{JOB}/%D9%A1/{sha(DATA)}",
    f"/blobs/{JOB}/9223372036854775808/{sha(DATA)}",
    f"/blobs/{JOB}/1/{sha(DATA).upper()}",
    f"/blobs/{JOB}/1/{sha(DATA)}%0a",
    f"/blobs/{JOB}/1/{sha(DATA)}/more",
    f"/blobs/{JOB}%00/1/{sha(DATA)}",
    f"/blobs/nodevice/1/{sha(DATA)}",
    f"/blobs/{'a' * 64}_x/1/{sha(DATA)}",
    f"/inputs/pump_7/{sha(DATA)}",
    f"/inputs/../blobs/{sha(DATA)}",
    f"/uploads/0/{sha(DATA)}",
    "/blobs",
    "//",
]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_a_path_that_is_no_name_is_not_found(tmp_path: Path, path: str) -> None:
    def request(method: str) -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        return f"{head}Content-Length: {len(DATA)}\r\n\r\n".encode() + DATA

    async def story(store: Store) -> None:
        for method in ("PUT", "GET", "DELETE"):
            status = (await store.raw(request(method))).split(b" ", 2)[1]
            assert status in (b"404", b"405", b"400"), method
        assert store.files() == set()

    serve(tmp_path / "store", story)
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]


@pytest.mark.parametrize("announced", [True, False])
def test_a_blob_above_its_quota_is_refused(tmp_path: Path, *, announced: bool) -> None:
    data = bytes(LIMITS.blob_max_bytes + 1)

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 65536):
            yield data[start : start + 65536]

    async def story(store: Store) -> None:
        body = data if announced else chunks()
        assert await store.put(f"/blobs/{JOB}/1/{sha(data)}", body, expect100=announced) == 413
        assert store.files() == set()
        assert await store.put(f"/blobs/{JOB}/1/{sha(data[:-1])}", data[:-1]) == 201

    serve(tmp_path, story)


@pytest.mark.parametrize("expect100", [True, False])
def test_a_store_above_its_quota_refuses_until_something_goes(
    tmp_path: Path, *, expect100: bool
) -> None:
    async def story(store: Store) -> None:
        blobs = [bytes([number]) * (1 << 20) for number in range(4)]
        answers = [
            await store.put(f"/blobs/{JOB}/1/{sha(blob)}", blob, expect100=expect100)
            for blob in blobs
        ]
        assert answers == [201, 201, 201, 507]
        assert (await store.get("/health"))[0] == 503
        url = f"{store.server.url}/blobs/{JOB}/1/{sha(blobs[0])}"
        for _ in range(2):
            async with store.session.delete(url) as answer:
                assert answer.status == 204
        assert (await store.get("/health"))[0] == 200
        assert await store.put(f"/blobs/{JOB}/1/{sha(blobs[3])}", blobs[3]) == 201

    entries_bytes = 3 * ENTRY_BYTES
    limits = replace(LIMITS, total_max_bytes=LIMITS.total_max_bytes + entries_bytes)
    serve(tmp_path, story, limits)


def test_many_uploads_at_once_never_exceed_the_quota(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        blobs = [bytes([number]) * (1 << 18) for number in range(24)]
        async with asyncio.TaskGroup() as tasks:
            under_way = [
                tasks.create_task(store.put(f"/blobs/{JOB}/1/{sha(blob)}", blob)) for blob in blobs
            ]
        answers = [task.result() for task in under_way]
        assert set(answers) <= {201, 507}
        assert len(store.files()) == answers.count(201) <= 12
        assert store.server.directory.used_bytes == answers.count(201) << 18

    serve(tmp_path, story)


def test_the_same_put_many_times_at_once_stores_one_blob(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        async with asyncio.TaskGroup() as tasks:
            under_way = [
                tasks.create_task(store.put(f"/blobs/{JOB}/1/{sha(DATA)}", DATA)) for _ in range(20)
            ]
        answers = sorted(task.result() for task in under_way)
        assert answers == [200] * 19 + [201]
        assert store.files() == {f"blobs/{JOB}/1/{sha(DATA)}"}
        assert store.server.directory.used_bytes == len(DATA)

    serve(tmp_path, story)


def test_a_retired_job_loses_its_blobs_and_gets_no_more(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        directory = store.server.directory
        for epoch in (1, 2):
            assert await store.put(f"/blobs/{JOB}/{epoch}/{sha(DATA)}", DATA) == 201
        assert await store.put(f"/blobs/pump-7_other/1/{sha(DATA)}", DATA) == 201
        assert directory.jobs() == ["pump-7_other", JOB]
        directory.drop(JobId(JOB))
        directory.drop(JobId(JOB))
        assert (await store.get(f"/blobs/{JOB}/{sha(DATA)}"))[0] == 404
        assert await store.put(f"/blobs/{JOB}/3/{sha(DATA)}", DATA) == 409
        assert store.files() == {f"blobs/pump-7_other/1/{sha(DATA)}"}
        assert directory.used_bytes == len(DATA)

    serve(tmp_path, story)


def test_a_job_retired_during_an_upload_keeps_nothing_of_it(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            yield DATA[:1000]
            store.server.directory.drop(JobId(JOB))
            yield DATA[1000:]

        assert await store.put(f"/blobs/{JOB}/1/{sha(DATA)}", chunks()) == 409
        assert store.files() == set()

    serve(tmp_path, story)


def test_files_are_private_and_a_restart_clears_half_uploads(tmp_path: Path) -> None:
    root = tmp_path / "blobs-of-n1"

    async def store_one(store: Store) -> None:
        assert await store.put(f"/blobs/{JOB}/1/{sha(DATA)}", DATA) == 201

    async def look(store: Store) -> None:
        assert store.files() == {f"blobs/{JOB}/1/{sha(DATA)}"}
        assert store.server.directory.used_bytes == len(DATA)

    serve(root, store_one)
    (root / "uploads" / "7").write_bytes(b"half")
    serve(root, look)
    for path in (root, *root.rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_inputs_that_no_job_needs_are_dropped_when_old(tmp_path: Path) -> None:
    now = 0.0
    directory = BlobDirectory(tmp_path, LIMITS, wall=lambda: now)

    async def story(store: Store) -> None:
        for data in (b"old", b"needed", b"young"):
            assert await store.put(f"/inputs/pump-7/{sha(data)}", data) == 201

    serve(tmp_path, story)
    for data, age in ((b"old", 100), (b"needed", 100), (b"young", 200)):
        os.utime(tmp_path / "inputs" / "pump-7" / sha(data), (age, age))
    now = 250.0
    keep = {(ClientId("pump-7"), Digest(sha(b"needed")))}
    assert directory.drop_inputs(keep=keep, older_than_s=60.0) == 1
    assert {p.name for p in (tmp_path / "inputs" / "pump-7").iterdir()} == {
        sha(b"needed"),
        sha(b"young"),
    }


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """Return a directory on a file system of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tiny file system needs root")
    place = tmp_path / "tiny"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_disk_is_507_and_leaves_nothing(tiny: Path) -> None:
    data = bytes(1 << 20)

    async def chunks() -> AsyncIterator[bytes]:
        yield data

    async def story(store: Store) -> None:
        (tiny / "filler").write_bytes(bytes(800 * 1024))
        assert await store.put(f"/blobs/{JOB}/1/{sha(data)}", data) == 507
        assert await store.put(f"/blobs/{JOB}/1/{sha(data)}", chunks()) == 507
        assert store.files() == {"filler"}
        small = bytes(100_000)
        assert await store.put(f"/blobs/{JOB}/1/{sha(small)}", small) == 201

    serve(tiny, story)


def test_the_disk_filling_up_under_an_upload_is_507(tiny: Path) -> None:
    directory = BlobDirectory(tiny, LIMITS)
    data = bytes(600 * 1024)
    upload = directory.begin(checkpoint_name(JOB, "1", sha(data)), len(data))
    assert upload is not None
    (tiny / "filler").write_bytes(bytes(700 * 1024))
    with pytest.raises(Exception, match="No space") as caught:
        upload.write(data)
    upload.abandon()
    assert getattr(caught.value, "status", None) == 507
    assert list((tiny / "uploads").iterdir()) == []


def test_a_taken_port_is_a_configuration_error(tmp_path: Path) -> None:
    async def story(store: Store) -> None:
        port = int(store.server.url.rpartition(":")[2])
        second = BlobServer(tmp_path / "second", "127.0.0.1", port)
        with pytest.raises(ConfigError, match=str(port)):
            await second.start()
        await second.stop()

    serve(tmp_path / "first", story)
