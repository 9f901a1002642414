"""The time by the calendar, for what begins and ends by it: certificates."""

import time
from datetime import UTC, datetime


def wall_clock() -> datetime:
    """Return the present time. Nothing that nodes agree on hangs on it."""
    return datetime.fromtimestamp(time.time(), UTC)  # noqa: TID251 (as said)
