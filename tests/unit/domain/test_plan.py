"""The checkpoint interval against the model's own numbers, and its limits."""

import math

import pytest

from workrs.domain.plan import interval_s, lambert_w0, young_s


@pytest.mark.parametrize(
    ("rate", "young", "exact"),
    [
        (0.0001, 316.2, 312.9),
        (0.0005, 141.4, 138.1),
        (0.003, 57.7, 54.5),
        (0.0131, 27.6, 24.4),
    ],
)
def test_the_published_intervals_come_out(rate: float, young: float, exact: float) -> None:
    assert young_s(cost_s=5.0, mtbf_s=1 / rate) == pytest.approx(young, abs=0.05)
    assert interval_s(cost_s=5.0, mtbf_s=1 / rate) == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize("x", [-1 / math.e, -0.36, -0.3, -0.1, -1e-6])
def test_lambert_inverts_its_own_definition(x: float) -> None:
    w = lambert_w0(x)
    assert w * math.exp(w) == pytest.approx(x, rel=1e-9)
    assert w >= -1.0


def test_a_cost_that_is_nothing_against_the_faults_gives_youngs_interval() -> None:
    assert interval_s(cost_s=1e-6, mtbf_s=1e6) == young_s(cost_s=1e-6, mtbf_s=1e6)


def test_no_interval_is_longer_than_the_time_between_faults() -> None:
    assert interval_s(cost_s=50.0, mtbf_s=10.0) < 10.0
