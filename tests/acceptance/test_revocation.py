"""Goal: a revocation reaches every node over the bus, and nobody but its authority makes one.

Method: a real cluster with TLS. `workrs revoke` is given while a node is away, by an operator who
revokes itself, and behind renewals. Lists that are old, foreign or junk are brought in
tests/unit/broker/test_trust_line.py.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from broker.mosquitto_config import bridge_state_topic
from device_client import Device
from tests.secure_cluster import SecureCluster, secure_cluster
from workrs.cli.main import main
from workrs.domain.errors import BusError
from workrs.ports.bus import Address, Subscription
from workrs.trust.credential import Credential, load_credential
from workrs.trust.kind import PORT_OFFSETS, Kind

if TYPE_CHECKING:
    import pytest

__all__ = ["secure_cluster"]


def is_let_in(cluster: SecureCluster, who: Credential, node: str) -> bool:
    async def enter() -> None:
        async with cluster.connect(who, node=node) as bus:
            await bus.subscribe(Subscription(pattern="nothing"))

    try:
        asyncio.run(enter())
    except BusError:
        return False
    return True


def is_shut_out(cluster: SecureCluster, who: Credential, node: str) -> bool:
    """Return whether a node that lets its members in refuses this one."""
    return is_let_in(cluster, cluster.credential("ann"), node) and not is_let_in(cluster, who, node)


def kept(cluster: SecureCluster, name: str) -> Credential:
    """Return a credential as it is now: a file that nothing puts aside or renews."""
    is_node = name in ("n1", "n2", "n3")
    source = cluster.node_folder(name) / "node.pem" if is_node else cluster.file(name)
    return load_credential(Path(shutil.copy(source, cluster.folder / f"{name}.copy")))


def revoke(cluster: SecureCluster, capsys: pytest.CaptureFixture[str], *words: str, at: str) -> str:
    """Revoke until it is in force at some nodes; return what is said then.

    The command waits 10 s for a node, and says to be given again where that was too short.
    """
    said = ""

    def is_in_force() -> bool:
        nonlocal said
        capsys.readouterr()
        main(("revoke", *words, "--cluster", str(cluster.folder)))
        said = capsys.readouterr().out
        return f"In force at {at}." in said

    cluster.until(is_in_force)
    return said


def test_a_revocation_reaches_all_nodes_and_one_that_was_away_when_it_is_back(
    secure_cluster: SecureCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    secure_cluster.enrol("agent", "gone")
    secure_cluster.enrol("device", "meter", "--password")
    gone, meter = kept(secure_cluster, "gone"), kept(secure_cluster, "meter")
    for node in ("n1", "n2", "n3"):
        secure_cluster.until(lambda node=node: is_let_in(secure_cluster, meter, node))  # type: ignore[misc]
        secure_cluster.until(lambda node=node: is_let_in(secure_cluster, gone, node))  # type: ignore[misc]
    secure_cluster.local.kill("n3", signal.SIGKILL)
    assert "Not yet at n3" in revoke(secure_cluster, capsys, "gone", at="n1, n2")
    revoke(secure_cluster, capsys, "meter", at="n1, n2")
    secure_cluster.local.start("n3")
    secure_cluster.until(lambda: secure_cluster.live() >= {"n1", "n2", "n3"})
    for node in ("n1", "n2", "n3"):
        for who in (gone, meter):
            secure_cluster.until(
                lambda who=who, node=node: is_shut_out(secure_cluster, who, node)  # type: ignore[misc]
            )
    told = revoke(secure_cluster, capsys, "gone", at="n1, n2, n3")
    assert "gone is revoked since" in told


def test_an_operator_that_revokes_itself_is_shut_out_by_all_nodes(
    secure_cluster: SecureCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its file is put aside: the lists are brought by another one, also by a second command."""
    secure_cluster.enrol("operator", "leaves")
    leaves, own = kept(secure_cluster, "leaves"), str(secure_cluster.file("leaves"))
    for _ in range(2):
        revoke(secure_cluster, capsys, "leaves", "--credential", own, at="n1, n2, n3")
    for node in ("n1", "n2", "n3"):
        assert not is_let_in(secure_cluster, leaves, node), "it is in force"
        secure_cluster.until(lambda node=node: is_shut_out(secure_cluster, leaves, node))  # type: ignore[misc]


