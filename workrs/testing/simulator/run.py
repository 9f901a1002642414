"""Runs schedules, and says what came of them."""

import traceback
from collections import Counter
from dataclasses import dataclass

from workrs.testing.simulator import liveness
from workrs.testing.simulator.broken import BrokenError
from workrs.testing.simulator.planner import plan
from workrs.testing.simulator.schedule import Schedule
from workrs.testing.simulator.trace import Trace
from workrs.testing.simulator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of one run."""

    schedule: Schedule
    violation: str | None
    """The first promise that was broken, as `RULE: fact`; X stands for a crash."""
    digest: int
    """Two runs are the same if theirs is."""
    events: int
    virtual_s: float
    counts: Counter[str]
    trace: tuple[str, ...] = ()

    @property
    def rule(self) -> str | None:
        """Return the name of the broken rule."""
        return None if self.violation is None else self.violation.partition(":")[0]

    @property
    def faults(self) -> int:
        """Return how many faults struck."""
        return sum(n for name, n in self.counts.items() if name.startswith("fault "))


def run(
    seed: int, *, nodes: int | None = None, only: tuple[str, ...] = (), keep_trace: bool = False
) -> Result:
    """Run the schedule of *seed*."""
    return run_schedule(plan(seed, nodes=nodes, only=only), keep_trace=keep_trace)


def run_schedule(schedule: Schedule, *, keep_trace: bool = False) -> Result:
    """Run a schedule: the storm, the mending, and what must come about after that."""
    trace = Trace(keep=keep_trace)
    world = World(schedule, trace)
    violation = None
    try:
        world.start()
        world.timeline.run_until(schedule.storm_s)
        world.mend()
        liveness.heal(world)
    except BrokenError as error:
        violation = str(error)
    except Exception as error:  # noqa: BLE001 (a crash of a brain is what is looked for)
        violation = f"X: {_last_line(error)}"
    if violation is not None:
        world.note("BROKEN", "", violation)
    world.counts["takeovers"] = world.oracle.votes.takeovers
    world.counts["repeated"] = world.repetition.count
    world.counts["messages"] = world.messages
    return Result(
        schedule=schedule,
        violation=violation,
        digest=trace.digest,
        events=world.timeline.steps_done,
        virtual_s=world.timeline.now,
        counts=world.counts,
        trace=tuple(trace.lines),
    )


def _last_line(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = frames[-1]
    place = f"{where.name}, {where.filename.rpartition('/')[2]}:{where.lineno}"
    return f"{type(error).__name__} in {place}: {error}"
