"""A cluster's members of every kind, honest and not: what hostile tests connect as.

A test module imports the fixture by name.
"""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from workrs.trust.cluster_directory import ClusterDirectory, create
from workrs.trust.credential import Credential, Endpoint, load_credential
from workrs.trust.kind import PORTS, Kind
from workrs.trust.node_folder import NodeTrust, load_node
from workrs.trust.register import Register

NODES = ("n1", "n2", "n3")
NOW = datetime.now(tz=UTC)  # noqa: TID251 (certificates are good for a time of the real clock)

if TYPE_CHECKING:
    from collections.abc import Sequence

_BLOCKS_FROM, _BLOCKS_SPAN = 12_000, 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Three nodes' folders and a credential of everybody."""

    directory: ClusterDirectory
    members: dict[str, Credential]
    """Read from copies: a revoked member keeps its file."""

    def trust(self, node: str = "n1") -> NodeTrust:
        """Return what a node has, as it is on disk now."""
        return load_node(self.directory.node_folder(node))

    def revoke(self, name: str) -> None:
        """Take a member's credential back; its file stays in use here."""
        self.directory.revoke(name, now=NOW)


def make_cluster(path: Path, *, ports: Sequence[int] = (18_883, 18_893, 18_903)) -> Cluster:
    """Make a cluster in *path*.

    Besides the honest: `old`, an agent whose certificate has ended, and `early`, one whose has
    not begun; `foreign`, one of another cluster with the same names. `sensor` is a device with a
    password.
    """
    nodes = tuple(Endpoint(n, "127.0.0.1", port) for n, port in zip(NODES, ports, strict=True))
    directory = create(path / "own", Register(cluster="plant", nodes=nodes), now=NOW)
    files = {
        "a1": directory.enrol(Kind.AGENT, "a1", now=NOW),
        "a2": directory.enrol(Kind.AGENT, "a2", now=NOW),
        "op": directory.enrol(Kind.OPERATOR, "op", now=NOW),
        "pump": directory.enrol(Kind.DEVICE, "pump", now=NOW),
        "fan": directory.enrol(Kind.DEVICE, "fan", now=NOW),
        "sensor": directory.enrol_password("sensor", now=NOW),
        "old": directory.enrol(Kind.AGENT, "old", now=NOW - timedelta(days=30), days=1),
        "early": directory.enrol(Kind.AGENT, "early", now=NOW + timedelta(days=30)),
        "n2": directory.node_folder("n2"),
    }
    other = create(path / "other", Register(cluster="plant", nodes=nodes), now=NOW)
    files["foreign"] = other.enrol(Kind.AGENT, "a1", now=NOW)
    kept = path / "kept"
    kept.mkdir(mode=0o700)
    members = {name: load_credential(_copy(file, kept / name)) for name, file in files.items()}
    return Cluster(directory=directory, members=members)


def free_blocks(count: int) -> list[int]:
    """Return where blocks of ports begin that nobody listens on, below those of connections."""
    found: list[int] = []
    begin = _BLOCKS_FROM + os.getpid() * 7 * PORTS % _BLOCKS_SPAN
    for port in range(begin, begin + _BLOCKS_SPAN, PORTS):
        if all(_is_free(port + offset) for offset in range(PORTS)):
            found.append(port)
        if len(found) == count:
            return found
    pytest.fail("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _copy(file: Path, copy: Path) -> Path:
    return Path(shutil.copy(file / "node.pem" if file.is_dir() else file, copy))


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return make_cluster(tmp_path / "cluster")
