"""The checkpoint model against its published numbers, its own optimum, and its limits."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from workrs.domain.errors import ConfigError
from workrs.domain.plan import Conditions, best, endless_interval_s
from workrs.domain.plan_formula import (
    daly_interval_s,
    nearest,
    published,
    published_expected_s,
    published_interval_s,
    young_interval_s,
)

RATES = st.floats(1e-7, 1.0)
COSTS = st.floats(1e-3, 1e3)
WORKS = st.floats(1.0, 1e6)


def conditions(cost_s: float, rate: float, **more: float) -> Conditions:
    return Conditions(cost_s=cost_s, mtbf_s=1 / rate, **more)


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        ((60, 3600, 2), (1, 60.503, 60.503)),
        ((600, 3600, 2), (5, 618.385, 652.897)),
        ((3600, 3600, 10), (14, 3871.494, 6185.815)),
        ((3600, 600, 10), (35, 4333.851, 241457.3)),
        ((36000, 3600, 30), (81, 41043.133, 7.93e7)),
    ],
)
def test_the_optimum_is_the_one_that_is_known(
    asked: tuple[float, float, float], known: tuple[int, float, float]
) -> None:
    work_s, mtbf_s, cost_s = asked
    segments, expected_s, restart_only_s = known
    plan = best(work_s, Conditions(cost_s=cost_s, mtbf_s=mtbf_s))
    assert plan.segments == segments
    assert plan.expected_s == pytest.approx(expected_s, abs=0.0006)
    assert plan.restart_only_s == pytest.approx(restart_only_s, rel=2e-4)


@pytest.mark.parametrize(
    ("rate", "young", "daly", "exact"),
    [
        (0.0001, 316.2, 312.9, 312.9),
        (0.0005, 141.4, 138.1, 138.1),
        (0.003, 57.7, 54.5, 54.5),
        (0.0131, 27.6, 24.4, 24.4),
    ],
)
def test_the_known_intervals_come_out(rate: float, young: float, daly: float, exact: float) -> None:
    odds = conditions(5.0, rate)
    assert young_interval_s(odds) == pytest.approx(young, abs=0.05)
    assert daly_interval_s(odds) == pytest.approx(daly, abs=0.051)
    assert endless_interval_s(odds) == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize(
    ("rate", "checkpoints", "expected_s", "as_published_s"),
    [
        (0.0001, 0, 304.5, None),
        (0.0001, 15, 375.3, 375.4),
        (0.0005, 0, 323.7, None),
        (0.0005, 1, 316.5, 316.9),
        (0.0005, 15, 376.4, 377.2),
        (0.003, 0, 486.5, None),
        (0.003, 5, 348.7, 352.9),
        (0.003, 15, 383.6, 388.5),
        (0.0131, 0, 3809.7, None),
        (0.0131, 11, 410.0, 433.6),
        (0.0131, 15, 415.1, 438.9),
    ],
)
def test_the_grid_of_the_paper_comes_out(
    rate: float, checkpoints: int, expected_s: float, as_published_s: float | None
) -> None:
    """The exact value stands first only where the two models agree (no checkpoint)."""
    odds = conditions(5.0, rate)
    published_s = published_expected_s(300.0, checkpoints + 1, odds)
    assert published_s == pytest.approx(expected_s, abs=0.06)
    exact_s = odds.expected_s(300.0, checkpoints + 1)
    assert exact_s == pytest.approx(as_published_s or expected_s, abs=0.06)


@given(work_s=WORKS, rate=RATES, cost_s=COSTS)
def test_no_neighbour_is_better(work_s: float, rate: float, cost_s: float) -> None:
    odds = conditions(cost_s, rate)
    plan = best(work_s, odds)
    for segments in {1, plan.segments - 1, plan.segments + 1, 2 * plan.segments} - {0}:
        assert plan.expected_s <= odds.expected_s(work_s, segments) * (1 + 1e-9)


@given(work_s=WORKS, rate=RATES, cost_s=COSTS)
def test_nobody_elses_formula_is_better(work_s: float, rate: float, cost_s: float) -> None:
    odds = conditions(cost_s, rate)
    least_s = best(work_s, odds).expected_s * (1 - 1e-9)
    for interval_s in (young_interval_s(odds), daly_interval_s(odds)):
        assert nearest(work_s, interval_s, odds).expected_s >= least_s
    assert published(work_s, odds).expected_s >= least_s


@given(rate=RATES, cost_s=COSTS)
def test_no_other_interval_of_an_endless_job_is_better(rate: float, cost_s: float) -> None:
    odds = conditions(cost_s, rate)
    interval_s = endless_interval_s(odds)
    assert 0 < interval_s <= odds.mtbf_s
    for other in (0.9, 0.99, 1.01, 1.1):
        assert odds.stretch(interval_s) <= odds.stretch(interval_s * other) * (1 + 1e-9)


@given(work_s=WORKS, rate=RATES, cost_s=COSTS)
def test_the_published_optimum_is_one_of_its_model(
    work_s: float, rate: float, cost_s: float
) -> None:
    odds = conditions(cost_s, rate)
    segments = published(work_s, odds).segments
    least_s = published_expected_s(work_s, segments, odds)
    for other in {1, segments - 1, segments + 1} - {0}:
        assert least_s <= published_expected_s(work_s, other, odds) * (1 + 1e-9)


@given(work_s=WORKS, rate=RATES, cost_s=COSTS)
def test_the_published_model_takes_checkpoints_where_it_says_they_pay(
    work_s: float, rate: float, cost_s: float
) -> None:
    half = work_s * rate / 2
    gain_s = math.expm1(half) ** 2 / rate if half < 300 else math.inf
    assume(abs(gain_s - cost_s) > 1e-6 * cost_s)
    assert (published(work_s, conditions(cost_s, rate)).segments > 1) == (gain_s > cost_s)


@given(work_s=WORKS, rate=RATES, cost_s=COSTS, restore_s=COSTS, detect_s=COSTS)
def test_restore_and_detection_do_not_move_the_optimum(
    work_s: float, rate: float, cost_s: float, restore_s: float, detect_s: float
) -> None:
    bare = best(work_s, conditions(cost_s, rate))
    full = best(work_s, conditions(cost_s, rate, restore_s=restore_s, detect_s=detect_s))
    assert (full.segments, full.interval_s) == (bare.segments, bare.interval_s)
    assert full.expected_s >= bare.expected_s


def test_without_faults_a_job_takes_its_work() -> None:
    never = Conditions(cost_s=2.0, mtbf_s=math.inf, restore_s=5.0, detect_s=3.0)
    plan = best(3600.0, never)
    assert (plan.segments, plan.interval_s, plan.expected_s) == (1, 3600.0, 3600.0)
    assert never.expected_s(3600.0, 3) == 3604.0
    assert never.stretch(math.inf) == 1.0
    assert Conditions(cost_s=2.0, mtbf_s=1.0).stretch(math.inf) == math.inf
    assert endless_interval_s(never) == published_interval_s(never) == math.inf
    assert nearest(3600.0, young_interval_s(never), never).segments == 1
    assert nearest(3600.0, daly_interval_s(never), never).segments == 1
    assert published(3600.0, never).segments == 1
    rare = best(3600.0, Conditions(cost_s=2.0, mtbf_s=1e15))
    assert rare.segments == 1
    assert rare.expected_s == pytest.approx(3600.0)


@pytest.mark.parametrize("work_s", [1.0, 30.0])
def test_a_job_shorter_than_its_checkpoint_gets_none(work_s: float) -> None:
    plan = best(work_s, Conditions(cost_s=30.0, mtbf_s=10.0))
    assert (plan.segments, plan.interval_s) == (1, work_s)


def test_a_job_that_would_never_end_is_infinite_and_still_cut_best() -> None:
    hopeless = best(1e6, Conditions(cost_s=1.0, mtbf_s=1.0))
    assert hopeless.restart_only_s == math.inf
    assert hopeless.segments > 500_000
    assert math.isfinite(hopeless.expected_s)
    assert best(1e6, Conditions(cost_s=800.0, mtbf_s=1.0)).segments > 900_000
    assert math.inf == best(1e6, Conditions(cost_s=800.0, mtbf_s=1.0)).expected_s
    assert published_expected_s(1e6, 1, Conditions(cost_s=1.0, mtbf_s=1.0)) == math.inf


def test_beyond_twice_the_time_between_faults_daly_has_one_answer() -> None:
    assert daly_interval_s(Conditions(cost_s=20.0, mtbf_s=10.0)) == 10.0


@pytest.mark.parametrize("value", [math.nan, -1.0, math.inf, 1e13])
@pytest.mark.parametrize("name", ["cost_s", "mtbf_s", "restore_s", "detect_s"])
def test_what_is_no_time_is_refused_with_what_to_write(name: str, value: float) -> None:
    right = {"cost_s": 2.0, "mtbf_s": 10.0}
    if name == "mtbf_s" and value > 0:
        Conditions(cost_s=2.0, mtbf_s=value)
        return
    with pytest.raises(ConfigError, match="write seconds"):
        Conditions(**{**right, name: value})


@pytest.mark.parametrize("work_s", [math.nan, -1.0, 0.0, math.inf])
def test_work_that_is_no_time_is_refused(work_s: float) -> None:
    with pytest.raises(ConfigError, match="the work of the job"):
        best(work_s, Conditions(cost_s=2.0, mtbf_s=10.0))