def test_a_node_that_lost_disk_and_folder_comes_back_and_knows_who_is_revoked(
    secure_cluster: SecureCluster,
) -> None:
    """Its folder is brought from a backup that is older than the revocation."""
    it, state = secure_cluster, secure_cluster.local.plan.root / "n3"
    backup = it.local.plan.root / "backup"
    shutil.copytree(it.node_folder("n3"), backup)
    it.enrol("agent", "left")
    left = kept(it, "left")
    assert main(("revoke", "left", "--cluster", str(it.folder))) == 0
    it.local.kill("n3", signal.SIGKILL)
    for lost in (state, it.node_folder("n3")):
        shutil.rmtree(lost)
    shutil.copytree(backup, it.node_folder("n3"))
    member = it.local.members["n3"]
    member.argv = [word.replace("--init", "--rejoin") for word in member.argv]
    member.log.write_text("")
    it.local.start("n3")
    it.until(lambda: " rejoined " in member.log.read_text(), within_s=60)
    member.argv = [word.replace("--rejoin", "--init") for word in member.argv]
    it.until(lambda: is_shut_out(it, left, "n3"))
    it.enrol("device", "pump-6")
    with Device(credential=it.file("pump-6")) as device:
        job = device.submit({"image": "none", "command": ["echo", "hello"]})
        assert device.result(job, timeout=60).text == "hello\n"


def shown_serial(at: Address) -> int:
    """Return the number of the certificate that a server shows; 0 where none answers."""
    try:
        pem = ssl.get_server_certificate((at.host, at.port))
    except OSError:
        return 0
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def file_serial(path: Path) -> int:
    return x509.load_pem_x509_certificate(path.read_bytes()).serial_number


def renew(cluster: SecureCluster, kind: str, name: str) -> Path:
    """Renew a member; return the new file."""
    folder = cluster.folder / ("nodes/" + name if kind == "node" else "members")
    before = set(folder.iterdir())
    assert main(("enrol", kind, name, "--cluster", str(cluster.folder), "--renew")) == 0
    (new,) = set(folder.iterdir()) - before
    return new


def bridge_is_up(cluster: SecureCluster, node: str, peer: str) -> bool:
    """Return whether a node's broker says that its bridge to a peer is up."""

    async def read() -> bytes:
        async with (
            cluster.connect(cluster.credential("ann"), node=node, client_id="bridges") as bus,
            asyncio.timeout(5),
        ):
            await bus.subscribe(Subscription(pattern=bridge_state_topic(node, peer)))
            return (await bus.receive())[-1].payload

    try:
        return asyncio.run(read()) == b"1"
    except (BusError, TimeoutError):
        return False


def test_all_are_renewed_while_a_job_runs_and_nothing_is_started_again(
    secure_cluster: SecureCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nodes first, then an agent, a device and the operator; the old certificates end."""
    it, nodes = secure_cluster, ("n1", "n2", "n3")
    it.enrol("device", "pump-5")
    old = {name: kept(it, name) for name in (*nodes, "a1", "a2", "pump-5", "ann")}
    pids = {name: it.local.members[name].pid for name in (*nodes, "a1", "a2")}
    brokers = {node: it.local.broker_pid(node) for node in nodes}
    script = f"until [ -e {it.folder}/go ]; do sleep 0.1; done; echo done"
    with Device(credential=it.file("pump-5")) as device:
        job = device.submit({"image": "none", "command": ["sh", "-c", script]}, job="long")
        it.until(lambda: device.state(job).state == "running")
        for name, who in old.items():
            new = renew(it, who.kind.value, name)
            target = it.node_folder(name) / "node.pem" if who.kind is Kind.NODE else it.file(name)
            shutil.copy(new, target)
        for node in nodes:
            want, at = file_serial(it.node_folder(node) / "node.pem"), it.local.addresses[node]
            agents = Address(host=at.host, port=at.port + PORT_OFFSETS[Kind.AGENT])
            it.until(lambda want=want, agents=agents: shown_serial(agents) == want)  # type: ignore[misc]
            it.until(lambda want=want, at=it.blobs[node]: shown_serial(at) == want)  # type: ignore[misc]
        for name in old:
            revoke(it, capsys, name, "--old", at="n1, n2, n3")
        for name, who in old.items():
            for node in set(nodes) - {name}:
                assert not is_let_in(it, who, node), f"it is in force: {name} at {node}"
                it.until(lambda who=who, node=node: is_shut_out(it, who, node))  # type: ignore[misc]
        it.until(lambda: it.live() >= {*nodes, "a1", "a2"})
        for node in nodes:
            for peer in set(nodes) - {node}:
                it.until(lambda node=node, peer=peer: bridge_is_up(it, node, peer))  # type: ignore[misc]
        (it.folder / "go").touch()
        assert device.result(job, timeout=60).text == "done\n"
        assert device.state(job).attempt == 1
    assert pids == {name: it.local.members[name].pid for name in pids}
    assert brokers == {node: it.local.broker_pid(node) for node in nodes}
