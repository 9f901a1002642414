"""Faults of nodes: brokers, daemons, disks, stores, whole machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workrs.testing.simulator.node import Doom

if TYPE_CHECKING:
    from random import Random

    from workrs.testing.simulator.host import Host
    from workrs.testing.simulator.node import SimNode
    from workrs.testing.simulator.world import World


def length_s(world: World, rng: Random) -> float:
    """Return how long a fault lasts: mostly short, up to four leases."""
    return float(world.timing.ttl_s * 4.0 * rng.random() ** 2 + 0.05)


def any_node(world: World) -> bool:
    """Return whether a node lives."""
    return any(node.daemon.alive for node in world.nodes.values())


def any_broker(world: World) -> bool:
    """Return whether a broker lives."""
    return any(node.broker.alive for node in world.nodes.values())


def _pick(world: World, rng: Random, *, broker: bool = False) -> SimNode:
    living = [n for n in world.nodes.values() if (n.broker.alive if broker else n.daemon.alive)]
    near = [n for n in living if world.focus is not None and n.name == world.focus[1]]
    return near[0] if near and rng.random() < 0.6 else rng.choice(living)


def broker_killed(world: World, rng: Random) -> str:
    """Kill a broker; it is back empty after a while."""
    node = _pick(world, rng, broker=True)
    _kill_broker(world, node, length_s(world, rng) * rng.choice((0.0, 1.0)))
    return node.name


def _kill_broker(world: World, node: SimNode, away_s: float) -> None:
    node.broker_held += 1
    node.kill_broker()

    def allow() -> None:
        node.broker_held -= 1
        node.restart_broker()

    world.undo_after(away_s + 0.1, allow)


def brokers_killed(world: World, rng: Random) -> str:
    """Kill all brokers together."""
    for node in world.nodes.values():
        _kill_broker(world, node, rng.uniform(0.0, 1.5))
    return "all"


def broker_stopped(world: World, rng: Random) -> str:
    """Stop a broker; when it goes on it believes that its clients are dead."""
    node = _pick(world, rng, broker=True)
    lasts_s = rng.choice((length_s(world, rng), rng.uniform(5.0, 12.0)))
    world.undo_after(lasts_s, node.broker.stop())
    return f"{node.name} {lasts_s:.2f}s"


def brokers_stopped(world: World, rng: Random) -> str:
    """Stop all brokers together."""
    lasts_s = rng.uniform(4.0, 12.0)
    for node in world.nodes.values():
        if node.broker.alive:
            world.undo_after(lasts_s + rng.uniform(0.0, 0.5), node.broker.stop())
    return f"all {lasts_s:.2f}s"


def node_killed(world: World, rng: Random) -> str:
    """Kill a daemon, and with it its broker; its disk is kept."""
    node = _pick(world, rng)
    when = rng.choice(("now", "now", "before commit", "after commit"))
    away_s = length_s(world, rng)
    if when == "now":
        node.kill()
        world.undo_after(away_s, node.start)
    else:
        node.daemon.doom = Doom(when, away_s)
    return f"{node.name} {when}"


def everything_killed(world: World, rng: Random) -> str:
    """Kill all nodes and all agents together."""
    for node in world.nodes.values():
        node.kill()
        world.undo_after(rng.uniform(0.1, 2.0), node.start)
    for agent in world.agents.values():
        agent.die()
        world.undo_after(rng.uniform(0.1, 2.0), agent.start)
    return "all"


def daemon_stopped(world: World, rng: Random) -> str:
    """Stop a daemon; its broker goes on."""
    node = _pick(world, rng)
    lasts_s = length_s(world, rng)
    world.undo_after(lasts_s, node.daemon.stop())
    return f"{node.name} {lasts_s:.2f}s"


def disk_full(world: World, rng: Random) -> str:
    """Let a node's disk refuse every write for a while."""
    node = _pick(world, rng)
    node.disk.broken = "no space left"

    def clear() -> None:
        node.disk.broken = ""

    lasts_s = length_s(world, rng)
    world.undo_after(lasts_s, clear)
    return f"{node.name} {lasts_s:.2f}s"


def node_lost(world: World, rng: Random) -> str:
    """Cut a node's power: nobody hears a word. Its disk is kept."""
    node = _pick(world, rng)
    node.host.on = False
    node.daemon.alive = node.broker.alive = False
    node.daemon.life += 1
    node.daemon.connection = None
    world.vanish(node.host)

    def switch_on() -> None:
        node.host.on = True
        world.reset_stale(node.host)
        node.start()

    world.undo_after(length_s(world, rng), switch_on)
    return node.name


def node_paused(world: World, rng: Random) -> str:
    """Let a node's whole machine stand still, as a virtual machine does that moves."""
    node = _pick(world, rng)
    lasts_s = length_s(world, rng)
    pause(world, node.host, lasts_s)
    return f"{node.name} {lasts_s:.2f}s"


def pause(world: World, host: Host, lasts_s: float) -> None:
    """Let a machine stand still for a while."""
    world.settle_containers(host)
    host.paused += 1
    world.settle_containers(host)

    def go_on() -> None:
        host.paused -= 1
        host.paused_until_s = world.timeline.now
        world.resume(host)

    world.undo_after(lasts_s, go_on)


def store_down(world: World, rng: Random) -> str:
    """Let a node's blob store be silent."""
    node = _pick(world, rng)
    node.store.down += 1

    def answer() -> None:
        node.store.down -= 1

    world.undo_after(length_s(world, rng), answer)
    return node.name


def may_lose_disk(world: World) -> bool:
    """Return whether one more disk may go without a majority of votes going with it.

    Every node must be back from an earlier loss, and no open job be left on which one abstains.
    """
    nodes = world.nodes.values()
    if len(world.names) == 1 or not any_node(world):
        return False
    if not world.counts["fault disk lost"]:
        return True
    generations = {node.disk.standing.generation for node in nodes}
    return len(generations) == 1 and all(
        node.daemon.alive
        and node.daemon.node.admission.votes
        and not any(entry.is_open for entry in node.daemon.node.entries.values())
        for node in nodes
    )


def disk_lost(world: World, rng: Random) -> str:
    """Lose a node's disk; it is started anew to be re-admitted by the others."""
    node = _pick(world, rng)
    node.kill()
    world.oracle.lose_disk(node.name)
    node.replace_disk()
    world.undo_after(length_s(world, rng), node.start)
    return node.name


def has_blobs(world: World) -> bool:
    """Return whether a checkpoint is stored anywhere."""
    return any(node.store.blobs for node in world.nodes.values())


def checkpoint_damaged(world: World, rng: Random) -> str:
    """Truncate, flip or swap a stored checkpoint, at one node or at all."""
    node = rng.choice([n for n in world.nodes.values() if n.store.blobs])
    key = rng.choice(list(node.store.blobs))
    how = rng.choice(("truncated", "flipped", "swapped"))
    everywhere = rng.random() < 0.6
    for each in world.nodes.values():
        if key in each.store.blobs and (everywhere or each is node):
            each.store.damage(key, how)
    world.oracle.restarts.damaged.add(key)
    return f"{key[0]} {how}{' everywhere' if everywhere else ''}"


FAULTS = (
    (any_broker, broker_killed),
    (any_broker, brokers_killed),
    (any_broker, broker_stopped),
    (any_broker, brokers_stopped),
    (any_node, node_killed),
    (any_node, everything_killed),
    (any_node, daemon_stopped),
    (any_node, disk_full),
    (any_node, node_lost),
    (any_node, node_paused),
    (may_lose_disk, disk_lost),
    (any_node, store_down),
    (has_blobs, checkpoint_damaged),
)
