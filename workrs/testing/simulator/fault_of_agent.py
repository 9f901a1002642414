"""Faults of agents and devices, and of their machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workrs.testing.simulator.fault_of_node import length_s, pause
from workrs.testing.simulator.operator import Operator

if TYPE_CHECKING:
    from random import Random

    from workrs.testing.simulator.agent import AgentProcess
    from workrs.testing.simulator.world import World


def any_agent(world: World) -> bool:
    """Return whether an agent lives."""
    return any(agent.alive for agent in world.agents.values())


def any_device(world: World) -> bool:
    """Return whether a device lives."""
    return any(device.alive for device in world.devices.values())


def _pick(world: World, rng: Random) -> AgentProcess:
    living = [agent for agent in world.agents.values() if agent.alive]
    near = [agent for agent in living if world.focus is not None and agent.name == world.focus[0]]
    if near and rng.random() < 0.8:
        return near[0]
    busy = [agent for agent in living if agent.hands.containers]
    return rng.choice(busy or living)


def agent_killed(world: World, rng: Random) -> str:
    """Kill an agent; its warden kills what runs."""
    agent = _pick(world, rng)
    agent.die()
    world.undo_after(rng.choice((0.1, length_s(world, rng))), agent.start)
    return agent.name


def agent_stopped(world: World, rng: Random) -> str:
    """Stop an agent for half a lease to four; its warden goes on."""
    agent = _pick(world, rng)
    lasts_s = world.timing.ttl_s * rng.uniform(0.1, 4.0)
    world.undo_after(lasts_s, agent.stop())
    return f"{agent.name} {lasts_s:.2f}s"


def agent_host_lost(world: World, rng: Random) -> str:
    """Cut the power of an agent's machine."""
    agent = _pick(world, rng)
    agent.die(host_too=True)
    agent.host.on = False

    def switch_on() -> None:
        agent.host.on = True
        agent.start()

    world.undo_after(length_s(world, rng), switch_on)
    return agent.name


def agent_host_paused(world: World, rng: Random) -> str:
    """Let an agent's whole machine stand still, its warden and containers too."""
    agent = _pick(world, rng)
    lasts_s = length_s(world, rng)
    pause(world, agent.host, lasts_s)
    return f"{agent.name} {lasts_s:.2f}s"


def agent_asked_to_stop(world: World, rng: Random) -> str:
    """Ask an agent to hand over and end; it is started again."""
    agent = _pick(world, rng)
    agent.ask_to_stop()
    return agent.name


def agent_drained(world: World, rng: Random) -> str:
    """Let an operator have an agent take nothing new for a while, jobs in hand or not."""
    agent, home = _pick(world, rng), rng.randrange(len(world.names))
    operator = Operator(world, agent, home)
    operator.drain()
    world.undo_after(length_s(world, rng), operator.undrain)
    return f"{agent.name} through {world.names[home]}"


def device_killed(world: World, rng: Random) -> str:
    """Kill a device; it starts again with its outbox."""
    device = rng.choice([d for d in world.devices.values() if d.alive])
    device.die()
    return device.name


def device_moved(world: World, rng: Random) -> str:
    """Let a device connect to another node."""
    device = rng.choice([d for d in world.devices.values() if d.alive])
    device.move()
    return device.name


FAULTS = (
    (any_agent, agent_killed),
    (any_agent, agent_stopped),
    (any_agent, agent_host_lost),
    (any_agent, agent_host_paused),
    (any_agent, agent_asked_to_stop),
    (any_agent, agent_drained),
    (any_device, device_killed),
    (any_device, device_moved),
)
