"""What is believed of the fault rate: the prior, the evidence, and how it ages."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workrs.domain.errors import WireError
from workrs.domain.fault_history import (
    AGENT_S_MAX,
    LOSSES_MAX,
    FaultHistory,
    longest,
)

HISTORIES = st.builds(
    FaultHistory,
    losses=st.integers(0, LOSSES_MAX),
    agent_s=st.floats(0, AGENT_S_MAX),
)


def test_nothing_seen_is_an_hour_between_faults() -> None:
    assert FaultHistory().mtbf_s == 3600.0


def test_a_thousand_quiet_hours_are_believed_and_are_not_for_ever() -> None:
    quiet = FaultHistory().watched(1000 * 3600.0)
    assert quiet.mtbf_s == pytest.approx(2001 * 3600.0)


def test_three_losses_in_an_hour_are_believed() -> None:
    assert FaultHistory().watched(3600.0).lost(3).mtbf_s == pytest.approx(5400 / 3.5)


@given(history=HISTORIES, agent_s=st.floats(-1.0, 1e12), losses=st.integers(-3, 3))
def test_no_history_outgrows_its_limits_and_every_rate_is_one(
    history: FaultHistory, agent_s: float, losses: int
) -> None:
    after = history.watched(agent_s).lost(losses)
    assert 0 <= after.losses <= LOSSES_MAX
    assert 0 <= after.agent_s <= AGENT_S_MAX
    assert 0 < after.mtbf_s < math.inf


@given(history=HISTORIES)
def test_halving_the_evidence_does_not_move_the_rate_by_much(history: FaultHistory) -> None:
    full = FaultHistory(losses=LOSSES_MAX, agent_s=history.agent_s)
    assert full.lost().mtbf_s == pytest.approx(
        (full.agent_s + 1800) / (LOSSES_MAX + 1.5), rel=0.02, abs=20
    )


def test_a_fleet_that_changes_is_known_anew() -> None:
    history = FaultHistory()
    for _ in range(1000):
        history = history.watched(86_400.0).lost()
    for _ in range(LOSSES_MAX):
        history = history.watched(60.0).lost()
    assert history.mtbf_s < 86_400.0 / 2
    for _ in range(8 * LOSSES_MAX):
        history = history.watched(60.0).lost()
    assert history.mtbf_s == pytest.approx(60.0, rel=0.5)


def test_only_what_changes_a_plan_differs() -> None:
    told = FaultHistory(losses=10, agent_s=36_000.0)
    assert not told.differs(told)
    assert not told.differs(told.lost())
    assert told.lost(4).differs(told)
    assert told.watched(18_000.0).differs(told)


def test_the_longest_watcher_is_believed() -> None:
    short = FaultHistory(losses=9, agent_s=10.0)
    long = FaultHistory(losses=0, agent_s=20.0)
    assert longest([short, long]) == longest([long, short]) == long
    assert longest([]) == FaultHistory()


@pytest.mark.parametrize("losses", [-1, 10 * LOSSES_MAX + 1])
def test_counts_that_nobody_counted_are_refused(losses: int) -> None:
    with pytest.raises(WireError, match="fault history"):
        FaultHistory(losses=losses)


@pytest.mark.parametrize("agent_s", [-1.0, math.nan, math.inf, 10 * AGENT_S_MAX + 1])
def test_times_that_nobody_watched_are_refused(agent_s: float) -> None:
    with pytest.raises(WireError, match="fault history"):
        FaultHistory(agent_s=agent_s)
