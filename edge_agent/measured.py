"""What one job has shown on this agent: what its checkpoints and restores cost, how far it is."""

from dataclasses import dataclass

from workrs.domain.ids import Instant

WEIGHT = 0.5
"""Of the newest measurement in a moving average: a job's memory may grow."""


@dataclass(slots=True, kw_only=True)
class Measured:
    """Averages of a job's own checkpoints, and the work that is safe."""

    cost_s: float | None = None
    """How long the program stands still for a checkpoint; None: never seen."""
    restore_s: float | None = None
    """Fetching and restoring one; None: never seen."""
    safe_s: float = 0.0
    """Work that the last checkpoint holds, since the job's very beginning. Time for which the
    program stood frozen because its lease was late counts as work; it is rare and short."""
    safe_at: Instant = Instant(0.0)  # noqa: RUF009 (a NewType of an immutable float)
    """When the program went on from there."""

    def work_s(self, now: Instant) -> float:
        """Return the work that the job has done by *now*, while its program runs."""
        return self.safe_s + max(0.0, now - self.safe_at)


def averaged(known: float | None, newest: float) -> float:
    """Return the moving average after *newest*."""
    return newest if known is None else WEIGHT * newest + (1 - WEIGHT) * known
