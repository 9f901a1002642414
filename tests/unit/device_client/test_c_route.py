"""Goal: a device in C takes the nodes of its list as one in Python does.

Method: both fail to reach any, and the order and pauses are compared; the random half apart.
"""

from __future__ import annotations

import subprocess
from random import Random

import pytest

from device_client.route import NodeAddress, Route, Timing
from tests.c_compiler import SOURCES, compiled, needs_gcc

pytestmark = needs_gcc
ATTEMPTS = 60


class Longest(Random):
    """Always the longest pause."""

    def uniform(self, _low: float, high: float) -> float:
        return high


def c_route(nodes: int, seed: int, *asleep_ms: int) -> list[tuple[int, float]]:
    words = [str(n) for n in (nodes, ATTEMPTS, seed, 200, 2000, *asleep_ms)]
    said = subprocess.run(
        [compiled(SOURCES / "route.c"), *words], capture_output=True, text=True, check=True
    ).stdout
    return [(int(a), int(b) / 1000) for a, b in (line.split() for line in said.splitlines())]


def python_route(nodes: int) -> list[tuple[int, float]]:
    addresses = [NodeAddress("n", port) for port in range(1, nodes + 1)]
    timing = Timing(backoff_min_s=0.2, backoff_max_s=2.0)
    route = Route(addresses, timing=timing, rng=Longest())
    made, now = [], 0.0
    for _ in range(ATTEMPTS):
        made.append((route.current.port - 1, route.not_before - now))
        now = route.not_before
        route.failed(now)
    return made


@pytest.mark.parametrize("nodes", [1, 3])
def test_nodes_and_pauses_are_those_of_python(nodes: int) -> None:
    in_c, in_python = c_route(nodes, 1), python_route(nodes)
    assert [node for node, _ in in_c] == [node for node, _ in in_python]
    for (_, wait_s), (_, longest_s) in zip(in_c, in_python, strict=True):
        assert longest_s / 2 - 0.001 <= wait_s <= longest_s + 1e-9


def test_two_devices_come_back_apart() -> None:
    assert c_route(1, 1) != c_route(1, 2)
    waits = [wait_s for _, wait_s in c_route(1, 3)[10:]]
    assert min(waits) < 1.2
    assert max(waits) > 1.8


@pytest.mark.parametrize("days", [0.001, 1, 24, 25, 30, 49])
def test_a_device_that_did_nothing_for_weeks_connects_at_once(days: float) -> None:
    """Its clock of 32 bits wraps around after 49.7 days, and looks back no further than half."""
    _, wait_s = c_route(1, 1, round(days * 86_400_000))[-1]
    assert wait_s == 0
