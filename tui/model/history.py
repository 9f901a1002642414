"""The last minutes in numbers, a sample a second: what the graphs show."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from workrs.domain.ids import Instant

SAMPLES_MAX: Final = 600
"""Seconds that are kept."""
METRICS: Final = ("throughput", "running", "queued", "takeovers")


@dataclass(slots=True)
class History:
    """Samples of each metric, the newest last."""

    ended: int = 0
    """Jobs that ended since the last sample."""
    takeovers: int = 0
    """Takeovers since the last sample."""
    next_at: Instant | None = None
    samples: dict[str, deque[float]] = field(
        default_factory=lambda: {name: deque(maxlen=SAMPLES_MAX) for name in METRICS}
    )

    def sample(self, now: Instant, *, running: int, queued: int) -> bool:
        """Take a sample if a second has passed since the last; return whether it did."""
        if self.next_at is not None and now < self.next_at:
            return False
        # A reader that stood still does not make up for the seconds it missed.
        behind = self.next_at is None or now >= self.next_at + 1.0
        self.next_at = Instant((now if behind or self.next_at is None else self.next_at) + 1.0)
        values = (self.ended, running, queued, self.takeovers)
        for name, value in zip(METRICS, values, strict=True):
            self.samples[name].append(value)
        self.ended = self.takeovers = 0
        return True

    def last(self, name: str, seconds: int) -> list[float]:
        """Return the samples of the last *seconds*, fewer when it began later."""
        found = self.samples[name]
        return list(found)[-seconds:] if seconds > 0 else []

    def rate(self, name: str, seconds: int = 10) -> float:
        """Return the mean of the last *seconds*."""
        found = self.last(name, seconds)
        return sum(found) / len(found) if found else 0.0
