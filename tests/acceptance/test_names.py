"""Goal: nodes are reached by a DNS name, by IPv6 and by IPv4, with TLS, by everybody.

Method: a cluster with credentials of which each node has another kind of address. Bridges, the
blob stores, agents, a device and an operator check the names in the certificates.
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from device_client import Device
from tests.acceptance.test_revocation import bridge_is_up
from tests.secure_cluster import SecureCluster, running
from workrs.trust.kind import PORT_OFFSETS, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTS = {"n1": "localhost", "n2": "::1", "n3": "127.0.0.1"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureCluster]:
    with running(tmp_path_factory.mktemp("s"), HOSTS) as it:
        yield it


def test_bridges_hold_between_nodes_of_all_kinds_of_addresses(cluster: SecureCluster) -> None:
    for node in HOSTS:
        for peer in HOSTS.keys() - {node}:
            cluster.until(lambda node=node, peer=peer: bridge_is_up(cluster, node, peer))  # type: ignore[misc]


@pytest.mark.parametrize("node", HOSTS)
def test_a_device_at_any_node_gets_a_result_that_only_a_blob_store_can_hold(
    cluster: SecureCluster, node: str
) -> None:
    who = cluster.enrol("device", f"pump-{node}")
    only = [str(at).partition("=")[2] for at in who.nodes if at.node == node]
    script = "head -c 100000 /dev/zero >$PWD/out/zeros 2>/dev/null || head -c 100000 /dev/zero"
    with Device(credential=who.path, nodes=only) as device:
        job = device.submit({"image": "none", "command": ["sh", "-c", script]})
        assert len(device.result(job, timeout=60).value) >= 100_000


def test_a_certificate_is_good_for_the_node_s_own_address_alone(cluster: SecureCluster) -> None:
    """One of n3 does not pass for n1, which has another name, though it is the same machine."""
    context = cluster.credential("a1").client_context()
    port = cluster.local.addresses["n3"].port + PORT_OFFSETS[Kind.AGENT]
    with (
        socket.create_connection(("127.0.0.1", port)) as raw,
        pytest.raises(ssl.SSLCertVerificationError, match="localhost"),
    ):
        context.wrap_socket(raw, server_hostname="localhost")
