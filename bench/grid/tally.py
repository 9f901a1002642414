"""What the runs say: means with confidence intervals beside the model, a row a cell.

The model is asked twice, with the checkpoint's cost, restore and detection measured in these very
runs: for its expectation, and for its time under the very faults of these seeds, which takes
the luck of the draw out of the comparison. Where runs were cut off, mean times are of
min(time, cut-off), and so is all that the model says beside them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import chain
from statistics import fmean, median
from typing import TYPE_CHECKING

from bench.grid.cell import CELLS, Cell, fault_times, replay_s
from workrs.domain.plan import LEAST_S, Conditions

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bench.grid.raw import Done, Plan, Recovery

CONFIDENCE = 0.95
RESAMPLES = 5_000
DRAWS = 20_000
"""Runs of the model where its mean is cut off and so has no formula."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean and its percentile-bootstrap interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the runs cost: means, in seconds of the bench."""

    checkpoint_s: float
    """As the programs saw it."""
    frozen_s: float
    """As the agents saw it."""
    upload_s: float
    """From the thaw until all copies are stored: a kill in that time costs a segment more."""
    restore_s: float
    start_s: float
    """The same as restore_s where there was no checkpoint yet."""
    detect_s: float
    detect_median_s: float
    detect_max_s: float
    end_s: float
    checkpoints: int
    """How many the first of these is a mean of."""
    kills: int
    hit_checkpoints: int
    hit_restores: int
    idle_faults: int

    def conditions(self, cell: Cell, scale: float) -> Conditions:
        """Return what the model is given for a cell."""
        return Conditions(
            cost_s=self.checkpoint_s or LEAST_S,
            mtbf_s=1.0 / (cell.rate * scale),
            restore_s=self.restore_s if cell.checkpoints else self.start_s,
            detect_s=self.detect_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A cell's results, in seconds of the bench."""

    cell: Cell
    runs: int
    cut: int
    time_s: Interval
    model_s: float
    replay_s: float
    saved_s: Interval | None
    """What the seeds took more without any checkpoint; None for that cell itself."""
    saved_at_least: bool
    """Some of the runs without checkpoints were cut off: they would have taken longer."""
    kills: float
    """A run."""
    kept: float
    """Checkpoints a run."""


def bootstrap(values: Sequence[float]) -> Interval:
    """Return the mean of *values* and how sure it is."""
    rng = random.Random("bootstrap")
    means = sorted(fmean(rng.choices(values, k=len(values))) for _ in range(RESAMPLES))
    tail = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return Interval(mean=fmean(values), low=means[tail], high=means[-1 - tail])


def measure(found: Sequence[Done]) -> Measured:
    """Return what checkpoints, restores and detection cost in these runs."""
    facts = [d.facts for d in found]
    recoveries: list[Recovery] = list(chain.from_iterable(f.recoveries for f in facts))
    stood = list(chain.from_iterable(f.stood_s for f in facts))
    detect = [r.detect_s for r in recoveries]
    return Measured(
        checkpoint_s=_mean(stood),
        frozen_s=_mean(chain.from_iterable(f.frozen_s for f in facts)),
        upload_s=_mean(chain.from_iterable(f.upload_s for f in facts)),
        restore_s=_mean(r.restore_s for r in recoveries if r.restored is True),
        start_s=_mean(r.restore_s for r in recoveries if r.restored is False),
        detect_s=_mean(detect),
        detect_median_s=median(detect) if detect else 0.0,
        detect_max_s=max(detect, default=0.0),
        end_s=_mean(f.end_s for f in facts if f.state == "ended"),
        checkpoints=len(stood),
        kills=sum(f.kills for f in facts),
        hit_checkpoints=sum(f.hit_checkpoints for f in facts),
        hit_restores=sum(f.hit_restores for f in facts),
        idle_faults=sum(f.idle_faults for f in facts),
    )


def rows(found: Sequence[Done], plan: Plan, measured: Measured) -> list[Row]:
    """Return a row for each cell that has runs."""
    by_cell: dict[Cell, dict[int, Done]] = {cell: {} for cell in CELLS}
    for done in found:
        if done.facts.state in {"ended", "cut"}:
            by_cell[done.cell][done.seed] = done
    return [
        _row(cell, runs, by_cell[Cell(rate=cell.rate, checkpoints=0)], plan, measured)
        for cell, runs in by_cell.items()
        if runs
    ]


def _row(
    cell: Cell, runs: dict[int, Done], without: dict[int, Done], plan: Plan, measured: Measured
) -> Row:
    took_s = {seed: done.facts.took_s for seed, done in runs.items()}
    pairs = [without[s].facts.took_s - t for s, t in took_s.items() if s in without]
    rate, conditions = cell.rate * plan.scale, measured.conditions(cell, plan.scale)
    cut = sum(done.facts.state == "cut" for done in runs.values())

    def play(seed: int) -> float:
        return replay_s(
            fault_times(seed, rate=rate, until_s=plan.cut_s),
            work_s=plan.work_s,
            checkpoints=cell.checkpoints,
            conditions=conditions,
            until_s=plan.cut_s,
        )

    if cut:
        model_s = fmean(play(-1 - number) for number in range(DRAWS))
    else:
        model_s = conditions.expected_s(plan.work_s, cell.checkpoints + 1)
    return Row(
        cell=cell,
        runs=len(runs),
        cut=cut,
        time_s=bootstrap(list(took_s.values())),
        model_s=model_s,
        replay_s=fmean(play(seed) for seed in runs),
        saved_s=bootstrap(pairs) if cell.checkpoints and pairs else None,
        saved_at_least=any(done.facts.state == "cut" for done in without.values()),
        kills=fmean(done.facts.kills for done in runs.values()),
        kept=fmean(done.facts.kept for done in runs.values()),
    )


def _mean(values: Iterable[float | None]) -> float:
    there = [v for v in values if v is not None]
    return fmean(there) if there else 0.0
