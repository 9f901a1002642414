"""Stops of brokers that are long enough for wills and too short for leases to end.

The simulator's own stops are of any length; few of them are in the window in which it matters
whose will is believed.
"""

from contextlib import AbstractContextManager
from functools import partial
from random import Random
from unittest.mock import patch

from workrs.testing.simulator import faults
from workrs.testing.simulator.faults import Fault
from workrs.testing.simulator.world import World


def _has_brokers(world: World) -> bool:
    return all(node.broker.runs for node in world.nodes.values())


def stop_first_broker(world: World, rng: Random) -> str:
    """Stop the first node's broker for about one and a third of a keepalive."""
    lasts_s = rng.uniform(5.8, 7.2)
    world.undo_after(lasts_s, world.nodes[world.names[0]].broker.stop())
    return f"{lasts_s:.2f}s"


def stop_broker_of_a_crowd(world: World, rng: Random) -> str:
    """Stop it for as long, with so many clients that coming back takes each some time."""
    for agent in world.agents.values():
        world.network.slow(agent.host.name, 0.7)
        world.undo_after(20.0, partial(world.network.unslow, agent.host.name, 0.7))
    return stop_first_broker(world, rng)


_EXTRA = {
    name: Fault(name, _has_brokers, inject)
    for name, inject in (
        ("broker stopped for a keepalive", stop_first_broker),
        ("broker of a crowd stopped for a keepalive", stop_broker_of_a_crowd),
    )
}


def known() -> AbstractContextManager[object]:
    """Let schedules name these stops."""
    return patch.dict(faults.FAULTS, _EXTRA)
