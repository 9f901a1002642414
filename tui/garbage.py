"""When Python looks for garbage in cycles: while nobody types.

A full collection walks through all that the dashboard keeps: 0.1 s with 10,000 jobs, in which no
key is answered. Records are in no cycle, and go when nothing refers to them; what the screens leave
in cycles is young, and found by the short collections.
"""

import gc
from dataclasses import dataclass
from typing import Final

from workrs.domain.ids import Instant

PERIOD_S: Final = 60.0
QUIET_S: Final = 5.0
"""Without a key, before a full collection."""
_YOUNG, _MIDDLE, _FULL_NEVER = 5_000, 10, 1_000_000_000


@dataclass(slots=True)
class Garbage:
    """When the last full collection was."""

    collected_at: Instant | None = None
    """None: not everything that the nodes retain has been read."""

    def begin(self, now: Instant) -> None:
        """Leave alone what has been read; from now on look only when asked."""
        gc.collect()
        gc.freeze()
        gc.set_threshold(_YOUNG, _MIDDLE, _FULL_NEVER)
        self.collected_at = now

    def consider(self, now: Instant, quiet_s: float) -> None:
        """Make a full collection if it is time and nobody typed for *quiet_s*."""
        is_due = self.collected_at is not None and now - self.collected_at >= PERIOD_S
        if is_due and quiet_s >= QUIET_S:
            gc.collect()
            self.collected_at = now
