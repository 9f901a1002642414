"""Goal: a node whose disk is gone does no harm, and with `--rejoin` is of full use again.

Method: kill -9 of one node of three, its ledger deleted, while a job runs; then of another.
"""

import json
from collections.abc import Callable

from device_client import Device
from tests.acceptance.agreement import read_agents, until
from workrs.cli.cluster import LocalCluster, Member
from workrs.cli.error import WRONG_USE


def start_again(cluster: LocalCluster, name: str, *options: str) -> Member:
    """Start a node with other options about its ledger; return it."""
    member = cluster.members[name]
    words = [word for word in member.argv if word not in ("--init", "--rejoin")]
    member.argv = [*words, *options]
    member.log.write_text("")
    cluster.start(name)
    return member


def refusal(member: Member) -> str:
    """Return the last words of a node that ends at its start."""
    until("its end", lambda: not member.is_running())
    assert member.process is not None
    assert member.process.returncode == WRONG_USE
    return member.log.read_text()


def test_a_node_that_lost_its_disk_comes_back_and_another_may_die_then(
    start_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = start_cluster(nodes=3, agents=1)
    ledger = cluster.plan.root / "n1" / "ledger.db"
    with Device("pump-7", nodes=cluster.hosts[1:]) as device:
        device.run("echo", b"before", job="before")
        assert device.result("before", timeout=60).value == b"before"
        long = json.dumps({"n": 20, "products": 200, "pace_s": 0.1}).encode()
        running = device.run("matrix", long)
        until("running", lambda: device.state(running).state.value == "running")

        cluster.kill("n1")
        for file in ledger.parent.glob("ledger.db*"):
            file.unlink()
        assert "workrs node --rejoin" in refusal(start_again(cluster, "n1"))
        text = refusal(start_again(cluster, "n1", "--init"))
        assert "is older than its peers saw it" in text
        assert "disk_is_older" in text
        text = refusal(start_again(cluster, "n1", "--rejoin"))
        assert "was not made by --rejoin" in text

        for file in ledger.parent.glob("ledger.db*"):
            file.unlink()
        member = start_again(cluster, "n1", "--rejoin")
        until("re-admission", lambda: " rejoined " in member.log.read_text(), timeout_s=60)
        assert b'"products": 200' in device.result(running, timeout=90).value
        until("its agent", lambda: ("n1", "a1") in read_agents(cluster.addresses["n1"]))

        cluster.kill("n3")
        device.run("echo", b"after", job="after")
        assert device.result("after", timeout=60).value == b"after"
