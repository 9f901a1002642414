"""S10 at rest: what nodes, agents and brokers keep is what the jobs and agents there are need.

A node: an entry for each job on the bus and no other; of its agents nothing on offer and nothing
held; no offer out, no job expected anywhere, queued, unsure or to be emptied, no message held
back; timers at most one a job, and as many replaced ones as the heap allows. An agent: no job,
offer or wake-up but its own. A broker: retained topics of nodes that exist, about jobs that are on
the bus and agents that exist; no session but those of clients and bridges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.node import STALE_TIMERS_MAX
from edge_agent.ahead import JOBS_MAX

if TYPE_CHECKING:
    from workrs.testing.simulator.agent import AgentProcess
    from workrs.testing.simulator.node import Daemon, SimNode
    from workrs.testing.simulator.world import World


def find_excess(world: World) -> tuple[str, str] | None:
    """Return the first table that is larger than it has to be, as rule S10 and a fact."""
    for node in world.nodes.values():
        for owner, tables in ((node.name, _of_node(node.daemon)), ("broker", _of_broker(node))):
            for name, (size, most) in tables.items():
                if size > most:
                    return "S10", f"{name} at {owner} of {node.name}: {size}, at most {most}"
    for agent in world.agents.values():
        for name, (size, most) in _of_agent(agent).items():
            if size > most:
                return "S10", f"{name} at {agent.name}: {size}, at most {most}"
    return None


def _of_node(daemon: Daemon) -> dict[str, tuple[int, int]]:
    """Return size and bound by table."""
    node, disk, world = daemon.node, daemon.home.disk, daemon.world
    jobs = len(disk.jobs)
    agents = node.agents.entries.values()
    return {
        "entries": (len(node.entries), jobs),
        "decided": (len(node.decided), jobs),
        "timers": (len(node._timers), 2 * jobs + STALE_TIMERS_MAX),  # noqa: SLF001 (looked at only)
        "due jobs": (len(node._due), jobs),  # noqa: SLF001
        "agents": (len(agents), len({agent.name for agent in world.agents.values()})),
        "leases": (sum(len(entry.holding) for entry in agents), 0),
        "offers": (sum(len(entry.offered) for entry in agents) + len(node.pace.standing), 0),
        "queue": (sum(1 for e in node.entries.values() if e.queued and e.is_open), 0),
        "unsure": (len(node.unsure), 0),
        "expected": (len(node.expected), 0),
        # A node on its way back rests for a ttl, and keeps what it hears as it should.
        "held back": (len(node.admission.held_back) * node.admission.votes, 0),
        "to be emptied": (len(node.sweep.todo), 0),
        "emptied": (len(node.sweep.said), len(disk.retired)),
        "copies left": (len(node.sweep.left), len(disk.retired)),
        "devices": (len(node.local_devices), len(world.devices)),
        "noted minorities": (len(node.minority.todo) + len(node.minority.arriving), 0),
    }


def _of_broker(node: SimNode) -> dict[str, tuple[int, int]]:
    world = node.world
    # What a peer emptied while the bridge was down goes when this node retires the job, too.
    kept = len({job for other in world.nodes.values() for job in other.disk.jobs})
    own = len(node.disk.jobs)
    names = len({agent.name for agent in world.agents.values()})
    size = len(world.names)
    shown = sum(1 for topic in node.broker.retained if "/node/" in topic)
    clients = names + len(world.devices) + size
    return {
        # A record and a spec of each job of each node, views of agents, states and terms.
        "topics of nodes": (shown, size * (2 * kept + names + 2)),
        "topics of devices": (len(node.broker.retained) - shown, 3 * own),
        "sessions": (len(node.broker.sessions), clients),
    }


def _of_agent(agent: AgentProcess) -> dict[str, tuple[int, int]]:
    brain = agent.brain
    return {
        "jobs": (len(brain.roster.works), 0),
        "wake-ups": (len(brain.agenda._when), 1),  # noqa: SLF001 (looked at only)
        "containers": (len(agent.warden.watched), 0),
        "fetched ahead": (len(agent.hands.ahead.expected), JOBS_MAX),
    }
