"""Goal: no request makes a node say what a broker would not carry, or spoils a name for good.

Method: requests at and beyond their limits, and the largest record they can lead to.
"""

from __future__ import annotations

import json

import pytest

from workrs.domain.errors import WireError
from workrs.domain.ids import NUMBER_MAX, ClientId, Digest, Epoch, JobId
from workrs.domain.job import INLINE_MAX_BYTES, REASON_MAX, Outcome, Verdict
from workrs.domain.record import Accepted, CheckpointRef, Holder, Incarnation, Record
from workrs.ports.bus import PAYLOAD_MAX_BYTES
from workrs.wire import codec, message

ME = Incarnation(1, "a")
DIGEST = Digest("f" * 64)


def reported(**changes: object) -> bytes:
    ref = {"epoch": 1, "seq": 1, "manifest": DIGEST, "location": ["http://n1"], "rung": "files"}
    body = {"incarnation": ME, "checkpoint": {**ref, "bytes": 1, **changes}}
    return json.dumps(body).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"location": ["x"] * (message.LOCATIONS_MAX + 1)},
        {"location": ["x" * (message.URL_MAX + 1)]},
        {"rung": "x" * (message.URL_MAX + 1)},
    ],
)
def test_a_checkpoint_that_would_bloat_a_record_is_refused(changes: dict[str, object]) -> None:
    assert codec.decode(message.CheckpointReport, reported())
    with pytest.raises(WireError, match="at most 5 locations"):
        codec.decode(message.CheckpointReport, reported(**changes))


@pytest.mark.parametrize("incarnation", ['[9007199254740993, "a"]', '[-1, "a"]', None])
def test_an_incarnation_that_no_agent_has_is_refused(incarnation: str | None) -> None:
    found = incarnation or f'[1, "{"x" * (message.NONCE_MAX + 1)}"]'
    with pytest.raises(WireError, match="incarnation"):
        codec.decode(message.Beat, f'{{"incarnation": {found}, "connection": 1}}'.encode())
    body = f'{{"incarnation": {found}, "epoch": 1, "digest": "{DIGEST}"}}'
    with pytest.raises(WireError, match="incarnation"):
        codec.decode(message.Claim, body.encode())


@pytest.mark.parametrize("attempt", [-1, NUMBER_MAX + 1])
def test_an_attempt_that_no_ledger_holds_is_refused(attempt: int) -> None:
    def beat(number: int) -> bytes:
        held = f'[["pump-7_j1", 1, {number}]]'
        return f'{{"incarnation": [1, "a"], "connection": 1, "held": {held}}}'.encode()

    assert codec.decode(message.Beat, beat(NUMBER_MAX))
    with pytest.raises(WireError, match="an attempt is 0 to"):
        codec.decode(message.Beat, beat(attempt))


@pytest.mark.parametrize("field", ["boot", "serial", "generation"])
@pytest.mark.parametrize("number", [-1, NUMBER_MAX + 1])
def test_a_state_with_numbers_that_no_ledger_holds_is_refused(field: str, number: int) -> None:
    state = {"boot": 1, "nonce": "a", "nodes": ["n1"]}
    assert codec.from_plain(message.NodeState, {**state, field: NUMBER_MAX})
    with pytest.raises(WireError, match="0 to 2"):
        codec.from_plain(message.NodeState, {**state, field: number})
    seen = {"n2": [1, "b", number]}
    with pytest.raises(WireError, match="0 to 2"):
        codec.from_plain(message.NodeState, {**state, "seen": seen})


def test_an_outcome_names_a_place_not_a_novel() -> None:
    value = Outcome(verdict=Verdict.SUCCEEDED, result_url="x" * (message.URL_MAX + 1))
    with pytest.raises(WireError, match="result_url"):
        message.OutcomeProposal(incarnation=ME, epoch=Epoch(1), outcome=value)


@pytest.mark.parametrize("name", ["", "m", "../../../etc/passwd", "A" * 64, "0" * 64 + "\n"])
@pytest.mark.parametrize("kind", [message.CheckpointReport, Record])
def test_a_checkpoint_whose_name_is_a_path_is_refused(kind: type, name: str) -> None:
    """Agents delete what it names, and nodes look for it on their disks."""
    report = reported(manifest=name)
    record = {"job": "pump_1", "checkpoints": [json.loads(report)["checkpoint"]]}
    payload = report if kind is message.CheckpointReport else json.dumps(record).encode()
    with pytest.raises(WireError, match="no SHA-256"):
        codec.decode(kind, payload)


def test_the_largest_record_is_a_message() -> None:
    value = Outcome(
        verdict=Verdict.FAILED,
        result="\x01" * INLINE_MAX_BYTES,
        result_url="x" * message.URL_MAX,
        reason="\x01" * REASON_MAX,
    )
    proposal = message.OutcomeProposal(incarnation=ME, epoch=Epoch(1), outcome=value)
    ref = CheckpointRef(
        epoch=Epoch(1),
        seq=1,
        manifest=DIGEST,
        location=("x" * message.URL_MAX,) * message.LOCATIONS_MAX,
        rung="files",
        bytes=1,
    )
    record = Record(
        job=JobId(f"{'d' * 63}_{'j' * 63}"),
        digest=DIGEST,
        holder=Holder(client=ClientId("a" * 63), incarnation=ME),
        checkpoints=(ref, ref),
        accepted=Accepted(epoch=Epoch(1), outcome=proposal.outcome, digest=DIGEST),
        reason="\x01" * 2000,
    )
    assert len(codec.encode(record)) <= PAYLOAD_MAX_BYTES
