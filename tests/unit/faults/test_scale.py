"""Goal: the rows about many count what they say. Method: known values."""

import pytest

from workrs.faults.census import Reading, beyond_idle
from workrs.faults.row import RowError
from workrs.faults.rows.scale import GROWTH_MB, require_steady


def test_what_each_would_have_sent_anyway_is_subtracted_over_its_own_time() -> None:
    first = {"n1": Reading(100, 0.0), "agents": Reading(0, 1.0)}
    idle = {"n1": Reading(120, 10.0), "agents": Reading(50, 11.0)}
    last = {"n1": Reading(1140, 20.0), "agents": Reading(350, 31.0)}
    assert beyond_idle(first, idle, last) == pytest.approx(1000 + 200)


def test_a_program_may_grow_until_the_second_round_and_not_after() -> None:
    require_steady("broker", [10.0, 200.0, 200.0 + GROWTH_MB])
    require_steady("broker", [10.0, 200.0])
    with pytest.raises(RowError, match="a broker grew from 200 to 211 MB"):
        require_steady("broker", [10.0, 200.0, 201.0, 201.0 + GROWTH_MB])
