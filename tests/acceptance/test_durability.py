"""Goal: a job that was acknowledged is never lost.

Method: kill -9 of everything at once, right after the device heard *accepted*; start
everything again on the same disks.
"""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from device_client import Device
from tests.acceptance.agreement import read_ledger, until
from workrs.cli.cluster import LocalCluster


def kill_everything(cluster: LocalCluster) -> None:
    """SIGKILL every daemon and agent; their brokers die with them."""
    for member in cluster.members.values():
        if member.is_running():
            assert member.process is not None
            member.process.send_signal(signal.SIGKILL)
    for member in cluster.members.values():
        assert member.process is not None
        member.process.wait()


@pytest.mark.parametrize("nodes", [1, 3])
def test_everything_killed_right_after_accepted_loses_nothing(
    start_cluster: Callable[..., LocalCluster], tmp_path: Path, nodes: int
) -> None:
    cluster = start_cluster(nodes=nodes, agents=1)
    jobs = [f"job-{i}" for i in range(20)]
    with Device("pump-7", nodes=cluster.hosts, outbox=tmp_path / "outbox") as device:
        for job in jobs:
            device.run("echo", job.encode(), job=job)
        until("accepted", lambda: all(device.state(j).state.value != "kept" for j in jobs))
        kill_everything(cluster)
        stored = [
            read_ledger(cluster.plan.root / node / "ledger.db") for node in cluster.node_names
        ]
        for job in jobs:
            copies = sum(1 for ledger in stored if f"pump-7_{job}" in ledger)
            assert copies > nodes // 2, f"{job} was accepted and is on {copies} disks"
        for name in cluster.members:
            cluster.start(name)
        for job in jobs:
            assert device.result(job, timeout=60).value == job.encode()


def test_a_device_that_is_gone_finds_its_result_later(
    start_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    cluster = start_cluster(nodes=3, agents=1)
    wanted = json.dumps({"n": 20, "products": 50, "pace_s": 0.1}).encode()
    with Device("pump-7", nodes=cluster.hosts[:1], outbox=tmp_path / "outbox") as device:
        job = device.run("matrix", wanted)
        # Or ended already: a slow machine may look too late.
        until("running", lambda: device.state(job).state in ("running", "succeeded"))
    others = cluster.hosts[1:]
    with Device("pump-7", nodes=others, outbox=tmp_path / "outbox") as device:
        assert b'"products": 50' in device.result(job, timeout=60).value


def test_a_job_submitted_everywhere_at_once_is_one_job(
    start_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = start_cluster(nodes=3, agents=2)
    devices = [Device("pump-7", nodes=[host]) for host in cluster.hosts]
    try:
        for device in devices:
            device.run("echo", b"the same", job="one")
        for device in devices:
            assert device.result("one", timeout=60).value == b"the same"
    finally:
        for device in devices:
            device.close()
    granted = set()
    for node in cluster.node_names:
        ledger = read_ledger(cluster.plan.root / node / "ledger.db")
        assert len(ledger) == 1
        granted.add(ledger["pump-7_one"])
    assert len(granted) == 1
