"""Goal: whatever is in a checkpoint, unpacking it makes nothing but what a job's folder may have.

Method: manifests sealed as a thief of the cluster's key could, each with one hostile entry, loaded
into a folder with a bystander beside it. Each is played twice (tests/hostile/twice.py): without
the manifest's checks the entry does its harm. tests/properties/test_checkpoint_fuzz.py tries
whatever else there is.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import stat
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytest

from edge_agent.checkpoint import load, manifest
from edge_agent.checkpoint.body import encode_manifest
from edge_agent.checkpoint.manifest import HOLE, Entry, Kind, pack_map
from edge_agent.checkpoint.seal import digest
from edge_agent.runtimes import tree
from edge_agent.runtimes.tree import copy_tree
from tests.hostile.twice import played_twice
from tests.properties.checkpoint_world import EPOCH, JOB, RING, URL, snapshot, store
from workrs.domain.errors import CheckpointError, ContainerError, StoreError
from workrs.ports.runtime import RestoreError
from workrs.testing.store import MemoryStores

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge_agent.checkpoint import Saved

LIMIT_BYTES = 1 << 20


def outside(root: Path) -> set[str]:
    """Return what is in *root* beside the folder that was asked for."""
    return {path.name for path in root.iterdir()} - {"restored", "saved"}


def links(root: Path) -> set[str]:
    found = (root / "restored").rglob("*")
    return {str(path.readlink()) for path in found if path.is_symlink()}


def set_uid(root: Path) -> bool:
    found = (root / "restored").rglob("*")
    return any(path.lstat().st_mode & stat.S_ISUID for path in found)


ATTACKS: dict[str, tuple[dict[str, object], Callable[[Path], bool]]] = {
    "dots": ({"path": "job/../../dots", "kind": Kind.FILE}, lambda root: outside(root) == {"dots"}),
    "absolute": (
        {"path": "{root}/absolute", "kind": Kind.FILE},
        lambda root: outside(root) == {"absolute"},
    ),
    "another-folder": (
        {"path": "passwd", "kind": Kind.FILE},
        lambda root: (root / "restored" / "passwd").exists(),
    ),
    "link-to-the-root": (
        {"path": "job/x", "kind": Kind.LINK, "link": "/etc/passwd"},
        lambda root: links(root) == {"/etc/passwd"},
    ),
    "link-upwards": (
        {"path": "job/x", "kind": Kind.LINK, "link": "../../.."},
        lambda root: links(root) == {"../../.."},
    ),
    "link-among-the-images": (
        {"path": "image/x", "kind": Kind.LINK, "link": "/etc/passwd"},
        lambda root: links(root) == {"/etc/passwd"},
    ),
    "set-uid": ({"path": "job/x", "kind": Kind.FILE, "mode": 0o4755}, set_uid),
    "pipe-among-the-images": (
        {"path": "image/x", "kind": Kind.FIFO},
        lambda root: stat.S_ISFIFO((root / "restored/image/x").lstat().st_mode),
    ),
}


def unchecked() -> AbstractContextManager[object]:
    """Take the manifest's checks away: of its author, who has none, and of a reader without."""
    return patch.object(manifest, "require", lambda **_: None)


def planted(root: Path, fields: dict[str, object], *zeros: int) -> tuple[MemoryStores, Saved]:
    """Return a store with a checkpoint that has one entry more, of that many zeros."""
    stores = MemoryStores()
    saved = asyncio.run(store(stores, snapshot(root / "saved")))
    numbers = [*saved.manifest.extent_numbers()]
    for count in zeros:
        numbers += [HOLE, 0, count]
    with unchecked():
        made = dataclasses.replace(
            saved.manifest,
            entries=(*saved.manifest.entries, Entry(**fields, size=sum(zeros))),  # type: ignore[arg-type]
            map=pack_map(numbers),
        )
        data = saved.sealer.manifest(encode_manifest(made), 1)
    stores.open(URL).blobs[JOB, EPOCH, digest(data)] = data
    return stores, dataclasses.replace(
        saved, ref=dataclasses.replace(saved.ref, manifest=digest(data))
    )


def is_unpacked(root: Path, stores: MemoryStores, saved: Saved, *, limit_bytes: int) -> bool:
    """Return whether the checkpoint is unpacked, into `restored`; if not, nothing is there."""

    async def story() -> None:
        await load(
            saved.ref,
            job=JOB,
            open_store=stores.open,
            path=root / "restored",
            limit_bytes=limit_bytes,
            keys=RING,
        )

    try:
        asyncio.run(story())
    except (CheckpointError, RestoreError, StoreError):
        assert not (root / "restored").exists()
        assert outside(root) == set()
        return False
    return True


@played_twice
@pytest.mark.parametrize("name", ATTACKS)
def test_an_entry_that_leads_elsewhere_is_not_made(
    tmp_path: Path, name: str, *, control: bool
) -> None:
    fields, harm = ATTACKS[name]
    stores, saved = planted(tmp_path, {**fields, "path": str(fields["path"]).format(root=tmp_path)})
    with nullcontext() if control else unchecked():
        assert is_unpacked(tmp_path, stores, saved, limit_bytes=LIMIT_BYTES) is not control
    if not control:
        assert harm(tmp_path)


@played_twice
def test_a_bomb_is_refused_before_it_takes_room(tmp_path: Path, *, control: bool) -> None:
    """Zeros that need no blob: a terabyte of them is a line in a manifest."""
    stores, saved = planted(tmp_path, {"path": "job/zeros", "kind": Kind.FILE}, 1 << 30)
    limit_bytes = LIMIT_BYTES if control else 1 << 40
    assert is_unpacked(tmp_path, stores, saved, limit_bytes=limit_bytes) is not control
    if not control:
        assert (tmp_path / "restored/job/zeros").stat().st_size == 1 << 30


@played_twice
def test_a_job_cannot_have_its_checkpoint_read_the_agents_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, control: bool
) -> None:
    """By a link in /job that leads out of it, which would be restored on another machine."""
    if not control:
        monkeypatch.setattr(tree, "link_stays", lambda *_: True)
    job = tmp_path / "job"
    job.mkdir()
    (job / "x").symlink_to("/etc/shadow")
    try:
        copy_tree(job, tmp_path / "copy", skip=frozenset(), limit_bytes=LIMIT_BYTES)
    except ContainerError:
        assert control
    else:
        assert not control
        assert (tmp_path / "copy/x").readlink() == (job / "x").readlink()


def test_devices_sockets_and_set_uid_bits_of_a_job_are_not_copied(tmp_path: Path) -> None:
    job = tmp_path / "job"
    job.mkdir()
    (job / "tool").write_bytes(b"x")
    (job / "tool").chmod(0o6755)
    if os.geteuid() == 0:
        os.mknod(job / "disk", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    copy_tree(job, tmp_path / "copy", skip=frozenset(), limit_bytes=LIMIT_BYTES)
    assert [path.name for path in (tmp_path / "copy").iterdir()] == ["tool"]
    assert stat.S_IMODE((tmp_path / "copy/tool").stat().st_mode) == 0o755
