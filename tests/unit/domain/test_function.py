"""Goal: a definition that could never run, or never be called, cannot exist; merging is a lattice.

Method: both sides of every limit, and the laws of merging over generated records.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.wire.values import FUNCTION_RECORD
from workrs.domain.errors import WireError
from workrs.domain.function import (
    CALLERS_MAX,
    DESCRIPTION_MAX,
    REMOVED,
    Function,
    FunctionRecord,
    counts_more,
    next_record,
)
from workrs.domain.ids import ClientId, tenant_of
from workrs.domain.job import CheckpointMode, CheckpointPolicy

ECHO = Function(image="base", command=("cat", "/job/in/input"))


def called(by: str, *, callers: tuple[str, ...] = (), tenants: tuple[str, ...] = ()) -> bool:
    function = Function(image="base", command=("true",), callers=callers, tenants=tenants)
    return function.may_be_called_by(ClientId(by))


def test_a_function_without_callers_is_everybodys() -> None:
    assert called("pump-7")


@pytest.mark.parametrize(
    ("device", "may"),
    [("pump-7", True), ("pump-70", False), ("press-1", True), ("press", False), ("press.1", False)],
)
def test_callers_are_names_and_patterns(device: str, may: bool) -> None:  # noqa: FBT001
    assert called(device, callers=("pump-7", "press-*")) is may


@pytest.mark.parametrize(
    ("device", "may"),
    [("acme.pump-7", True), ("acme", True), ("acme-2.pump", False), ("pump.acme", False)],
)
def test_a_tenant_is_the_name_up_to_its_first_dot(device: str, may: bool) -> None:  # noqa: FBT001
    assert called(device, tenants=("acme",)) is may
    assert called(device, callers=("nobody",), tenants=("acme",)) is may
    assert (tenant_of(ClientId(device)) == "acme") is may


BAD: dict[str, tuple[dict[str, object], str]] = {
    "no command": ({"command": ()}, "command is empty"),
    "no image": ({"image": ""}, "image is 1 to 255"),
    "too little memory": ({"memory_mb": 3}, "memory_mb is 3"),
    "a path as a file": ({"files": {"../x": ""}}, "file name"),
    "a caller with an underscore": ({"callers": ("a_b",)}, "'a_b' is no device's name"),
    "a caller with a question mark": ({"callers": ("pump-?",)}, "no device's name"),
    "a tenant with a dot": ({"tenants": ("acme.eu",)}, "a tenant has no dot"),
    "a tenant of capitals": ({"tenants": ("Acme",)}, "is not allowed"),
    "a long description": ({"description": "x" * (DESCRIPTION_MAX + 1)}, "at most 500"),
    "a description of two lines": ({"description": "a\nb"}, "is one line"),
    "too many callers": (
        {"callers": ("a",) * CALLERS_MAX, "tenants": ("b",)},
        "at most 100 callers and tenants",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_could_never_run_or_be_called_is_refused(what: str) -> None:
    fields, reason = BAD[what]
    with pytest.raises(WireError, match=reason):
        Function(**{"image": "base", "command": ("true",), **fields})  # type: ignore[arg-type]


def test_the_limits_themselves_are_taken() -> None:
    function = Function(
        image="base",
        command=("true",),
        description="x" * DESCRIPTION_MAX,
        callers=("*",) * CALLERS_MAX,
        memory_mb=4,
    )
    assert function.may_be_called_by(ClientId("pump-7"))


def test_a_job_gets_all_but_who_may_call_it() -> None:
    function = Function(
        image="base",
        command=("true",),
        description="does nothing",
        callers=("pump-7",),
        tenants=("acme",),
        checkpoint=CheckpointPolicy(mode=CheckpointMode.OFF),
    )
    fields = function.job_fields()
    assert not fields.keys() & {"description", "callers", "tenants"}
    assert fields["command"] == ["true"]
    assert fields["checkpoint"] == {"mode": "off", "interval_s": None}


def test_a_digest_is_of_what_was_said() -> None:
    said = Function(image="base", command=("cat", "/job/in/input"), memory_mb=256)
    assert said.digest() == ECHO.digest(), "a default that is said is still the default"
    assert Function(image="base", command=("cat",)).digest() != ECHO.digest()
    assert (
        Function(image="base", command=("cat", "/job/in/input"), callers=("a",)).digest()
        != ECHO.digest()
    )
    one = Function(image="base", command=("x",), env={"A": "1", "B": "2"})
    other = Function(image="base", command=("x",), env={"B": "2", "A": "1"})
    assert one.digest() == other.digest()


def test_the_same_order_twice_changes_nothing_twice() -> None:
    first = next_record("echo", ECHO, None)
    assert first.version == 1
    assert next_record("echo", ECHO, first) is first
    removed = next_record("echo", None, first)
    assert (removed.version, removed.digest, removed.definition) == (2, REMOVED, None)
    assert next_record("echo", None, removed) is removed
    again = next_record("echo", ECHO, removed)
    assert (again.version, again.digest) == (3, first.digest)


def test_a_removal_counts_more_than_a_definition_of_the_same_version() -> None:
    added, removed = next_record("echo", ECHO, None), next_record("echo", None, None)
    assert added.version == removed.version
    assert counts_more(removed, added)
    assert not counts_more(added, removed)


@pytest.mark.parametrize("version", [0, 2**53 + 1])
def test_a_version_no_ledger_holds_is_refused(version: int) -> None:
    with pytest.raises(WireError, match="version is 1 to"):
        FunctionRecord(function="echo", version=version, digest=REMOVED)


def test_a_record_that_lies_about_its_definition_is_refused() -> None:
    with pytest.raises(WireError, match="digest"):
        FunctionRecord(function="echo", version=1, digest=REMOVED, definition=ECHO)


def merged(*records: FunctionRecord) -> FunctionRecord | None:
    known = None
    for record in records:
        if counts_more(record, known):
            known = record
    return known


@given(records=st.lists(FUNCTION_RECORD, min_size=1, max_size=5), data=st.data())
def test_merging_is_free_of_order_and_repetition(
    records: list[FunctionRecord], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(records + records))
    found, other = merged(*records), merged(*shuffled)
    assert found is not None
    assert other is not None
    assert found.stamp == other.stamp
