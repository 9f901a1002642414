"""Whether the node at the other end of a connection still lives.

1. After `keepalive_s` of silence it is asked, which is a ping of two bytes; it is lost when
   nothing came for `pong_timeout_s` since.
2. That time runs from the question, never from the last word: a device that slept, or was
   stopped, wakes into a silence that is its own, and asks first.
"""

from device_client.route import Timing

SLACK_S = 0.02
"""paho reads a clock of its own, and pings when the silence is full by that."""


class Pulse:
    """The silence of one connection. All times are of the caller's clock."""

    def __init__(self, timing: Timing, now: float) -> None:
        self._timing = timing
        self._heard_at = now
        self._asked_at: float | None = None

    def heard(self, now: float) -> None:
        """Note that something came."""
        self._heard_at = now
        self._asked_at = None

    def is_lost(self, now: float) -> bool:
        """Look at the time, after paho did; return whether a question was not answered."""
        if now < self.wake_at():
            return False
        if self._asked_at is not None:
            return True
        self._asked_at = now
        return False

    def wake_at(self) -> float:
        """Return when to look again, if nothing comes."""
        if self._asked_at is not None:
            return self._asked_at + self._timing.pong_timeout_s
        return self._heard_at + self._timing.keepalive_s + SLACK_S
