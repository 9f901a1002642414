"""Goal: a quarter of the rows of the fault matrix, once each; `./run faults` is all of it.

Method: the rows that say so, each injected as often as it says, on real brokers, nodes and
agents. Sites are shared between rows, so all are played when the first test asks.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from workrs.faults.need import lacking
from workrs.faults.play import SITE, Played, Player, Turn
from workrs.faults.report import beyond, write_report
from workrs.faults.row import CRIU, ENGINE, Row
from workrs.faults.rows import all_rows

QUICK = tuple(row for row in all_rows() if row.quick)
pytestmark = pytest.mark.timeout(1_500)  # the first test plays for all
PATIENCE_MIN = 2.0
TEST = "test_a_fault_costs_no_promise"


@cache
def patience() -> float:
    """Return a factor on all time limits: each core's share of a busy machine's work.

    One injection there shows promises, not percentiles. It is asked for when the rows begin.
    """
    return max(PATIENCE_MIN, os.getloadavg()[0] / (os.cpu_count() or 1))


def _param(row: Row) -> object:
    marks = [getattr(pytest.mark, name) for name in (ENGINE, CRIU) if row.needs & {name}]
    if what := lacking(row):
        marks.append(pytest.mark.skip(reason=what))
    return pytest.param(row.name, marks=marks, id=row.name)


@pytest.fixture(scope="module")
def played(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Sequence[Played]]:
    """Play the rows of all tests that were asked for; return what became of each."""
    asked = {item.name for item in request.session.items if item.path == Path(__file__)}
    turns = [Turn(row=row, times=row.quick) for row in QUICK if f"{TEST}[{row.name}]" in asked]
    folder = tmp_path_factory.mktemp("faults")
    seed = int.from_bytes(os.urandom(3))
    found: dict[str, list[Played]] = {name: [] for name in (*(t.row.name for t in turns), SITE)}
    for one in Player(root=folder / "sites", seed=seed, patience=patience()).play(turns):
        found[one.row].append(one)
    everything = [one for of_row in found.values() for one in of_row]
    write_report(folder, [turn.row for turn in turns], everything, seed=seed)
    return found


@pytest.mark.parametrize("name", [_param(row) for row in QUICK])
def test_a_fault_costs_no_promise(name: str, played: Mapping[str, Sequence[Played]]) -> None:
    row = next(row for row in QUICK if row.name == name)
    assert len(played[name]) == row.quick
    assert [fault for one in played[name] for fault in one.faults] == []
    assert beyond(row, played[name], patience=patience()) == []


def test_the_sites_end_in_agreement_and_leave_nothing(
    played: Mapping[str, Sequence[Played]],
) -> None:
    assert [fault for one in played[SITE] for fault in one.faults] == []


def test_the_matrix_has_its_two_hundred_injections() -> None:
    assert sum(row.repeat for row in all_rows()) >= 200
    assert sum(row.quick for row in all_rows()) >= 15
    assert len({row.name for row in all_rows()}) == len(all_rows())
