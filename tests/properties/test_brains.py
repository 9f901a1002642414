"""Goal: a cluster of whole brains keeps its promises under faults and finishes when they stop.

Method: random schedules over `brain_world`; what holds at every moment is checked after every
batch there, what must follow in the end here.
"""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from broker.event import Ticked
from broker.node import PEER_SILENT_S
from tests.properties.brain_world import LONG_S, BrainWorld
from tests.unit.broker.cluster import TIMING
from workrs.domain import voter
from workrs.domain.ids import ClientId, Instant


def check(seed: int, size: int, steps: int = 250) -> BrainWorld:
    world = BrainWorld(random.Random(seed), size)
    world.run(steps)
    world.calm(LONG_S)
    assert world.undecided() == []
    for name in world.names:
        assert world.accepted() <= world.nodes[name].entries.keys(), "an accepted job was lost"
    for job in world.submitted:
        assert len(world.outcomes(job)) <= 1
    for name, node in world.nodes.items():
        held = [entry.offered_to for entry in node.entries.values() if entry.offered_to]
        assert held == [], f"{name} still offers decided jobs"
        assert all(a.busy == 0 for a in node.agents.entries.values())
        assert len(node._timers) <= 4 * len(node.entries) + 4
    return world


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_three_brains_keep_their_promises(seed: int) -> None:
    check(seed, 3)


@settings(max_examples=8)
@given(st.integers(0, 2**32))
def test_five_brains_keep_their_promises(seed: int) -> None:
    check(seed, 5)


@settings(max_examples=15)
@given(st.integers(0, 2**32))
def test_one_brain_keeps_its_promises(seed: int) -> None:
    check(seed, 1)


def test_nodes_that_claim_at_the_same_moment_do_not_do_so_for_ever() -> None:
    """Found by a schedule: all nodes started together, each ranked itself first."""
    world = BrainWorld(random.Random(1), agents=0)
    job = world.submit("n1")
    world.settle()
    for name in world.names:
        vote = voter.cancel(world.nodes[name].entries[job].vote)
        assert vote is not None
        world.nodes[name].change(world.nodes[name].entries[job], vote)
        world.nodes[name].entries[job].propose_at = Instant(world.now)
        world.nodes[name].poke(job, Instant(world.now))
    world.pass_time(0.0)
    world.settle()
    assert {world.record(name, job).epoch for name in world.names} == {1}
    assert {world.record(name, job).decided for name in world.names} == {None}
    world.tick(6 * TIMING.ttl_s)
    assert {world.record(name, job).decided is None for name in world.names} == {False}


def test_nodes_that_start_together_agree_who_is_first() -> None:
    world = BrainWorld(random.Random(1), agents=0)
    world.crash("n1")
    world.links.clear()
    world._boot(ClientId("n1"))
    world.down.clear()
    node = world.nodes["n1"]
    world.feed("n1", Ticked())
    assert node.live_nodes() == ["n1", "n2", "n3"]
    world.links.clear()
    world.now += PEER_SILENT_S + 1
    world.feed("n1", Ticked())
    assert node.live_nodes() == ["n1"]
