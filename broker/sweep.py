"""What a node's own broker may still keep of jobs that are retired."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from workrs.domain.ids import Instant, JobId


@dataclass(slots=True)
class Sweep:
    """Retired jobs whose topics were not yet emptied on a connection that held."""

    todo: deque[JobId] = field(default_factory=deque)
    """To be emptied, or emptied again, on this connection."""
    said: deque[tuple[Instant, JobId]] = field(default_factory=deque)
    """Emptied on this connection, and when; oldest first."""

    def reconnect(self) -> None:
        """Believe nothing of what was said: it may have been lost with the link."""
        self.todo.extend(job for _, job in self.said)
        self.said.clear()

    def load(self, jobs: Iterable[JobId]) -> None:
        """Take what an earlier start was not sure of."""
        self.todo.extend(jobs)
