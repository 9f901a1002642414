"""The ledger port, over the SQLite ledger and the fake.

Each implementation is a maker of "the daemon's start on this disk": calling it again on
the same disk is a restart. What one holds to, the other must, too.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.ledger import create_ledger, open_ledger
from workrs.domain.errors import LedgerError
from workrs.domain.fault_history import FaultHistory
from workrs.domain.function import Function, next_record
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.domain.job import (
    RESULT_GONE,
    SHORT_REASON_MAX,
    JobSpec,
    Outcome,
    StoredSpec,
    Verdict,
    digest_of,
)
from workrs.domain.record import (
    Accepted,
    CheckpointRef,
    Holder,
    Incarnation,
    Record,
    Version,
)
from workrs.domain.rollback import Seen
from workrs.ports.ledger import (
    Ledger,
    NoteHistory,
    Rejoin,
    RetiredJob,
    RetireJob,
    SavedJob,
    SaveFaults,
    SaveFunction,
    SaveRecord,
    SaveRetired,
    SaveSeen,
    SaveSpec,
    SaveStanding,
    Standing,
    SweepJob,
)
from workrs.testing.ledger import MemoryDisk, MemoryLedger
from workrs.wire import codec

JOB = JobId("pump-7_sum")
OTHER = JobId("pump-7_mean")
REQUEST = digest_of(b"request")
SPEC = StoredSpec(job=JOB, request=REQUEST, spec=JobSpec(image="python", command=("true",)))
PAYLOAD = codec.encode(SPEC)
SAVE_SPEC = SaveSpec(job=JOB, digest=digest_of(PAYLOAD), payload=PAYLOAD)
DONE = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result="42\n", result_bytes=3)
HOLDER = Holder(client=ClientId("agent-1"), incarnation=Incarnation(4, "00ff" * 4))
RUNNING = Record(
    job=JOB,
    version=Version(2, 17),
    digest=SAVE_SPEC.digest,
    epoch=Epoch(3),
    holder=HOLDER,
    checkpoints=(
        CheckpointRef(
            epoch=Epoch(2),
            seq=5,
            manifest=digest_of(b"manifest"),
            location=("http://127.0.0.1:1", "http://127.0.0.1:2"),
            rung="memory",
            bytes=1 << 33,
            progress=0.25,
        ),
    ),
    attempt=2,
    cancel=True,
    accepted=Accepted(epoch=Epoch(2), outcome=DONE, digest=DONE.digest()),
    reason="exit 1: naïve \N{SNOWMAN}",
)
DECIDED = replace(RUNNING, accepted=None, decided=DONE, decided_digest=DONE.digest())

Start = Callable[[], Ledger]


@pytest.fixture(params=["sqlite", "memory"])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Yield what starts a daemon's ledger on one disk, at most one at a time."""
    running: list[Ledger] = []
    disk = MemoryDisk()
    path = tmp_path / "ledger.db"

    def begin() -> Ledger:
        for former in running:
            former.close()
        if request.param == "memory":
            running.append(MemoryLedger(disk, wall=lambda: 1_000.0))
        else:
            running.append(open_ledger(path, wall=lambda: 1_000.0))
        return running[-1]

    if request.param == "sqlite":
        create_ledger(path)
    yield begin
    for former in running:
        former.close()


def jobs(ledger: Ledger) -> dict[JobId, SavedJob]:
    return {saved.record.job: saved for saved in ledger.load()}


def test_the_boot_number_rises_at_every_start_from_1(start: Start) -> None:
    assert [start().boot, start().boot, start().boot] == [1, 2, 3]


def test_what_was_committed_is_there_after_a_restart(start: Start) -> None:
    start().commit([SAVE_SPEC, SaveRecord(record=RUNNING)])
    assert jobs(start()) == {
        JOB: SavedJob(record=RUNNING, digest=SAVE_SPEC.digest, payload=PAYLOAD, decided_wall_s=None)
    }


