"""Goal: states are read from JSON and plain topics alike, and junk is nothing.

Method: examples for meaning, hypothesis for totality.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_client.report import Report, State, parse_json, parse_plain

JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = [*Report._fields, "result", "result_b64", "v"]


def test_a_full_state_is_read_and_unknown_fields_are_not_minded() -> None:
    body = {
        "v": 1, "job": "a", "state": "running", "epoch": 2, "attempt": 2, "agent": "e1",
        "progress": 0.42, "note": "half", "checkpoint": {"seq": 3}, "future": [1],
    }  # fmt: skip
    assert parse_json("a", json.dumps(body).encode()) == Report(
        job="a", state=State.RUNNING, epoch=2, attempt=2, agent="e1", progress=0.42, note="half",
        checkpoint={"seq": 3},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "value"),
    [
        ({"result": "é"}, "é".encode()),
        ({"result": ""}, b""),
        ({"result_b64": "AP8="}, b"\x00\xff"),
        ({"result_b64": "not base64"}, None),
        ({"result": 7}, None),
        ({}, None),
    ],
)
def test_a_result_is_text_or_base64(body: dict[str, object], value: bytes | None) -> None:
    report = parse_json("a", json.dumps({"state": "succeeded", **body}).encode())
    assert report is not None
    assert report.value == value


@pytest.mark.parametrize(
    ("line", "report"),
    [
        (b"queued", Report(job="a", state=State.QUEUED)),
        (b"running", Report(job="a", state=State.RUNNING)),
        (b"running 0.5\n", Report(job="a", state=State.RUNNING, progress=0.5)),
        (b"running 7", Report(job="a", state=State.RUNNING, progress=1.0)),
        (b"running nan", Report(job="a", state=State.RUNNING)),
        (b"failed exit 3", Report(job="a", state=State.FAILED, reason="exit 3")),
        (b"succeeded", Report(job="a", state=State.SUCCEEDED)),
        (
            b"succeeded workrs:sha256/00",
            Report(job="a", state=State.SUCCEEDED, result_url="workrs:sha256/00"),
        ),
        (
            b"rejected retry_after_s=30 n1 is full",
            Report(job="a", state=State.REJECTED, reason="n1 is full", retry_after_s=30.0),
        ),
        (
            b"rejected retry_after_s=99999",
            Report(job="a", state=State.REJECTED, retry_after_s=3600.0),
        ),
        (
            b"rejected retry_after_s=soon say",
            Report(job="a", state=State.REJECTED, reason="say"),
        ),
        (
            b"rejected retry_after_s=" + b"9" * 5_000,
            Report(job="a", state=State.REJECTED),
        ),
    ],
)
def test_a_plain_line_is_a_word_and_what_belongs_to_it(line: bytes, report: Report) -> None:
    assert parse_plain("a", line) == report


@pytest.mark.parametrize("line", [b"", b" ", b"kept", b"Running", b"\xff", b"runningfast"])
def test_a_strange_word_is_nothing(line: bytes) -> None:
    assert parse_plain("a", line) is None
    assert parse_json("a", json.dumps({"state": line.decode("latin-1")}).encode()) is None


@given(st.binary(max_size=80))
def test_junk_is_nothing_or_a_report(payload: bytes) -> None:
    for parse in (parse_json, parse_plain):
        assert isinstance(parse("a", payload), Report | None)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.sampled_from(list(State)))
def test_wrong_types_are_left_out(body: dict[str, object], state: State) -> None:
    report = parse_json("a", json.dumps({**body, "state": state}).encode())
    assert (report is None) == (state is State.KEPT)
    assert report is None or report.progress is None or 0 <= report.progress <= 1


def test_deeply_nested_json_is_nothing() -> None:
    assert parse_json("a", b"[" * 100_000) is None


def test_a_number_that_no_float_holds_is_as_good_as_a_very_large_one() -> None:
    """It was an error, and the end of the device's thread."""
    report = parse_json("a", b'{"state": "rejected", "retry_after_s": 1' + b"0" * 400 + b"}")
    assert report is not None
    assert report.retry_after_s == 3600.0
    running = parse_json("a", b'{"state": "running", "progress": 1' + b"0" * 400 + b"}")
    assert running is not None
    assert running.progress is None
