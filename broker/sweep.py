"""What a node's own broker may still keep of jobs that are retired.

Peers' copies are a number whose bits stand for a peer and a kind: of a thousand decided jobs
a set each would take more room than the jobs.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from workrs.domain.ids import Instant, JobId


def copy_bit(nodes: Sequence[str], peer: str, kind: str) -> int:
    """Return the bit of *peer*'s record (*kind* job) or spec among copies."""
    return 1 << (2 * nodes.index(peer) + (kind == "spec"))


@dataclass(slots=True)
class Sweep:
    """Retired jobs whose topics were not yet emptied on a connection that held."""

    todo: deque[JobId] = field(default_factory=deque)
    """To be emptied, or emptied again, on this connection."""
    said: deque[tuple[Instant, JobId]] = field(default_factory=deque)
    """Emptied on this connection, and when; oldest first."""
    left: dict[JobId, tuple[Instant, int]] = field(default_factory=dict)
    """Since when copies of those are left that the peers themselves have yet to empty, oldest
    first, and which; see `copy_bit`."""

    def reconnect(self) -> None:
        """Believe nothing of what was said: it may have been lost with the link."""
        self.todo.extend(job for _, job in self.said)
        self.said.clear()
        self.left.clear()

    def note_emptied(self, job: JobId, bit: int) -> None:
        """Note that a peer emptied its copy."""
        since, copies = self.left.get(job, (Instant(0.0), 0))
        if copies & ~bit:
            self.left[job] = since, copies & ~bit
        else:
            self.left.pop(job, None)

    def load(self, jobs: Iterable[JobId]) -> None:
        """Take what an earlier start was not sure of."""
        self.todo.extend(jobs)
