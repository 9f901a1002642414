"""Goal: a device shares its name with another program without a fight; a node's end is no fight.

Method: durations of the test's choice.
"""

import pytest

from device_client.rival import Rival

PAUSES = [*(0.0, 0.0, 0.0, 0.0), *(1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0)]


def test_a_few_ends_cost_nothing_and_each_further_one_doubles_the_pause() -> None:
    rival = Rival()
    assert [rival.pause_s(0.1) for _ in PAUSES] == PAUSES
    assert {rival.pause_s(0.1) for _ in range(5000)} == {60.0}


def test_a_rival_that_pauses_as_long_is_not_forgotten() -> None:
    rival, stood_s = Rival(), 0.1
    for expected_s in PAUSES:
        stood_s = rival.pause_s(stood_s)
        assert stood_s == expected_s


@pytest.mark.parametrize(("stood_s", "count"), [(10.0, 5), (10.1, 1)])
def test_what_stood_for_longer_was_disturbed_by_nobody(stood_s: float, count: int) -> None:
    rival = Rival()
    for _ in range(4):
        rival.pause_s(0.1)
    rival.pause_s(stood_s)
    assert rival.count == count


def test_a_node_that_takes_no_connection_is_no_rival() -> None:
    rival = Rival()
    for _ in range(50):
        assert rival.pause_s(0.1) == 0.0
        rival.forget()
