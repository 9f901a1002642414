"""Goal: copies that a node lost come back whole, byte by byte checked, and nothing is disturbed.

Method: a real blob server as the other holder; a node's memory with records made by hand; its
folder damaged in all the ways a disk can be.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from broker import blob_repairer
from broker.agents import AgentTable
from broker.blob_directory import BlobDirectory, BlobLimits
from broker.blob_name import checkpoint_name
from broker.blob_quota import ENTRY_BYTES
from broker.blob_repairer import Repairer
from broker.blob_server import BlobServer
from broker.node import Node, NodeSettings, Peer
from workrs.domain.ids import ClientId, Digest, Epoch, Instant, JobId
from workrs.domain.record import CheckpointRef, Incarnation, Record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    import pytest

JOB = JobId("pump_1")
OWN = "http://here"
PARTS = [bytes([n]) * 5000 for n in range(4)]
MANIFEST = b"the manifest"
NAMES = [hashlib.sha256(data).hexdigest() for data in (*PARTS, MANIFEST)]


def fill(directory: BlobDirectory, *, epoch: str = "3") -> None:
    for name, data in zip(NAMES, (*PARTS, MANIFEST), strict=True):
        upload = directory.begin(checkpoint_name(JOB, epoch, name), len(data))
        if upload is not None:
            upload.write(data)
            upload.commit()


def blobs(root: Path) -> dict[str, bytes]:
    """Return the files below *root*; a draft may get its name while it is looked at."""
    found: dict[str, bytes] = {}
    for path in root.rglob("*"):
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


@dataclass(slots=True, kw_only=True)
class World:
    here: Path
    there: Path
    source: BlobServer
    node: Node

    def directory(self, limits: BlobLimits | None = None) -> BlobDirectory:
        return BlobDirectory(self.here, limits)

    def is_whole(self) -> bool:
        return blobs(self.here) == blobs(self.there)


def make_node(url: str) -> Node:
    settings = NodeSettings(
        name=ClientId("n1"),
        nodes=(ClientId("n1"), ClientId("n2"), ClientId("n3")),
        blobs_url=OWN,
        incarnation=Incarnation(1, "x"),
    )
    node = Node(settings, lambda _: None, AgentTable(10.0))
    node.peers[ClientId("n2")] = Peer(Instant(0.0), live=True, blobs_url=url)
    ref = CheckpointRef(
        epoch=Epoch(3),
        seq=1,
        manifest=Digest(NAMES[-1]),
        location=(OWN, url),
        rung="files",
        bytes=20_000,
    )
    node.entry(JOB).records[ClientId("n2")] = Record(job=JOB, checkpoints=(ref,))
    return node


def play(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, story: Callable[[World], Coroutine]
) -> None:
    monkeypatch.setattr(blob_repairer, "PERIOD_S", 0.02)
    monkeypatch.setattr(blob_repairer, "RETRY_S", 0.05)
    # A machine that stands still is no silent source.
    monkeypatch.setattr(blob_repairer, "_CONNECT_S", 60.0)
    monkeypatch.setattr(blob_repairer, "_SILENT_S", 60.0)

    async def main() -> None:
        there = tmp_path / "there"
        source = BlobServer(there, "127.0.0.1", 0)
        fill(source.directory)
        await source.start()
        try:
            async with asyncio.timeout(60):
                await story(
                    World(
                        here=tmp_path / "here",
                        there=there,
                        source=source,
                        node=make_node(source.url),
                    )
                )
        finally:
            await source.stop()

    asyncio.run(main())


@contextlib.asynccontextmanager
async def repairing(world: World, directory: BlobDirectory) -> AsyncIterator[None]:
    task = asyncio.create_task(Repairer(world.node, directory).keep())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(look: Callable[[], object]) -> None:
    """Poll a condition; the story's deadline is the limit."""
    for _ in range(10_000):
        if look():
            return
        await asyncio.sleep(0.01)


def test_a_lost_folder_is_fetched_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        async with repairing(world, world.directory()):
            await until(world.is_whole)

    play(tmp_path, monkeypatch, story)


def test_parts_that_are_missing_under_a_manifest_are_found_after_a_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(world: World) -> None:
        fill(world.directory())
        (world.here / "blobs" / JOB / "3" / NAMES[1]).unlink()
        async with repairing(world, world.directory()):
            await until(world.is_whole)

    play(tmp_path, monkeypatch, story)


def test_the_manifest_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(world: World) -> None:
        # Without its last part the source has no whole copy: the fetch fails there.
        lost = max(NAMES[:-1])
        directory = world.directory()
        listed = world.source.directory.blobs(JOB)
        (world.there / "blobs" / JOB / "3" / lost).unlink()
        monkeypatch.setattr(world.source.directory, "blobs", lambda _: listed)
        async with repairing(world, directory):
            await until(lambda: len(blobs(world.here)) == len(PARTS) - 1)
            await until(lambda: caplog.text.count("copies_missing") > 1)
            assert directory.find_any_epoch(JOB, NAMES[-1]) is None
            fill(world.source.directory)
            await until(world.is_whole)

    play(tmp_path, monkeypatch, story)


def test_wrong_bytes_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(world: World) -> None:
        rotten = world.there / "blobs" / JOB / "3" / NAMES[0]
        rotten.write_bytes(bytes(5000 - 1) + b"x")
        directory = world.directory()
        async with repairing(world, directory):
            await until(lambda: caplog.text.count("copies_missing") > 1)
            assert directory.find_any_epoch(JOB, NAMES[0]) is None
            assert directory.find_any_epoch(JOB, NAMES[-1]) is None
            rotten.write_bytes(PARTS[0])
            await until(world.is_whole)
        assert list((world.here / "uploads").iterdir()) == []

    play(tmp_path, monkeypatch, story)


