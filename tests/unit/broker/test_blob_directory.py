"""Goal: what becomes of a blob whose folder goes while it is being stored, and of late ones.

Method: a directory whose steps are interrupted where another thread would come in between.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from broker import blob_directory
from broker.agents import AgentTable
from broker.blob_directory import BlobDirectory, BlobLimits
from broker.blob_error import BlobDroppedError, BlobError
from broker.blob_name import checkpoint_name
from broker.housekeeping import drop_orphaned_blobs
from broker.node import Node, NodeSettings
from tests.unit.broker.test_store_clearing import KEPT
from workrs.adapters.disk import sync_directory
from workrs.domain.ids import ClientId, JobId
from workrs.domain.record import Incarnation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from broker.blob_upload import Upload

JOB = JobId("pump_1")
DATA = b"pages"
NAME = checkpoint_name(JOB, "1", hashlib.sha256(DATA).hexdigest())


def opened(folder: Path) -> BlobDirectory:
    return BlobDirectory(folder, BlobLimits(free_min_bytes=0))


def begun(blobs: BlobDirectory) -> Upload:
    upload = blobs.begin(NAME, len(DATA))
    assert upload is not None
    upload.write(DATA)
    return upload


def interrupt(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """Do something else just before a folder is synced, once."""
    pending = [meanwhile]

    def sync(folder: Path) -> None:
        if pending:
            pending.pop()()
        sync_directory(folder)

    monkeypatch.setattr(blob_directory, "sync_directory", sync)


def test_an_upload_into_a_job_that_is_dropped_meanwhile_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = opened(tmp_path)
    upload = begun(blobs)
    interrupt(monkeypatch, lambda: blobs.drop(JOB))
    with pytest.raises(BlobDroppedError):
        upload.commit()
    assert blobs.jobs() == []
    assert blobs.used_bytes == 0


def test_an_upload_of_what_is_there_in_a_job_that_is_dropped_meanwhile_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = opened(tmp_path)
    begun(blobs).commit()
    interrupt(monkeypatch, lambda: blobs.drop(JOB))
    with pytest.raises(BlobDroppedError):
        blobs.is_wanted(NAME, len(DATA))


def test_what_its_agent_deletes_meanwhile_is_wanted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = opened(tmp_path)
    begun(blobs).commit()
    interrupt(monkeypatch, lambda: blobs.delete(NAME))
    assert blobs.is_wanted(NAME, len(DATA))


def test_a_disk_that_fails_to_sync_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = opened(tmp_path)
    begun(blobs).commit()

    def fail(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(blob_directory, "sync_directory", fail)
    with pytest.raises(BlobError, match="Input/output"):
        blobs.is_wanted(NAME, len(DATA))


def test_a_name_that_is_no_epoch_hides_no_blob(tmp_path: Path) -> None:
    blobs = opened(tmp_path)
    begun(blobs).commit()
    (tmp_path / "blobs" / JOB / "lost+found").mkdir()
    assert blobs.find_any_epoch(JOB, NAME.digest) is not None
    assert [size for _, _, size in blobs.blobs(JOB)] == [len(DATA)]


def test_what_ends_long_after_its_job_goes_at_the_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late uploads are refused while the node remembers the job as dropped; these are not."""
    monkeypatch.setattr(blob_directory, "_DROPPED_MAX", 2)
    blobs = opened(tmp_path)
    upload = begun(blobs)
    for job in (JOB, JobId("pump_2"), JobId("pump_3")):
        blobs.drop(job)
    assert upload.commit()
    assert blobs.jobs() == [JOB]
    settings = NodeSettings(
        name=ClientId("n1"), nodes=(ClientId("n1"),), incarnation=Incarnation(1, "a" * 16)
    )
    node = Node(settings, {JOB: KEPT}.get, AgentTable(10.0))
    assert drop_orphaned_blobs(node, blobs) == 1
    assert blobs.jobs() == []
