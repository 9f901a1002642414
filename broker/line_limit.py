"""How many lines of one event a beat may bring into the log, when clients can cause them."""

from dataclasses import dataclass, field

from broker.limits import LINES_PER_BEAT


@dataclass(slots=True)
class LineLimit:
    """Counts lines by event from one beat to the next. Events are few and the node's own."""

    _counts: dict[str, int] = field(default_factory=dict)

    def take(self, event: str) -> bool:
        """Count one line; return whether it may be written."""
        count = self._counts.get(event, 0) + 1
        self._counts[event] = count
        return count <= LINES_PER_BEAT

    def next_beat(self) -> list[tuple[str, int]]:
        """Begin a new beat; return how many lines of which event were left out."""
        left_out = [
            (event, count - LINES_PER_BEAT)
            for event, count in self._counts.items()
            if count > LINES_PER_BEAT
        ]
        self._counts.clear()
        return left_out