def test_a_silent_source_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(world: World) -> None:
        port = int(world.source.url.rpartition(":")[2])
        await world.source.stop()
        async with repairing(world, world.directory()):
            await until(lambda: caplog.text.count("copies_missing") > 1)
            assert blobs(world.here) == {}
            again = BlobServer(world.there, "127.0.0.1", port)
            await again.start()
            try:
                await until(world.is_whole)
            finally:
                await again.stop()

    play(tmp_path, monkeypatch, story)


def test_a_full_store_waits_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        async with repairing(
            world, world.directory(BlobLimits(total_max_bytes=12_000 + 2 * ENTRY_BYTES))
        ):
            await until(lambda: len(blobs(world.here)) == 2)
        async with repairing(world, world.directory()):
            await until(world.is_whole)

    play(tmp_path, monkeypatch, story)


def test_a_job_that_is_dropped_meanwhile_stays_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(world: World) -> None:
        directory = world.directory()
        directory.drop(JOB)
        async with repairing(world, directory):
            await until(lambda: caplog.text.count("copies_missing") > 1)
            assert blobs(world.here) == {}

    play(tmp_path, monkeypatch, story)


def test_a_fetch_that_is_cut_off_leaves_no_draft_and_no_reservation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(world: World) -> None:
        monkeypatch.setattr(blob_repairer, "RATE_BYTES_S", 1000)
        directory = world.directory(BlobLimits(free_min_bytes=0))
        async with repairing(world, directory):
            # Bytes, not only the file: whoever is cut off while it is made cannot know of it.
            await until(lambda: any(blobs(world.here / "uploads").values()))
        assert list((world.here / "uploads").iterdir()) == []
        assert directory._reserved_bytes == 0
        shutil.rmtree(world.here / "blobs" / JOB, ignore_errors=True)

    play(tmp_path, monkeypatch, story)


def test_what_is_deleted_under_the_repair_does_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An agent deletes an old checkpoint's blobs while its newer ones are being fetched."""

    async def story(world: World) -> None:
        monkeypatch.setattr(blob_repairer, "RETRY_S", 3600.0)
        stale = world.source.directory.blobs(JOB)
        old = [(epoch, Digest("0" * 64), size) for epoch, _, size in stale[:1]]
        listings = [old + stale, old + stale]
        blobs_of = world.source.directory.blobs
        monkeypatch.setattr(
            world.source.directory,
            "blobs",
            lambda job: listings.pop() if listings else blobs_of(job),
        )
        async with repairing(world, world.directory()):
            await until(world.is_whole)
        assert "copies_missing" not in caplog.text

    play(tmp_path, monkeypatch, story)


def test_a_source_whose_listing_stays_wrong_is_not_asked_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(world: World) -> None:
        monkeypatch.setattr(blob_repairer, "RETRY_S", 3600.0)
        stale = world.source.directory.blobs(JOB)
        asked: list[str] = []

        def listed(job: str) -> list[tuple[Epoch, Digest, int]]:
            asked.append(job)
            return [(stale[0][0], Digest("0" * 64), 5), *stale]

        monkeypatch.setattr(world.source.directory, "blobs", listed)
        async with repairing(world, world.directory()):
            await until(lambda: "copies_missing" in caplog.text)
        assert len(asked) == blob_repairer.LISTINGS_MAX

    play(tmp_path, monkeypatch, story)


def test_other_checkpoints_are_wanted_at_once_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(world: World) -> None:
        monkeypatch.setattr(blob_repairer, "RETRY_S", 3600.0)
        records = world.node.entry(JOB).records
        record = records[ClientId("n2")]
        gone = replace(record.checkpoints[0], seq=2, manifest=Digest("1" * 64))
        records[ClientId("n2")] = replace(record, checkpoints=(gone,))
        async with repairing(world, world.directory()):
            await until(lambda: "copies_missing" in caplog.text)
            lost = world.here / "blobs" / JOB / "3" / NAMES[-1]
            lost.unlink()
            records[ClientId("n2")] = record
            await until(world.is_whole)

    play(tmp_path, monkeypatch, story)


def test_a_part_that_was_cut_short_is_fetched_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(world: World) -> None:
        fill(world.directory())
        (world.here / "blobs" / JOB / "3" / NAMES[1]).write_bytes(PARTS[1][:77])
        async with repairing(world, world.directory()):
            await until(world.is_whole)
        assert "copy_damaged" in caplog.text

    play(tmp_path, monkeypatch, story)


def test_a_source_that_lists_wrong_sizes_takes_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(world: World) -> None:
        fill(world.directory())
        inodes = {path.name: path.stat().st_ino for path in world.here.rglob("*") if path.is_file()}
        stale = world.source.directory.blobs(JOB)
        asked: list[str] = []

        def listed(job: str) -> list[tuple[Epoch, Digest, int]]:
            asked.append(job)
            return [(epoch, name, size + 1) for epoch, name, size in stale]

        monkeypatch.setattr(world.source.directory, "blobs", listed)
        repairer = Repairer(world.node, world.directory())
        task = asyncio.create_task(repairer.keep())
        await until(lambda: repairer._whole)
        task.cancel()
        assert asked
        assert world.is_whole()
        assert "copy_damaged" not in caplog.text
        assert inodes == {
            path.name: path.stat().st_ino for path in world.here.rglob("*") if path.is_file()
        }

    play(tmp_path, monkeypatch, story)
