"""Goal: whoever asks for too much is refused, and takes nothing from others.

Method: the counts at instants of the test's making, with addresses of many kinds.
"""

from __future__ import annotations

import pytest

from broker.web import meter, traffic
from broker.web.attempt import OF_NAME, Attempts
from broker.web.meter import Meters, Rate, network_of
from broker.web.traffic import Traffic
from workrs.domain.ids import ClientId, Instant

START = Instant(1000.0)
ANN = ClientId("ann")


def served(it: Traffic, address: str, name: ClientId | None, count: int, after_s: float = 0) -> int:
    """Return how many of *count* requests are answered."""
    now = Instant(START + after_s)
    return [it.wait_s(address, name, now) for _ in range(count)].count(0.0)


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("", ""),
    ],
)
def test_an_address_counts_as_itself_or_as_the_network_it_is_in(
    address: str, counted_as: str
) -> None:
    assert network_of(address) == counted_as


def test_one_network_takes_a_part_of_what_strangers_may() -> None:
    it = Traffic()
    assert served(it, "2001:db8::1", None, 1000) == traffic.OF_NETWORK.burst
    assert served(it, "2001:db8::2", None, 1000) == 0
    assert served(it, "2001:db8:0:1::1", None, 100) == 100
    # In the long run, too.
    seconds = 100
    found = sum(served(it, "2001:db8::3", None, 100, after_s) for after_s in range(1, seconds + 1))
    assert found == seconds * traffic.OF_NETWORK.rate_per_s
    assert traffic.OF_NETWORK.rate_per_s * 5 <= traffic.OF_STRANGERS.rate_per_s


def test_all_strangers_together_take_nothing_from_visitors() -> None:
    it = Traffic()
    found = sum(served(it, f"192.0.2.{number}", None, 100) for number in range(200))
    assert found == traffic.OF_STRANGERS.burst
    assert served(it, "192.0.2.1", ANN, 100) == 100


def test_one_visitor_takes_nothing_from_another_and_all_have_a_bound() -> None:
    it = Traffic()
    assert served(it, "192.0.2.1", ANN, 1000) == traffic.OF_VISITOR.burst
    assert served(it, "192.0.2.2", ANN, 1) == 0
    assert served(it, "192.0.2.1", ClientId("bob"), 100) == 100
    found = sum(served(it, "192.0.2.1", ClientId(f"d{each}"), 100) for each in range(100))
    assert found < traffic.OF_VISITORS.burst


def test_who_is_refused_is_told_when_to_come_again() -> None:
    it = Traffic()
    served(it, "192.0.2.1", None, 1000)
    wait_s = it.wait_s("192.0.2.1", None, START)
    assert 0 < wait_s <= 1 / traffic.OF_NETWORK.rate_per_s
    assert served(it, "192.0.2.1", None, 1, 1.01 * wait_s) == 1


def test_what_is_remembered_has_a_bound_and_the_count_of_all_stays_in_it() -> None:
    meters, rate = Meters(), Rate(1, 0.001)
    for number in range(2 * meter.METERS_MAX):
        meters.spend(f"n{number}", Rate(1, 1.0), START)
        meters.spend("all", rate, START)
    assert len(meters) == meter.METERS_MAX
    assert meters.spend("all", rate, START) > 0


def test_addresses_of_one_network_are_one_guesser() -> None:
    tries = Attempts()
    found = [tries.wait_s(f"2001:db8::{number}", "ann", START) for number in range(1, 30)]
    assert found.count(0.0) == OF_NAME.burst
