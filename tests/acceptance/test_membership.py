"""Goal: a cluster gets a fourth node, and loses one again, while jobs run: none is lost or doubled.

Method: real nodes, started anew one after the other with another list of peers; after it the
ledgers, the bus and the agents have to agree, as after every acceptance test.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from device_client import Device
from tests.acceptance.agreement import read_agents, until
from workrs.cli.cluster import LocalCluster, Member, free_ports
from workrs.cli.error import WRONG_USE
from workrs.ports.bus import Address


def with_peers(cluster: LocalCluster, name: str, nodes: Iterable[str]) -> Member:
    """Give a node its list of peers."""
    member = cluster.members[name]
    words = [
        word
        for before, word in zip(["", *member.argv], member.argv, strict=False)
        if "--peer" not in (before, word) and word != "--init"
    ]
    for peer in nodes:
        if peer != name:
            words += ["--peer", f"{peer}={cluster.addresses[peer]}"]
    member.argv = words
    return member


def start_anew(cluster: LocalCluster, name: str, nodes: Iterable[str]) -> Member:
    """Stop a node if it runs, and start it with a list of nodes; return when it votes."""
    member = with_peers(cluster, name, nodes)
    if member.is_running():
        cluster.kill(name, 15)
        until("its end", lambda: not member.is_running())
        member.log.write_text("")
    else:
        member.argv.append("--init")
    cluster.start(name)
    until("its vote", lambda: " voting " in member.log.read_text())
    return member


def add_member(cluster: LocalCluster, name: str) -> None:
    """Plan a further node, on free ports of its own."""
    port, blobs = free_ports(2)
    root = cluster.plan.root
    first = cluster.members["n1"]
    cluster.addresses[name] = Address(host="127.0.0.1", port=port)
    words = list(first.argv)
    for option, value in (
        ("--name", name),
        ("--listen", f"127.0.0.1:{port}"),
        ("--blobs", f"127.0.0.1:{blobs}"),
        ("--state", str(root / name)),
    ):
        words[words.index(option) + 1] = value
    cluster.members[name] = Member(name=name, argv=words, log=root / f"{name}.log")


def settled(cluster: LocalCluster, names: Iterable[str]) -> bool:
    """Return whether every one of some nodes has said that the change is over."""
    return all("node_list_settled" in cluster.members[n].log.read_text() for n in names)


def running(device: Device, go: Path) -> list[str]:
    """Have jobs run that end when a file is there, not before a slow machine comes to it."""
    jobs = [f"{go.name}-{n}" for n in range(4)]
    for job in jobs:
        script = f"until [ -e {go} ]; do sleep 0.1; done; echo {job} done"
        device.submit({"image": "none", "command": ["sh", "-c", script]}, job=job)
    until("running", lambda: all(device.state(job).state == "running" for job in jobs))
    return jobs


def test_a_node_is_added_and_another_removed_while_jobs_run(
    start_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    cluster = start_cluster(nodes=3, agents=2)
    three, four = ["n1", "n2", "n3"], ["n1", "n2", "n3", "n4"]
    until("the beginning's end", lambda: settled(cluster, three))
    with Device("pump-7", nodes=cluster.hosts) as device:
        jobs = running(device, tmp_path / "before")

        add_member(cluster, "n4")
        for name in four:
            start_anew(cluster, name, four)
        refused = with_peers(cluster, "n3", ["n1", "n2"])
        cluster.kill("n3")
        refused.log.write_text("")
        cluster.start("n3")
        until("its refusal", lambda: not refused.is_running())
        assert refused.process is not None
        assert refused.process.returncode == WRONG_USE
        said = refused.log.read_text()
        assert "one node at a time" in said or "the change before is not over" in said
        refused.log.write_text("")
        with_peers(cluster, "n3", four)
        cluster.start("n3")

        (tmp_path / "before").touch()
        for job in jobs:
            assert device.result(job, timeout=60).text == f"{job} done\n"
        until("the change's end", lambda: settled(cluster, four), timeout_s=60)
        until("agents at n4", lambda: ("n4", "a1") in read_agents(cluster.addresses["n4"]))

        jobs = running(device, tmp_path / "between")
        cluster.kill("n1")  # of four, three go on
        device.run("echo", b"three of four", job="three")
        assert device.result("three", timeout=60).value == b"three of four"
        left = ["n2", "n3", "n4"]
        for name in left:
            start_anew(cluster, name, left)
        (tmp_path / "between").touch()
        for job in jobs:
            assert device.result(job, timeout=60).text == f"{job} done\n"
        until("the removal's end", lambda: settled(cluster, left), timeout_s=60)
    del cluster.members["n1"], cluster.addresses["n1"]
