"""When checkpoints pay: the expected time of a job under faults, and its exact minimum.

Faults strike at a constant rate 1 / M and lose all work since the last checkpoint. They
strike work, checkpoints (which take C) and restores (R) alike; each takes D to be noticed
and the job to be claimed anew. A job of T seconds of work is cut into N segments; every one
but the last ends with a checkpoint, and all take equally long.

1. R and D multiply the expected time and do not move the optimum.
2. No other number of segments has a lower expected time than that of `best`.
3. What is beyond the largest float is `inf`: a job that will in practice never end.

Not in the model: faults that come in clusters, and a fault rate that changes with time.
"""

import math
from dataclasses import dataclass

from workrs.domain.errors import ConfigError
from workrs.domain.lambert import one_plus_w0

LEAST_S = 1e-6
MOST_S = 1e12


def _require(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # a NaN fails as well
        bounds = f"{low:g} to {high:g}"
        raise ConfigError(f"{name} is {value:g}: write seconds, {bounds}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What checkpoints and faults cost a job. All in seconds."""

    cost_s: float
    """How long the job stands still for a checkpoint."""
    mtbf_s: float
    """Mean time between faults that strike the job; `inf`: none ever do."""
    restore_s: float = 0.0
    detect_s: float = 0.0
    """From a fault to the beginning of the restore."""

    def __post_init__(self) -> None:
        """Refuse what has no plan."""
        _require("the cost of a checkpoint", self.cost_s, LEAST_S, MOST_S)
        _require("the mean time between faults", self.mtbf_s, LEAST_S, math.inf)
        _require("the time of a restore", self.restore_s, 0.0, MOST_S)
        _require("the time to detect a fault", self.detect_s, 0.0, MOST_S)

    def expected_s(self, work_s: float, segments: int = 1) -> float:
        """Return the expected time of *work_s* seconds of work in equally long segments."""
        length_s = (work_s + (segments - 1) * self.cost_s) / segments
        return segments * self._until_done_s(length_s)

    def stretch(self, interval_s: float) -> float:
        """Return the expected time per second of work when *interval_s* lies between checkpoints.

        For a job whose end is far away: its last segment does not count.
        """
        if math.isinf(interval_s):
            return 1.0 if math.isinf(self.mtbf_s) else math.inf
        return self._until_done_s(interval_s + self.cost_s) / interval_s

    def _until_done_s(self, length_s: float) -> float:
        """Return the expected time until *length_s* passed without a fault."""
        if math.isinf(self.mtbf_s):
            return length_s
        try:
            per_fault = (1.0 + self.detect_s / self.mtbf_s) * math.exp(self.restore_s / self.mtbf_s)
            return per_fault * self.mtbf_s * math.expm1(length_s / self.mtbf_s)
        except OverflowError:
            return math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Into how many segments to cut a job, and what comes of it."""

    segments: int
    """One more than checkpoints."""
    interval_s: float
    """Work between two checkpoints; with one segment, all of it."""
    expected_s: float
    restart_only_s: float
    """The expected time without any checkpoint."""


def require_work(work_s: float) -> None:
    """Raise ConfigError unless a job can have this much work."""
    _require("the work of the job", work_s, LEAST_S, MOST_S)


def best(work_s: float, conditions: Conditions) -> Plan:
    """Return the plan with the lowest expected time for *work_s* seconds of work.

    Raises:
        ConfigError: the work is not a time that a job can have.
    """
    require_work(work_s)
    wanted = (work_s - conditions.cost_s) / endless_interval_s(conditions)
    few = max(1, math.floor(wanted))
    segments = min(few, few + 1, key=lambda n: _log_expected(work_s, n, conditions))
    if segments == 1:
        return of(work_s, 1, work_s, conditions)
    return of(work_s, segments, (work_s - conditions.cost_s) / segments, conditions)


def of(work_s: float, segments: int, interval_s: float, conditions: Conditions) -> Plan:
    """Return what comes of cutting *work_s* seconds of work into *segments*."""
    return Plan(
        segments=segments,
        interval_s=interval_s,
        expected_s=conditions.expected_s(work_s, segments),
        restart_only_s=conditions.expected_s(work_s),
    )


def _log_expected(work_s: float, segments: int, conditions: Conditions) -> float:
    """Return what grows with the expected time and has no overflow."""
    length_s = (work_s + (segments - 1) * conditions.cost_s) / segments
    faults = length_s / conditions.mtbf_s
    if math.isinf(conditions.mtbf_s):
        return segments
    return math.log(segments) + (faults if faults > 50 else math.log(math.expm1(faults)))


def endless_interval_s(conditions: Conditions) -> float:
    """Return the best work between two checkpoints of a job whose end nobody knows."""
    if math.isinf(conditions.mtbf_s):
        return math.inf
    share = one_plus_w0(-math.expm1(-conditions.cost_s / conditions.mtbf_s))
    return conditions.mtbf_s * share
