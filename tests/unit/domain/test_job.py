"""Goal: no spec beyond a limit can exist, and each refusal says which limit and what is allowed.

Method: each limit at the last legal value and the first illegal one.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workrs.domain.errors import OutcomeError, SpecError
from workrs.domain.ids import NUMBER_MAX, JobId
from workrs.domain.job import (
    COMMAND_MAX,
    ENV_MAX,
    FILES_MAX,
    INLINE_MAX_BYTES,
    RESULT_GONE,
    SHORT_REASON_MAX,
    TEXT_MAX,
    Base64File,
    CheckpointPolicy,
    JobSpec,
    Outcome,
    Verdict,
    outcome_with_result,
    owner,
    run_request_digest,
    shortened,
    submit_request_digest,
)


def spec(**fields: Any) -> JobSpec:
    return JobSpec(**{"image": "base", "command": ("true",), **fields})


LEGAL: list[dict[str, Any]] = [
    {"command": ("x",) * COMMAND_MAX},
    {"command": ("x" * TEXT_MAX,)},
    {"image": "x" * 255},
    {"image": None, "command": (), "function": "echo"},
    {"input": "x" * INLINE_MAX_BYTES},
    {"input": ""},
    {"input_b64": "AA=="},
    {"input_url": "https://example.org/a"},
    {"input_url": "workrs:sha256/" + "0" * 64},
    {"files": {f"f{i}": "" for i in range(FILES_MAX)}},
    {"files": {"x" * 100: "", "_a.py": Base64File(b64="")}},
    {"env": {f"E{i}": "" for i in range(ENV_MAX)}},
    {"env": {"PATH": "x" * TEXT_MAX, "_": "", "workrs_x": ""}},
    {"timeout_s": 0.1},
    {"timeout_s": 30 * 86400.0},
    {"attempts_max": 1},
    {"attempts_max": 100},
    {"memory_mb": 4},
    {"memory_mb": 1 << 20},
    {"cpus": 0.01},
    {"cpus": 1024.0},
    {"priority": 0},
    {"priority": 9},
    {"retention_s": 1.0},
    {"retention_s": 30 * 86400.0},
    {"forecast_s": 5e-324},
    {"forecast_s": 365 * 86400.0},
]
ILLEGAL: list[tuple[dict[str, Any], str]] = [
    ({"v": 2}, "v is 2: this cluster speaks version 1"),
    ({"image": None}, "name either a function, or an image"),
    ({"function": "echo"}, "name either a function, or an image"),
    ({"command": ()}, "command is empty"),
    ({"image": None, "function": "echo"}, "a function brings its own command"),
    ({"command": ("x",) * (COMMAND_MAX + 1)}, "command has at most 64 words"),
    ({"command": ("x" * (TEXT_MAX + 1),)}, "at most 4096 characters"),
    ({"command": ("a\0b",)}, "NUL"),
    ({"image": ""}, "image is 1 to 255 characters"),
    ({"image": "x" * 256}, "image is 1 to 255 characters"),
    ({"input": "x" * (INLINE_MAX_BYTES + 1)}, "input has 32769 bytes, at most 32768 go inline"),
    ({"input": "ä" * (INLINE_MAX_BYTES // 2 + 1)}, "input has 32770 bytes"),
    ({"input_b64": "?"}, "input_b64 is not valid base64"),
    ({"input_b64": "ä"}, "input_b64 is not valid base64"),
    ({"input": "a", "input_b64": "AA=="}, "give only one of input and input_b64"),
    ({"input": "", "input_url": "https://a"}, "give only one of input and input_url"),
    ({"input_url": "ftp://a"}, "input_url must begin with https://, http:// or workrs:sha256/"),
    ({"input_url": "https://"}, "input_url must begin with"),
    ({"input_url": "https://a b"}, "input_url must begin with"),
    ({"input_url": "https://" + "a" * 1001}, "input_url must begin with"),
    ({"files": {f"f{i}": "" for i in range(FILES_MAX + 1)}}, "at most 32 files"),
    ({"files": {"../x": ""}}, "file name '../x' is not allowed"),
    ({"files": {".x": ""}}, "is not allowed"),
    ({"files": {"input": ""}}, "not 'input'"),
    ({"files": {"x" * 101: ""}}, "is not allowed"),
    ({"env": {f"E{i}": "" for i in range(ENV_MAX + 1)}}, "at most 64 environment variables"),
    ({"env": {"1A": ""}}, "environment variable '1A' is not allowed"),
    ({"env": {"WORKRS_JOB": ""}}, "not WORKRS_"),
    ({"env": {"A": "x" * (TEXT_MAX + 1)}}, "value of at most 4096 characters"),
    ({"env": {"A": "\0"}}, "is not allowed"),
    ({"timeout_s": 0.09}, "timeout_s is 0.09: write 0.1 to 2592000"),
    ({"timeout_s": nan}, "timeout_s is nan"),
    ({"timeout_s": inf}, "timeout_s is inf"),
    ({"attempts_max": 0}, "attempts_max is 0: write 1 to 100"),
    ({"attempts_max": 101}, "attempts_max is 101"),
    ({"memory_mb": 3}, "memory_mb is 3: write 4 to 1048576"),
    ({"memory_mb": (1 << 20) + 1}, "memory_mb is 1048577"),
    ({"cpus": 0.0}, "cpus is 0.0"),
    ({"priority": -1}, "priority is -1: write 0 to 9"),
    ({"priority": 10}, "priority is 10"),
    ({"retention_s": 0.9}, "retention_s is 0.9"),
    ({"forecast_s": 0.0}, "forecast_s is 0.0: write seconds above 0"),
    ({"forecast_s": 365 * 86400.0 + 1}, "forecast_s is"),
    ({"forecast_s": nan}, "forecast_s is nan"),
]


@pytest.mark.parametrize("fields", LEGAL, ids=lambda f: str(f)[:40])
def test_a_spec_at_its_limits_is_legal(fields: dict[str, Any]) -> None:
    spec(**fields)


@pytest.mark.parametrize(("fields", "sentence"), ILLEGAL, ids=lambda f: str(f)[:40])
def test_a_spec_past_a_limit_cannot_exist(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec(**fields)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("interval_s", [0.1, 1e6, None])
def test_a_checkpoint_interval_at_its_limits(interval_s: float | None) -> None:
    CheckpointPolicy(interval_s=interval_s)


@pytest.mark.parametrize("interval_s", [0.09, 1e6 + 1, nan, -1.0])
def test_a_checkpoint_interval_past_its_limits(interval_s: float) -> None:
    with pytest.raises(SpecError, match=r"write 0\.1 to 1000000 or null"):
        CheckpointPolicy(interval_s=interval_s)


def test_inputs_and_files_are_read_as_bytes() -> None:
    assert spec().input_bytes() is None
    assert spec(input="ä").input_bytes() == "ä".encode()
    assert spec(input_b64="AAE=").input_bytes() == b"\0\1"
    assert spec(input_url="https://a").input_bytes() is None
    files = spec(files={"a": "ä", "b": Base64File(b64="AAE=")}).file_bytes()
    assert files == {"a": "ä".encode(), "b": b"\0\1"}
    with pytest.raises(SpecError, match="a file's b64 is not valid base64"):
        Base64File(b64="?")


@given(st.binary(max_size=100))
def test_a_result_comes_back_byte_for_byte(data: bytes) -> None:
    outcome = outcome_with_result(Verdict.SUCCEEDED, data, exit_code=0)
    assert outcome.inline_result() == data
    assert outcome.result_bytes == len(data)
    assert (outcome.result is None) != (outcome.result_b64 is None)


def test_an_outcome_without_an_inline_result_has_none() -> None:
    assert Outcome(verdict=Verdict.FAILED).inline_result() is None
    assert Outcome(verdict=Verdict.SUCCEEDED, result_url="https://a").inline_result() is None


def test_an_outcome_that_cannot_be_shown_cannot_exist() -> None:
    for broken in ("?", "A", "AA=", "ä"):
        with pytest.raises(OutcomeError, match="result_b64 is not valid base64"):
            Outcome(verdict=Verdict.SUCCEEDED, result_b64=broken)


@pytest.mark.parametrize("number", [-NUMBER_MAX - 1, NUMBER_MAX + 1])
def test_an_outcome_that_no_ledger_holds_cannot_exist(number: int) -> None:
    Outcome(verdict=Verdict.FAILED, exit_code=NUMBER_MAX, result_bytes=NUMBER_MAX)
    with pytest.raises(OutcomeError, match="exit_code is"):
        Outcome(verdict=Verdict.FAILED, exit_code=number)
    with pytest.raises(OutcomeError, match="result_bytes 0"):
        Outcome(verdict=Verdict.FAILED, result_bytes=number)


BASE = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result="42", reason="r")


@pytest.mark.parametrize(
    "other",
    [
        replace(BASE, verdict=Verdict.FAILED),
        replace(BASE, exit_code=1),
        replace(BASE, exit_code=None),
        replace(BASE, result="43"),
        replace(BASE, result=None, result_b64="NDI="),
        replace(BASE, result_url="https://a"),
        replace(BASE, result_bytes=2),
        replace(BASE, reason=""),
    ],
)
def test_two_outcomes_are_the_same_only_if_all_of_them_is(other: Outcome) -> None:
    assert other.digest() != BASE.digest()
    assert replace(BASE).digest() == BASE.digest()


def test_a_repeated_submit_is_known_whatever_its_spacing_and_key_order() -> None:
    assert submit_request_digest({"a": 1, "b": [2]}) == submit_request_digest({"b": [2], "a": 1})
    assert submit_request_digest({"a": 1}) != submit_request_digest({"a": 2})


def test_a_run_is_another_request_than_a_submit_and_than_another_run() -> None:
    digests = {
        run_request_digest("f", b"x"),
        run_request_digest("f", b"y"),
        run_request_digest("g", b"x"),
        run_request_digest("f\0x", b""),
        submit_request_digest("f"),
    }
    assert len(digests) == 5


def test_a_job_belongs_to_the_device_before_its_first_underscore() -> None:
    assert owner(JobId("pump-7_a_b")) == "pump-7"


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result="42"), RESULT_GONE),
        (Outcome(verdict=Verdict.FAILED, exit_code=3, reason="r" * 300), "r" * SHORT_REASON_MAX),
        (Outcome(verdict=Verdict.CANCELLED), ""),
    ],
)
def test_of_a_retired_jobs_outcome_no_result_is_kept(outcome: Outcome, reason: str) -> None:
    short = shortened(outcome)
    assert (short.verdict, short.exit_code) == (outcome.verdict, outcome.exit_code)
    assert short == Outcome(verdict=outcome.verdict, exit_code=outcome.exit_code, reason=reason)
    assert shortened(short) == short
