"""Goal: the next node at once, a pause after each full round, never longer than the maximum.

Method: a seeded generator and times of the test's choice.
"""

from __future__ import annotations

from random import Random

import pytest

from device_client.route import NodeAddress, Route, Timing, parse_address
from workrs.domain.errors import ConfigError

NODES = [NodeAddress("a", 1), NodeAddress("b", 2), NodeAddress("c", 3)]
TIMING = Timing(backoff_min_s=1.0, backoff_max_s=8.0)


def test_each_failure_is_one_step_and_only_a_round_costs_time() -> None:
    route = Route(NODES, timing=TIMING, rng=Random(1))
    hosts, pauses = [], []
    for now in range(100, 109):
        hosts.append(route.current.host)
        route.failed(float(now))
        pauses.append(route.not_before - now)
    assert hosts == list("abc") * 3
    assert [p for n, p in enumerate(pauses) if n % 3 != 2] == [0.0] * 6
    assert all(low <= p <= 2 * low for p, low in zip(pauses[2::3], (0.5, 1.0, 2.0), strict=True))


def test_the_pause_has_a_maximum_for_ever() -> None:
    route = Route(NODES[:1], timing=TIMING, rng=Random(1))
    for _ in range(5000):
        route.failed(0.0)
    assert 4.0 <= route.not_before <= 8.0


def test_an_answer_ends_the_trouble_and_keeps_the_node() -> None:
    route = Route(NODES, timing=TIMING, rng=Random(1))
    for _ in range(8):
        route.failed(0.0)
    node = route.current
    route.answered()
    assert route.current == node
    route.failed(5.0)
    assert route.not_before == 5.0


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("h", NodeAddress("h", 1883)),
        ("h:99", NodeAddress("h", 99)),
        ("[::1]:99", NodeAddress("::1", 99)),
        ("[::1]", NodeAddress("::1", 1883)),
        ("::1", NodeAddress("::1", 1883)),
    ],
)
def test_addresses_are_read(text: str, address: NodeAddress) -> None:
    assert parse_address(text, port_default=1883) == address
    assert parse_address(str(address), port_default=1) == address


@pytest.mark.parametrize(
    "text", ["", ":1", "h:x", "h:0", "h:65536", "[::1", "[::1]9", "h:²", f"h:{'9' * 5_000}"]
)
def test_wrong_addresses_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(text, port_default=1883)


def test_no_nodes_and_senseless_times_are_refused() -> None:
    with pytest.raises(ConfigError, match="nodes is empty"):
        Route([], timing=TIMING, rng=Random(1))
    with pytest.raises(ConfigError, match="answer_timeout_s is 0"):
        Timing(answer_timeout_s=0).check()
    with pytest.raises(ConfigError, match="above backoff_max_s"):
        Timing(backoff_min_s=3, backoff_max_s=2).check()
