"""Requests of devices that wait for their turn: in order for each device, and fair between them.

1. Requests of one device are taken in the order in which they came: a cancel never overtakes
   its submit.
2. Between devices it goes round: each has a start tag for its next request, one higher than for
   the one before, and the lowest is taken first (start-time fair queueing). Ten thousand requests
   of one device hold up another one's by no more than that device's own backlog.
3. A device that was silent for a while goes before those that were not, for up to CREDIT
   requests.
4. Bounded by number and bytes. Whoever fills it asks `has_room` first.
"""

import heapq
from dataclasses import dataclass, field

from broker.event import CancelHeard, Event, Refused, SubmitHeard
from broker.limits import INTAKE_MAX, INTAKE_MAX_BYTES

CREDIT = 16
TAGS_SLACK = 1_000
"""Tags of devices that have no say any more. Beyond, and as many as count, they are dropped."""
EVENT_BYTES = 200
"""Counted for a request beside its payload."""


def sender(event: Event) -> str:
    """Return the device that a request came from; others than devices share a name."""
    return event.device if isinstance(event, SubmitHeard | CancelHeard | Refused) else ""


def size_bytes(event: Event) -> int:
    """Return what a request that waits is counted as."""
    return EVENT_BYTES + (len(event.payload) if isinstance(event, SubmitHeard) else 0)


@dataclass(slots=True)
class IntakeQueue:
    """What waits on one node."""

    waiting_bytes: int = 0
    _heap: list[tuple[int, int, Event]] = field(default_factory=list)
    """Tag, order of arrival, request."""
    _arrivals: int = 0
    _tags: dict[str, int] = field(default_factory=dict)
    """By device: of its next request. Without one: CREDIT below the present tag."""
    _now: int = 0
    """The tag of the request taken last."""

    def __len__(self) -> int:
        """Return how many wait."""
        return len(self._heap)

    @property
    def has_room(self) -> bool:
        """Return whether more may be put in; one connection's batch more does no harm."""
        return len(self._heap) < INTAKE_MAX and self.waiting_bytes < INTAKE_MAX_BYTES

    def put(self, event: Event) -> None:
        """Add a request."""
        device = sender(event)
        tag = max(self._tags.get(device, 0), self._now - CREDIT)
        self._tags[device] = tag + 1
        self._arrivals += 1
        heapq.heappush(self._heap, (tag, self._arrivals, event))
        self.waiting_bytes += size_bytes(event)
        if len(self._tags) > 2 * len(self._heap) + TAGS_SLACK:
            floor = self._now - CREDIT
            self._tags = {name: tag for name, tag in self._tags.items() if tag > floor}

    def take(self, count: int) -> list[Event]:
        """Take up to *count* requests, whose turn it is."""
        taken = []
        for _ in range(min(count, len(self._heap))):
            tag, _, event = heapq.heappop(self._heap)
            self._now = max(self._now, tag)
            self.waiting_bytes -= size_bytes(event)
            taken.append(event)
        return taken
