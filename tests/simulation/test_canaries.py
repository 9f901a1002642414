"""Goal: every rule is needed, and its absence noticed by the invariant that is there for it.

Method: a schedule that is known from docs/canaries.md to go wrong without the rule is run so,
and then with the rule; if the planner has changed since, a few more are tried.
"""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import pytest

from workrs.testing.canaries import CANARIES, Canary
from workrs.testing.canaries.canary import find_death, run_with
from workrs.testing.canaries.table import DOCUMENT, read
from workrs.testing.simulator import Result, Schedule, plan, run_schedule

SCHEDULES_MAX = 60


@pytest.mark.timeout(600)  # seconds where the machine does nothing else
@pytest.mark.parametrize("canary", CANARIES, ids=lambda canary: canary.rule)
def test_without_this_rule_a_schedule_goes_wrong_and_with_it_the_same_does_not(
    canary: Canary,
) -> None:
    seed = read(DOCUMENT.read_text())[canary.rule]
    death = find_death(canary, range(seed, seed + SCHEDULES_MAX))
    assert death is not None, f"{SCHEDULES_MAX} schedules did not miss the rule"
    assert run_with(canary, death.seed).violation is None


def test_the_document_names_every_canary_and_no_other() -> None:
    assert list(read(DOCUMENT.read_text())) == [canary.rule for canary in CANARIES]


def test_a_rule_is_back_in_force_after_its_canary() -> None:
    schedule = plan(1)
    before = run_schedule(schedule)
    for canary in CANARIES:
        with canary.world(), canary.leave_out():
            pass
    assert run_schedule(schedule).digest == before.digest


def test_an_unrelated_violation_is_no_find() -> None:
    def crash(schedule: Schedule) -> Result:
        result = run_schedule(schedule)
        return replace(result, violation="X: a crash")

    with patch("workrs.testing.canaries.canary.run_schedule", crash):
        assert find_death(CANARIES[0], range(3)) is None
