"""When to look at what again: one entry per key, on a heap.

1. `due` returns a key no later than the earliest instant set for it since it was last due;
   it may return it earlier, never twice for one `set`. Owners look and set again.
2. Setting and dropping cost O(log n); nothing is ever searched.
"""

from heapq import heappop, heappush

from workrs.domain.ids import Instant


class Agenda:
    """Wake-ups by key."""

    def __init__(self) -> None:
        """Begin with nothing to do."""
        self._heap: list[tuple[Instant, str]] = []
        self._when: dict[str, Instant] = {}

    def set(self, key: str, when: Instant) -> None:
        """Ask for *key* at *when*, unless it comes earlier anyway."""
        known = self._when.get(key)
        if known is None or when < known:
            self._when[key] = when
            heappush(self._heap, (when, key))

    def drop(self, key: str) -> None:
        """Forget *key*."""
        self._when.pop(key, None)

    def due(self, now: Instant) -> list[str]:
        """Return and forget the keys whose instant has come, earliest first."""
        found: list[str] = []
        while self._heap and self._heap[0][0] <= now:
            when, key = heappop(self._heap)
            if self._when.get(key) == when:
                del self._when[key]
                found.append(key)
        return found

    def next(self) -> Instant | None:
        """Return the earliest instant asked for, or None."""
        while self._heap:
            when, key = self._heap[0]
            if self._when.get(key) == when:
                return when
            heappop(self._heap)
        return None
