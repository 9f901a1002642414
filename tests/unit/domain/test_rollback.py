"""Goal: an older disk is told from a sound one, exactly at the limits.

Method: what peers can have seen of a node, against what is on its disk.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workrs.domain.record import Incarnation
from workrs.domain.rollback import NOTHING, Seen, is_older, merge

OWN = Incarnation(5, "own")
AT_START = 40
NOW = 42
SEEN = st.builds(
    Seen, st.integers(0, 3), st.sampled_from(["", "a", "b"]), st.integers(0, 3)
).filter(lambda seen: seen.boot > 0 or not seen.nonce)


@pytest.mark.parametrize(
    "seen",
    [
        NOTHING,
        Seen(4, "former", AT_START),
        Seen(4, "", AT_START),
        Seen(5, "own", NOW),
        Seen(5, "", NOW),
    ],
)
def test_a_sound_disk_is_not_older(seen: Seen) -> None:
    assert not is_older(OWN, AT_START, NOW, seen)


@pytest.mark.parametrize(
    "seen",
    [
        Seen(4, "former", AT_START + 1),
        Seen(5, "other", 0),
        Seen(5, "own", NOW + 1),
        Seen(5, "", NOW + 1),
        Seen(6, "later", 0),
        Seen(6, "", 0),
    ],
)
def test_an_older_disk_is_found(seen: Seen) -> None:
    assert is_older(OWN, AT_START, NOW, seen)


@given(SEEN, SEEN)
def test_merging_never_loses_a_number(one: Seen, other: Seen) -> None:
    both = merge(one, other)
    assert both.boot == max(one.boot, other.boot)
    assert both.serial == max(one.serial, other.serial)
    assert merge(both, other) == both


def test_the_first_of_two_nonces_under_one_boot_stays() -> None:
    assert merge(Seen(2, "a", 1), Seen(2, "b", 9)) == Seen(2, "a", 9)
    assert merge(Seen(2, "", 1), Seen(2, "b", 0)) == Seen(2, "b", 1)
    assert merge(Seen(2, "a", 1), Seen(3, "", 0)) == Seen(3, "", 1)
    assert merge(Seen(3, "a", 1), Seen(2, "b", 5)) == Seen(3, "a", 5)
