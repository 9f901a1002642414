"""The formula against chance: faults drawn one by one, by the model's words and not its algebra."""

import random
from statistics import fmean, stdev

import pytest

from workrs.domain.plan import Conditions

RUNS = 4000


def time_of_a_job(
    work_s: float, segments: int, conditions: Conditions, rng: random.Random
) -> float:
    """Return how long one job took. A fault in a restore is noticed like any other."""
    length_s = (work_s + (segments - 1) * conditions.cost_s) / segments
    passed_s = 0.0
    for _ in range(segments):
        to_do = [length_s]
        while to_do:
            fault_s = rng.expovariate(1 / conditions.mtbf_s)
            if fault_s > to_do[-1]:
                passed_s += to_do.pop()
            else:
                passed_s += fault_s + conditions.detect_s
                to_do = [length_s, conditions.restore_s]
    return passed_s


@pytest.mark.parametrize(
    ("rate", "segments", "known_s"), [(0.003, 6, 379.8), (0.0131, 12, 584.6), (0.0005, 1, 327.7)]
)
def test_what_is_expected_happens_on_average(rate: float, segments: int, known_s: float) -> None:
    conditions = Conditions(cost_s=5.0, mtbf_s=1 / rate, restore_s=5.0, detect_s=20.0)
    expected_s = conditions.expected_s(300.0, segments)
    assert expected_s == pytest.approx(known_s, rel=1e-3)
    rng = random.Random(7)
    times = [time_of_a_job(300.0, segments, conditions, rng) for _ in range(RUNS)]
    assert fmean(times) == pytest.approx(expected_s, abs=4 * stdev(times) / RUNS**0.5)
