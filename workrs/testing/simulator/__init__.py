"""A whole cluster in virtual time: the real brains, and a model of everything around them.

One seed is one schedule of jobs and faults. It replays identically, and after every event the
promises are checked that must always hold.
"""

from workrs.testing.simulator.planner import plan
from workrs.testing.simulator.run import Result, run, run_schedule
from workrs.testing.simulator.schedule import Schedule
from workrs.testing.simulator.world import World

__all__ = ["Result", "Schedule", "World", "plan", "run", "run_schedule"]
