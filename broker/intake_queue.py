"""Requests of devices that wait for their turn: in order for each device, and fair between them.

1. Requests of one device are taken in the order in which they came: a cancel never overtakes
   its submit.
2. The device that has the fewest waiting goes first. A device that sends now and then is not behind
   those that send all they can, however many they are; they share what it leaves.
3. Bounded by number (twice INTAKE_MAX) and bytes. Whoever fills it asks `has_room` first.

Not promised: that a device with many waiting gets on while devices with fewer take all there is.
"""

from collections import deque
from dataclasses import dataclass, field

from broker.event import CancelHeard, Event, Refused, SubmitHeard
from broker.limits import INTAKE_MAX, INTAKE_MAX_BYTES

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
    _count: int = 0
    _lines: dict[str, deque[Event]] = field(default_factory=dict)
    """By device, of those that have something waiting; the oldest first."""
    _by_length: dict[int, dict[str, None]] = field(default_factory=dict)
    """Devices by how many they have waiting. In a flood, lengths are few and devices many."""

    def __len__(self) -> int:
        """Return how many wait."""
        return self._count

    @property
    def has_room(self) -> bool:
        """Return whether more may be put in; one connection's batch more does no harm.

        The gate sees to INTAKE_MAX by refusing. It lets every device have one, so many devices pass
        it; to read no more would help them, since the next device's request would not be read.
        """
        return self._count < 2 * INTAKE_MAX and self.waiting_bytes < INTAKE_MAX_BYTES

    def waiting(self, device: str) -> int:
        """Return how many requests of a device wait."""
        return len(self._lines.get(device, ()))

    def put(self, event: Event) -> None:
        """Add a request."""
        device = sender(event)
        line = self._lines.setdefault(device, deque())
        line.append(event)
        self._move(device, len(line) - 1, len(line))
        self._count += 1
        self.waiting_bytes += size_bytes(event)

    def take(self, count: int) -> list[Event]:
        """Take up to *count* requests, whose turn it is."""
        taken = []
        for _ in range(min(count, self._count)):
            device = next(iter(self._by_length[min(self._by_length)]))
            line = self._lines[device]
            event = line.popleft()
            self._move(device, len(line) + 1, len(line))
            if not line:
                del self._lines[device]
            self._count -= 1
            self.waiting_bytes -= size_bytes(event)
            taken.append(event)
        return taken

    def forget(self, device: str) -> int:
        """Forget what waits of a device; return how much that was."""
        line = self._lines.pop(device, None)
        if line is None:
            return 0
        self._move(device, len(line), 0)
        self._count -= len(line)
        self.waiting_bytes -= sum(map(size_bytes, line))
        return len(line)

    def _move(self, device: str, before: int, after: int) -> None:
        """Note that so many of a device wait now; it comes last among those with as many."""
        if before:
            former = self._by_length[before]
            del former[device]
            if not former:
                del self._by_length[before]
        if after:
            self._by_length.setdefault(after, {})[device] = None
