"""What an agent fetches on a node's hint, before a job comes, as `edge_agent.ahead` does.

It saves a start time and nothing else: the start reads and verifies the checkpoint all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edge_agent.ahead import JOBS_MAX, KEEP_S, WAIT_S

if TYPE_CHECKING:
    from random import Random

    from edge_agent.effect import FetchAhead
    from workrs.domain.ids import Epoch, JobId
    from workrs.testing.simulator.timeline import Timeline

FETCH_S = (0.03, 0.4)
LEFT = 0.1
"""Share of a start's time that fetching ahead leaves."""


class _Fetched(NamedTuple):
    epoch: Epoch
    hinted_s: float
    here_s: float
    """When all of it is here."""


class Ahead:
    """The jobs that one incarnation expects, the one hinted longest ago first."""

    def __init__(self, timeline: Timeline) -> None:
        """Expect none."""
        self._timeline = timeline
        self.expected: dict[JobId, _Fetched] = {}

    def follow(self, hint: FetchAhead, rng: Random) -> None:
        """Begin to fetch; who was hinted longest ago gives way."""
        now = self._timeline.now
        former = self.expected.pop(hint.job, None)
        begins_s = max(now, former.here_s) if former else now
        here_s = begins_s + rng.uniform(*FETCH_S)
        self.expected[hint.job] = _Fetched(hint.checkpoint.epoch, now, here_s)
        if len(self.expected) > JOBS_MAX:
            del self.expected[next(iter(self.expected))]

    def take(self, job: JobId, epoch: Epoch, takes_s: float) -> float:
        """Return how long a start takes to fetch what it needs, *takes_s* without help."""
        found, now = self.expected.pop(job, None), self._timeline.now
        if found is None or now > found.hinted_s + KEEP_S:
            return takes_s
        waits_s = min(max(0.0, found.here_s - now), WAIT_S)
        return waits_s + takes_s * (LEFT if found.epoch == epoch else 1.0)
