"""Goal: a node with a credential works with a Mosquitto that its operator runs, TLS and all.

Method: the listeners of docs/trust.md in a Mosquitto of the test's own, with files that the node
writes; an agent, a device and an operator come in by them, a revoked one after a reload no more.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING

from device_client import Device
from tests.acceptance.test_revocation import is_let_in, is_shut_out, kept
from tests.mosquitto_fixture import HOST, wait_for_listener
from tests.secure_cluster import SecureCluster, block_of_ports
from workrs.cli.cluster import ClusterPlan, LocalCluster, Member, free_ports
from workrs.cli.main import main
from workrs.ports.bus import Address
from workrs.trust.kind import PORT_OFFSETS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


OWN = """
listener {port} {host}
allow_anonymous false
cafile {state}/authority-node.pem
crlfile {state}/revoked-node.pem
certfile {state}/node.pem
keyfile {state}/node.pem
require_certificate true
use_identity_as_username true
acl_file {acl}
"""
"""For the node's daemon alone: another node's certificate is let in, and may do nothing."""


@contextmanager
def own_mosquitto(root: Path, first: int, daemon: int) -> Iterator[subprocess.Popen[bytes]]:
    state = root / "n1" / "mosquitto"
    acl = root / "acl-daemon"
    acl.write_text("user n1\ntopic readwrite #\ntopic read $SYS/#\n")
    text = "per_listener_settings true\nuser root\n"
    text += OWN.format(port=daemon, host=HOST, state=state, acl=acl)
    listener = Template((files("mosquitto") / "listener.conf").read_text())
    for kind, offset in PORT_OFFSETS.items():
        text += listener.substitute(
            kind=kind.value,
            host=HOST,
            port=first + offset,
            folder=state,
            connections_max=100,
            one_client="false" if kind.value == "operator" else "true",
        )
    config = root / "own.conf"
    config.write_text(text)
    with subprocess.Popen(["mosquitto", "-c", config], stderr=subprocess.DEVNULL) as process:
        wait_for_listener(process, Address(host=HOST, port=daemon))
        try:
            yield process
        finally:
            process.kill()


def start(it: SecureCluster, kind: str, name: str, *words: str) -> None:
    root = it.local.plan.root
    argv = [sys.executable, "-m", "workrs.cli.main", kind, "--state", str(root / name), *words]
    it.local.members[name] = Member(name, argv, root / "logs" / f"{name}.log")
    it.local.start(name)


def test_a_given_broker_with_the_nodes_files_serves_all_and_shuts_out_after_a_reload(
    tmp_path: Path,
) -> None:
    first, (daemon, blobs) = block_of_ports(), free_ports(2)
    at = {"n1": Address(host=HOST, port=first)}
    folder = tmp_path / "farm"
    assert main(("init", str(folder), f"n1={at['n1']}", "--user", "ann")) == 0
    it = SecureCluster(
        folder=folder,
        local=LocalCluster(ClusterPlan(root=tmp_path), at),
        blobs={"n1": Address(host=HOST, port=blobs)},
    )
    shutil.copytree(folder / "nodes" / "n1", it.node_folder("n1"))
    words = ("--credential", str(it.node_folder("n1")), "--given-broker", "--init")
    listen = ("--listen", f"{HOST}:{daemon}", "--blobs", f"{HOST}:{blobs}")
    try:
        start(it, "node", "n1", *words, *listen)
        # The files are there before the broker that names them: the node waits for it.
        it.until((tmp_path / "n1" / "mosquitto" / "acl-operator").exists)
        with own_mosquitto(tmp_path, first, daemon) as broker:
            it.enrol("agent", "a1")
            start(it, "agent", "a1", "--credential", str(it.file("a1")), "--runtime", "process")
            it.until(lambda: it.live() == {"n1", "a1"})
            who = it.enrol("device", "pump-7")
            with Device(credential=who.path) as device:
                job = device.submit({"image": "none", "command": ["echo", "hello"]})
                assert device.result(job, timeout=60).text == "hello\n"
            gone = kept(it, "pump-7")
            it.until(lambda: is_let_in(it, gone, "n1"))
            assert main(("revoke", "pump-7", "--cluster", str(folder))) == 0

            def is_out_after_a_reload() -> bool:
                # Of what the node has written by now, which may not be the new list yet.
                broker.send_signal(signal.SIGHUP)
                return is_shut_out(it, gone, "n1")

            it.until(is_out_after_a_reload)
    finally:
        it.local.stop()
        print(it.local.members["n1"].log.read_text()[-2000:])  # noqa: T201 -- on failure
