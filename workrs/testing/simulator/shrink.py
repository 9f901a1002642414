"""From a failing schedule to a small one that breaks the same rule.

It leaves faults, jobs, agents and devices out, half of them at first and one at a time in the
end, and keeps each cut after which the same rule is still broken. Which fact breaks it may
change on the way.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from workrs.testing.simulator.run import run_schedule
from workrs.testing.simulator.schedule import JobPlan, Schedule

RUNS_MAX = 600
_PLAIN: dict[str, Any] = {
    "copies": (),
    "rivals": (),
    "cancel_at_s": None,
    "exits": (0,),
    "resumes": False,
    "is_large": False,
    "checkpoint_s": None,
    "retention_s": 86400.0,
    "strict": False,
}
"""What makes a job simpler."""


def rule_of(schedule: Schedule) -> str | None:
    """Return the rule that a schedule breaks, if any."""
    return run_schedule(schedule).rule


def shrink(
    schedule: Schedule,
    *,
    breaks: Callable[[Schedule], str | None] = rule_of,
    runs_max: int = RUNS_MAX,
) -> Schedule:
    """Return a smaller schedule that breaks the same rule, or *schedule* itself."""
    rule = breaks(schedule)
    if rule is None:
        return schedule
    left = runs_max
    smaller = True
    while smaller and left > 0:
        smaller = False
        for candidate in islice(_cuts(schedule), left):
            left -= 1
            if breaks(candidate) == rule:
                schedule, smaller = candidate, True
                break
    return schedule


def _cuts(schedule: Schedule) -> Iterator[Schedule]:
    """Yield simpler schedules, the boldest cuts first."""
    for faults in _without(schedule.faults):
        yield replace(schedule, faults=faults)
    for jobs in _without(schedule.jobs):
        yield replace(schedule, jobs=jobs)
    for agents in _without(schedule.agents):
        yield replace(schedule, agents=agents)
    used = {job.device for job in schedule.jobs}
    if any(device.name not in used for device in schedule.devices):
        kept = tuple(d for d in schedule.devices if d.name in used)
        yield replace(schedule, devices=kept)
    yield from _earlier(schedule)
    if schedule.drift:
        yield replace(schedule, drift=False)
    for number, job in enumerate(schedule.jobs):
        for simpler in _simpler(job):
            jobs = (*schedule.jobs[:number], simpler, *schedule.jobs[number + 1 :])
            yield replace(schedule, jobs=jobs)


def _earlier(schedule: Schedule) -> Iterator[Schedule]:
    """End the storm right after what is left of it."""
    times = [f.at_s for f in schedule.faults] + [j.at_s for j in schedule.jobs]
    for slack_s in (1.0, 4.0, 10.0):
        end_s = round(max(times, default=0.0) + slack_s, 1)
        if end_s < schedule.storm_s - 0.5:
            yield replace(schedule, storm_s=end_s)


def _without(items: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    size = len(items)
    while size > 1:
        size = (size + 1) // 2
        for start in range(0, len(items), size):
            if size < len(items):
                yield items[:start] + items[start + size :]


def _simpler(job: JobPlan) -> Iterator[JobPlan]:
    for name, plain in _PLAIN.items():
        if getattr(job, name) != plain:
            yield replace(job, **{name: plain})
