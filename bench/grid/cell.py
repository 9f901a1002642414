"""The grid: its cells, what the model says of each, and when faults strike.

1. Fault times belong to a seed. Cells of one rate have the same ones, and those of two rates
   differ by their ratio alone, so runs of one seed are pairs.
2. They count from the first start of a job's program. While no agent holds the job there is
   nothing to kill: such a fault is lost, which the model expects too (D is free of faults).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from workrs.domain.plan import Conditions

WORK_S = 300.0
COST_S = 5.0
"""What a checkpoint cost in the published experiment."""
PUBLISHED_S = {
    (0.0001, 0): 304.5,
    (0.0001, 15): 375.3,
    (0.0005, 0): 323.7,
    (0.0005, 1): 316.5,
    (0.0005, 15): 376.4,
    (0.003, 0): 486.5,
    (0.003, 5): 348.7,
    (0.003, 15): 383.6,
    (0.0131, 0): 3809.7,
    (0.0131, 11): 410.0,
    (0.0131, 15): 415.1,
}
"""By fault rate (1/s) and number of checkpoints: the published model's time for WORK_S."""


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Cell:
    """One rate of faults with one number of checkpoints."""

    rate: float
    """Faults a second, before the time is scaled."""
    checkpoints: int

    @property
    def name(self) -> str:
        """Return it as part of a job's id."""
        return f"r{self.rate:g}-n{self.checkpoints}"


CELLS = tuple(Cell(rate=rate, checkpoints=checkpoints) for rate, checkpoints in PUBLISHED_S)


def fault_times(seed: int, *, rate: float, until_s: float) -> list[float]:
    """Return the times of a Poisson process; *rate* is per second of these times."""
    rng = random.Random(f"faults {seed}")

    def arrivals() -> Iterator[float]:
        at = 0.0
        while True:
            at += rng.expovariate(1.0)
            yield at / rate

    return list(takewhile(lambda at_s: at_s <= until_s, arrivals()))


def replay_s(
    faults: list[float],
    *,
    work_s: float,
    checkpoints: int,
    conditions: Conditions,
    until_s: float,
) -> float:
    """Return how long the model's job takes with these very faults, at most *until_s*."""
    segments = checkpoints + 1
    now_s, done, restore_s = 0.0, 0, 0.0
    ahead = iter(faults)
    fault_s = next(ahead, math.inf)
    while done < segments and now_s < until_s:
        needed_s = restore_s + work_s / segments
        needed_s += conditions.cost_s if done < segments - 1 else 0.0
        if now_s + needed_s <= fault_s:
            now_s, done, restore_s = now_s + needed_s, done + 1, 0.0
            continue
        now_s, restore_s = fault_s + conditions.detect_s, conditions.restore_s
        while fault_s <= now_s:
            fault_s = next(ahead, math.inf)
    return min(now_s, until_s)
