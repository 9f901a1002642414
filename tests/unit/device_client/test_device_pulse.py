"""Goal: a silent node is asked, and given up only when it had its time to answer.

Method: times of the test's choice, on both sides of each boundary.
"""

from __future__ import annotations

import pytest

from device_client.pulse import SLACK_S, Pulse
from device_client.route import Timing
from workrs.domain.errors import ConfigError

TIMING = Timing(keepalive_s=2, pong_timeout_s=1.5)
ASKED_AT = 100.0 + 2 + SLACK_S


def test_a_silent_node_is_asked_and_given_up_within_the_stated_time() -> None:
    pulse = Pulse(TIMING, 100.0)
    assert pulse.wake_at() == ASKED_AT
    assert not pulse.is_lost(ASKED_AT - 0.001)
    assert not pulse.is_lost(ASKED_AT)
    assert pulse.wake_at() == ASKED_AT + 1.5
    assert not pulse.is_lost(ASKED_AT + 1.499)
    assert pulse.is_lost(ASKED_AT + 1.5)


def test_the_defaults_find_a_silent_node_within_four_seconds() -> None:
    timing = Timing()
    assert timing.keepalive_s + SLACK_S + timing.pong_timeout_s < 4.0


def test_any_word_ends_the_silence() -> None:
    pulse = Pulse(TIMING, 100.0)
    pulse.is_lost(ASKED_AT)
    pulse.heard(ASKED_AT + 1.0)
    assert not pulse.is_lost(ASKED_AT + 1.5)
    assert pulse.wake_at() == ASKED_AT + 1.0 + 2 + SLACK_S


def test_who_slept_asks_before_giving_up() -> None:
    pulse = Pulse(TIMING, 100.0)
    assert not pulse.is_lost(5000.0)
    assert not pulse.is_lost(5001.4)
    assert pulse.is_lost(5001.5)


@pytest.mark.parametrize("keepalive_s", [0, 65_536, 1.5])
def test_a_keepalive_that_mqtt_cannot_say_is_refused(keepalive_s: int) -> None:
    with pytest.raises(ConfigError, match="keepalive_s"):
        Timing(keepalive_s=keepalive_s).check()
