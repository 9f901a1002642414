"""The next checkpoint of a running job: after how much work, and why then.

Asked at the start of a program and after every checkpoint, so each answer uses the newest
cost, the newest fault rate, and what is left of the forecast.

1. With a forecast, what is left is cut into equally long segments, as many as is best.
2. Past its forecast, or without one, a job is treated as one without an end.
3. A forecast never makes two checkpoints lie further apart than 1.75 intervals of a job without
   an end and one cost. That is why a wrong one costs little.
4. An interval that the job's spec asks for is kept as it is.
"""

from dataclasses import dataclass
from enum import StrEnum

from workrs.domain.plan import LEAST_S, Conditions, best, endless_interval_s

PATIENCE = 0.25
"""Share of an interval by which a job may be late before it counts as longer than forecast: most
that are nearly as long as forecast need no checkpoint at their very end."""


class Why(StrEnum):
    """What an interval follows from."""

    ASKED = "asked"
    """The spec says so."""
    FORECAST = "forecast"
    LAST = "last"
    """The job should end before: this one is only for a forecast that was too short."""
    ENDLESS = "endless"
    """There is no forecast."""
    OUTLIVED = "outlived"
    """The forecast has passed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NextCheckpoint:
    """When to take the next checkpoint."""

    work_s: float
    """After this much work since the last one, or since the start. `inf`: never."""
    why: Why


def plan_next(
    conditions: Conditions,
    *,
    done_s: float = 0.0,
    forecast_s: float | None = None,
    asked_s: float | None = None,
) -> NextCheckpoint:
    """Return when to take the next checkpoint.

    Args:
        conditions: what checkpoints and faults cost this job, as far as it is known.
        done_s: work that is safe by now: at the last checkpoint, or 0 at the beginning.
        forecast_s: all of the job's work, as somebody expects it.
        asked_s: the interval that the spec asks for.
    """
    if asked_s is not None:
        return NextCheckpoint(work_s=asked_s, why=Why.ASKED)
    endless_s = endless_interval_s(conditions)
    if forecast_s is None:
        return NextCheckpoint(work_s=endless_s, why=Why.ENDLESS)
    left_s = forecast_s - done_s
    if left_s < LEAST_S:
        return NextCheckpoint(work_s=endless_s, why=Why.OUTLIVED)
    plan = best(left_s, conditions)
    if plan.segments > 1:
        return NextCheckpoint(work_s=plan.interval_s, why=Why.FORECAST)
    return NextCheckpoint(work_s=max(endless_s, left_s + PATIENCE * endless_s), why=Why.LAST)
