"""Goal: whatever a manifest says, `load` makes the folder it was asked for, or nothing at all.

Method: manifests made by hypothesis, valid as JSON and otherwise anything, sealed as a thief of
the cluster's key could; real manifests with pieces changed; bytes that are none. After each,
nothing but the folder asked for may exist, and it only if `load` returned.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_agent.checkpoint.body import encode_manifest
from edge_agent.checkpoint.manifest import HOLE, pack_map
from edge_agent.checkpoint.seal import KeyMissingError, digest, new_sealer, open_manifest
from tests.properties.checkpoint_world import (
    EPOCH,
    JOB,
    LIMIT_BYTES,
    RING,
    URL,
    restore,
    snapshot,
    store,
)
from workrs.domain.errors import CheckpointError
from workrs.domain.record import CheckpointRef
from workrs.ports.runtime import RestoreError
from workrs.ports.store import JobSpace
from workrs.testing.store import MemoryStores

EXAMPLES = settings(max_examples=400)
SPACE = JobSpace(job=JOB, epoch=EPOCH)


class Real:
    """One checkpoint as it was saved, and room to load others in its place."""

    def __init__(self) -> None:
        self.stores = MemoryStores()
        with tempfile.TemporaryDirectory() as root:
            taken = snapshot(Path(root, "a"), pages=bytes(range(1, 256)) * 40)
            self.saved = asyncio.run(store(self.stores, taken))
        data = self.stores.open(URL).blobs[JOB, EPOCH, self.saved.ref.manifest]
        _, self.body = open_manifest(data, keys=RING, space=SPACE, seq=1)
        self.sealer = self.saved.sealer
        self.fields: dict[str, Any] = json.loads(self.body)

    def load(self, body: bytes) -> None:
        """Load a manifest with this body; see that nothing else happens."""
        data = self.sealer.manifest(body, 1)
        name = digest(data)
        self.stores.open(URL).blobs[JOB, EPOCH, name] = data
        root = Path(tempfile.mkdtemp())
        try:
            path = root / "in" / "restored"
            path.parent.mkdir()
            try:
                asyncio.run(self._load(name, path))
            except (CheckpointError, RestoreError):
                assert not path.exists()
            else:
                assert sum(f.lstat().st_size for f in path.rglob("*") if f.is_file()) <= LIMIT_BYTES
            assert [found.name for found in root.iterdir()] == ["in"]
            assert [found.name for found in path.parent.iterdir()] in ([], ["restored"])
        finally:
            shutil.rmtree(root)
            del self.stores.open(URL).blobs[JOB, EPOCH, name]

    async def _load(self, name: Any, path: Path) -> None:
        saved = self.saved
        ref = CheckpointRef(
            epoch=EPOCH, seq=1, manifest=name, location=(URL,), rung="memory", bytes=1
        )
        await restore(self.stores, type(saved)(**{**_fields(saved), "ref": ref}), path)


def _fields(saved: Any) -> dict[str, Any]:
    return {name: getattr(saved, name) for name in saved.__dataclass_fields__}


REAL = Real()

PATHS = st.one_of(
    st.sampled_from(
        ["job", "image", "stdout", "job/a", "job/a/b", "job/../x", "/etc/x", "job/l/x"]
    ),
    st.text(max_size=20),
)
ENTRIES = st.fixed_dictionaries(
    {"path": PATHS, "kind": st.sampled_from(["file", "folder", "link", "fifo", "device"])},
    optional={
        "size": st.integers(-1, 1 << 70),
        "mode": st.integers(0, 0o7777),
        "mtime_ns": st.integers(-(1 << 65), 1 << 65),
        "link": st.sampled_from(["a", "..", "/etc/passwd", "/job/a", "../../x"]),
    },
)
NUMBERS = st.one_of(st.integers(0, 4), st.integers(0, 70_000), st.just(HOLE), st.just(HOLE - 1))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=10,
)


@EXAMPLES
@given(entries=st.lists(ENTRIES, max_size=8), extents=st.lists(NUMBERS, max_size=12))
def test_no_entries_and_no_map_lead_out_of_the_folder(
    entries: list[dict[str, Any]], extents: list[int]
) -> None:
    base = REAL.fields["entries"]
    fields = {**REAL.fields, "entries": [*base, *entries], "map": pack_map(extents)}
    REAL.load(json.dumps(fields).encode())


@EXAMPLES
@given(extents=st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), max_size=6), data=st.data())
def test_a_map_that_fits_the_files_and_not_the_blobs_is_refused(
    extents: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    size = sum(length for _, _, length in extents)
    whole = {"path": "job/state", "kind": "file", "size": size}
    entries = [e for e in REAL.fields["entries"] if e["kind"] == "folder"]
    entries += [{"path": "stdout", "kind": "file"}, *([whole] if size else [])]
    blobs = REAL.fields["blobs"][: data.draw(st.integers(0, 2))]
    flat = [number for extent in extents for number in extent]
    fields = {**REAL.fields, "entries": entries, "blobs": blobs, "map": pack_map(flat)}
    REAL.load(json.dumps(fields).encode())


@EXAMPLES
@given(name=st.sampled_from(sorted(REAL.fields)), value=VALUES)
def test_no_field_can_be_anything(name: str, value: object) -> None:
    REAL.load(json.dumps({**REAL.fields, name: value}).encode())


@EXAMPLES
@given(at=st.integers(0, len(REAL.body) - 1), cut=st.integers(0, 40), put=st.binary(max_size=40))
def test_a_real_manifest_with_pieces_changed_restores_whole_or_not_at_all(
    at: int, cut: int, put: bytes
) -> None:
    REAL.load(REAL.body[:at] + put + REAL.body[at + cut :])


@EXAMPLES
@given(body=st.binary(max_size=300))
@example(b"")
@example(b"null")
@example(b"[" * 100_000)
@example(b'{"v":2}')
def test_no_body_of_a_manifest_can_be_anything(body: bytes) -> None:
    REAL.load(body)


@EXAMPLES
@given(data=st.binary(max_size=400), sealed=st.booleans())
def test_no_manifest_and_no_blob_can_be_anything(data: bytes, *, sealed: bool) -> None:
    for head in (b"", b"WKS2", b"WKP2", REAL.sealer.manifest(b"", 1)[:80]):
        try:
            open_manifest(head + data, keys=RING if sealed else None, space=SPACE, seq=1)
        except (CheckpointError, KeyMissingError):
            continue
        raise AssertionError(f"{head + data!r} was opened")


def test_a_name_that_no_disk_takes_is_refused_and_not_tried_elsewhere() -> None:
    entries = [*REAL.fields["entries"], {"path": "job/" + "n" * 300, "kind": "file"}]
    REAL.load(json.dumps({**REAL.fields, "entries": entries}).encode())


def test_the_real_one_is_loaded() -> None:
    REAL.load(REAL.body)
    again = new_sealer(RING, JOB, EPOCH)
    assert again.wrapped != REAL.sealer.wrapped
    assert encode_manifest(REAL.saved.manifest) == REAL.body
