"""How close to the best possible the planned checkpoints are: the agents' own rule, by chance.

Each case draws a job (its work T, the cost C of its checkpoints, its restore time), a fault
rate 1 / M, a cluster with a past, and a factor by which the device's forecast is wrong. The
job is then played many times: faults strike at random instants, whatever the job does just
then, and after every checkpoint and every restart `plan_next` is asked, with what an agent
knows there: the forecast, the fault history that its cluster counted (with its prior, and only
as fresh as nodes tell it), and the cost of a checkpoint, guessed before the first one.

What it is compared with knows T, M and C and cuts the job into the best number of segments.
Its expected time is exact, by formula. It is played as well, through the very same faults, and
by how much chance moved it is taken off what chance did to ours.

Rows: the forecast is *wrong* by a factor of 1/3 to 3, *right*, too *short* or too *long* by that
factor, or *absent*. A *known* cluster has counted for an hour to 30 days, a *fresh* one starts
with the job. *Unheard*: as known, but the agent is told nothing of the cluster's faults and keeps
to the prior; if that row were as good as the others, the measure would be blind.

Run: python -m bench.checkpoint_policy [--cases 1000] [--runs 10] [--seed 1] [--json FILE]
"""

import argparse
import json
import math
import random
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, quantiles, stdev

from broker.fault_count import TELL_S
from workrs.domain.fault_history import FaultHistory
from workrs.domain.next_checkpoint import plan_next
from workrs.domain.plan import Conditions, Plan, best

WRONG_MAX = 3.0
"""Factor by which a forecast, and the guess of a checkpoint's cost, may be wrong."""
FORECASTS = ("wrong", "right", "short", "long", "absent")


def between(rng: random.Random, low: float, high: float) -> float:
    """Return a number between the two whose logarithm is spread evenly."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def poisson(rng: random.Random, mean: float) -> int:
    """Return how many events happen where *mean* are expected."""
    if mean > 100:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    count, left = -1, mean
    while left >= 0:
        left -= rng.expovariate(1.0)
        count += 1
    return count


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One job in one cluster, and what is really so."""

    work_s: float
    truth: Conditions
    agents: int
    past_s: float
    """How long the cluster has counted losses before the job."""
    wrong: float
    """Forecast over truth."""
    cost_wrong: float
    """Guess over truth, before the first checkpoint."""

    def forecast_s(self, kind: str) -> float | None:
        """Return the job's forecast."""
        factor = {
            "wrong": self.wrong,
            "right": 1.0,
            "short": min(self.wrong, 1 / self.wrong),
            "long": max(self.wrong, 1 / self.wrong),
        }.get(kind)
        return None if factor is None else self.work_s * factor


def draw_case(rng: random.Random, *, fresh: bool) -> Case:
    """Return a case; *fresh*: in a cluster that has just been started."""
    cost_s = between(rng, 0.1, 30.0)
    return Case(
        work_s=between(rng, 60.0, 36_000.0),
        truth=Conditions(
            cost_s=cost_s,
            mtbf_s=between(rng, 75.0, 86_400.0),
            restore_s=cost_s * between(rng, 0.5, 3.0),
            detect_s=between(rng, 1.0, 12.0),
        ),
        agents=rng.randint(2, 20),
        past_s=0.0 if fresh else between(rng, 3_600.0, 30 * 86_400.0),
        wrong=between(rng, 1 / WRONG_MAX, WRONG_MAX),
        cost_wrong=between(rng, 1 / WRONG_MAX, WRONG_MAX),
    )


