"""Whether a node hears a majority of nodes, and which devices have yet to be told.

A node without a majority keeps what it is given, and can promise nothing. Devices that wait
there should know, since another node may serve them at once.
"""

from collections import deque
from dataclasses import dataclass, field

from workrs.domain.ids import ClientId, Instant, JobId


@dataclass(slots=True)
class Minority:
    """What the last look at the peers has shown."""

    quorum: bool = True
    """Whether it hears a majority. Peers count as heard until they had time to show up."""
    peers: tuple[ClientId, ...] = ()
    """The other nodes that give signs of life."""
    arriving: deque[tuple[Instant, JobId]] = field(default_factory=deque)
    """Jobs that were submitted here a moment ago; oldest first, those of two beats at most."""
    todo: deque[JobId] = field(default_factory=deque)
    """Jobs whose devices are to be told of a change, one job a device."""
    noted: dict[JobId, None] = field(default_factory=dict)
    """Open jobs of which was said that their node hears no majority."""

    @property
    def heard(self) -> int:
        """Return how many nodes give signs of life, itself included."""
        return 1 + len(self.peers)
