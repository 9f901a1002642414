"""The special function against its definition, in more digits than a float has."""

from decimal import Decimal, localcontext

import pytest

from workrs.domain.lambert import one_plus_w0


@pytest.mark.parametrize("d", [10.0**power for power in range(-15, 13)] + [0.3, 0.99, 1.5])
def test_it_solves_its_own_definition(d: float) -> None:
    u = one_plus_w0(d)
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(u)
        for _ in range(40):
            exact -= ((exact - 1) * exact.exp() + 1 - Decimal(d)) / (exact * exact.exp())
        assert abs(Decimal(u) / exact - 1) < Decimal("1e-10")


def test_its_fixed_points() -> None:
    assert one_plus_w0(0.0) == 0.0
    assert one_plus_w0(1.0) == pytest.approx(1.0)
