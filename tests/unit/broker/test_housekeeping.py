"""What a node throws away, and that a disk that refuses costs only room.

Method: the real ledger and blob directory in a temporary folder, the loop's own clock.
"""

import asyncio
from pathlib import Path

import pytest

from broker.agents import AgentTable
from broker.blob_directory import BlobDirectory
from broker.housekeeping import House, needed_inputs
from broker.ledger import create_ledger, open_ledger
from broker.node import Node, NodeSettings
from workrs.domain.ids import ClientId, Digest, JobId
from workrs.domain.job import BLOB_URL_PREFIX, JobSpec, StoredSpec
from workrs.domain.record import Incarnation

JOB = JobId("pump-7_one")
HEX = Digest("ab" * 32)


def make_node() -> Node:
    settings = NodeSettings(
        name=ClientId("n1"), nodes=(ClientId("n1"),), incarnation=Incarnation(1, "a" * 16)
    )
    return Node(settings, lambda _job: None, AgentTable(10.0))


def test_an_input_is_needed_while_a_job_names_it() -> None:
    node = make_node()
    spec = JobSpec(image="x", command=("y",), input_url=f"{BLOB_URL_PREFIX}{HEX}")
    node.entry(JOB).stored = StoredSpec(job=JOB, request=HEX, spec=spec)
    node.entry(JobId("pump-7_two"))
    assert needed_inputs(node) == {(ClientId("pump-7"), HEX)}


def test_blobs_are_dropped_soon_and_a_refusing_disk_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_ledger(tmp_path / "ledger.db")
    ledger = open_ledger(tmp_path / "ledger.db")
    blobs = BlobDirectory(tmp_path / "blobs")
    dropped: list[JobId] = []

    def drop(job: JobId) -> None:
        if job == JOB:
            raise OSError(28, "No space left on device")
        dropped.append(job)

    monkeypatch.setattr(blobs, "drop", drop)
    house = House(make_node(), ledger, blobs)

    async def play() -> None:
        keeping = asyncio.create_task(house.keep())
        house.drop(JOB)
        house.drop(JobId("pump-7_two"))
        async with asyncio.timeout(60):
            while not dropped:  # noqa: ASYNC110 (a thread sets it)
                await asyncio.sleep(0)
        assert not keeping.done()
        keeping.cancel()

    asyncio.run(play())
    ledger.close()
    assert dropped == [JobId("pump-7_two")]


def test_a_round_goes_on_while_there_is_more_to_throw_away_and_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_ledger(tmp_path / "ledger.db")
    ledger = open_ledger(tmp_path / "ledger.db")
    house = House(make_node(), ledger, BlobDirectory(tmp_path / "blobs"))
    monkeypatch.setattr("broker.housekeeping.PAUSE_S", 0.0)
    monkeypatch.setattr("broker.housekeeping.PIECES_MAX", 3)
    forgotten, cut = [0], [5, 5, 5, 5]
    monkeypatch.setattr(ledger, "forget", lambda *, older_than_s: forgotten.pop(0))  # noqa: ARG005
    monkeypatch.setattr(ledger, "cut_history", lambda: cut.pop(0))
    asyncio.run(house._hourly())
    ledger.close()
    # History is cut though no id was to be forgotten, and the last piece is the next round's.
    assert (forgotten, cut) == ([], [5])
