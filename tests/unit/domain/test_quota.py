"""Goal: a bucket gives out its rate and burst and no more, and room is left for who uses little.

Method: the pure rules; sequences by hypothesis.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workrs.domain.errors import ConfigError
from workrs.domain.ids import Instant
from workrs.domain.quota import Bucket, Quota, Quotas, share, spend


@given(st.lists(st.floats(0, 3), max_size=200), st.floats(0.5, 20), st.integers(1, 20))
def test_never_more_than_burst_and_rate(gaps_s: list[float], rate: float, burst: int) -> None:
    bucket, now, granted = None, 100.0, 0
    for gap_s in gaps_s:
        now += gap_s
        bucket, wait_s = spend(bucket, rate_per_s=rate, burst=burst, now=Instant(now))
        granted += not wait_s
        assert granted <= burst + (now - 100.0) * rate + 1e-6
        assert wait_s <= 1 / rate


def test_who_waits_as_told_is_served_and_a_moment_before_is_not() -> None:
    bucket, wait_s = spend(Bucket(0.0, Instant(5.0)), rate_per_s=4, burst=9, now=Instant(5.0))
    assert wait_s == 0.25
    _, early_s = spend(bucket, rate_per_s=4, burst=9, now=Instant(5.24))
    assert early_s == pytest.approx(0.01)
    assert spend(bucket, rate_per_s=4, burst=9, now=Instant(5.25))[1] == 0


def test_a_silence_fills_a_bucket_to_its_burst_and_a_clock_that_goes_back_adds_nothing() -> None:
    bucket, _ = spend(Bucket(0.0, Instant(0.0)), rate_per_s=1, burst=3, now=Instant(1e9))
    assert bucket.tokens == 2
    later, _ = spend(bucket, rate_per_s=1, burst=3, now=Instant(0.0))
    assert later.tokens == 1


@given(st.integers(1, 100), st.sampled_from([0.25, 1.0]))
def test_however_many_take_all_they_may_some_room_is_free(greedy: int, part: float) -> None:
    most, held = 1_000, [0] * greedy
    for number in [*range(greedy)] * most:
        if held[number] < share(sum(held), most, part):
            held[number] += 1
    free = most - sum(held)
    assert free >= most / (1 + greedy * part) - greedy
    assert max(held) <= part / (1 + part) * most + 1
    assert share(most, most, part) == 1, "who has nothing always gets one"


@pytest.mark.parametrize("name", ["rate_per_s", "burst", "open_max", "open_max_bytes"])
def test_a_quota_that_lets_nothing_through_is_refused(name: str) -> None:
    fields = {"rate_per_s": 1.0, "burst": 1, "open_max": 1, "open_max_bytes": 1}
    Quota(**fields)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=name):
        Quota(**{**fields, name: 0})  # type: ignore[arg-type]


@pytest.mark.parametrize("bar_s", [0.0, -1.0, 86_401.0, float("nan")])
def test_a_bar_without_end_is_refused(bar_s: float) -> None:
    with pytest.raises(ConfigError, match="barred"):
        Quotas(bar_s=bar_s)
