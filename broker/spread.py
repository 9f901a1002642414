"""How many new jobs of a node may be on their way to a majority: as many as get there soon.

A job that a device submits goes to the peers' disks, and their votes come back over the same
connections as heartbeats and claims. What is let in beyond what the slowest of them keeps up with
only waits there, in front of everything else.

1. At least WINDOW_MIN and at most WINDOW_MAX.
2. A job that a majority has within SOON_S makes room for a little more, a later one for less, but
   not more than once in SOON_S: jobs that travelled together tell the same.
"""

from dataclasses import dataclass
from typing import Final

from workrs.domain.ids import Instant

SOON_S: Final = 0.1
"""A tenth of the second within which a device should hear *accepted*: in a flood that is what the
jobs of others on their way cost the next one."""
WINDOW_FIRST: Final = 50.0
WINDOW_MIN: Final = 4.0
WINDOW_MAX: Final = 200.0
_LESS: Final = 0.7


@dataclass(slots=True)
class Spread:
    """Of one node."""

    window: float = WINDOW_FIRST
    _lessened_at: float = float("-inf")

    def room(self, on_their_way: int) -> int:
        """Return how many more may be let in."""
        return max(0, int(self.window) - on_their_way)

    def arrived(self, since: Instant, now: Instant) -> None:
        """Note that a majority has a job that came at *since*."""
        if now - since <= SOON_S:
            self.window = min(WINDOW_MAX, self.window + 1 / self.window)
        elif now >= self._lessened_at + SOON_S:
            self._lessened_at = now
            self.window = max(WINDOW_MIN, self.window * _LESS)
