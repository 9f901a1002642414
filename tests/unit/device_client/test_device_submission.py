"""Goal: a spec becomes the same bytes every time, within the limits of a message.

Method: examples; a round trip through the node's own reading of specs.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from device_client.submission import from_run, from_spec, new_job_id
from workrs.domain.errors import IdError, SpecError
from workrs.domain.ids import local_job_id
from workrs.domain.job import INLINE_MAX_BYTES, JobSpec
from workrs.wire import codec

SPEC: dict[str, Any] = {"image": "i", "command": ["c"]}


def body(**fields: object) -> Any:
    return json.loads(from_spec("dev", "a", SPEC | fields).payload)


def test_the_order_of_keys_changes_nothing() -> None:
    one = from_spec("dev", "a", {"image": "i", "command": ["c"], "env": {"A": "1", "B": "2"}})
    two = from_spec("dev", "a", {"env": {"B": "2", "A": "1"}, "command": ("c",), "image": "i"})
    assert one == two
    assert one.topic == "workrs/1/up/dev/submit/a"
    assert one.digest() != from_spec("dev", "b", SPEC).digest()


def test_bytes_become_text_or_base64() -> None:
    assert body(input=b"text")["input"] == "text"
    assert body(input=b"\xff")["input_b64"] == "/w=="
    assert body(files={"a": b"t", "b": b"\xff", "c": "s"})["files"] == {
        "a": "t", "b": {"b64": "/w=="}, "c": "s",
    }  # fmt: skip


def test_a_node_reads_what_is_written() -> None:
    submission = from_spec(
        "dev", None, SPEC | {"input": b"\xff", "files": {"main.py": b"\xfe"}, "priority": 9}
    )
    spec = codec.decode(JobSpec, submission.payload)
    assert (spec.input_bytes(), spec.file_bytes(), spec.priority) == (
        b"\xff", {"main.py": b"\xfe"}, 9,
    )  # fmt: skip


@pytest.mark.parametrize("form", ["bytes", "text", "base64"])
def test_input_above_the_limit_is_named_by_its_hash(form: str) -> None:
    at_limit = b"x" * INLINE_MAX_BYTES
    for data, is_blob in ((at_limit, False), (at_limit + b"x", True)):
        match form:
            case "bytes":
                fields: dict[str, Any] = {"input": data}
            case "text":
                fields = {"input": data.decode()}
            case _:
                fields = {"input_b64": __import__("base64").b64encode(data).decode()}
        submission = from_spec("dev", "a", SPEC | fields)
        spec = codec.decode(JobSpec, submission.payload)
        assert (submission.blob is not None) == is_blob
        if is_blob:
            assert submission.blob == data
            assert spec.input_url == f"workrs:sha256/{hashlib.sha256(data).hexdigest()}"
        else:
            assert spec.input_bytes() == data


def test_a_run_is_raw_and_a_big_one_is_a_spec() -> None:
    small = from_run("dev", "a", "mean", b"\xff" * INLINE_MAX_BYTES)
    assert (small.topic, small.blob) == ("workrs/1/up/dev/run/mean/a", None)
    big = from_run("dev", "a", "mean", b"\xff" * (INLINE_MAX_BYTES + 1))
    assert big.topic == "workrs/1/up/dev/submit/a"
    assert codec.decode(JobSpec, big.payload).function == "mean"
    assert big.blob is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"env": {1, 2}},
        {"cpus": float("nan")},
        {"input_b64": "?"},
        {"files": {"a": "x" * 100_000}},
        {"note": "\ud800"},
    ],
)
def test_what_cannot_be_sent_is_refused_at_once(fields: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        from_spec("dev", "a", SPEC | fields)


def test_ids_are_made_unique_or_checked() -> None:
    assert len({new_job_id() for _ in range(1000)}) == 1000
    local_job_id(new_job_id())
    for call in (lambda: from_spec("dev", "A/b", SPEC), lambda: from_run("dev", "a", "F/g", b"")):
        with pytest.raises(IdError):
            call()
