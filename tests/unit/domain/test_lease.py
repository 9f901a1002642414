"""Goal: a timing under which two agents could run one job cannot exist, and deadlines are exact.

Method: each inequality at equality and one step to either side.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf, nan

import pytest

from workrs.domain.errors import ConfigError
from workrs.domain.ids import Instant
from workrs.domain.lease import LeaseTiming, safe_until
from workrs.domain.retry import EXIT_NEVER, EXIT_TRY_LATER, RetryPolicy, is_final

TICK = 2**-20
DEFAULT = LeaseTiming()


@pytest.mark.parametrize(
    ("margin_s", "legal"),
    [
        (4.0 - TICK, True),
        (4.0, False),
        (4.0 + TICK, False),
    ],
)
def test_two_lost_heartbeats_must_not_cost_a_lease(margin_s: float, legal: bool) -> None:  # noqa: FBT001
    if legal:
        assert replace(DEFAULT, margin_s=margin_s).margin_s == margin_s
        return
    with pytest.raises(ConfigError, match=r"ttl_s \(10\.0\) must be above .* 3 x 2\.0 = 10"):
        replace(DEFAULT, margin_s=margin_s)


@pytest.mark.parametrize(
    ("freeze_max_s", "legal"),
    [
        (1.75 - TICK, True),
        (1.75, True),
        (1.75 + TICK, False),
    ],
)
def test_containers_are_frozen_before_the_nodes_give_the_job_away(
    freeze_max_s: float,
    legal: bool,  # noqa: FBT001
) -> None:
    # 10 s x 2 x 1/80 = 0.25 s of drift, exact in binary.
    if legal:
        replace(DEFAULT, clock_drift_max=1 / 80, freeze_max_s=freeze_max_s)
        return
    with pytest.raises(ConfigError, match=r"margin_s \(2\.0\) must be at least .* = 2\)"):
        replace(DEFAULT, clock_drift_max=1 / 80, freeze_max_s=freeze_max_s)


@pytest.mark.parametrize("name", ["ttl_s", "heartbeat_period_s", "margin_s", "freeze_max_s"])
@pytest.mark.parametrize("value", [0.0, -1.0])
def test_durations_are_above_zero(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match="must be above 0"):
        replace(DEFAULT, **{name: value})


@pytest.mark.parametrize(("grace_s", "drift"), [(-TICK, 0.01), (1.0, -TICK), (1.0, 0.5)])
def test_grace_and_drift_have_limits(grace_s: float, drift: float) -> None:
    with pytest.raises(ConfigError, match="clock_drift_max"):
        replace(DEFAULT, reconnect_grace_s=grace_s, clock_drift_max=drift)
    assert replace(DEFAULT, reconnect_grace_s=0.0, clock_drift_max=0.0).reconnect_grace_s == 0.0


@pytest.mark.parametrize(
    "name",
    [
        "ttl_s",
        "heartbeat_period_s",
        "margin_s",
        "reconnect_grace_s",
        "clock_drift_max",
        "freeze_max_s",
    ],
)
@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_only_finite_numbers_are_durations(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match="must be finite"):
        replace(DEFAULT, **{name: value})


def test_the_holder_counts_from_the_sending_and_stops_a_margin_early() -> None:
    assert DEFAULT.holding_s == 8.0
    assert DEFAULT.silence_s == pytest.approx(10 / 3)
    assert safe_until(Instant(100.0), DEFAULT) == 108.0


@pytest.mark.parametrize(
    ("attempt", "delay_s"),
    [
        (-1, 1.0),
        (0, 1.0),
        (1, 1.0),
        (2, 2.0),
        (6, 32.0),
        (7, 60.0),
        (10_000, 60.0),
    ],
)
def test_attempts_back_off_exponentially_up_to_a_limit(attempt: int, delay_s: float) -> None:
    assert RetryPolicy().delay_s(attempt) == delay_s


@pytest.mark.parametrize(
    ("code", "attempt", "final"),
    [
        (1, 1, False),
        (1, 2, False),
        (1, 3, True),
        (1, 4, True),
        (None, 1, False),
        (None, 3, True),
        (EXIT_NEVER, 1, True),
        (EXIT_TRY_LATER, 2, False),
        (EXIT_TRY_LATER, 3, True),
    ],
)
def test_the_last_attempt_is_the_last_and_some_codes_end_it_at_once(
    code: int | None,
    attempt: int,
    final: bool,  # noqa: FBT001
) -> None:
    assert is_final(code, attempt, 3) == final