class Clock:
    """The time of one job, and the instants at which its agent is lost: an endless list."""

    def __init__(self, faults: list[float], rng: random.Random, mtbf_s: float) -> None:
        self._faults = faults
        self._rng = rng
        self._mtbf_s = mtbf_s
        self._next = 0
        self.now_s = 0.0
        self.losses = 0

    def passes(self, length_s: float) -> bool:
        """Let *length_s* pass; return False, at the instant of the fault, where one strikes."""
        fault_s = self._fault_s()
        if fault_s >= self.now_s + length_s:
            self.now_s += length_s
            return True
        self.now_s = fault_s
        self.losses += 1
        return False

    def recover(self, truth: Conditions) -> None:
        """Have the fault noticed and the job restored, which may be struck as well."""
        while True:
            self.now_s += truth.detect_s  # in which there is no agent to be lost
            if self.passes(truth.restore_s):
                return

    def _fault_s(self) -> float:
        while True:
            if self._next == len(self._faults):
                last_s = self._faults[-1] if self._faults else 0.0
                self._faults.append(last_s + self._rng.expovariate(1 / self._mtbf_s))
            if self._faults[self._next] >= self.now_s:
                return self._faults[self._next]
            self._next += 1


class Cluster:
    """What the nodes count of all agents, and what of it they have told them."""

    def __init__(self, case: Case, rng: random.Random, *, heard: bool) -> None:
        self._case = case
        self._rng = rng
        self._heard = heard
        self._seen_s = 0.0
        self._seen_losses = 0
        self._told_s = -rng.uniform(0.0, TELL_S)
        past_s = case.agents * case.past_s
        losses = poisson(rng, past_s / case.truth.mtbf_s)
        # By turns, as it was counted: the history forgets.
        self._counted = FaultHistory()
        rounds = max(1, losses // 50, int(past_s / 1e6))
        for number in range(rounds):
            here = losses * (number + 1) // rounds - losses * number // rounds
            self._counted = self._counted.watched(past_s / rounds).lost(here)
        self.told = self._counted if heard else FaultHistory()

    def look(self, clock: Clock) -> None:
        """Count what happened since the last look; tell it where it makes a difference."""
        passed_s = clock.now_s - self._seen_s
        others = (self._case.agents - 1) * passed_s
        losses = poisson(self._rng, others / self._case.truth.mtbf_s)
        losses += clock.losses - self._seen_losses
        self._counted = self._counted.watched(others + passed_s).lost(losses)
        self._seen_s, self._seen_losses = clock.now_s, clock.losses
        due = clock.now_s - self._told_s >= TELL_S
        if self._heard and due and self._counted.differs(self.told):
            self.told, self._told_s = self._counted, clock.now_s


def play_ours(case: Case, forecast_s: float | None, clock: Clock, cluster: Cluster) -> float:
    """Return how long the job takes with checkpoints as agents plan them."""
    truth = case.truth
    known_cost_s = truth.cost_s * case.cost_wrong
    done_s = 0.0
    while True:
        cluster.look(clock)
        known = Conditions(cost_s=known_cost_s, mtbf_s=cluster.told.mtbf_s)
        left_s = case.work_s - done_s
        work_s = plan_next(known, done_s=done_s, forecast_s=forecast_s).work_s
        if work_s >= left_s:
            if clock.passes(left_s):
                return clock.now_s
        elif clock.passes(work_s + truth.cost_s):
            done_s += work_s
            known_cost_s = truth.cost_s
            continue
        clock.recover(truth)


def play_best(case: Case, plan: Plan, clock: Clock) -> float:
    """Return how long the job takes in equally long segments."""
    length_s = (case.work_s + (plan.segments - 1) * case.truth.cost_s) / plan.segments
    for _ in range(plan.segments):
        while not clock.passes(length_s):
            clock.recover(case.truth)
    return clock.now_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One case, played with one kind of forecast."""

    ours_s: float
    """Mean time, less what chance added to the best."""
    best_s: float
    work_s: float
    segments: int
    """Of the best plan."""

    @property
    def ratio(self) -> float:
        """Return our time over the best."""
        return self.ours_s / self.best_s


def compare(
    case: Case, kinds: tuple[str, ...], runs: int, seed: int, *, heard: bool
) -> dict[str, Compared]:
    """Play one case *runs* times with each kind of forecast, through the same faults."""
    plan = best(case.work_s, case.truth)
    sums = dict.fromkeys(kinds, 0.0)
    lucky_s = 0.0
    for run in range(runs):
        faults: list[float] = []
        rng = random.Random(f"faults {seed} {run}")
        mtbf_s = case.truth.mtbf_s
        lucky_s += play_best(case, plan, Clock(faults, rng, mtbf_s))
        # The same past and the same luck for every kind of forecast.
        cluster = Cluster(case, random.Random(f"cluster {seed} {run}"), heard=heard)
        for kind in kinds:
            clock = Clock(faults, rng, mtbf_s)
            sums[kind] += play_ours(case, case.forecast_s(kind), clock, deepcopy(cluster))
    chance_s = lucky_s / runs - plan.expected_s
    return {
        kind: Compared(
            ours_s=total / runs - chance_s,
            best_s=plan.expected_s,
            work_s=case.work_s,
            segments=plan.segments,
        )
        for kind, total in sums.items()
    }


def summary(found: list[Compared]) -> dict[str, float]:
    """Return what the cases of one kind add up to, in per cent above the best."""
    over = [100 * (one.ratio - 1) for one in found]
    cut = [100 * (one.ratio - 1) for one in found if one.segments > 1]
    if len(cut) < 2:
        raise SystemExit("too few cases for a mean: ask for more")
    total = sum(one.ours_s for one in found) / sum(one.best_s for one in found)
    return {
        "cases": len(found),
        "mean_percent": fmean(over),
        "ci95_percent": 1.96 * stdev(over) / math.sqrt(len(over)),
        "p95_percent": quantiles(over, n=20)[-1],
        "with_checkpoints": len(cut),
        "with_checkpoints_mean_percent": fmean(cut),
        "with_checkpoints_ci95_percent": 1.96 * stdev(cut) / math.sqrt(len(cut)),
        "all_time_percent": 100 * (total - 1),
        "best_over_work_percent": 100 * (fmean(one.best_s / one.work_s for one in found) - 1),
    }


ROWS = (
    ("known", FORECASTS),
    ("fresh", ("wrong", "absent")),
    ("unheard", ("wrong",)),
)


def measure(cases: int, runs: int, seed: int) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Yield cluster, kind of forecast, and what was found."""
    for cluster, kinds in ROWS:
        rng = random.Random(seed)
        found: dict[str, list[Compared]] = {kind: [] for kind in kinds}
        for number in range(cases):
            case = draw_case(rng, fresh=cluster == "fresh")
            place = seed * cases + number
            heard = cluster != "unheard"
            for kind, one in compare(case, kinds, runs, place, heard=heard).items():
                found[kind].append(one)
        for kind in kinds:
            yield cluster, kind, summary(found[kind])


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", metavar="FILE", type=Path)
    asked = parser.parse_args()
    print(f"{asked.cases} cases, {asked.runs} runs each, seed {asked.seed}; per cent over the best")
    print("cluster  forecast       mean      95 % of   jobs with     all jobs")
    print("                                  cases <  checkpoints    together")
    rows = []
    for cluster, kind, row in measure(asked.cases, asked.runs, asked.seed):
        rows.append({"cluster": cluster, "forecast": kind, **row})
        print(
            f"{cluster:<7}  {kind:<8} {row['mean_percent']:6.2f} +- {row['ci95_percent']:.2f}"
            f"  {row['p95_percent']:6.2f}  {row['with_checkpoints_mean_percent']:6.2f} +- "
            f"{row['with_checkpoints_ci95_percent']:.2f}  {row['all_time_percent']:8.2f}"
        )
    print(
        f"{rows[0]['with_checkpoints']} of the cases are best with checkpoints; "
        f"the best takes {rows[0]['best_over_work_percent']:.0f} % longer than the work alone"
    )
    if asked.json is not None:
        found = {"cases": asked.cases, "runs": asked.runs, "seed": asked.seed, "rows": rows}
        asked.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
