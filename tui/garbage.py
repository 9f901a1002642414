"""When Python looks for garbage in cycles: while nobody types.

A full collection walks through all that the dashboard keeps: 0.1 s with 10,000 jobs, in which no
key is answered. Records are in no cycle, and go when nothing refers to them; what the screens leave
in cycles is young, and found by the short collections.
"""

import gc
from dataclasses import dataclass
from typing import Final

from workrs.domain.ids import Instant

PERIOD_S: Final = 5.0
QUIET_S: Final = 2.0
"""Without a key, before what is new since the last time is walked through: some 20 ms."""
WHOLE_PERIOD_S: Final = 600.0
WHOLE_QUIET_S: Final = 60.0
"""Without a key, before everything is: 0.3 s with 10,000 jobs, for the sake of closed pages."""
_YOUNG, _MIDDLE, _FULL_NEVER = 1_000, 10, 1_000_000_000
"""A short collection walks through as many objects as the first says: 1 ms, where 5,000 took 5."""


@dataclass(slots=True)
class Garbage:
    """When was looked last."""

    collected_at: Instant | None = None
    """None: not everything that the nodes retain has been read."""
    whole_at: Instant | None = None

    def begin(self, now: Instant) -> None:
        """Leave alone what has been read; from now on look only when asked."""
        gc.set_threshold(_YOUNG, _MIDDLE, _FULL_NEVER)
        self._collect(now)
        self.whole_at = now

    def consider(self, now: Instant, quiet_s: float) -> None:
        """Look if it is time, and nobody typed for *quiet_s*."""
        if self.collected_at is None or self.whole_at is None:
            return
        if now - self.whole_at >= WHOLE_PERIOD_S and quiet_s >= WHOLE_QUIET_S:
            gc.unfreeze()
            self._collect(now)
            self.whole_at = now
        elif now - self.collected_at >= PERIOD_S and quiet_s >= QUIET_S:
            self._collect(now)

    def _collect(self, now: Instant) -> None:
        gc.collect()
        gc.freeze()  # what is left is not walked through again, until everything is
        self.collected_at = now
