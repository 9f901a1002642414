"""A cluster with credentials, made and run as a person would: by `workrs init`, `enrol`, `node`.

A test module imports the fixture by name. Its tests share the cluster, so each enrols members of
its own.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.mosquitto_fixture import HOST
from workrs.adapters.mqtt import connect
from workrs.cli.cluster import ClusterPlan, LocalCluster, Member, free_ports
from workrs.cli.connection import Caller, read_view
from workrs.cli.main import main
from workrs.domain.errors import WorkrsError
from workrs.ports.bus import Address, Bus
from workrs.trust.credential import Credential, load_credential
from workrs.trust.kind import PORT_OFFSETS, PORTS, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

NODES = ("n1", "n2", "n3")
DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SecureCluster:
    """Three nodes and two agents, a1 and a2, and whom they let in."""

    folder: Path
    """What `workrs init` made."""
    local: LocalCluster
    blobs: dict[str, Address]
    """The nodes' blob stores."""

    def workrs(self, *words: str, credential: str = "ann") -> int:
        """Run a command as a member; return its exit code."""
        # For the command alone: the cluster may be a package's, and outlive many other tests.
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("WORKRS_CREDENTIAL", str(self.file(credential)))
            return main(words)

    def enrol(self, kind: str, name: str, *words: str) -> Credential:
        """Enrol a member; return its credential."""
        assert main(("enrol", kind, name, "--cluster", str(self.folder), *words)) == 0
        if "--password" in words:
            self.bring("passwords")
        return self.credential(name)

    def bring(self, *patterns: str, nodes: Sequence[str] = NODES) -> None:
        """Copy files of the nodes' folders to the nodes, as a person does by hand."""
        for node in nodes:
            for pattern in patterns:
                for path in (self.folder / "nodes" / node).glob(pattern):
                    shutil.copy(path, self.node_folder(node))

    def node_folder(self, node: str) -> Path:
        """Return the folder that a node has of its own."""
        return self.local.plan.root / "etc" / node

    def file(self, name: str) -> Path:
        """Return a member's credential file."""
        return self.folder / "members" / f"{name}.pem"

    def credential(self, name: str) -> Credential:
        """Return a member's credential."""
        return load_credential(self.file(name))

    def connect(
        self, who: Credential, *, node: str = "n1", client_id: str = ""
    ) -> AbstractAsyncContextManager[Bus]:
        """Connect as a member to the port of its kind."""
        at = next(at for at in who.nodes if at.node == node)
        # A node's own file has the first port of each.
        offset = PORT_OFFSETS[Kind.NODE] if who.kind is Kind.NODE else 0
        return connect(
            address=Address(host=at.host, port=at.port + offset),
            client_id=client_id or who.name,
            username=who.name if who.password else None,
            password=who.password,
            tls=who.client_context(),
        )

    def until(self, is_so: Callable[[], bool], *, within_s: float = DEADLINE_S) -> None:
        """Wait until a condition holds."""
        pause = threading.Event()
        for _ in range(int(within_s / 0.1)):
            if is_so():
                return
            pause.wait(0.1)
        pytest.fail(f"not so within {within_s:g} s")

    def live(self) -> set[str]:
        """Return the nodes and agents that the operator is shown as live."""
        who = self.credential("ann")
        nodes = tuple(Address(host=at.host, port=at.port) for at in who.nodes)
        try:
            view = asyncio.run(read_view(Caller(nodes=nodes, user=who.name, credential=who)))
        except WorkrsError:
            return set()
        agents = {agent.agent for agent in view.agents() if agent.state == "live"}
        return agents | {node.node for node in view.nodes() if node.state and node.state.live}


def jobs(printed: str) -> dict[str, dict[str, object]]:
    """Return what `workrs jobs --json` printed, by job; nothing where no node answered it."""
    return {job["job"]: job for job in json.loads(printed or "[]")}


def block_of_ports() -> int:
    """Return the first of as many free ports in a row as a node's broker takes."""
    while True:
        first, *_, last = free_ports(PORTS)
        if last - first == PORTS - 1:
            return first


@pytest.fixture(scope="module")
def secure_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureCluster]:
    """Make and run the cluster for the tests of a module."""
    with running(tmp_path_factory.mktemp("s"), dict.fromkeys(NODES, HOST)) as it:
        yield it


@contextmanager
def running(root: Path, hosts: Mapping[str, str]) -> Iterator[SecureCluster]:
    """Make and run a cluster whose nodes have these names or addresses."""
    folder = root / "farm"
    at = {name: Address(host=host, port=block_of_ports()) for name, host in hosts.items()}
    free = free_ports(len(hosts))
    blobs = {n: Address(host=hosts[n], port=port) for n, port in zip(hosts, free, strict=True)}
    nodes = [f"{name}={address}" for name, address in at.items()]
    assert main(("init", str(folder), *nodes, "--user", "ann")) == 0
    local = LocalCluster(ClusterPlan(root=root), at)
    it = SecureCluster(folder=folder, local=local, blobs=blobs)
    for name in hosts:
        shutil.copytree(folder / "nodes" / name, it.node_folder(name))
        words = ("--credential", str(it.node_folder(name)), "--blobs", str(blobs[name]))
        _start(it, "node", name, *words, "--init")
    for name in ("a1", "a2"):
        it.enrol("agent", name)
        key = str(folder / "checkpoint.key")
        words = ("--credential", str(it.file(name)), "--checkpoint-key", key)
        _start(it, "agent", name, *words, "--runtime", "process")
    try:
        it.until(lambda: it.live() >= {*hosts, "a1", "a2"})
        yield it
    finally:
        local.stop()
        for member in local.members.values():
            print(member.log.read_text(errors="replace")[-2_000:])  # noqa: T201 -- on failure


def _start(it: SecureCluster, kind: str, name: str, *words: str) -> None:
    root = it.local.plan.root
    argv = [sys.executable, "-m", "workrs.cli.main", kind, "--state", str(root / name), *words]
    it.local.members[name] = Member(name, argv, root / "logs" / f"{name}.log")
    it.local.start(name)
