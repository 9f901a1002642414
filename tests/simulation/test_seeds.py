"""Goal: random schedules of all sizes break no promise, replay identically, and are worth running.

Method: some two hundred seeds, each a cluster in virtual time with some twenty faults; the
invariants are checked after every event by `workrs.testing.simulator`. 0 of n broken bounds the
rate at 3/n. More: `python -m workrs.testing.simulate --seeds 10000`.
"""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache, partial

import pytest

from tests.simulation import left_out
from workrs.testing import simulate
from workrs.testing.simulate import main
from workrs.testing.simulator import Result, plan, run, run_schedule, schedule
from workrs.testing.simulator.faults import FAULTS
from workrs.testing.simulator.schedule import Schedule, to_source
from workrs.testing.simulator.shrink import shrink

pytestmark = pytest.mark.timeout(600)  # the first test of a size plays it for all: ten seconds
SEEDS_OF_A_SIZE = {1: 40, 3: 100, 5: 40}
REPLAYED = (3, 7, 11)
PRINT_DIGESTS = f"""
from workrs.testing.simulator import run
print(*(run(seed).digest for seed in {REPLAYED}))
"""


@cache
def results(nodes: int) -> tuple[Result, ...]:
    return tuple(run(seed, nodes=nodes) for seed in range(SEEDS_OF_A_SIZE[nodes]))


@pytest.mark.parametrize("nodes", SEEDS_OF_A_SIZE)
def test_random_schedules_break_no_promise(nodes: int) -> None:
    broken = [f"seed {r.schedule.seed}: {r.violation}" for r in results(nodes) if r.violation]
    assert broken == []


def test_the_schedules_are_worth_running() -> None:
    counts: Counter[str] = Counter()
    for nodes in SEEDS_OF_A_SIZE:
        for result in results(nodes):
            counts += result.counts
    schedules = sum(SEEDS_OF_A_SIZE.values())
    assert sum(n for name, n in counts.items() if name.startswith("fault ")) > 10 * schedules
    assert {name.removeprefix("fault ") for name in counts if name.startswith("fault ")} == {
        *FAULTS
    }
    assert counts["takeovers"] > schedules / 2
    assert counts["restores"] > schedules / 4
    for rare in ("outcome_adopted", "freezes", "lease_renewed_late", "start_failed", "agent_ends"):
        assert counts[rare] > 0, rare
    for rare in ("job_fell", "restores refused", "fetches ahead", "moves"):
        assert counts[rare] > 0, rare
    assert counts["left: it reaches no majority of nodes"] > 0
    verdicts = {name for name in counts if name.startswith("ended ")}
    assert verdicts >= {"ended succeeded", "ended failed", "ended cancelled"}


def test_a_seed_replays_identically() -> None:
    assert [run(seed).digest for seed in REPLAYED] == [run(seed).digest for seed in REPLAYED]


def test_a_seed_replays_identically_in_a_process_with_other_hashes() -> None:
    here = [str(run(seed).digest) for seed in REPLAYED]
    there = subprocess.run(
        [sys.executable, "-c", PRINT_DIGESTS],
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert there.stdout.split() == here


def test_a_schedule_survives_being_printed() -> None:
    for seed in range(20):
        planned = plan(seed)
        assert eval(to_source(planned), vars(schedule)) == planned


def test_a_failing_schedule_is_made_small() -> None:
    planned = plan(3, nodes=3)
    needed = planned.faults[5]

    def breaks(schedule: Schedule) -> str | None:
        return "S2" if needed in schedule.faults and schedule.jobs else None

    small = shrink(planned, breaks=breaks)
    assert small.faults == (needed,)
    assert len(small.jobs) == len(small.agents) == len(small.devices) == 1


def test_a_crash_of_a_brain_is_a_violation() -> None:
    planned = replace(plan(3), devices=())
    assert str(run_schedule(planned).violation).startswith("X: KeyError")


@pytest.mark.parametrize("words", ["--seeds 0", "--jobs 0", "--trace", "--only nothing"])
def test_the_command_refuses_what_would_run_nothing(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words.split())
    assert "error:" in capsys.readouterr().err


def test_the_command_says_what_it_ran(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "2", "--nodes", "1"]) == 0
    assert "schedules a second" in capsys.readouterr().out
    assert main(["--seed", "3", "--trace"]) == 0
    assert "MEND" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["--seeds 2 --from 1", "--seed 1"])
def test_the_command_prints_a_schedule_that_fails_made_small(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulate, "shrink", partial(shrink, runs_max=40))
    with left_out.checkpoint_holds_the_work_of_its_own_begin():
        assert main(words.split()) == 1
        shown = capsys.readouterr().out
        small = eval(shown[shown.rindex("Schedule(") :], vars(schedule))
        assert run_schedule(small).rule == "R4"
    assert small.seed == 1
    assert len(small.faults) < len(plan(1).faults)
    assert run_schedule(small).violation is None
    assert "# seed 1: R4: " in shown
