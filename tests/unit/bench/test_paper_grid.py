"""The grid's bench, without a cluster: its faults, its model on given faults, its file, its order.

Method: values worked out by hand, and the model's formula as the mean of its replays.
"""

import json
from pathlib import Path
from statistics import fmean

import pytest

from bench.grid import job, page, table, tally
from bench.grid.cell import CELLS, COST_S, PUBLISHED_S, WORK_S, Cell, fault_times, replay_s
from bench.grid.pace import order
from bench.grid.play import Run
from bench.grid.raw import Done, Plan, RawFile, RunFacts, Session, ended
from workrs.domain.plan import Conditions
from workrs.domain.plan_formula import published_expected_s
from workrs.faults.diary import Entry

PLAN = Plan(scale=5.0, cut_works=10.0, side_by_side=12, spares=6, memory_mib=0)
SLOW = Cell(rate=0.0131, checkpoints=0)


def replay(*faults: float, checkpoints: int = 1, until_s: float = 1000.0) -> float:
    conditions = Conditions(cost_s=2.0, mtbf_s=1.0, restore_s=3.0, detect_s=4.0)
    return replay_s(
        list(faults), work_s=20.0, checkpoints=checkpoints, conditions=conditions, until_s=until_s
    )


def test_the_model_loses_what_is_not_saved_and_pays_for_each_fault() -> None:
    assert replay() == 22.0
    assert replay(11.0) == 11.0 + 4.0 + 3.0 + 22.0, "a checkpoint that was struck does not count"
    assert replay(12.5) == 12.5 + 4.0 + 3.0 + 10.0
    assert replay(12.5, 17.0) == 17.0 + 4.0 + 3.0 + 10.0, "a restore is struck like work"
    assert replay(12.5, 16.4) == replay(12.5), "nothing is there to strike while nobody has the job"
    assert replay(*range(5, 2000, 10), until_s=300.0) == 300.0


@pytest.mark.parametrize(("rate", "checkpoints"), [(0.003, 5), (0.0131, 11)])
def test_the_mean_of_replays_is_the_formula(rate: float, checkpoints: int) -> None:
    conditions = Conditions(cost_s=5.0, mtbf_s=1 / rate, restore_s=5.0, detect_s=20.0)
    drawn = [
        replay_s(
            fault_times(seed, rate=rate, until_s=1e5),
            work_s=WORK_S,
            checkpoints=checkpoints,
            conditions=conditions,
            until_s=1e5,
        )
        for seed in range(2000)
    ]
    assert fmean(drawn) == pytest.approx(conditions.expected_s(WORK_S, checkpoints + 1), rel=0.02)


def test_rates_of_one_seed_have_the_same_faults_in_proportion() -> None:
    few, many = (fault_times(7, rate=rate, until_s=5.0 / rate) for rate in (0.001, 0.01))
    assert len(few) > 0
    assert [at / 10 for at in few] == pytest.approx(many)
    assert few != fault_times(8, rate=0.001, until_s=5000.0)


def test_the_published_numbers_are_those_of_the_published_formula() -> None:
    for (rate, checkpoints), time_s in PUBLISHED_S.items():
        conditions = Conditions(cost_s=COST_S, mtbf_s=1 / rate)
        found_s = published_expected_s(WORK_S, checkpoints + 1, conditions)
        assert found_s == pytest.approx(time_s, abs=0.06)


def test_the_program_counts_its_ticks_and_tells_checkpoints_from_restores() -> None:
    told = {"ticks": 3000, "stood": [[3.7, 0.4, False], [9.1, 5.0, True], [12.0, 0.3, False]]}
    found = job.read(json.dumps(told).encode(), work_s=60.0)
    assert found.complete
    assert found.stood_s == [0.4, 0.3]
    assert not job.read(json.dumps(told | {"ticks": 2999}).encode(), work_s=60.0).complete


