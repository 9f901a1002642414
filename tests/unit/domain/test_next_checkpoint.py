"""The rule that agents run: what each answer follows from, and how close to the best it comes.

The last tests play the rule against chance, as `bench.checkpoint_policy` does in full.
"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.checkpoint_policy import measure
from workrs.domain.next_checkpoint import PATIENCE, NextCheckpoint, Why, plan_next
from workrs.domain.plan import Conditions, best, endless_interval_s

CONDITIONS = st.builds(Conditions, cost_s=st.floats(1e-3, 100.0), mtbf_s=st.floats(200.0, 1e7))
USUAL = Conditions(cost_s=2.0, mtbf_s=3600.0)


def test_what_the_spec_asks_for_is_kept() -> None:
    asked = plan_next(USUAL, forecast_s=10.0, asked_s=7.0)
    assert asked == NextCheckpoint(work_s=7.0, why=Why.ASKED)


def test_a_forecast_is_cut_as_is_best() -> None:
    found = plan_next(USUAL, forecast_s=600.0)
    assert found == NextCheckpoint(work_s=best(600.0, USUAL).interval_s, why=Why.FORECAST)


def test_what_is_left_of_the_forecast_is_cut_anew_after_each_checkpoint() -> None:
    done_s, intervals = 0.0, []
    while (found := plan_next(USUAL, done_s=done_s, forecast_s=600.0)).why is Why.FORECAST:
        intervals.append(found.work_s)
        done_s += found.work_s
    assert intervals == pytest.approx([best(600.0, USUAL).interval_s] * 4)
    assert found.why is Why.LAST
    assert done_s + found.work_s > 600.0


def test_a_short_job_gets_a_checkpoint_only_if_it_outlives_its_forecast() -> None:
    endless_s = endless_interval_s(USUAL)
    assert plan_next(USUAL, forecast_s=60.0) == NextCheckpoint(work_s=endless_s, why=Why.LAST)
    late = plan_next(USUAL, forecast_s=150.0)
    assert late == NextCheckpoint(work_s=150.0 + PATIENCE * endless_s, why=Why.LAST)


@pytest.mark.parametrize("done_s", [600.0, 600.1, 1e6])
def test_past_its_forecast_a_job_has_no_end(done_s: float) -> None:
    found = plan_next(USUAL, done_s=done_s, forecast_s=600.0)
    assert found == NextCheckpoint(work_s=endless_interval_s(USUAL), why=Why.OUTLIVED)


def test_without_a_forecast_a_job_has_no_end() -> None:
    found = plan_next(USUAL, done_s=5.0)
    assert found == NextCheckpoint(work_s=endless_interval_s(USUAL), why=Why.ENDLESS)


def test_without_faults_there_is_no_next_one() -> None:
    never = Conditions(cost_s=2.0, mtbf_s=math.inf)
    assert plan_next(never).work_s == math.inf
    assert plan_next(never, forecast_s=60.0).work_s == math.inf


@given(conditions=CONDITIONS, forecast_s=st.floats(0.1, 1e7), share=st.floats(0.0, 1.5))
def test_no_forecast_moves_the_next_one_far(
    conditions: Conditions, forecast_s: float, share: float
) -> None:
    found = plan_next(conditions, done_s=share * forecast_s, forecast_s=forecast_s)
    endless_s = endless_interval_s(conditions)
    assert 0.5 * endless_s < found.work_s < 1.75 * endless_s + conditions.cost_s


def test_by_chance_the_rule_comes_within_two_per_cent_of_who_knows_all() -> None:
    found = {(cluster, kind): row for cluster, kind, row in measure(cases=60, runs=6, seed=3)}
    for kind in ("wrong", "right", "long"):
        assert found["known", kind]["mean_percent"] < 2.0
    for kind in ("short", "absent"):
        assert found["known", kind]["mean_percent"] < 5.0
    assert found["fresh", "wrong"]["mean_percent"] < 5.0
    assert found["unheard", "wrong"]["mean_percent"] > 5.0, "the measure sees no difference"


def test_the_same_seed_gives_the_same_numbers() -> None:
    once = list(measure(cases=8, runs=1, seed=4))
    assert once == list(measure(cases=8, runs=1, seed=4))
