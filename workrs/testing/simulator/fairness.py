"""R2: a broker's trouble costs no agent its jobs.

It can only be judged where nothing but brokers breaks: an agent whose own connection broke, or
whose machine stood still, may well lose a job that it could have finished.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workrs.testing.simulator.broken import broken

if TYPE_CHECKING:
    from collections.abc import Iterable

    from workrs.domain.ids import JobId
    from workrs.domain.record import Holder
    from workrs.testing.simulator.container import Container
    from workrs.testing.simulator.world import World

_OF_BROKERS = ("broker", "device", "store", "checkpoint")
"""How the names of the faults begin that leave agents and the network alone."""


def check_takeover(
    world: World, job: JobId, former: Holder, programs: Iterable[Container], lease_until: float
) -> None:
    """Check that a job which another agent has won ran nowhere with a lease.

    Args:
        world: with its schedule's faults.
        job: what was won.
        former: who held it until now.
        programs: those of the job that are not frozen.
        lease_until: when the former lease runs out at the nodes, on the former agent's clock.
    """
    if not all(fault.name.startswith(_OF_BROKERS) for fault in world.schedule.faults):
        return
    agent = world.agents.get(former.client)
    if agent is None or not agent.runs or agent.holder != former:
        return
    left_s = lease_until - agent.host.clock.now()
    if left_s > 0 and any(program.agent == former.client for program in programs):
        broken("R2", f"{job}: taken from {agent.name}, where it runs, {left_s:.2f} s too early")
