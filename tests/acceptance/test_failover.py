"""Goal: devices and agents leave a node within 2 s of its death and a silent one within 4 s.

Method: real brokers get SIGKILL, which closes their sockets, or SIGSTOP, which leaves all
connections open and takes new ones. Default timings; half a second is the machine's.
"""

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from device_client import Device
from tests.acceptance.agreement import until
from workrs.cli.cluster import LocalCluster

DEAD_S = 2.0
SILENT_S = 4.0
MACHINE_S = 0.5
ENDLESS = {"function": "matrix", "input": '{"n": 20, "products": 6000, "pace_s": 0.1}'}


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def node_of(cluster: LocalCluster, agent: str) -> str:
    """Return which node the agent is connected to: its first choice may have started late."""
    log = cluster.members[agent].log.read_text()
    return cluster.node_names[int(re.findall(r" connected node=(\d+)", log)[-1])]


def times_connected(cluster: LocalCluster, agent: str) -> int:
    return cluster.members[agent].log.read_text().count(" connected node=")


def assert_moves(what: str, condition: Callable[[], object], limit_s: float) -> None:
    began = time.monotonic()
    until(what, condition, 15)
    took_s = time.monotonic() - began
    assert took_s < limit_s + MACHINE_S, f"{what} took {took_s:.2f} s"


def assert_both_move(
    cluster: LocalCluster, device: Device, disturb: Callable[[int], object], limit_s: float
) -> None:
    """Disturb the agent's node, with the device at the same one, and see both leave in time."""
    node = node_of(cluster, "a1")
    first = str(cluster.addresses[node])
    assert until("a connection", lambda: device.node) == first
    connected = times_connected(cluster, "a1")
    disturb(cluster.broker_pid(node))
    began = time.monotonic()
    assert_moves("the device", lambda: device.node not in (None, first), limit_s)
    left_s = limit_s - (time.monotonic() - began)
    assert_moves("the agent", lambda: times_connected(cluster, "a1") > connected, left_s)


def beside_the_agent(cluster: LocalCluster) -> list[str]:
    """Return the nodes' addresses, those of the agent's node first."""
    first = cluster.addresses[node_of(cluster, "a1")]
    return [str(a) for a in sorted(cluster.addresses.values(), key=lambda a: a != first)]


def test_a_killed_broker_is_left_within_two_seconds(
    start_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = start_cluster(nodes=3, agents=1)
    with Device("pump-7", nodes=beside_the_agent(cluster)) as device:
        first = beside_the_agent(cluster)[0]
        assert_both_move(cluster, device, lambda pid: os.kill(pid, signal.SIGKILL), DEAD_S)
        with Device("pump-8", nodes=[first]) as other:
            until("the broker's return", lambda: other.node)


def test_a_stopped_broker_is_left_within_four_seconds_by_who_is_idle(
    start_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = start_cluster(nodes=3, agents=1)
    with Device("pump-7", nodes=beside_the_agent(cluster)) as device, ExitStack() as stack:
        assert_both_move(cluster, device, lambda pid: stack.enter_context(stopped(pid)), SILENT_S)


def test_a_stopped_broker_is_left_within_four_seconds_by_who_is_busy(
    start_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = start_cluster(nodes=3, agents=1)
    with Device("pump-7", nodes=beside_the_agent(cluster)) as device:
        device.submit(ENDLESS, job="endless")
        until("running", lambda: (device.state("endless").progress or 0) > 0.0)
        with ExitStack() as stack:
            assert_both_move(
                cluster, device, lambda pid: stack.enter_context(stopped(pid)), SILENT_S
            )
        device.cancel("endless")
        until("the end", lambda: device.state("endless").state.is_final)
        assert device.state("endless").attempt == 1


def test_a_device_that_starts_at_a_silent_node_is_served_by_the_next(
    start_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = start_cluster(nodes=3, agents=1)
    with (
        stopped(cluster.broker_pid("n1")),
        Device("pump-7", nodes=cluster.hosts) as device,
    ):
        assert_moves("the device", lambda: device.node == cluster.hosts[1], DEAD_S)
        device.run("echo", b"next", job="next")
        assert device.result("next", timeout=30).value == b"next"
