"""Numbers that a person writes are read as meant, or refused with what to write."""

import pytest

from workrs.cli.number import count, seconds
from workrs.domain.errors import ConfigError

LENGTHS = {"90": 90.0, "0": 0.0, ".5": 0.5, "1.5": 1.5, "90s": 90.0, "15m": 900.0, "12H": 43200.0}
LENGTHS |= {"30d": 2_592_000.0, " 2 h ": 7200.0, "1e3": 1000.0}


@pytest.mark.parametrize("text", LENGTHS)
def test_a_length_of_time_has_a_unit_or_is_in_seconds(text: str) -> None:
    assert seconds(text) == LENGTHS[text]


@pytest.mark.parametrize(
    "text", ["", "s", "x", "-1", "nan", "inf", "1w", "1 2", "1e999", "1_0", "٣", "36501d", "5 min"]
)
def test_what_is_no_length_of_time_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="15m"):
        seconds(text)


def test_a_count_begins_with_one() -> None:
    texts = ("1", " 40 ", "1_000", "2147483647")
    assert [count(text) for text in texts] == [1, 40, 1000, 2**31 - 1]


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "x", "٣", "2147483648", "9" * 5000])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="whole number"):
        count(text)