def test_a_file_that_was_cut_off_goes_on_behind_its_last_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    assert RawFile(path).begin(PLAN, resume=False) == []
    first = Done(cell=SLOW, seed=0, facts=RunFacts(state="cut", took_s=600.0, kills=40))
    failed = Done(cell=SLOW, seed=1, facts=RunFacts(state="failed", took_s=600.0))
    RawFile(path).add(first)
    RawFile(path).add(failed)
    with path.open("a") as file:
        file.write('{"rate": 0.0131, "check')
    assert RawFile(path).begin(PLAN, resume=True) == [first, failed]
    assert ended([first, failed]) == {(SLOW, 0)}
    RawFile(path).add(first)
    assert RawFile(path).begin(PLAN, resume=True) == [first, failed, first]
    session = Session(took_s=60.0, busy=0.5, runs=3)
    RawFile(path).add_session(session)
    assert RawFile(path).read() == (PLAN, [first, failed, first])
    assert RawFile(path).sessions() == [session]
    other = Plan(scale=6.0, cut_works=10.0, side_by_side=12, spares=6, memory_mib=0)
    with pytest.raises(SystemExit, match="another plan"):
        RawFile(path).begin(other, resume=True)
    with pytest.raises(SystemExit, match="--resume"):
        RawFile(path).begin(PLAN, resume=False)


def test_every_run_has_its_turn_once_and_the_longest_are_not_left_to_the_end() -> None:
    runs = order(CELLS, 30, PLAN)
    assert sorted(runs) == sorted((cell, seed) for cell in CELLS for seed in range(30))
    assert max(place for place, (cell, _) in enumerate(runs) if cell == SLOW) < 0.9 * len(runs)


def line(key: str, at_s: float, epoch: int) -> Entry:
    return Entry(at_s, "edge-1", key, {"epoch": str(epoch), "frozen_s": "0.2", "upload_s": "0.1"})


def test_what_follows_a_kill_is_found_in_the_logs() -> None:
    run = Run(cell=SLOW, seed=0, job="j", sent_s=0.0, faults=[])
    for entry in (
        line("lease_won", 1.0, 1),
        line("job_started", 1.5, 1),
        line("lease_won", 12.0, 3),
        line("lease_won", 22.0, 4),
        line("restored", 23.0, 4),
    ):
        run.note(entry)
    run.killed = {1: 10.0, 3: 12.5}
    first, second = run.recoveries()
    assert (first.detect_s, first.restore_s) == (2.0, None), "its agent was killed at the start"
    assert (second.detect_s, second.restore_s, second.restored) == (9.5, 1.0, True)
    assert run.started_s == 1.5


def test_a_cell_that_was_cut_off_is_held_against_a_model_that_is_cut_off_too() -> None:
    found = [
        Done(cell=SLOW, seed=0, facts=RunFacts(state="cut", took_s=600.0, kills=40)),
        Done(cell=SLOW, seed=1, facts=RunFacts(state="ended", took_s=100.0, kills=5)),
        Done(
            cell=Cell(rate=0.0131, checkpoints=15),
            seed=1,
            facts=RunFacts(state="ended", took_s=90.0, stood_s=[0.4]),
        ),
    ]
    measured = tally.measure(found)
    assert measured.checkpoint_s == 0.4
    without, with_15 = tally.rows(found, PLAN, measured)
    assert (without.cut, without.time_s.mean) == (1, 350.0)
    assert without.model_s < 600.0 < measured.conditions(SLOW, 5.0).expected_s(60.0)
    assert with_15.saved_s is not None
    assert with_15.saved_s.mean == 10.0
    text = table.table([without, with_15], PLAN)
    assert "| 2, 1 cut off | ≥ 1750 (500 … 3000) |" in text
    assert "| ≥ 50 (50 … 50) |" in text


def test_the_page_has_a_place_for_results() -> None:
    text = page.PAGE.read_text()
    assert text.index(page.BEGIN) < text.index(page.END)
