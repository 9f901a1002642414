"""Goal: what a device is told of an undecided job is who runs it, and nobody else."""

from __future__ import annotations

from broker import front
from workrs.domain.ids import ClientId, Epoch, JobId
from workrs.domain.record import Holder, Incarnation, Record
from workrs.wire.message import JobState, State

NODES = [ClientId(name) for name in ("n1", "n2", "n3")]


def told(holder: str, *, attempt: int) -> JobState:
    """Return what is said when two of three nodes show that *holder* has the lease."""
    holds = Holder(client=ClientId(holder), incarnation=Incarnation(1, "0"))
    record = Record(job=JobId("d_j"), epoch=Epoch(3), holder=holds, attempt=attempt)
    older = Record(job=JobId("d_j"), attempt=attempt)
    records = dict(zip(NODES, (record, record, older), strict=True))
    return front.open_state("j", records, record, len(NODES))


def test_an_agent_that_holds_the_lease_runs_it() -> None:
    said = told("a1", attempt=1)
    assert (said.state, said.agent, said.attempt) == (State.RUNNING, "a1", 1)


def test_a_node_that_holds_the_lease_ends_it_and_is_not_said_to_run_it() -> None:
    for attempt in (0, 2):
        said = told("n3", attempt=attempt)
        assert (said.state, said.agent, said.note) == (State.QUEUED, None, front.ENDING)
        assert said.attempt == (attempt or None)
