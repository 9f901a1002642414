"""Faults of the network and of connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workrs.domain.ids import ClientId
from workrs.testing.simulator.fault_of_node import length_s

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from workrs.testing.simulator.world import World


def always(world: World) -> bool:
    """Return that there is a network."""
    return bool(world.names)


def has_peers(world: World) -> bool:
    """Return whether there is more than one node."""
    return len(world.names) > 1


def _cut(world: World, pairs: Iterable[tuple[str, str]], lasts_s: float) -> None:
    cuts = list(pairs)
    for sender, receiver in cuts:
        world.network.cut(sender, receiver, 1)

    def heal() -> None:
        for sender, receiver in cuts:
            world.network.cut(sender, receiver, -1)

    world.undo_after(lasts_s, heal)


def _split(world: World, inside: set[str], lasts_s: float) -> None:
    """Cut some machines off from all others."""
    everyone = [*world.nodes, *world.agents, *world.devices]
    pairs = [(a, b) for a in everyone for b in everyone if (a in inside) != (b in inside)]
    _cut(world, pairs, lasts_s)


def minority_cut_off(world: World, rng: Random) -> str:
    """Cut less than half of the nodes off, some clients with them."""
    number = rng.randint(1, (len(world.names) - 1) // 2)
    return _cut_off(world, rng, rng.sample(world.names, number))


def majority_cut_off(world: World, rng: Random) -> str:
    """Part the nodes so that no side, or only the smaller number of clients, has a majority."""
    number = rng.randint(len(world.names) // 2 + 1, len(world.names))
    return _cut_off(world, rng, rng.sample(world.names, number))


def _cut_off(world: World, rng: Random, nodes: list[ClientId]) -> str:
    if world.focus is not None and world.focus[1] not in nodes and rng.random() < 0.6:
        nodes[0] = ClientId(world.focus[1])
    clients = [c for c in (*world.agents, *world.devices) if rng.random() < 0.35]
    lasts_s = length_s(world, rng)
    _split(world, {*nodes, *clients}, lasts_s)
    return f"{' '.join(sorted([*nodes, *clients]))} {lasts_s:.2f}s"


def one_way_cut(world: World, rng: Random) -> str:
    """Cut one direction between two machines."""
    node = rng.choice(world.names)
    others = [m for m in (*world.nodes, *world.agents, *world.devices) if m != node]
    pair = [node, rng.choice(others)]
    rng.shuffle(pair)
    lasts_s = length_s(world, rng)
    _cut(world, [(pair[0], pair[1])], lasts_s)
    return f"{pair[0]} to {pair[1]} {lasts_s:.2f}s"


def link_cut(world: World, rng: Random) -> str:
    """Cut both directions between a node and another machine."""
    node = rng.choice(world.names)
    other = rng.choice([m for m in (*world.nodes, *world.agents, *world.devices) if m != node])
    lasts_s = length_s(world, rng)
    _cut(world, [(node, other), (other, node)], lasts_s)
    return f"{node} {other} {lasts_s:.2f}s"


def agent_cut_off(world: World, rng: Random) -> str:
    """Cut an agent off from all nodes, or from some."""
    agent = world.focus[0] if world.focus is not None else rng.choice(list(world.agents))
    nodes = rng.sample(world.names, rng.randint(1, len(world.names)))
    lasts_s = length_s(world, rng)
    _cut(world, [p for n in nodes for p in ((n, agent), (agent, n))], lasts_s)
    return f"{agent} from {' '.join(sorted(nodes))} {lasts_s:.2f}s"


def slow_network(world: World, rng: Random) -> str:
    """Let a machine's packets be late, as loss or jitter makes them."""
    host = rng.choice([*world.nodes, *world.agents, *world.devices])
    jitter_s = rng.choice((0.05, 0.2, 0.5, 1.5))
    world.network.slow(host, jitter_s)
    world.undo_after(length_s(world, rng), lambda: world.network.unslow(host, jitter_s))
    return f"{host} {jitter_s}s"


def connection_broken(world: World, rng: Random) -> str:
    """Reset connections: both ends learn it, and what was under way is lost."""
    connections = world.connections()
    if not connections:
        return "none"
    broken = rng.sample(connections, min(len(connections), rng.choice((1, 1, 2, 5))))
    for connection in broken:
        connection.reset()
    return " ".join(f"{c.client}-{c.broker.name}" for c in broken)


FAULTS = (
    (has_peers, minority_cut_off),
    (has_peers, majority_cut_off),
    (always, one_way_cut),
    (always, link_cut),
    (always, agent_cut_off),
    (always, slow_network),
    (always, connection_broken),
)
