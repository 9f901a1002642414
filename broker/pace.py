"""How many offers a node has out at a time: as many as are answered soon.

A thousand idle agents that are all offered a job of a long queue claim at once. Each claim
then waits for all the others, is repeated after 0.1 s, and the repetitions wait, too. Measured
with 1,000 agents and 1,000 jobs at three nodes on two cores: without a bound 155 jobs/s, with
claims that took 0.87 s (median) and were sent 3.6 times; with at most 8 offers 197 jobs/s, 0.08 s
and 1.1 times.

1. At least OFFERS_MIN and at most OFFERS_MAX stand at a time. An offer stands until it is
   taken or has lapsed.
2. An answer within SOON_S makes room for a little more, a later one for less. An offer that
   lapsed says nothing of the pace: its agent is dead or full.
"""

from dataclasses import dataclass, field
from typing import Final

from workrs.domain.ids import Instant, JobId

SOON_S: Final = 0.04
"""Well below the 0.1 s after which an agent repeats its claim."""
OFFERS_FIRST: Final = 8.0
OFFERS_MIN: Final = 2.0
"""An agent 0.2 s away still brings ten jobs a second through each node."""
OFFERS_MAX: Final = 32.0
_LESS: Final = 0.8


@dataclass(slots=True)
class Pace:
    """The offers of one node."""

    window: float = OFFERS_FIRST
    standing: dict[JobId, Instant] = field(default_factory=dict)
    """When each was made."""

    @property
    def has_room(self) -> bool:
        """Return whether one more may be made."""
        return len(self.standing) < int(self.window)

    def offered(self, job: JobId, now: Instant) -> None:
        """Note an offer."""
        self.standing[job] = now

    def ended(self, job: JobId, now: Instant, *, taken: bool) -> None:
        """Note that an offer stands no more."""
        made = self.standing.pop(job, now)
        if not taken:
            return
        if now - made <= SOON_S:
            self.window = min(OFFERS_MAX, self.window + 1 / self.window)
        else:
            self.window = max(OFFERS_MIN, self.window * _LESS)
