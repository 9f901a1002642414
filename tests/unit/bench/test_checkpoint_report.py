"""Goal: the benchmark of checkpoints passes what is within its bounds, and nothing else.

Method: figures made by hand, on both sides of every bound.
"""

from __future__ import annotations

import pytest

from bench.checkpoint.report import (
    Bound,
    Figures,
    Series,
    collect,
    cost_bounds,
    rival_verdicts,
    size_bound,
    speed_bounds,
    table,
)

RAW = {
    "runc: checkpoint": 1.0,
    "runc: stood still": 0.8,
    "runc: restore": 1.0,
    "docker: run of an empty one": 0.5,
    "docker: checkpoint": 12.0,
    "docker: restore": 20.0,
    "workrs: frozen": 1.2,
    "workrs: stood still": 1.0,
    "workrs: restore": 2.0,
}


def holding(changed: dict[str, float], *, mib: int = 1024) -> list[bool]:
    return [bound.holds for bound in speed_bounds(collect([RAW | changed]), mib=mib)]


def test_rounds_become_a_median_and_its_spread() -> None:
    figures = collect([{"a": 3.0}, {"a": 1.0, "b": 5.0}, {"a": 2.0}])
    assert figures["a"] == Series(values=(3.0, 1.0, 2.0))
    assert str(figures["a"]) == "2.000 (1.000 to 3.000)"
    assert figures["b"].median == 5.0


def test_a_job_within_all_bounds_passes() -> None:
    assert holding({}) == [True] * 5


def test_a_small_job_is_not_compared_with_dockers_own() -> None:
    assert holding({"docker: checkpoint": 0.1, "docker: restore": 0.1}, mib=64) == [True] * 3


@pytest.mark.parametrize(
    ("changed", "broken"),
    [
        ({"workrs: frozen": 1.31, "docker: checkpoint": 14.0}, 0),
        ({"workrs: stood still": 1.05}, 1),
        ({"workrs: restore": 2.01, "docker: restore": 21.0}, 2),
        ({"docker: checkpoint": 11.9}, 3),
        ({"docker: restore": 19.9}, 4),
    ],
)
def test_each_bound_can_be_broken_alone(changed: dict[str, float], broken: int) -> None:
    assert [number for number, holds in enumerate(holding(changed)) if not holds] == [broken]


def test_a_busy_moment_that_slows_all_of_a_round_breaks_nothing() -> None:
    busy = {name: 9 * value for name, value in RAW.items()}
    figures = collect([RAW, busy, RAW | {"workrs: frozen": 50.0}])
    assert [bound.holds for bound in speed_bounds(figures, mib=64)] == [True] * 3
    slow = RAW | {"workrs: frozen": 1.4}
    figures = collect([slow, {name: 9 * value for name, value in slow.items()}, RAW])
    assert [bound.holds for bound in speed_bounds(figures, mib=64)] == [False, True, True]


def test_a_bound_itself_is_within() -> None:
    assert Bound(name="", value=1.3, limit=1.3).holds
    assert Bound(name="", value=10.0, limit=10.0, at_most=False).holds


def test_the_worst_round_counts_for_memory_and_cores() -> None:
    figures = collect([{"peak_mib": 199.0, "cores": 0.9}, {"peak_mib": 201.0, "cores": 1.1}])
    assert [bound.holds for bound in cost_bounds(figures, mib=64)] == [False, False]
    figures = collect([{"peak_mib": 200.0, "cores": 1.0}])
    assert [bound.holds for bound in cost_bounds(figures, mib=64)] == [True, True]


@pytest.mark.parametrize(("share", "holds"), [(0.08, True), (0.081, False)])
def test_what_is_sent_after_a_change_is_bounded(share: float, *, holds: bool) -> None:
    assert size_bound({"5 % in one piece": {"share": share}}).holds is holds


def times(first: float, restore: float) -> Figures:
    return collect([{"first_s": first, "second_s": 1, "third_s": 1, "restore_s": restore}])


def test_a_rival_is_within_twice_our_time_only_if_all_its_steps_are() -> None:
    tools = {"ours": times(1, 1), "near": times(2, 2), "slow": times(0.5, 2.1)}
    near, slow = rival_verdicts(tools, own="ours")
    assert near.startswith("near: first_s 2.0 x")
    assert near.endswith("ours, within 2 x")
    assert slow.endswith("not within 2 x")


def test_a_table_has_as_many_columns_as_its_head() -> None:
    assert table(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
