"""Goal: a shared folder keeps its promises to somebody who shares it with the careless.

Method: real files; links, pipes and a full file system where blobs should be.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from workrs.adapters.stores.folder import FolderStore
from workrs.domain.errors import StoreError
from workrs.domain.ids import Digest, Epoch, JobId
from workrs.ports.store import BlobLostError, JobSpace, StoreRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = b"some bytes"
NAME = Digest(hashlib.sha256(DATA).hexdigest())
JOB = JobId("pump_1")
SPACE = JobSpace(job=JOB, epoch=Epoch(1))


run = asyncio.run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


def place(root: Path) -> Path:
    return root / "job" / JOB / "1"


def test_others_can_read_nothing(root: Path) -> None:
    before = os.umask(0)
    try:
        run(FolderStore(root).put(NAME, DATA, SPACE))
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in root.rglob("*")}
    assert modes == {"job": 0o700, JOB: 0o700, "1": 0o700, NAME: 0o600}


@pytest.mark.parametrize("depth", ["job", f"job/{JOB}", f"job/{JOB}/1"])
def test_no_folder_is_written_into_through_a_link(root: Path, tmp_path: Path, depth: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = root / depth
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    store = FolderStore(root)
    with pytest.raises(StoreError):
        run(store.put(NAME, DATA, SPACE))
    assert list(outside.iterdir()) == []


def test_dropping_a_job_follows_no_link(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    store = FolderStore(root)
    run(store.put(NAME, DATA, SPACE))
    (place(root) / "link").symlink_to(outside)
    run(store.drop(JOB))
    assert not (root / "job" / JOB).exists()
    (root / "job" / JOB).symlink_to(outside)
    with pytest.raises(StoreError):
        run(store.drop(JOB))
    assert (outside / "precious").exists()


def test_a_link_or_a_pipe_is_no_blob(root: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(DATA)
    place(root).mkdir(parents=True)
    blob = place(root) / NAME
    store = FolderStore(root)
    blob.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BlobLostError):
        run(store.get(NAME, SPACE))
    with pytest.raises(StoreRefusedError):
        run(store.put(NAME, DATA, SPACE))
    blob.unlink()
    os.mkfifo(blob)
    with pytest.raises(BlobLostError):
        run(store.get(NAME, SPACE))


def test_what_a_killed_writer_left_goes_with_the_job(root: Path) -> None:
    store = FolderStore(root)
    run(store.put(NAME, DATA, SPACE))
    (place(root) / f".{NAME}.0123").write_bytes(DATA[:3])
    assert run(store.get(NAME, SPACE)) == DATA
    run(store.drop(JOB))
    assert list((root / "job").iterdir()) == []


def test_a_mount_point_without_its_file_system_has_lost_nothing(root: Path) -> None:
    store = FolderStore(root)
    with pytest.raises(StoreError, match="mounted") as caught:
        run(store.get(NAME, SPACE))
    assert not isinstance(caught.value, BlobLostError)
    run(store.put(NAME, DATA, SPACE))
    run(store.drop(JOB))
    with pytest.raises(BlobLostError):
        run(store.get(NAME, SPACE))


@pytest.fixture
def tiny(root: Path) -> Iterator[Path]:
    """Return a folder on a file system of 1 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tiny file system needs root")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", root], check=True)
    yield root
    subprocess.run(["umount", "--lazy", root], check=True)


def test_a_full_disk_is_said_and_leaves_nothing(tiny: Path) -> None:
    store = FolderStore(tiny)
    large = bytes(2 << 20)
    with pytest.raises(StoreRefusedError, match="is full"):
        run(store.put(Digest(hashlib.sha256(large).hexdigest()), large, SPACE))
    assert [path for path in tiny.rglob("*") if path.is_file()] == []
    run(store.put(NAME, DATA, SPACE))
    assert run(store.get(NAME, SPACE)) == DATA
