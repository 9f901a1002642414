"""Goal: who holds a lease may write for its job, at its epoch, and nobody else; readers get theirs.

Method: the pure rules over records made by hand.
"""

from __future__ import annotations

import pytest

from broker.blob_access import Access, Caller
from broker.blob_error import BlobFencedError, BlobForbiddenError
from broker.blob_name import BlobName, checkpoint_name, input_name
from workrs.domain.ids import ClientId, Epoch, JobId
from workrs.domain.job import Outcome, Verdict
from workrs.domain.record import Holder, Incarnation, Record
from workrs.trust.kind import Kind

JOB = JobId("pump_1")
DIGEST = "ab" * 32
NODES = 3


def agent(name: str) -> Caller:
    return Caller(name=ClientId(name), kind=Kind.AGENT)


def device(name: str) -> Caller:
    return Caller(name=ClientId(name), kind=Kind.DEVICE)


def vote(epoch: int, holder: str | None, *, decided: bool = False) -> Record:
    return Record(
        job=JOB,
        epoch=Epoch(epoch),
        holder=None
        if holder is None
        else Holder(client=ClientId(holder), incarnation=Incarnation(1, "00" * 8)),
        decided=Outcome(verdict=Verdict.SUCCEEDED) if decided else None,
    )


def access(*votes: Record) -> Access:
    records = {ClientId(f"n{number}"): record for number, record in enumerate(votes)}
    return Access(records=lambda job: records if job == JOB else {}, nodes=NODES)


def at(epoch: int, job: str = JOB) -> BlobName:
    return checkpoint_name(job, str(epoch), DIGEST)


def test_the_holder_of_a_majority_writes_at_its_epoch() -> None:
    access(vote(2, "a1"), vote(2, "a1")).check_write(agent("a1"), at(2))
    access(vote(1, "a9"), vote(2, "a1"), vote(2, "a1")).check_write(agent("a1"), at(2))


@pytest.mark.parametrize(
    ("votes", "who", "epoch"),
    [
        ([], "a1", 1),
        ([vote(2, "a1")], "a1", 2),
        ([vote(2, "a1"), vote(2, "a2")], "a1", 2),
        ([vote(2, "a1"), vote(2, "a1")], "a2", 2),
        ([vote(2, "a1"), vote(2, "a1")], "a1", 3),
        ([vote(2, None), vote(2, None)], "a1", 2),
    ],
    ids=["unknown", "one-vote", "split", "of-another", "future-epoch", "released"],
)
def test_nobody_else_writes(votes: list[Record], who: str, epoch: int) -> None:
    with pytest.raises(BlobForbiddenError, match=f"agent {who} has no lease of pump_1"):
        access(*votes).check_write(agent(who), at(epoch))


@pytest.mark.parametrize("who", [agent("a1"), None], ids=["with-credentials", "without"])
def test_a_past_epoch_and_a_decided_job_take_nothing(who: Caller | None) -> None:
    with pytest.raises(BlobFencedError, match="epoch 1 of job pump_1 is past: it is at 2"):
        access(vote(2, "a2"), vote(2, "a2"), vote(1, "a1")).check_write(who, at(1))
    with pytest.raises(BlobFencedError, match="is decided"):
        access(vote(1, "a1"), vote(1, "a1", decided=True)).check_write(who, at(1))


def test_one_node_ahead_fences_nobody() -> None:
    access(vote(2, "a2"), vote(1, "a1"), vote(1, "a1")).check_write(agent("a1"), at(1))


def test_without_credentials_the_rest_is_open() -> None:
    open_store = access()
    open_store.check_write(None, at(7))
    open_store.check_write(None, input_name("pump", DIGEST))
    open_store.check_delete(None, at(7), is_writer=False)
    open_store.check_read(None, JOB)
    open_store.check_peer(None)


def test_a_holder_deletes_up_to_its_epoch_and_a_writer_what_it_wrote() -> None:
    held = access(vote(2, "a2"), vote(2, "a2"), vote(1, "a1"))
    held.check_delete(agent("a2"), at(1), is_writer=False)
    held.check_delete(agent("a2"), at(2), is_writer=False)
    held.check_delete(agent("a1"), at(1), is_writer=True)
    for who, epoch in (("a1", 1), ("a1", 2), ("a2", 3), ("a3", 1)):
        with pytest.raises(BlobForbiddenError):
            held.check_delete(agent(who), at(epoch), is_writer=False)


def test_devices_read_and_write_their_own() -> None:
    rules = access()
    rules.check_read(device("pump"), JOB)
    rules.check_read_input(device("pump"), input_name("pump", DIGEST))
    rules.check_write(device("pump"), input_name("pump", DIGEST))
    with pytest.raises(BlobForbiddenError):
        rules.check_read(device("fan"), JOB)
    with pytest.raises(BlobForbiddenError):
        rules.check_read_input(device("fan"), input_name("pump", DIGEST))
    for who, name in (("fan", input_name("pump", DIGEST)), ("pump", at(1))):
        with pytest.raises(BlobForbiddenError):
            rules.check_write(device(who), name)
    with pytest.raises(BlobForbiddenError):
        rules.check_write(agent("a1"), input_name("pump", DIGEST))
    with pytest.raises(BlobForbiddenError):
        rules.check_delete(device("pump"), at(1), is_writer=False)


@pytest.mark.parametrize("kind", Kind)
def test_only_nodes_read_ledgers_and_lists(kind: Kind) -> None:
    caller = Caller(name=ClientId("x"), kind=kind)
    if kind is Kind.NODE:
        access().check_peer(caller)
        return
    with pytest.raises(BlobForbiddenError, match=f"this is not {kind.value} x's to have"):
        access().check_peer(caller)
