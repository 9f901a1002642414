"""Goal: JSON from anywhere gives a value or a WireError that its sender can act on, quickly.

Method: round trips of every wire dataclass, junk bytes, bombs, and the sentences themselves.
"""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import fields, is_dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.wire.values import REQUESTS, STATES, values
from workrs.domain.errors import WireError
from workrs.domain.function import Function, FunctionRecord
from workrs.domain.job import JobSpec, Outcome, StoredSpec
from workrs.domain.record import Record
from workrs.wire import codec
from workrs.wire.message import Beat, Claim, NodeState, OutcomeProposal, Progress, Release

ALL = (*REQUESTS, *STATES)
FEW = settings(max_examples=25)
"""Each message on its own: the values, not their number, find mistakes here."""
CLAIM = {"incarnation": [1, "a"], "epoch": 1, "digest": "0" * 64}


def explain(kind: type, payload: object) -> str:
    data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    with pytest.raises(WireError) as caught:
        codec.decode(kind, data)
    return str(caught.value)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_message_survives_the_wire(kind: type) -> None:
    @given(values(kind))
    def survives(value: object) -> None:
        payload = codec.encode(value)
        assert codec.decode(kind, payload) == value
        assert codec.encode(codec.decode(kind, payload)) == payload

    FEW(survives)()


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_junk_is_refused_and_nothing_else_happens(kind: type) -> None:
    plain = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )

    @given(st.binary() | plain.map(lambda value: json.dumps(value).encode()))
    def is_refused(payload: bytes) -> None:
        try:
            codec.decode(kind, payload)
        except WireError as error:
            assert len(str(error)) <= codec.TEXT_MAX + codec.WHERE_MAX + 2  # noqa: PT017

    FEW(is_refused)()


@given(values(Claim), st.data())
def test_a_flipped_byte_gives_a_value_or_a_wire_error(claim: Claim, data: st.DataObject) -> None:
    payload = bytearray(codec.encode(claim))
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError):
        assert isinstance(codec.decode(Claim, bytes(payload)), Claim)


@pytest.mark.parametrize("kind", REQUESTS, ids=lambda kind: kind.__name__)
def test_requests_refuse_unknown_fields(kind: type) -> None:
    @given(values(kind))
    def refuses(value: object) -> None:
        document = json.loads(codec.encode(value))
        document["nonsense"] = 1
        assert explain(kind, document) == "unknown field 'nonsense'"

    FEW(refuses)()


@pytest.mark.parametrize("kind", STATES, ids=lambda kind: kind.__name__)
def test_states_ignore_unknown_fields_so_that_newer_nodes_may_say_more(kind: type) -> None:
    @given(values(kind))
    def ignores(value: object) -> None:
        document = json.loads(codec.encode(value))
        document["nonsense"] = {"of": ["a", "newer", "version"]}
        assert codec.decode(kind, json.dumps(document).encode()) == value

    FEW(ignores)()


@pytest.mark.parametrize(
    "bomb",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'"' + b"x" * 1_000_000 + b'"',
        b'{"' + b"x" * 1_000_000 + b'":1}',
        b'{"incarnation":[1,"' + b"x" * 1_000_000 + b'"],"epoch":1}',
        b"[" + b"1," * 500_000 + b"1]",
        b'{"epoch":' + b"9" * 100_000 + b"}",
        b"\x00" * 1000,
        b"\xff\xfe" + "{}".encode("utf-16-le"),
    ],
    ids=lambda bomb: bomb[:12].decode("latin-1"),
)
def test_bombs_are_refused_shortly_and_in_short(bomb: bytes) -> None:
    began = time.thread_time()
    text = explain(Claim, bomb)
    with pytest.raises(WireError):
        codec.parse_json(b"[" * 100_000)
    assert time.thread_time() - began < 1.0
    assert len(text) < 600


def test_very_many_mistakes_are_counted_and_not_looked_at() -> None:
    """A kilobyte for each would be a hundred times what was sent."""
    payload = {str(number): 1 for number in range(codec.ERRORS_MAX)}
    assert explain(JobSpec, payload).startswith("unknown field")
    payload["one more"] = 1
    assert "values are not what is wanted" in explain(JobSpec, payload)


