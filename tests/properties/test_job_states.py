"""Goal: whatever happens, a node says of a job only what the table of states has.

Method: whole brains with faults, as in `test_brains`; every row of states that a node told a
device is replayed through the table. A node that starts again begins its row anew.
"""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.brain_world import LONG_S, BrainWorld
from workrs.domain.job_state import FINAL, State, may_follow
from workrs.wire import topics
from workrs.wire.message import JobState


def rows(world: BrainWorld) -> dict[tuple[str, str], list[State]]:
    """Return what each node told of each job, in order, repetitions left out."""
    found: dict[tuple[str, str], list[State]] = defaultdict(list)
    for node, publish in world.heard:
        body = publish.body
        if isinstance(body, JobState) and topics.parse_down(publish.topic) is not None:
            row = found[node, publish.topic]
            if body.state is not State.REJECTED and row[-1:] != [body.state]:
                row.append(body.state)
    return found


def assert_legal(row: list[State]) -> None:
    """Fail unless each step is in the table, or begins anew at a node that did not see the end."""
    before: State | None = None
    for after in row:
        restarted = before not in FINAL and may_follow(None, after)
        assert may_follow(before, after) or restarted, f"{before} to {after} in {row}"
        before = after


def told(seed: int) -> list[list[State]]:
    world = BrainWorld(random.Random(seed), 3)
    world.run(250)
    world.calm(LONG_S)
    return list(rows(world).values())


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_nodes_say_what_the_table_has(seed: int) -> None:
    for row in told(seed):
        assert_legal(row)


def test_these_schedules_come_through_every_open_state() -> None:
    seen = {state for seed in range(12) for row in told(seed) for state in row}
    assert seen >= {State.WAITING, State.ACCEPTED, State.QUEUED, State.RUNNING, State.SUCCEEDED}


@pytest.mark.parametrize(
    "row",
    [
        [State.QUEUED],
        [State.ACCEPTED, State.SUCCEEDED, State.RUNNING],
        [State.SUCCEEDED, State.ACCEPTED],
        [State.CANCELLED, State.SUCCEEDED],
        [State.ACCEPTED, State.RUNNING, State.RUNNING, State.QUEUED, State.REJECTED],
    ],
)
def test_a_row_that_the_table_does_not_have_is_noticed(row: list[State]) -> None:
    with pytest.raises(AssertionError):
        assert_legal(row)
