"""What a schedule that broke a promise once is kept as."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.left_out import LeftOut
from workrs.testing.simulator import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A schedule, and the rule without which it goes wrong."""

    first_seed: int
    """Of the schedule that showed the mistake. Another one than the schedule's: found anew."""
    breaks: str
    """The invariant that breaks without the rule."""
    leave_out: Callable[[], LeftOut]
    schedule: Schedule