def test_of_a_sequence_the_first_mistake_is_told_and_the_rest_not_looked_at() -> None:
    payload = {"image": "a", "command": ["x", 1, *[2] * 5000]}
    assert explain(JobSpec, payload) == "command.1: Input should be a valid string"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"epoch": "1"}, "epoch: Input should be a valid integer"),
        ({"epoch": 1.0}, "epoch: Input should be a valid integer"),
        ({"epoch": True}, "epoch: Input should be a valid integer"),
        ({"epoch": None}, "epoch: Input should be a valid integer"),
        ({"digest": 5}, "digest: Input should be a valid string"),
        ({"incarnation": [1]}, "incarnation.1: Field required"),
    ],
    ids=str,
)
def test_types_are_strict(changes: dict[str, object], sentence: str) -> None:
    assert codec.decode(Claim, json.dumps(CLAIM).encode()).epoch == 1
    assert explain(Claim, {**CLAIM, **changes}) == sentence


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (b"nonsense", "not valid JSON: expected ident at line 1 column 2"),
        (b"", "not valid JSON: EOF while parsing a value at line 1 column 0"),
        (b'"\xff"', "not valid JSON: invalid unicode code point at line 1 column 2"),
        ([], "Input should be an object"),
        ({"imagee": "a"}, "unknown field 'imagee'"),
        ({}, "name either a function, or an image with a command"),
        ({"image": "a"}, "command is empty: give the program and its arguments as a list"),
        ({"image": "a", "command": "x y"}, "command: Input should be a valid array"),
        (
            {"image": "a", "command": ["x"], "timeout_s": "5"},
            "timeout_s: Input should be a valid number",
        ),
        (
            {"image": "a", "command": ["x"], "checkpoint": {"mode": "disk"}},
            "checkpoint.mode: Input should be 'auto', 'memory', 'files' or 'off'",
        ),
        (
            {"image": "a", "command": ["x"], "files": {"m.py": {"b64": "!"}}},
            "files.m.py.Base64File: a file's b64 is not valid base64: Only base64 data is allowed",
        ),
        (
            {"image": "a", "command": ["x"], "constraints": {"gpu": True}},
            "unknown field 'constraints.gpu'",
        ),
    ],
    ids=str,
)
def test_a_refused_spec_tells_its_author_what_to_change(payload: object, sentence: str) -> None:
    assert explain(JobSpec, payload) == sentence


def test_a_node_with_impossible_timing_is_refused_not_crashed_on() -> None:
    state = {"boot": 1, "nonce": "a", "nodes": ["n1"], "timing": {"ttl_s": 1.0}}
    assert explain(NodeState, state).startswith("ttl_s (1.0) must be above margin_s")


def test_an_outcome_that_no_device_could_read_is_refused() -> None:
    proposal = {**CLAIM, "outcome": {"verdict": "succeeded", "result_b64": "?"}}
    del proposal["digest"]
    assert "result_b64 is not valid base64" in explain(OutcomeProposal, proposal)
    proposal["outcome"] = {"verdict": "succeeded", "result": "x" * (32 * 1024 + 1)}
    assert "at most 32768 go inline" in explain(OutcomeProposal, proposal)
    proposal["outcome"] = {"verdict": "failed", "reason": "x" * 4_097}
    assert "longer than 4096" in explain(OutcomeProposal, proposal)
    proposal["outcome"] = {"verdict": "failed", "reason": "x" * 4_096}
    codec.decode(OutcomeProposal, json.dumps(proposal).encode())


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_numbers_that_json_does_not_have_reach_nobody(number: str) -> None:
    progress = f'{{"incarnation":[1,"a"],"epoch":1,"progress":{number}}}'
    with pytest.raises(WireError, match="progress: Input should be a finite number"):
        codec.decode(Progress, progress.encode())


def test_defaults_are_left_out_and_come_back() -> None:
    release = codec.decode(Release, b'{"incarnation":[1,"a"],"epoch":2}')
    assert release.retry_after_s == 0.0
    assert codec.encode(release) == b'{"incarnation":[1,"a"],"epoch":2}'
    assert codec.encode(Record(job="a_b")) == b'{"job":"a_b"}'  # type: ignore[arg-type]


def test_plain_values_become_messages_under_the_same_rules() -> None:
    assert codec.from_plain(Claim, CLAIM).epoch == 1
    with pytest.raises(WireError, match="unknown field 'x'"):
        codec.from_plain(Claim, {**CLAIM, "x": 1})


def test_plain_json_is_parsed_or_refused() -> None:
    assert codec.parse_json(b'{"a": [1]}') == {"a": [1]}
    with pytest.raises(WireError, match="not valid JSON"):
        codec.parse_json(b"{")


@given(values(Outcome))
def test_the_digest_of_an_outcome_survives_the_wire(outcome: Outcome) -> None:
    assert codec.decode(Outcome, codec.encode(outcome)).digest() == outcome.digest()


@given(values(StoredSpec))
def test_a_stored_spec_has_one_form_on_the_wire(stored: StoredSpec) -> None:
    payload = codec.encode(stored)
    assert codec.encode(codec.decode(StoredSpec, payload)) == payload


def test_every_dataclass_of_the_wire_is_covered_here() -> None:
    from workrs.wire import message  # noqa: PLC0415 (what is listed is the subject)

    own = {
        kind
        for kind in vars(message).values()
        if is_dataclass(kind) and kind.__module__ == message.__name__
    }
    nested = {message.CheckpointState}
    assert own - nested == set(ALL) - {JobSpec, StoredSpec, Record, Function, FunctionRecord}
    assert {f.name for f in fields(Beat)} >= {"incarnation", "connection", "counter", "held"}
