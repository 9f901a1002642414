"""How long ago something was, as far as a reader can know that came later."""

from typing import Final, NamedTuple

from workrs.domain.ids import Instant

FRESH_S: Final = 60.0
"""So long what went wrong stands first: not so short that nobody sees it, nor for ever."""


class Since(NamedTuple):
    """When something began, on the reader's clock."""

    at: Instant
    before: bool = False
    """It was so already when the reader came: it began at this instant or earlier."""

    def age_s(self, now: Instant) -> float:
        """Return how long ago that was, at least."""
        return max(0.0, now - self.at)

    def is_fresh(self, now: Instant) -> bool:
        """Return whether it was seen to begin, and a moment ago."""
        return not self.before and self.age_s(now) < FRESH_S

    def text(self, now: Instant) -> str:
        """Return the age in a few characters: `42s`, or `>3m` where it may be more."""
        return f"{'>' if self.before else ''}{duration(self.age_s(now))}"


def duration(seconds: float) -> str:
    """Return a duration in three characters or little more: 0s, 42s, 3m, 2h, 5d."""
    whole = int(seconds)
    for unit, length in (("s", 60), ("m", 60), ("h", 24)):
        if whole < length:
            return f"{whole}{unit}"
        whole //= length
    return f"{whole}d"
