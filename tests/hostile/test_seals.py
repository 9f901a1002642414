"""Goal: a checkpoint that is read, changed or swapped where it lies is of no use to whoever did it.

Method: checkpoints of several jobs, epochs and numbers in a store that gives back whatever lies
there (`Believing`, which does not look at hashes). Each attack is played twice
(tests/hostile/twice.py): without the control it restores what it should not.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from edge_agent.checkpoint import seal
from edge_agent.checkpoint.body import decode_manifest
from edge_agent.checkpoint.seal import new_sealer, open_manifest
from tests.hostile.twice import played_twice
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
from workrs.domain.ids import Epoch, JobId
from workrs.ports.store import JobSpace

if TYPE_CHECKING:
    from pathlib import Path

    from edge_agent.checkpoint import KeyRing

SECRET = b"the password is swordfish "
BODY = b"what the program had in memory"
OTHER = {
    "job": JobSpace(job=JobId("fan_1"), epoch=EPOCH),
    "epoch": JobSpace(job=JOB, epoch=Epoch(EPOCH + 1)),
}


def unbound(monkeypatch: pytest.MonkeyPatch, *, control: bool) -> None:
    """Without the control, bind what is sealed to nothing."""
    if not control:
        monkeypatch.setattr(seal, "_bound", lambda *_: b"")


def opens(data: bytes, *, space: JobSpace, seq: int, keys: KeyRing | None = RING) -> bool:
    try:
        _, body = open_manifest(data, keys=keys, space=space, seq=seq)
    except CheckpointError:
        return False
    return body == BODY


@played_twice
@pytest.mark.parametrize("swap", ["job", "epoch", "sequence", "cluster"])
def test_a_manifest_is_of_one_job_epoch_number_and_cluster(
    monkeypatch: pytest.MonkeyPatch, swap: str, *, control: bool
) -> None:
    unbound(monkeypatch, control=control)
    data = new_sealer(RING, JOB, EPOCH).manifest(BODY, 1)
    own = JobSpace(job=JOB, epoch=EPOCH)
    assert opens(data, space=own, seq=1)
    keys = dataclasses.replace(RING, cluster="0" * 32) if swap == "cluster" else RING
    seq = 2 if swap == "sequence" else 1
    assert opens(data, space=OTHER.get(swap, own), seq=seq, keys=keys) is not control


@played_twice
@pytest.mark.parametrize("swap", ["job", "epoch"])
def test_a_wrapped_key_is_of_one_job_and_epoch(
    monkeypatch: pytest.MonkeyPatch, swap: str, *, control: bool
) -> None:
    """One who may write for a job of its own cannot lend its key to another's."""
    unbound(monkeypatch, control=control)
    lent = new_sealer(RING, OTHER[swap].job, OTHER[swap].epoch)
    forged = dataclasses.replace(lent, space=JobSpace(job=JOB, epoch=EPOCH)).manifest(BODY, 1)
    assert opens(forged, space=JobSpace(job=JOB, epoch=EPOCH), seq=1) is not control


def opened(real: seal.Sealer, data: bytes) -> bytes | None:
    """Return what is in a blob that lies where *real* stored one; None if it is noticed."""
    keys = RING if real.is_sealed else None
    opener, _ = open_manifest(real.manifest(BODY, 1), keys=keys, space=real.space, seq=1)
    try:
        return opener.blob(data, len(SECRET))
    except CheckpointError:
        return None


@played_twice
@pytest.mark.parametrize("swap", ["job", "epoch"])
def test_a_blob_is_of_one_job_and_epoch(
    monkeypatch: pytest.MonkeyPatch, swap: str, *, control: bool
) -> None:
    """What was stored elsewhere under the same key, in the place of what belongs here."""
    unbound(monkeypatch, control=control)
    real = new_sealer(RING, JOB, EPOCH)
    elsewhere = dataclasses.replace(real, space=OTHER[swap])
    assert opened(real, real.blob(SECRET)) == SECRET
    assert opened(real, elsewhere.blob(SECRET)) == (None if control else SECRET)


@played_twice
def test_what_was_changed_does_not_open(*, control: bool) -> None:
    """A cluster without a key takes whatever its stores give back."""
    real = new_sealer(RING if control else None, JOB, EPOCH)
    data = real.blob(SECRET)
    forged = new_sealer(None, JOB, EPOCH).blob(SECRET[::-1])
    assert opened(real, data) == SECRET
    assert opened(real, forged) == (None if control else SECRET[::-1])
    if control:
        for at in range(len(data)):
            flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            assert opened(real, flipped) is None, at


@played_twice
def test_what_is_stored_shows_nothing_of_what_was_saved(tmp_path: Path, *, control: bool) -> None:
    async def story() -> bool:
        stores = BelievingStores()
        noise = random.Random(1).randbytes(5000)  # or compression would hide it as well
        taken = snapshot(tmp_path / "a", pages=noise + SECRET)
        await store(stores, taken, keys=RING if control else None)
        return any(b"swordfish" in data for data in stores.open(URL).blobs.values())

    assert asyncio.run(story()) is not control


@played_twice
def test_an_older_checkpoint_is_not_given_for_the_one_in_the_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """Sealed or not: the number in the record is compared with the one in the manifest."""
    unbound(monkeypatch, control=control)
    if not control:

        def believing(data: bytes, keys: KeyRing | None, space: JobSpace, ref: object) -> object:
            assert ref
            opener, body = open_manifest(data, keys=keys, space=space, seq=1)
            return decode_manifest(body), opener

        monkeypatch.setattr(
            import_module("edge_agent.checkpoint.load"), "_open_manifest", believing
        )

    async def story() -> bytes | None:
        stores = BelievingStores()
        first = await store(stores, snapshot(tmp_path / "a", text=b"old\n"), seq=1)
        second = await store(stores, snapshot(tmp_path / "b", text=b"new\n"), seq=2)
        blobs = stores.open(URL).blobs
        old = next(data for key, data in blobs.items() if key[2] == first.ref.manifest)
        for key in [key for key in blobs if key[2] == second.ref.manifest]:
            blobs[key] = old
        try:
            await restore(stores, second, tmp_path / "c")
        except CheckpointError:
            return None
        return (tmp_path / "c" / "stdout").read_bytes()

    assert asyncio.run(story()) == (None if control else b"old\n")
