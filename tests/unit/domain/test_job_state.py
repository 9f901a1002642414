"""Goal: the table of a job's states has every move and no other, and nothing follows an end.

Method: the whole square of states, against what is said here in words.
"""

from __future__ import annotations

import itertools

import pytest

from workrs.domain.job import Verdict
from workrs.domain.job_state import FINAL, TRANSITIONS, Cause, State, may_follow

OPEN = {State.WAITING, State.ACCEPTED, State.QUEUED, State.RUNNING}
MOVES = {
    (State.WAITING, State.ACCEPTED),
    (State.ACCEPTED, State.QUEUED),
    (State.ACCEPTED, State.RUNNING),
    (State.QUEUED, State.RUNNING),
    (State.RUNNING, State.QUEUED),
    *itertools.product(OPEN, FINAL),
}


def test_every_state_is_open_final_or_the_answer_to_a_request_that_became_no_job() -> None:
    assert OPEN | FINAL | {State.REJECTED} == set(State)
    assert {state.value for state in FINAL} == {verdict.value for verdict in Verdict}


def test_the_moves_are_these_and_no_others() -> None:
    assert {pair for pair in itertools.product(State, State) if may_follow(*pair)} == MOVES


def test_a_node_begins_with_what_is_on_disks_or_with_the_end() -> None:
    first = {state for state in State if may_follow(None, state)}
    assert first == {State.WAITING, State.ACCEPTED, *FINAL}


@pytest.mark.parametrize("before", sorted(FINAL))
def test_nothing_follows_an_end(before: State) -> None:
    assert [cause for state, cause in TRANSITIONS if state is before] == []


def test_a_cause_leads_to_one_state_wherever_it_leads() -> None:
    for cause in [*Cause, *Verdict]:
        assert len({after for (_, why), after in TRANSITIONS.items() if why is cause}) == 1
