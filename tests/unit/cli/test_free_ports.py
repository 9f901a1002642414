"""Goal: programs that are started at ports of their own find them free, also a second time.

Method: ports are asked for as the cluster, the demo and the tests do.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from workrs.cli import cluster
from workrs.cli.cluster import HOST, free_ports

COUNT = 50
LINUX_FROM = 32_768
"""The kernel's own ports, unless it is told of others."""


def test_no_port_is_given_out_twice_though_nobody_listens_there_yet() -> None:
    asked = [port for _ in range(COUNT) for port in free_ports(2)]
    assert len(set(asked)) == 2 * COUNT


def test_a_port_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, other = free_ports(2)
    monkeypatch.setattr(cluster, "_UNUSED_PORTS", iter((taken, other)))
    with socket.create_server((HOST, taken)):
        assert free_ports(1) == (other,)


def test_no_port_is_one_that_the_kernel_chooses() -> None:
    """A program that is away might find it taken when it comes back."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if lowest < LINUX_FROM:
        pytest.skip("this machine's kernel was told of other ports")
    assert max(free_ports(COUNT)) < lowest
