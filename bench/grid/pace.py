"""The order of the runs, and how far they are.

The cell of the most faults without checkpoints takes as long as all others together, and kills
most agents. Its runs are begun early and evenly, so that the machine is as busy in the first
minute as in the last and no run is left over at the end alone.
"""

from __future__ import annotations

import heapq
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.grid.cell import Cell, fault_times, replay_s
from bench.grid.raw import Session
from workrs.domain.plan import Conditions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bench.grid.raw import Plan, RunFacts

TELL_S = 20.0
CHECKPOINT_S, RESTORE_S, DETECT_S = 0.4, 0.8, 2.0
"""Guesses, for the order and the first estimate alone."""
AROUND_S = 1.0
"""What a run takes beside its time: sending, starting, cleaning up."""


def guess_s(cell: Cell, seed: int, plan: Plan) -> float:
    """Return about how long a run takes: what the model does with its faults."""
    rate = cell.rate * plan.scale
    conditions = Conditions(
        cost_s=CHECKPOINT_S, mtbf_s=1.0 / rate, restore_s=RESTORE_S, detect_s=DETECT_S
    )
    return AROUND_S + replay_s(
        fault_times(seed, rate=rate, until_s=plan.cut_s),
        work_s=plan.work_s,
        checkpoints=cell.checkpoints,
        conditions=conditions,
        until_s=plan.cut_s,
    )


def order(cells: Sequence[Cell], seeds: int, plan: Plan) -> list[tuple[Cell, int]]:
    """Return all runs in the order to begin them."""
    guessed = {(cell, seed): guess_s(cell, seed, plan) for seed in range(seeds) for cell in cells}
    whole_s = sum(guessed.values()) / plan.side_by_side
    begin_s = {}
    for cell in cells:
        longest_s = max(guessed[cell, seed] for seed in range(seeds))
        spread_s = max(0.0, whole_s - longest_s)
        for seed in range(seeds):
            begin_s[cell, seed] = spread_s * seed / seeds
    return sorted(begin_s, key=lambda run: (begin_s[run], run[0].checkpoints, run))


class Pace:
    """Tells how far the runs are and how long the rest takes."""

    def __init__(self, plan: Plan, queue: Sequence[tuple[Cell, int]], there: int) -> None:
        self._plan = plan
        self._left = {(cell, seed): guess_s(cell, seed, plan) for cell, seed in queue}
        self._all = len(queue) + there
        self._begun_s = self._told_s = time.monotonic()
        self._guessed_s = self._took_s = 0.0
        self._cpu_0 = _cpu_ticks()
        self._queued = len(queue)

    def ended(self, cell: Cell, seed: int, facts: RunFacts) -> None:
        """Count a run."""
        self._guessed_s += self._left.pop((cell, seed))
        self._took_s += facts.took_s + AROUND_S
        if facts.state not in {"ended", "cut"}:
            print(f"{cell.name} seed {seed}: {facts.state} {facts.reason}", file=sys.stderr)

    def tell(self, running: Mapping[tuple[Cell, int], float], kills: int) -> None:
        """Print a line if it is time for one; *running*: runs that go on, for how many seconds."""
        now_s = time.monotonic()
        if now_s < self._told_s + TELL_S:
            return
        self._told_s = now_s
        done, since_s = self._all - len(self._left), now_s - self._begun_s
        left_min = self._left_s(running) / 60
        print(
            f"{since_s / 60:5.1f} min: {done} of {self._all} runs, {len(running)} go on, "
            f"{kills} kills, CPU {self._busy():.0%}, about {left_min:.0f} min left",
            file=sys.stderr,
            flush=True,
        )

    def _left_s(self, running: Mapping[tuple[Cell, int], float]) -> float:
        """Return how long the rest takes, if all runs err like those that ended."""
        factor = self._took_s / self._guessed_s if self._guessed_s else 1.0
        ends_s = [
            max(factor * self._left[run] - been_s, TELL_S / 2) for run, been_s in running.items()
        ]
        ends_s += [0.0] * (self._plan.side_by_side - len(ends_s))
        heapq.heapify(ends_s)
        for run, guessed_s in self._left.items():
            if run not in running:
                heapq.heapreplace(ends_s, ends_s[0] + factor * guessed_s)
        return max(ends_s)

    def session(self) -> Session:
        """Return how long it took so far, and how busy the machine was."""
        took_s = time.monotonic() - self._begun_s
        runs = self._queued - len(self._left)
        return Session(took_s=round(took_s, 1), busy=round(self._busy(), 3), runs=runs)

    def _busy(self) -> float:
        busy, total = (now - then for now, then in zip(_cpu_ticks(), self._cpu_0, strict=True))
        return busy / total if total else 0.0


def _cpu_ticks() -> tuple[int, int]:
    """Return busy and all ticks of this machine's cores, whoever used them."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    ticks = [int(f) for f in fields]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)
