"""Goal: a patient site waits longer, by its factor. Method: a site without a cluster, its clock."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from workrs.faults.plan import SitePlan
from workrs.faults.row import RowError
from workrs.faults.site import Site


def site_with(clock: Any, patience: float) -> Site:
    nothing: Any = None
    return Site(
        plan=SitePlan(),
        root=Path(),
        cluster=nothing,
        stage=nothing,
        trace=clock,
        rng=random.Random(1),
        load=nothing,
        diary=nothing,
        eyes=nothing,
        patience=patience,
    )


@pytest.mark.parametrize(("patience", "in_time"), [(1.0, False), (2.0, True)])
def test_a_wait_lasts_its_limit_times_the_patience(patience: float, *, in_time: bool) -> None:
    clock = SimpleNamespace(now_s=0.0)

    def look() -> bool:
        clock.now_s += 6.0
        return clock.now_s == 18.0

    site = site_with(clock, patience)
    assert site.allowed_s(10.0) == 10.0 * patience
    if in_time:
        assert site.until("it", look, 10.0)
    else:
        with pytest.raises(RowError, match="waited 10 s in vain for it"):
            site.until("it", look, 10.0)
