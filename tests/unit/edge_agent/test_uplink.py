"""Goal: a node that leads to no majority is left soon, and nobody hops when none does.

Method: the rules of the uplink alone, at times of the test's choice.
"""

import itertools
import random

import pytest

from edge_agent.agent import Agent
from edge_agent.cluster import Cluster
from edge_agent.effect import Connect
from edge_agent.uplink import PATIENCE_MAX_S, Uplink
from edge_agent.work import NOT, PAST
from workrs.domain.ids import ClientId, Instant
from workrs.domain.lease import LeaseTiming
from workrs.domain.record import Holder, Incarnation

SILENCE_S = 3.0


@pytest.fixture
def agent() -> Agent:
    holder = Holder(client=ClientId("a1"), incarnation=Incarnation(1, "00"))
    return Agent(holder=holder, cluster=Cluster(LeaseTiming()), rng=random.Random(1))


def up(agent: Agent, nodes: int, now: float) -> Uplink:
    uplink = Uplink(nodes=nodes)
    uplink.connect(agent)
    uplink.on_connected(uplink.connection, Instant(now))
    return uplink


def leave(uplink: Uplink, agent: Agent, heard_at: float = PAST) -> float:
    """Leave when it is time, be connected elsewhere at once; return when that was."""
    now = uplink.silent_at(Instant(heard_at), SILENCE_S)
    uplink.on_silent(Instant(heard_at), agent)
    assert uplink.silent_at(Instant(heard_at), SILENCE_S) == NOT
    uplink.on_connected(uplink.connection, now)
    return now


def test_the_first_round_is_quick_and_then_patience_grows_to_its_most(agent: Agent) -> None:
    uplink = up(agent, 3, 100.0)
    left = [100.0]
    left += [leave(uplink, agent) for _ in range(12)]
    stays = [after - before for before, after in itertools.pairwise(left)]
    assert stays == [SILENCE_S] * 3 + [2 * SILENCE_S] * 3 + [PATIENCE_MAX_S] * 6
    assert [e.node for e in agent.effects if isinstance(e, Connect)] == [*range(3)] * 4 + [0]


def test_a_majority_that_was_heard_ends_patience(agent: Agent) -> None:
    uplink = up(agent, 3, 100.0)
    for _ in range(9):
        leave(uplink, agent)
    heard_at = uplink.up_at + 0.5
    assert uplink.silent_at(Instant(heard_at), SILENCE_S) == heard_at + SILENCE_S
    leave(uplink, agent, heard_at)
    assert uplink.fruitless == 0
    assert uplink.silent_at(Instant(heard_at), SILENCE_S) == uplink.up_at + SILENCE_S


def test_patience_is_never_shorter_than_the_silence_of_a_long_lease(agent: Agent) -> None:
    uplink = up(agent, 1, 100.0)
    assert uplink.silent_at(PAST, 60.0) == 160.0
