"""Goal: no list of nodes follows another that somebody may still count by.

Method: every pair of lists of five nodes, and the refusals one by one.
"""

from itertools import combinations

import pytest

from workrs.domain.errors import ConfigError
from workrs.domain.ids import ClientId
from workrs.domain.node_list import Stage, are_near, distance, step
from workrs.domain.quorum import majority

NODES = tuple(ClientId(f"n{n}") for n in range(1, 6))
LISTS = [nodes for size in range(1, 6) for nodes in combinations(NODES, size)]
THREE, FOUR = NODES[:3], NODES[:4]


def test_all_majorities_of_lists_one_step_apart_meet_and_two_apart_not_all() -> None:
    met = {0: True, 1: True, 2: True}
    for one in LISTS:
        for other in LISTS:
            if (apart := distance(one, other)) > 2:
                continue
            pairs = (
                set(mine) & set(theirs)
                for mine in combinations(one, majority(len(one)))
                for theirs in combinations(other, majority(len(other)))
            )
            met[apart] &= all(pairs)
    assert met == {0: True, 1: True, 2: False}


@pytest.mark.parametrize("after", [FOUR, THREE[:2]])
def test_a_settled_list_may_change_by_one_node(after: tuple[ClientId, ...]) -> None:
    assert step(THREE, Stage.OVER, after) == (after, Stage.CHANGING)


@pytest.mark.parametrize("stage", [Stage.NEW, Stage.CHANGING])
def test_a_list_that_is_not_settled_stays(stage: Stage) -> None:
    with pytest.raises(ConfigError, match="the change before is not over"):
        step(THREE, stage, FOUR)
    assert step(THREE, stage, THREE) == (THREE, stage)


@pytest.mark.parametrize("after", [NODES, THREE[:1], (*THREE[:2], NODES[4])])
def test_a_list_never_changes_by_two_nodes(after: tuple[ClientId, ...]) -> None:
    with pytest.raises(ConfigError, match="one node at a time"):
        step(THREE, Stage.OVER, after)


def test_a_new_ledger_takes_the_list_it_is_given() -> None:
    assert step((), Stage.NEW, FOUR) == (FOUR, Stage.NEW)


def test_a_node_alone_waits_for_nobody() -> None:
    assert step((), Stage.NEW, NODES[:1]) == (NODES[:1], Stage.OVER)
    assert step(NODES[:2], Stage.OVER, NODES[:1]) == (NODES[:1], Stage.OVER)


def test_a_new_ledger_votes_among_nodes_of_its_very_list_only() -> None:
    assert are_near(FOUR, FOUR, Stage.NEW)
    assert not are_near(FOUR, THREE, Stage.NEW)
    assert are_near(FOUR, THREE, Stage.CHANGING)
    assert not are_near(NODES, THREE, Stage.OVER)
