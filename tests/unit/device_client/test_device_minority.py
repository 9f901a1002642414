"""Goal: a node without a majority is left for one that has it, and nobody hops when none has.

Method: the rule alone, then the brain with nodes that say *waiting* or `quorum: false`.
"""

from __future__ import annotations

import pytest

from device_client.effect import ForgetJob, LeaveNode, MarkAccepted, SendJob
from device_client.patience import Patience
from tests.unit.device_client.device_desk import TIMING, Desk

STAY_S = TIMING.reask_period_s
LEAVE = LeaveNode("it reaches no majority of nodes")
QUICK = 0.1


@pytest.fixture
def desk() -> Desk:
    return Desk(nodes=3)


def test_each_node_is_tried_at_once_and_then_each_gets_its_time() -> None:
    patience = Patience(3, 10.0)
    for now in (100.0, 101.0):
        patience.connected(now)
        assert patience.is_over(now)
        assert not patience.is_over(now)
    for now in (102.0, 112.0, 122.0):
        patience.connected(now)
        assert not patience.is_over(now)
        assert not patience.is_over(now + 9.99)
        assert patience.is_over(now + 10.0)


def test_a_majority_found_begins_the_round_anew() -> None:
    patience = Patience(2, 10.0)
    patience.connected(100.0)
    assert patience.is_over(100.0)
    patience.connected(100.0)
    patience.has_majority()
    assert patience.is_over(101.0)


def test_the_only_node_is_never_left() -> None:
    patience = Patience(1, 10.0)
    patience.connected(100.0)
    assert not patience.is_over(1000.0)


def test_what_waits_is_not_accepted_and_sent_to_the_next_node(desk: Desk) -> None:
    desk.keep("a")
    desk.connect()
    assert desk.hear("a", "waiting", note="n1 reaches 1 of 3 nodes") == [LEAVE]
    desk.brain.disconnected()
    assert desk.connect() == [SendJob("a")]
    assert desk.hear("a", "accepted", retained=True) == []
    assert desk.hear("a", "accepted") == [MarkAccepted("a")]
    assert desk.told == [("a", "waiting"), ("a", "accepted")]


def test_the_plain_word_says_the_same(desk: Desk) -> None:
    desk.keep("a")
    desk.connect()
    assert desk.hear("a", "waiting n1 reaches 1 of 3 nodes", tail="state") == [LEAVE]
    assert desk.told == [("a", "waiting")]


def test_a_retained_waiting_says_nothing(desk: Desk) -> None:
    desk.keep("a")
    desk.connect()
    assert desk.hear("a", "waiting", retained=True) == []
    assert desk.told == []


def test_when_all_nodes_wait_the_device_stays_and_asks_again(desk: Desk) -> None:
    desk.keep("a")
    for _ in range(2):
        desk.connect()
        assert desk.hear("a", "waiting") == [LEAVE]
        desk.brain.disconnected()
    desk.connect()
    assert desk.hear("a", "waiting") == []
    assert desk.tick(STAY_S - QUICK) == []
    assert desk.tick(QUICK) == [SendJob("a")]
    assert desk.hear("a", "waiting") == [LEAVE]


def test_a_job_in_hand_leaves_a_node_that_lost_its_majority(desk: Desk) -> None:
    desk.keep("a")
    desk.connect()
    desk.hear("a", "accepted")
    assert desk.hear("a", "running", quorum=False) == [LEAVE]
    assert desk.hear("a", "running", quorum=False, progress=0.5) == []
    desk.brain.disconnected()
    desk.connect()
    assert desk.hear("a", "running", progress=0.6) == []


def test_a_final_state_counts_wherever_it_is_heard(desk: Desk) -> None:
    desk.keep("a")
    desk.connect()
    desk.hear("a", "accepted")
    assert desk.hear("a", "failed", quorum=False) == [ForgetJob("a")]


def test_a_node_without_room_is_asked_again_when_it_says(desk: Desk) -> None:
    desk.keep("a")
    desk.connect()
    assert desk.hear("a", "rejected", reason="full", retry_after_s=30.0) == []
    assert desk.told == [("a", "kept")]
    assert (desk.reports[-1].note, desk.reports[-1].retry_after_s) == ("full", 30.0)
    assert desk.tick(29.9) == []
    assert desk.tick(0.2) == [SendJob("a")]
    assert desk.hear("a", "rejected", reason="no") == [ForgetJob("a")]