def test_a_record_without_a_spec_and_a_spec_without_a_record_are_both_loaded(start: Start) -> None:
    ledger = start()
    ledger.commit([SaveRecord(record=replace(RUNNING, job=OTHER)), SAVE_SPEC])
    found = jobs(ledger)
    assert found[OTHER].payload is None
    assert found[OTHER].digest is None
    assert found[JOB].payload == PAYLOAD
    assert found[JOB].record == Record(job=JOB)


def test_the_last_of_several_changes_of_a_job_in_one_commit_counts(start: Start) -> None:
    ledger = start()
    versions = [replace(RUNNING, version=Version(1, step)) for step in range(5)]
    losing = SaveSpec(job=JOB, digest=digest_of(b"x"), payload=b"{}")
    ledger.commit([losing, *(SaveRecord(record=record) for record in versions), SAVE_SPEC])
    assert jobs(ledger)[JOB].record == versions[-1]
    assert jobs(ledger)[JOB].payload == PAYLOAD


def test_hundreds_of_jobs_in_one_commit_are_all_kept(start: Start) -> None:
    names = [JobId(f"pump-7_{number}") for number in range(517)]
    start().commit([SaveRecord(record=replace(RUNNING, job=name)) for name in names])
    assert set(jobs(start())) == set(names)


def test_a_decision_is_stamped_once(start: Start) -> None:
    ledger = start()
    ledger.commit([SaveRecord(record=RUNNING)])
    assert jobs(ledger)[JOB].decided_wall_s is None
    ledger.commit([SaveRecord(record=DECIDED)])
    ledger.commit([SaveRecord(record=replace(DECIDED, version=Version(9, 9)))])
    assert jobs(ledger)[JOB].decided_wall_s == 1_000.0


def kept(**changes: Any) -> RetiredJob:
    """Return what a ledger keeps of the job once it is retired."""
    short = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, reason=RESULT_GONE)
    known = RetiredJob(
        request=REQUEST, outcome=DONE.digest(), short=short, epoch=Epoch(3), attempt=2
    )
    return replace(known, **changes)


def test_a_retired_job_leaves_its_digests_and_its_verdict(start: Start) -> None:
    ledger = start()
    ledger.commit([SAVE_SPEC, SaveRecord(record=DECIDED)])
    assert ledger.retired(JOB) is None
    ledger.commit([RetireJob(job=JOB)])
    assert jobs(ledger) == {}
    assert start().retired(JOB) == kept()


def test_a_job_may_be_decided_and_retired_in_one_commit(start: Start) -> None:
    ledger = start()
    ledger.commit([SAVE_SPEC, SaveRecord(record=DECIDED), RetireJob(job=JOB)])
    assert ledger.retired(JOB) == kept()


def test_a_job_closed_without_a_spec_is_retired_with_an_empty_request(start: Start) -> None:
    ledger = start()
    ledger.commit([SaveRecord(record=replace(DECIDED, digest=None)), RetireJob(job=JOB)])
    assert ledger.retired(JOB) == kept(request="")


def test_retiring_again_or_an_unknown_job_changes_nothing(start: Start) -> None:
    ledger = start()
    ledger.commit([SAVE_SPEC, SaveRecord(record=DECIDED), RetireJob(job=JOB)])
    ledger.commit([RetireJob(job=JOB), RetireJob(job=OTHER)])
    assert ledger.retired(JOB) == kept()
    assert ledger.retired(OTHER) is None


def test_of_a_long_reason_the_beginning_is_kept(start: Start) -> None:
    failed = Outcome(verdict=Verdict.FAILED, exit_code=3, reason="\N{SNOWMAN}" * 4000)
    record = replace(DECIDED, decided=failed, decided_digest=failed.digest(), attempt=0)
    ledger = start()
    ledger.commit([SAVE_SPEC, SaveRecord(record=record), RetireJob(job=JOB)])
    short = replace(failed, reason="\N{SNOWMAN}" * SHORT_REASON_MAX)
    assert ledger.retired(JOB) == kept(short=short, outcome=failed.digest(), attempt=0)


