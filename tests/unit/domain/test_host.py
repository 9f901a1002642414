"""Goal: memory is restored only where it can run, and the reason tells what is missing.

Method: one fact changed at a time, on both sides of each boundary.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from workrs.domain.host import HostFacts, can_restore

HERE = HostFacts(arch="amd64", cpu="c0ffee", kernel="6.12.5-amd64", criu="4.1.1")


def test_memory_comes_back_on_the_machine_it_was_saved_on() -> None:
    assert can_restore(HERE, HERE) is None


@pytest.mark.parametrize(
    ("saved", "why"),
    [
        ({"arch": "arm64"}, "arch"),
        ({"cpu": "other"}, "cpu"),
        ({"kernel": "6.13.0"}, "older kernel"),
        ({"kernel": "7.0.0"}, "older kernel"),
        ({"criu": "4.2"}, "older CRIU"),
        ({"criu": "5.0"}, "older CRIU"),
        ({"kernel": "unheard-of"}, "another kernel"),
        ({"criu": ""}, "another CRIU"),
    ],
)
def test_what_this_machine_lacks_is_named(saved: dict[str, str], why: str) -> None:
    assert why in (can_restore(replace(HERE, **saved), HERE) or "")


@pytest.mark.parametrize(
    "saved",
    [
        {"kernel": "6.12.99"},
        {"kernel": "6.12.4"},
        {"kernel": "6.9.1"},
        {"kernel": "5.15"},
        {"criu": "4.1.2"},
        {"criu": "4.0"},
        {"criu": "3.19"},
    ],
)
def test_what_is_older_or_differs_in_the_last_number_alone_is_let_try(
    saved: dict[str, str],
) -> None:
    assert can_restore(replace(HERE, **saved), HERE) is None


def test_without_criu_no_memory_comes_back() -> None:
    here = replace(HERE, criu="")
    assert can_restore(HERE, here) == "there is no CRIU here"
    assert can_restore(here, here) == "there is no CRIU here"


def test_versions_that_cannot_be_read_fit_their_equals() -> None:
    odd = replace(HERE, kernel="unheard-of", criu="GitID-1")
    assert can_restore(odd, odd) is None
    assert "another kernel" in (can_restore(HERE, replace(HERE, kernel="")) or "")
