"""Goal: no bit of a checkpoint can change, and no byte be missing, without being noticed.

Method: every bit of every blob of a small checkpoint is turned, and each is cut off at every
length: once in stores that verify names, and once in stores that do not, so that the seals
alone must find it. Then whole blobs and manifests are put where others belong.
"""

from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from edge_agent.checkpoint.seal import new_sealer, open_manifest
from tests.properties.checkpoint_world import (
    EPOCH,
    JOB,
    RING,
    URL,
    BelievingStores,
    restore,
    snapshot,
    store,
)
from workrs.domain.errors import CheckpointError
from workrs.domain.ids import Digest, Epoch, JobId
from workrs.ports.store import JobSpace
from workrs.testing.store import MemoryStores

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge_agent.checkpoint import KeyRing, Saved

SPACE = JobSpace(job=JOB, epoch=EPOCH)


def harmed(data: bytes) -> Iterator[bytes]:
    """Yield *data* with each bit turned, cut off at each length, and with something added."""
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)
    for length in range(len(data)):
        yield data[:length]
    yield data + b"\0"
    yield data + data


async def spoil_all(
    stores: MemoryStores, saved: Saved, path: Path, keys: KeyRing | None
) -> tuple[int, int]:
    """Load it with each harm; return how many there were, and how many were noticed."""
    blobs = stores.open(URL).blobs
    tried = noticed = 0
    for key, whole in list(blobs.items()):
        for data in harmed(whole):
            blobs[key] = data
            tried += 1
            try:
                await restore(stores, saved, path, keys)
            except CheckpointError:
                noticed += 1
                assert not path.exists()  # noqa: ASYNC240 (a test's own folder)
        blobs[key] = whole
    await restore(stores, saved, path, keys)
    return tried, noticed


@pytest.mark.parametrize(
    ("stores", "keys"), [(MemoryStores(), RING), (BelievingStores(), RING), (MemoryStores(), None)]
)
def test_every_bit_and_every_length_of_every_blob_counts(
    tmp_path: Path, stores: MemoryStores, keys: KeyRing | None
) -> None:
    async def story() -> None:
        saved = await store(stores, snapshot(tmp_path / "a"), keys=keys)
        tried, noticed = await spoil_all(stores, saved, tmp_path / "b", keys)
        assert tried > 3000
        assert noticed == tried

    asyncio.run(story())


def test_blobs_in_each_others_place_are_noticed(tmp_path: Path) -> None:
    """Both are of this job and epoch, and neither was changed."""

    async def story() -> None:
        stores = BelievingStores()
        saved = await store(stores, snapshot(tmp_path / "a"))
        pages = bytes(range(1, 256)) * 17
        taken = snapshot(tmp_path / "b", pages=pages)
        other = await store(stores, taken, seq=2, previous=saved)
        blobs = stores.open(URL).blobs
        names = [*saved.manifest.names(), *other.manifest.names() - saved.manifest.names()]
        assert len(names) == 2
        one, two = ((JOB, EPOCH, Digest(name)) for name in names)
        blobs[one], blobs[two] = blobs[two], blobs[one]
        for number, each in enumerate((saved, other)):
            with pytest.raises(CheckpointError):
                await restore(stores, each, tmp_path / f"c{number}")

    asyncio.run(story())


async def replayed(stores: BelievingStores, old: Saved, new: Saved, path: Path) -> None:
    """Load the new checkpoint where the old one's manifest lies under the new one's name."""
    blobs = stores.open(URL).blobs
    whole = blobs[JOB, new.ref.epoch, new.ref.manifest]
    blobs[JOB, new.ref.epoch, new.ref.manifest] = blobs[JOB, old.ref.epoch, old.ref.manifest]
    try:
        await restore(stores, new, path)
    finally:
        blobs[JOB, new.ref.epoch, new.ref.manifest] = whole


def test_an_old_manifest_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    async def story() -> None:
        stores = BelievingStores()
        first = await store(stores, snapshot(tmp_path / "a"))
        for epoch, seq, previous in ((EPOCH, 2, first), (Epoch(3), 1, None)):
            taken = snapshot(tmp_path / f"a{epoch}{seq}")
            second = await store(stores, taken, epoch=epoch, seq=seq, previous=previous)
            with pytest.raises(CheckpointError, match="seal"):
                await replayed(stores, first, second, tmp_path / "b")
            await restore(stores, second, tmp_path / f"c{epoch}{seq}")

    asyncio.run(story())


@pytest.mark.parametrize(
    ("job", "epoch", "cluster"),
    [("pump_2", EPOCH, RING.cluster), (JOB, Epoch(3), RING.cluster), (JOB, EPOCH, "0" * 32)],
)
def test_blobs_of_another_job_epoch_or_cluster_do_not_open(
    job: str, epoch: Epoch, cluster: str
) -> None:
    """Even if they were sealed with the very same key."""
    sealer = new_sealer(RING, JOB, EPOCH)
    opener, body = open_manifest(sealer.manifest(b"body", 1), keys=RING, space=SPACE, seq=1)
    assert (body, opener.blob(sealer.blob(b"x"), 1)) == (b"body", b"x")
    foreign = replace(sealer, space=JobSpace(job=JobId(job), epoch=epoch), cluster=cluster)
    with pytest.raises(CheckpointError, match="seal"):
        opener.blob(foreign.blob(b"x"), 1)
    with pytest.raises(CheckpointError, match="seal"):
        open_manifest(foreign.manifest(b"body", 1), keys=RING, space=SPACE, seq=1)


def test_a_manifest_is_no_blob_and_a_blob_no_manifest() -> None:
    sealer = new_sealer(RING, JOB, EPOCH)
    opener, _ = open_manifest(sealer.manifest(b"body", 1), keys=RING, space=SPACE, seq=1)
    with pytest.raises(CheckpointError):
        opener.blob(sealer.manifest(b"body", 1), 4)
    with pytest.raises(CheckpointError):
        open_manifest(sealer.blob(b"body"), keys=RING, space=SPACE, seq=1)


def test_a_blob_that_unpacks_to_more_than_its_manifest_says_is_not_unpacked() -> None:
    """Else some bytes in a store take a gigabyte of the agent before they are refused."""
    sealer = new_sealer(RING, JOB, EPOCH)
    opener, _ = open_manifest(sealer.manifest(b"body", 1), keys=RING, space=SPACE, seq=1)
    bomb = sealer.blob(bytes(64 << 20))
    assert len(bomb) < 1 << 14
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError, match="claims 67108864 bytes"):
            opener.blob(bomb, 4096)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1 << 20


def test_no_nonce_is_used_twice() -> None:
    sealer = new_sealer(RING, JOB, EPOCH)
    sealed = [sealer.blob(b"x") for _ in range(300)]
    sealed += [replace(sealer, cluster="other").blob(b"x") for _ in range(300)]
    assert len({data[4:16] for data in sealed}) == 600
    assert new_sealer(RING, JOB, EPOCH).wrapped != sealer.wrapped