def test_a_retired_job_is_unswept_until_it_is_noted(start: Start) -> None:
    ledger = start()
    ledger.commit([SAVE_SPEC, SaveRecord(record=DECIDED), RetireJob(job=JOB)])
    assert list(start().unswept()) == [JOB]
    ledger = start()
    ledger.commit([SweepJob(job=JOB), SweepJob(job=OTHER)])
    assert list(ledger.unswept()) == []
    assert list(start().unswept()) == []
    assert start().retired(JOB) == kept()


def test_the_spec_of_a_job_is_read_back_until_it_is_retired(start: Start) -> None:
    ledger = start()
    assert ledger.payload(JOB) is None
    ledger.commit([SAVE_SPEC, SaveRecord(record=DECIDED)])
    assert start().payload(JOB) == PAYLOAD
    ledger = start()
    ledger.commit([RetireJob(job=JOB)])
    assert ledger.payload(JOB) is None


LATE_SPEC = replace(SAVE_SPEC, digest=digest_of(b"late"))
FORBIDDEN = {
    "an epoch that goes back": ([SaveRecord(record=RUNNING)], RUNNING, Epoch(2)),
    "a decision that is taken back": ([SaveRecord(record=DECIDED)], RUNNING, Epoch(4)),
}


@pytest.mark.parametrize("case", FORBIDDEN)
def test_the_ledger_refuses(start: Start, case: str) -> None:
    before, record, epoch = FORBIDDEN[case]
    ledger = start()
    ledger.commit(before)
    with pytest.raises(LedgerError):
        ledger.commit(
            [
                NoteHistory(event="granted", job=OTHER),
                SaveRecord(record=replace(RUNNING, job=OTHER)),
                SaveRecord(record=replace(record, epoch=epoch)),
            ]
        )
    assert jobs(ledger) == jobs(start())
    assert set(jobs(start())) == {JOB}


def test_another_decision_is_refused(start: Start) -> None:
    ledger = start()
    ledger.commit([SaveRecord(record=DECIDED)])
    other = Outcome(verdict=Verdict.CANCELLED)
    with pytest.raises(LedgerError, match="decision"):
        ledger.commit(
            [SaveRecord(record=replace(DECIDED, decided=other, decided_digest=other.digest()))]
        )
    assert jobs(ledger)[JOB].record == DECIDED


@pytest.mark.parametrize("saved", [[SaveRecord(record=RUNNING)], [SAVE_SPEC]])
def test_an_undecided_job_is_never_retired(start: Start, saved: list[SaveRecord]) -> None:
    ledger = start()
    ledger.commit(saved)
    with pytest.raises(LedgerError, match="undecided"):
        ledger.commit([RetireJob(job=JOB)])
    assert set(jobs(ledger)) == {JOB}
    assert ledger.retired(JOB) is None


@pytest.mark.parametrize("late", [SaveRecord(record=RUNNING), LATE_SPEC])
def test_a_retired_job_never_comes_back(start: Start, late: SaveRecord) -> None:
    ledger = start()
    ledger.commit([SAVE_SPEC, SaveRecord(record=DECIDED), RetireJob(job=JOB)])
    with pytest.raises(LedgerError, match="retired"):
        ledger.commit([late])
    assert jobs(start()) == {}


def test_a_job_retired_and_saved_in_one_commit_is_refused(start: Start) -> None:
    ledger = start()
    ledger.commit([SaveRecord(record=DECIDED)])
    with pytest.raises(LedgerError, match="retired"):
        ledger.commit([RetireJob(job=JOB), SaveRecord(record=DECIDED)])
    assert set(jobs(ledger)) == {JOB}


def test_an_empty_commit_is_fine(start: Start) -> None:
    ledger = start()
    ledger.commit([])
    assert jobs(ledger) == {}


def test_after_close_commits_are_refused_and_closing_again_is_fine(start: Start) -> None:
    ledger = start()
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.commit([SaveRecord(record=RUNNING)])


