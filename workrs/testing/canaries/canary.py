"""What a canary is, and the search for a schedule that it does not survive."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from workrs.testing.simulator import Result, Schedule, run_schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A rule, and what happens without it."""

    rule: str
    """The name of the rule."""
    without: str
    """What is done instead."""
    breaks: tuple[str, ...]
    """Invariants of the simulator of which one must break. Any other one does not count."""
    leave_out: Callable[[], AbstractContextManager[object]]
    """Switches the rule off while it is entered."""
    plan: Callable[[int], Schedule]
    """From a seed to a schedule in which the rule matters."""
    world: Callable[[], AbstractContextManager[object]] = nullcontext
    """What of the world must be different for the rule to matter at all, with the rule or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A schedule that a canary did not survive."""

    seed: int
    schedules: int
    """How many it took, this one included."""
    violation: str


def run_without(canary: Canary, seed: int) -> Result:
    """Run the canary's schedule of *seed* without its rule."""
    with canary.world(), canary.leave_out():
        return run_schedule(canary.plan(seed))


def run_with(canary: Canary, seed: int) -> Result:
    """Run the very same schedule with all rules."""
    with canary.world():
        return run_schedule(canary.plan(seed))


def find_death(canary: Canary, seeds: Iterable[int]) -> Death | None:
    """Return the first of *seeds* whose schedule breaks what the canary must break.

    With the rule it must break nothing: of two agents under one name the older one ends for
    good, say, which a schedule that has only one of them may not do.
    """
    for count, seed in enumerate(seeds, start=1):
        result = run_without(canary, seed)
        if result.rule in canary.breaks and run_with(canary, seed).violation is None:
            return Death(seed=seed, schedules=count, violation=result.violation or "")
    return None
