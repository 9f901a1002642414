"""Goal: a broker that does not refuse what it must is found out before it serves anybody.

Method: a real Mosquitto under the configuration of a secure node, whole at first, and then with
one control taken out at a time.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from broker.mosquitto import mosquitto
from broker.mosquitto_config import render, write_trust
from broker.self_test import OpenBrokerError, try_permissions
from tests.mosquitto_fixture import HOST
from tests.secure_cluster import block_of_ports
from workrs.adapters.mqtt import connect
from workrs.ports.bus import Address
from workrs.trust.cluster_directory import create
from workrs.trust.credential import Endpoint
from workrs.trust.node_folder import NodeTrust, load_node
from workrs.trust.probe import make_probes
from workrs.trust.register import Register

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime.now(tz=UTC)  # noqa: TID251 (certificates are good for a time of the real clock)


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> NodeTrust:
    path = tmp_path_factory.mktemp("t") / "one"
    nodes = (Endpoint("n1", HOST, block_of_ports()),)
    directory = create(path, Register(cluster="one", nodes=nodes), now=NOW)
    return load_node(directory.node_folder("n1"))


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that is too busy to make the test is started again; here it is to be made."""
    monkeypatch.setattr("broker.self_test._TIMEOUT_S", 60.0)


def try_with(trust: NodeTrust, folder: Path, *changes: tuple[str, str]) -> None:
    """Run the self-test against a broker whose configuration has *changes*, old text to new."""
    first = Address(host=HOST, port=trust.credential.nodes[0].port)
    probes = make_probes("n1", now=NOW)
    write_trust(folder, trust, probes)
    text = render(node="n1", listener=first, trust=folder)
    for old, new in changes:
        assert old.format(folder=folder) in text
        text = text.replace(old.format(folder=folder), new.format(folder=folder))

    async def run() -> None:
        async with mosquitto(name="n1", config=text, folder=folder):
            await try_permissions(first, trust, connect, probes)

    asyncio.run(run())


def test_the_configuration_as_it_is_written_refuses_all_that_it_must(
    trust: NodeTrust, tmp_path: Path
) -> None:
    try_with(trust, tmp_path / "m")


ONE_CLIENT = "use_username_as_clientid true\n"


@pytest.mark.parametrize(
    "changes",
    [
        [("acl_file {folder}/acl-device", "acl_file {folder}/acl-operator")],
        [("acl_file {folder}/acl-agent", "")],
        [("acl_file {folder}/acl-node", "")],
        [("acl_file {folder}/acl-operator", "acl_file {folder}/acl-agent")],
        [(ONE_CLIENT + "acl_file {folder}/acl-device", "")],
        [("allow_anonymous false\n", "allow_anonymous true\n"), (ONE_CLIENT, "")],
    ],
)
def test_a_control_that_is_missing_is_noticed(
    trust: NodeTrust, tmp_path: Path, changes: list[tuple[str, str]]
) -> None:
    with pytest.raises(OpenBrokerError, match="lets"):
        try_with(trust, tmp_path / "m", *changes)
