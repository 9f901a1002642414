"""Goal: harm done to a stored checkpoint is harm, and a forged checkpoint is a whole one.

Method: two nodes' folders with one checkpoint of each of two jobs; every file's hash afterwards.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from edge_agent.checkpoint.body import encode_manifest
from edge_agent.checkpoint.keys import new_ring, read_keys, write_keys
from edge_agent.checkpoint.manifest import (
    HOLE,
    Blob,
    Entry,
    Kind,
    Manifest,
    pack_map,
)
from edge_agent.checkpoint.seal import digest, new_sealer
from workrs.cli.cluster import CHECKPOINT_KEY
from workrs.domain.errors import CheckpointError
from workrs.domain.ids import Digest, Epoch, JobId
from workrs.domain.record import CheckpointRef
from workrs.faults.damage import Stored, flip, forge, spoil, swap, truncate
from workrs.faults.row import RowError
from workrs.ports.runtime import Rung
from workrs.testing.runtime import HOST

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RAW = b"what the program had printed"


def stored(root: Path, job: str, *, seq: int = 1, raw: bytes = RAW) -> Stored:
    """Put a checkpoint into the folders of two nodes."""
    path = root / CHECKPOINT_KEY
    if not path.exists():
        root.mkdir(exist_ok=True)
        write_keys(path, new_ring())
    sealer = new_sealer(read_keys(path), JobId(job), Epoch(3))
    blob = sealer.blob(raw)
    manifest = Manifest(
        v=2,
        job=JobId(job),
        epoch=Epoch(3),
        seq=seq,
        rung=Rung.FILES,
        image="",
        command=("run",),
        host=HOST,
        entries=(
            Entry(path="job", kind=Kind.FOLDER),
            Entry(path="job/before", kind=Kind.FILE, size=4),
            Entry(path="stdout", kind=Kind.FILE, size=len(raw) - 4),
        ),
        blobs=(Blob(name=digest(blob), stored=len(blob), bytes=len(raw)),),
        map=pack_map((0, 0, len(raw))),
    )
    data = sealer.manifest(encode_manifest(manifest), seq)
    for node in ("n1", "n2"):
        folder = root / node / "blobs" / "blobs" / job / "3"
        folder.mkdir(parents=True, exist_ok=True)
        for content in (data, blob):
            (folder / digest(content)).write_bytes(content)
    ref = CheckpointRef(
        epoch=Epoch(3), seq=seq, manifest=digest(data), location=("a", "b"), rung="files", bytes=1
    )
    return Stored(root=root, job=job, ref=ref)


def spoiled(one: Stored, name: Digest) -> list[bool]:
    return [digest(path.read_bytes()) != name for path in one.copies(name)]


def contents(one: Stored) -> bytes:
    """Return the stream of a checkpoint."""
    manifest, opener = one.open()
    opened = [opener.blob(one.read(blob.name), blob.bytes) for blob in manifest.blobs]
    return b"".join(
        bytes(length) if blob == HOLE else opened[blob][offset : offset + length]
        for blob, offset, length in manifest.extents()
    )


@pytest.mark.parametrize("harm", [truncate, flip])
def test_every_copy_of_every_blob_can_be_spoiled(
    tmp_path: Path, harm: Callable[[Path, random.Random], None]
) -> None:
    one = stored(tmp_path, "pump_1")
    names = one.own_blobs([])
    assert len(names) == 2
    for number, name in enumerate(names):
        assert spoiled(one, name) == [False, False]
        for path in one.copies(name):
            harm(path, random.Random(number))
        assert spoiled(one, name) == [True, True]


def test_what_an_older_checkpoint_needs_is_no_blob_of_its_own(tmp_path: Path) -> None:
    older, other = stored(tmp_path, "pump_1"), stored(tmp_path, "pump_1", seq=3, raw=b"other one")
    assert older.own_blobs([older]) == [older.ref.manifest]
    assert len(other.own_blobs([older])) == 2


def test_two_checkpoints_can_be_spoiled_whichever_blobs_are_hit(tmp_path: Path) -> None:
    for number in range(16):
        root = tmp_path / str(number)
        one, other = stored(root, "pump_1"), stored(root, "pump_1", seq=2, raw=b"more")
        names = [*one.own_blobs([other]), *other.own_blobs([one])]
        spoil([(one, other), (other, one)], truncate, random.Random(number))
        assert [spoiled(one, name) for name in names].count([True, True]) == 2


def test_swapped_manifests_are_those_of_the_other_job(tmp_path: Path) -> None:
    one, other = stored(tmp_path, "pump_1"), stored(tmp_path, "pump_2")
    swap(one, other)
    assert spoiled(one, one.ref.manifest) == [True, True]
    # Each is bound to its job, so in the other's place its seal is broken.
    for swapped in (one, other):
        with pytest.raises(CheckpointError, match="seal"):
            swapped.manifest()


def test_a_forged_checkpoint_is_whole_newer_and_of_another_machine(tmp_path: Path) -> None:
    one = stored(tmp_path, "pump_1")
    ref = forge(one, cpu="another")
    forged = Stored(root=tmp_path, job="pump_1", ref=ref)
    assert spoiled(forged, ref.manifest) == [False, False]
    assert ref.order > one.ref.order
    assert (forged.manifest().seq, forged.manifest().host.cpu) == (ref.seq, "another")
    assert contents(forged) == contents(one) == RAW
    assert one.manifest().host == HOST


def test_a_forged_checkpoint_can_have_a_file_of_zeros_and_hashes_that_fit(tmp_path: Path) -> None:
    one = stored(tmp_path, "pump_1")
    forged = Stored(root=tmp_path, job="pump_1", ref=forge(one, spoil="stdout"))
    assert contents(forged) == RAW[:4] + bytes(len(RAW) - 4)
    assert contents(one) == RAW
    with pytest.raises(RowError, match="no bytes of image/x"):
        forge(one, spoil="image/x")


def test_a_checkpoint_that_no_node_has_is_told(tmp_path: Path) -> None:
    one = stored(tmp_path, "pump_1")
    for path in one.copies(one.ref.manifest):
        path.unlink()
    with pytest.raises(RowError, match="no node has"):
        one.manifest()
