"""A node's ledger read over real HTTP: whole, or known to be cut short.

The server is the blob store's on a free port of the loopback, the ledger a real one.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker import ledger_copy
from broker.blob_server import BlobServer
from broker.effect import ReadPeerLedger
from broker.event import CopiedAgent, CopiedJob, PeerLedgerFailed, PeerLedgerPart, PeerLedgerRead
from broker.ledger import SqliteLedger, create_ledger, open_ledger
from workrs.domain.ids import ClientId, JobId
from workrs.domain.job import Outcome, Verdict, digest_of
from workrs.domain.record import Incarnation, Record
from workrs.ports.ledger import RetireJob, SaveRecord, SaveSpec, SaveStanding, Standing

DONE = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result="naïve \N{SNOWMAN}")
LONG = ('{"spec": "' + "\N{SNOWMAN}" * 60_000 + '"}').encode()
"""Longer than the 64 KiB that a reader of lines takes by default, and than any spec."""
AGENT = CopiedAgent(ClientId("a1"), Incarnation(3, "ab"))
N2 = ClientId("n2")
Found = list[PeerLedgerPart | PeerLedgerRead | PeerLedgerFailed]


def decided(job: str) -> Record:
    return Record(job=JobId(job), decided=DONE, decided_digest=DONE.digest())


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    """Return a ledger at generation 4 with 1,200 open jobs, a decided and a retired one."""
    create_ledger(tmp_path / "ledger.db")
    ledger = open_ledger(tmp_path / "ledger.db")
    jobs = [JobId(f"pump-7_{n}") for n in range(1200)]
    ledger.commit([SaveRecord(record=Record(job=job)) for job in jobs])
    ledger.commit([SaveSpec(job=jobs[0], digest=digest_of(LONG), payload=LONG)])
    ledger.commit([SaveRecord(record=decided("pump-7_done"))])
    gone = decided("pump-7_gone")
    ledger.commit([SaveRecord(record=gone), RetireJob(job=gone.job)])
    ledger.commit([SaveStanding(standing=Standing(generation=4))])
    yield ledger
    ledger.close()


def read(serve: Callable[[int], Iterator[bytes]] | None, folder: Path, generation: int) -> Found:
    async def main() -> Found:
        server = BlobServer(folder, "127.0.0.1", 0, ledger=serve)
        await server.start()
        try:
            wanted = ReadPeerLedger(N2, server.url, generation)
            return [part async for part in ledger_copy.read_peer_ledger(wanted)]
        finally:
            await server.stop()

    return asyncio.run(main())


def test_all_of_a_ledger_is_read_some_lines_at_a_time(ledger: SqliteLedger, tmp_path: Path) -> None:
    found = read(lambda g: ledger_copy.lines(ledger, [AGENT], g), tmp_path / "blobs", 4)
    assert found[-1] == PeerLedgerRead(N2, 4)
    parts = [part for part in found if isinstance(part, PeerLedgerPart)]
    assert len(parts) == len(found) - 1 == 3
    jobs = {job.record.job: job for part in parts for job in part.jobs}
    assert len(jobs) == 1201
    assert jobs[JobId("pump-7_0")] == CopiedJob(Record(job=JobId("pump-7_0")), LONG)
    assert jobs[JobId("pump-7_done")] == CopiedJob(decided("pump-7_done"), None)
    assert [r for part in parts for r in part.retired] == list(ledger.load_retired())
    assert [a for part in parts for a in part.agents] == [AGENT]


def test_below_the_generation_nothing_is_told(ledger: SqliteLedger, tmp_path: Path) -> None:
    (failed,) = read(lambda g: ledger_copy.lines(ledger, [], g), tmp_path / "blobs", 5)
    assert isinstance(failed, PeerLedgerFailed)
    assert "409" in failed.why
    assert "generation 4 here, not yet 5" in failed.why


def test_an_answer_without_its_end_is_a_failure(ledger: SqliteLedger, tmp_path: Path) -> None:
    def cut(generation: int) -> Iterator[bytes]:
        yield from list(ledger_copy.lines(ledger, [], generation))[:700]

    *parts, failed = read(cut, tmp_path / "blobs", 4)
    assert len(parts) == 1
    assert isinstance(failed, PeerLedgerFailed)
    assert "cut short after 700 lines" in failed.why


def test_a_line_that_is_missing_is_a_failure(ledger: SqliteLedger, tmp_path: Path) -> None:
    def cut(generation: int) -> Iterator[bytes]:
        lines = list(ledger_copy.lines(ledger, [], generation))
        yield from lines[:-2] + lines[-1:]

    failed = read(cut, tmp_path / "blobs", 4)[-1]
    assert isinstance(failed, PeerLedgerFailed)


@pytest.mark.parametrize("junk", [b"{}}\n", b"\xff\n", b"x" * (3 << 20)])
def test_junk_is_a_failure(junk: bytes, tmp_path: Path) -> None:
    (failed,) = read(lambda _: iter([junk]), tmp_path / "blobs", 4)
    assert isinstance(failed, PeerLedgerFailed)


def test_a_server_without_a_ledger_is_a_failure(tmp_path: Path) -> None:
    (failed,) = read(None, tmp_path / "blobs", 4)
    assert isinstance(failed, PeerLedgerFailed)
    assert "404" in failed.why


def test_no_server_is_a_failure() -> None:
    async def main() -> Found:
        wanted = ReadPeerLedger(N2, "http://127.0.0.1:9", 1)
        return [part async for part in ledger_copy.read_peer_ledger(wanted)]

    (failed,) = asyncio.run(main())
    assert isinstance(failed, PeerLedgerFailed)