def test_the_serial_counts_commits_and_nothing_else(start: Start) -> None:
    ledger = start()
    assert ledger.standing == Standing(boot=1, serial=0)
    ledger.commit([SaveRecord(record=RUNNING), SAVE_SPEC])
    ledger.commit([])
    with pytest.raises(LedgerError, match="undecided"):
        ledger.commit([NoteHistory(event="x", job=None), RetireJob(job=JOB)])
    assert ledger.standing.serial == 1
    ledger = start()
    assert ledger.standing == Standing(boot=2, serial=1)
    ledger.commit([NoteHistory(event="x", job=None)])
    assert start().standing == Standing(boot=3, serial=2)


def test_a_standing_only_rises(start: Start) -> None:
    ledger = start()
    high = Standing(boot=9, serial=50, generation=3, rejoin=Rejoin.DONE)
    ledger.commit([SaveStanding(standing=high)])
    assert ledger.standing == high
    ledger.commit([SaveStanding(standing=Standing())])
    assert ledger.standing == replace(high, serial=51)
    assert start().standing == replace(high, serial=51, boot=10)


def test_what_was_seen_of_peers_is_kept(start: Start) -> None:
    ledger = start()
    n1, n2 = ClientId("n1"), ClientId("n2")
    ledger.commit([SaveSeen(node=n1, seen=Seen(1, "a", 7)), SaveSeen(node=n2, seen=Seen(4, "", 0))])
    ledger.commit([SaveSeen(node=n1, seen=Seen(2, "b", 9))])
    assert start().seen() == {n1: Seen(2, "b", 9), n2: Seen(4, "", 0)}


def test_retired_jobs_of_a_peer_are_taken_unless_known_here(start: Start) -> None:
    ledger = start()
    ledger.commit([SAVE_SPEC, SaveRecord(record=DECIDED)])
    many = [JobId(f"pump-7_{n:04}") for n in range(1200)]
    ledger.commit([SaveRetired(job=job, kept=kept()) for job in (JOB, *many)])
    ledger.commit([SaveRetired(job=many[0], kept=kept(attempt=9))])
    ledger = start()
    assert ledger.retired(JOB) is None
    assert ledger.retired(many[0]) == kept()
    found = list(ledger.load_retired())
    assert [item.job for item in found] == many
    assert found[-1].kept == kept()
    assert set(ledger.unswept()) == set(many)


def test_how_often_agents_were_lost_outlives_a_restart(start: Start) -> None:
    ledger = start()
    assert ledger.faults() == FaultHistory()
    noted = [FaultHistory(losses=n, agent_s=1000.0 * n) for n in (3, 2)]
    ledger.commit([SaveFaults(history=history) for history in noted])
    assert ledger.faults() == start().faults() == noted[-1]


ECHO = Function(image="base", command=("cat", "/job/in/input"), files={"a": "naïve \N{SNOWMAN}"})


def saved_function(version: int, definition: Function | None, filed: str = "") -> SaveFunction:
    record = replace(next_record("echo", definition, None), version=version)
    return SaveFunction(record=record, filed=Digest(filed))


def test_functions_are_there_again_as_they_were_saved_last(start: Start) -> None:
    ledger = start()
    assert list(ledger.functions()) == []
    last = saved_function(2, ECHO, ECHO.digest())
    ledger.commit([saved_function(1, None), last])
    other = SaveFunction(record=next_record("other", None, None), filed=Digest(""))
    ledger.commit([other])
    assert sorted(start().functions(), key=lambda saved: saved.record.function) == [last, other]


@pytest.mark.parametrize("earlier", [saved_function(1, None), saved_function(2, ECHO)])
def test_the_version_of_a_function_never_goes_back(start: Start, earlier: SaveFunction) -> None:
    ledger = start()
    ledger.commit([saved_function(2, None)])
    with pytest.raises(LedgerError, match="version"):
        ledger.commit([NoteHistory(event="x", job=None), earlier])
    assert list(ledger.functions()) == [saved_function(2, None)]
    ledger.commit([saved_function(2, None, "filed")])
    ledger.commit([saved_function(3, ECHO)])
    assert list(start().functions()) == [saved_function(3, ECHO)]
