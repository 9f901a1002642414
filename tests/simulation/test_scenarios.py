"""Goal: what broke a promise once breaks none now, and would be noticed if it did.

Method: each scenario is run as the simulator printed it after making it small, with all rules and
without the one that it is about.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.simulation import scenarios, scenarios_of_waiting
from workrs.testing.simulator import run_schedule

if TYPE_CHECKING:
    from tests.simulation.scenario import Scenario
    from workrs.testing.simulator import Schedule

SEEDS_MAX = 20
SCENARIOS = scenarios.SCENARIOS | scenarios_of_waiting.SCENARIOS


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_schedule_that_broke_a_promise_once_breaks_none_now(name: str) -> None:
    result = run_schedule(SCENARIOS[name].schedule, keep_trace=True)
    assert result.violation is None, "\n".join(result.trace[-40:])


@pytest.mark.parametrize("name", SCENARIOS)
def test_without_the_rule_it_goes_wrong_still(name: str) -> None:
    schedule = find_death(SCENARIOS[name])
    assert schedule is not None, f"no schedule like this one needs {SCENARIOS[name].leave_out}"
    assert run_schedule(schedule).violation is None


def find_death(scenario: Scenario) -> Schedule | None:
    """Return the schedule, or the same with other delays if the simulator has changed since."""
    for number in range(SEEDS_MAX):
        schedule = replace(scenario.schedule, seed=scenario.schedule.seed + number)
        with scenario.leave_out():
            rule = run_schedule(schedule).rule
        if rule == scenario.breaks:
            return schedule
    return None
