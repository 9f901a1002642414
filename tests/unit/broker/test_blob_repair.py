"""Goal: a node asks for the copies that records say it has and that it lacks, and no others.

Method: the pure rule, over records made by hand; a listing of files one of which goes meanwhile.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from broker.blob_directory import BlobDirectory
from broker.blob_name import checkpoint_name
from broker.blob_repair import Repair, repairs
from broker.blob_repairer import Listed, read_listing
from broker.entry import JobEntry
from workrs.domain.errors import IdError
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.domain.job import Outcome, Verdict, digest_of
from workrs.domain.record import CheckpointRef, Record
from workrs.domain.voter import Vote

JOB = JobId("pump_1")
OWN, PEER, THIRD = "http://n1", "http://n2", "http://n3"


def manifest(seq: int) -> Digest:
    return digest_of(str(seq).encode())


def ref(seq: int, *location: str) -> CheckpointRef:
    return CheckpointRef(
        epoch=Epoch(1), seq=seq, manifest=manifest(seq), location=location, rung="files", bytes=9
    )


def entry(*refs: CheckpointRef, decided: bool = False, by: str = "n2") -> JobEntry:
    outcome = Outcome(verdict=Verdict.SUCCEEDED) if decided else None
    own = Record(job=JOB, decided=outcome)
    shown = Record(job=JOB, checkpoints=refs)
    return JobEntry(JOB, Vote(record=own), {ClientId("n1"): own, ClientId(by): shown})


def wanted(
    *entries: JobEntry,
    live: tuple[str, ...] = (PEER, THIRD),
    whole: frozenset[Digest] = frozenset(),
    here: frozenset[Digest] = frozenset(),
    own_url: str = OWN,
) -> list[Repair]:
    return list(
        repairs(
            entries,
            own_url=own_url,
            live_urls=live,
            whole={(JOB, name) for name in whole},
            is_here=lambda job, name: job == JOB and name in here,
        )
    )


def test_a_copy_that_a_peer_s_record_puts_here_is_fetched_from_the_other_holder() -> None:
    found = wanted(entry(ref(2, OWN, PEER), ref(1, THIRD, OWN)))
    assert found == [Repair(job=JOB, manifests=(manifest(2), manifest(1)), sources=(PEER, THIRD))]


def test_what_lies_elsewhere_or_is_here_is_not_wanted() -> None:
    assert wanted(entry(ref(1, PEER, THIRD))) == []
    assert wanted(entry(ref(1, OWN, PEER)), here=frozenset({manifest(1)})) == []
    assert wanted(entry(ref(1, OWN, PEER)), whole=frozenset({manifest(1)})) == []
    assert wanted(entry()) == []


def test_only_the_two_newest_count() -> None:
    (found,) = wanted(entry(*(ref(n, OWN, PEER) for n in (1, 2, 3))))
    assert found.manifests == (manifest(3), manifest(2))


def test_only_live_nodes_of_the_cluster_are_asked() -> None:
    assert wanted(entry(ref(1, OWN, PEER)), live=(THIRD,)) == []
    assert wanted(entry(ref(1, OWN, "http://somewhere.else"))) == []
    assert wanted(entry(ref(1, OWN, "s3://bucket"))) == []
    assert wanted(entry(ref(1, OWN))) == []


def test_a_decided_job_and_a_node_without_a_store_want_nothing() -> None:
    assert wanted(entry(ref(1, OWN, PEER), decided=True)) == []
    assert wanted(entry(ref(1, "", PEER)), own_url="") == []


def test_a_listing_is_read_to_its_end() -> None:
    one, two = digest_of(b"1"), digest_of(b"2")
    found = list(read_listing(f"3 {one} 17\n12 {two} 0\n", JOB))
    assert [(blob.name.folder, blob.name.digest, blob.bytes) for blob in found] == [
        (("blobs", JOB, "3"), one, 17),
        (("blobs", JOB, "12"), two, 0),
    ]
    assert isinstance(found[0], Listed)


@pytest.mark.parametrize("line", ["", "3", "3 x 1", "../.. {0} 1", "-1 {0} 1", "3 {0} x", "3 {0}"])
def test_a_listing_that_is_none_is_refused(line: str) -> None:
    with pytest.raises((IdError, ValueError)):
        list(read_listing(line.format(digest_of(b"1")) + "\n", JOB))


def test_a_listing_lacks_nothing_but_what_is_deleted_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A peer that copies by a shorter one would take its copy for whole."""
    directory = BlobDirectory(tmp_path)
    names = [checkpoint_name(JOB, "1", digest_of(bytes([n]))) for n in range(5)]
    for n, name in enumerate(names):
        upload = directory.begin(name, 1)
        assert upload is not None
        upload.write(bytes([n]))
        upload.commit()
    gone: list[str] = []

    def scandir(path: Path) -> contextlib.nullcontext[list[os.DirEntry[str]]]:
        with os_scandir(path) as found:
            entries = list(found)
        gone.append(entries[0].name)
        Path(entries[0].path).unlink()
        return contextlib.nullcontext(entries)

    os_scandir = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    listed = {digest for _, digest, _ in directory.blobs(JOB)}
    assert listed == {name.digest for name in names} - set(gone)
    assert len(gone) == 1
