"""Goal: every error of the client says what to do, belongs to one family, and can be copied.

Method: the classes are found, not listed, so a new one is held to the same.
"""

from __future__ import annotations

import copy
import pickle

import pytest

import device_client
from device_client import DeviceError, JobError, Report, ResultTimeoutError, State, WorkrsError
from device_client import error as errors

BASES = {DeviceError, JobError}
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, DeviceError) and kind not in BASES
]


def example(kind: type[DeviceError]) -> DeviceError:
    if issubclass(kind, JobError):
        return kind(Report(job="j1", state=State.FAILED, reason="three attempts.", exit_code=3))
    if issubclass(kind, ResultTimeoutError):
        return kind("j1", 2.5, "running", "n1 is silent")
    return kind("what happened")


@pytest.mark.parametrize("kind", KINDS)
def test_its_text_says_what_happened_and_what_to_do(kind: type[DeviceError]) -> None:
    error = example(kind)
    text = str(error)
    assert text.endswith(kind.advice)
    assert kind.advice.endswith(".")
    happened = text.removesuffix(kind.advice)
    assert happened.endswith(". ")
    assert "j1" in happened or "what happened" in happened
    assert ".." not in text


@pytest.mark.parametrize("kind", KINDS)
def test_it_survives_a_copy_to_another_process(kind: type[DeviceError]) -> None:
    error = example(kind)
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(copied) is kind
        assert str(copied) == str(error)
        assert vars(copied) == vars(error)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_public_and_one_except_clause_catches_it(kind: type[DeviceError]) -> None:
    assert kind.__name__ in device_client.__all__
    assert issubclass(kind, WorkrsError)
    assert kind.__doc__


def test_what_a_timeout_knows_can_be_read_from_it() -> None:
    error = ResultTimeoutError("j1", 2.5, "running", "n1 is silent")
    assert isinstance(error, TimeoutError)
    assert (error.job, error.waited_s, error.last) == ("j1", 2.5, "running")
    assert str(error).startswith("job j1: no end within 2.5 s, last state running; last trouble:")
