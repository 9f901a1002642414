"""The grid: its cells, what the model says of each, and when faults strike.

1. Fault times belong to a seed. Cells of one rate have the same ones, and those of two rates
   differ by their ratio alone, so runs of one seed are pairs.
2. They count from the first start of a job's program. While no agent holds the job there is
   nothing to kill: such a fault is lost, which the model expects too (D is free of faults).
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What the model is given, in the same unit of time as the work. Means."""

    checkpoint_s: float
    restore_s: float
    """From the won claim to the running program, from a checkpoint or from the start."""
    detect_s: float
    """From the kill to the won claim of another agent."""


def fault_times(seed: int, *, rate: float, until_s: float) -> list[float]:
    """Return the times of a Poisson process; *rate* is per second of these times."""
    rng = random.Random(f"faults {seed}")

    def arrivals() -> Iterator[float]:
        at = 0.0
        while True:
            at += rng.expovariate(1.0)
            yield at / rate

    return list(takewhile(lambda at_s: at_s <= until_s, arrivals()))


def expected_s(*, work_s: float, rate: float, checkpoints: int, costs: Costs) -> float:
    """Return the exact mean time: faults strike work, checkpoints and restores."""
    segments = checkpoints + 1
    segment_s = (work_s + checkpoints * costs.checkpoint_s) / segments
    again = (1.0 / rate + costs.detect_s) * math.exp(rate * costs.restore_s)
    return again * segments * math.expm1(rate * segment_s)


def replay_s(
    faults: list[float], *, work_s: float, checkpoints: int, costs: Costs, until_s: float
) -> float:
    """Return how long the model's job takes with these very faults, at most *until_s*."""
    segments = checkpoints + 1
    now_s, done, restore_s = 0.0, 0, 0.0
    ahead = iter(faults)
    fault_s = next(ahead, math.inf)
    while done < segments and now_s < until_s:
        needed_s = restore_s + work_s / segments
        needed_s += costs.checkpoint_s if done < segments - 1 else 0.0
        if now_s + needed_s <= fault_s:
            now_s, done, restore_s = now_s + needed_s, done + 1, 0.0
            continue
        now_s, restore_s = fault_s + costs.detect_s, costs.restore_s
        while fault_s <= now_s:
            fault_s = next(ahead, math.inf)
    return min(now_s, until_s)
