"""Goal: nothing that another machine can reach is open by mistake, and the refusal says so.

Method: configurations as the command line builds them.
"""

from __future__ import annotations

import asyncio
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from device_client.identity import Identity, require_here
from device_client.route import NodeAddress
from workrs.cli import agent, jobs, node, revoke, submit
from workrs.cli.connection import caller, credential_of
from workrs.cli.init import endpoint
from workrs.domain.errors import ConfigError
from workrs.domain.ids import ClientId
from workrs.ports.bus import Address
from workrs.trust.cluster_directory import ClusterDirectory, create
from workrs.trust.credential import Endpoint
from workrs.trust.kind import Kind
from workrs.trust.register import Register

if TYPE_CHECKING:
    from argparse import Namespace

    from broker.config import NodeConfig
    from workrs.cli.options import Options

NOW = datetime(2026, 11, 22, tzinfo=UTC)
NODES = tuple(Endpoint(f"n{i}", f"10.0.0.{i}", 8883) for i in (1, 2, 3))


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> ClusterDirectory:
    path = tmp_path_factory.mktemp("t") / "farm"
    directory = create(path, Register(cluster="farm", nodes=NODES), now=NOW)
    for kind in (Kind.AGENT, Kind.DEVICE, Kind.OPERATOR):
        directory.enrol(kind, f"one-{kind.value}", now=NOW)
    return directory


def parsed(options: Options, *words: str) -> Namespace:
    return options.parse(words, environ={}, home=Path("/nonexistent"))


def node_config(*words: str) -> NodeConfig:
    return node.config(parsed(node.options(), *words))


@pytest.mark.parametrize("host", ["10.0.0.1", "0.0.0.0", "::", "node.example", "192.168.1.7"])
def test_a_node_without_a_credential_listens_on_this_machine_alone(host: str) -> None:
    name = f"[{host}]" if ":" in host else host
    words = ("--name", "n1", "--listen", f"{name}:1883")
    with pytest.raises(ConfigError, match="workrs init") as refused:
        node_config(*words)
    assert "--insecure" in str(refused.value)
    assert node_config(*words, "--insecure").insecure
    with pytest.raises(ConfigError, match="blob store of n1 would be open"):
        node_config("--name", "n1", "--blobs", f"{name}:1900")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "localhost", "[::1]"])
def test_on_this_machine_it_needs_none(host: str) -> None:
    assert node_config("--name", "n1", "--listen", f"{host}:1883").credential is None


def test_nobody_talks_to_another_machine_without_a_credential() -> None:
    far = ("--node", "10.0.0.1:1883")
    with pytest.raises(ConfigError, match=r"10\.0\.0\.1:1883 is on another"):
        caller(parsed(jobs.options(), *far))
    with pytest.raises(ConfigError, match="is on another machine"):
        agent.config(parsed(agent.options(), "--name", "a1", *far))
    found = caller(parsed(jobs.options(), *far, "--insecure"))
    assert found.nodes == (Address(host="10.0.0.1", port=1883),)
    assert caller(parsed(jobs.options())).nodes == (Address(host="127.0.0.1", port=1883),)


def test_a_node_is_configured_by_its_folder_alone(farm: ClusterDirectory) -> None:
    folder = str(farm.node_folder("n2"))
    found = node_config("--credential", folder)
    assert (found.name, str(found.listen)) == ("n2", "10.0.0.2:8883")
    assert {name: str(at) for name, at in found.peers.items()} == {
        "n1": "10.0.0.1:8883",
        "n3": "10.0.0.3:8883",
    }
    assert found.own_broker.is_file
    assert node_config("--credential", folder, "--listen", "0.0.0.0:8883").listen.host == "0.0.0.0"
    with pytest.raises(ConfigError, match="the credential is n2's"):
        node_config("--credential", folder, "--name", "n1")
    with pytest.raises(ConfigError, match="too long for a socket"):
        _ = node_config("--credential", folder, "--state", "/" + "x" * 100).own_broker


def test_a_caller_is_who_its_credential_says(farm: ClusterDirectory) -> None:
    file = str(farm.member_file("one-operator"))
    found = caller(parsed(jobs.options(), "--credential", file))
    assert found.user == "one-operator"
    assert found.nodes[0] == Address(host="10.0.0.1", port=8886)
    assert asyncio.run(found.next_first()).nodes[-1] == found.nodes[0]
    with pytest.raises(ConfigError, match="the credential is one-operator's"):
        caller(parsed(jobs.options(), "--credential", file, "--user", "ann"))


def test_a_credential_of_another_kind_is_refused_with_what_to_type(farm: ClusterDirectory) -> None:
    device = str(farm.member_file("one-device"))
    with pytest.raises(ConfigError, match="workrs enrol operator NAME"):
        caller(parsed(jobs.options(), "--credential", device))
    asked = parsed(submit.options(), "--credential", device)
    assert credential_of(asked, Kind.DEVICE, Kind.OPERATOR) is not None
    with pytest.raises(ConfigError, match="credential of device one-device"):
        agent.config(parsed(agent.options(), "--credential", device))


def test_a_device_talks_in_the_open_to_its_own_machine_alone() -> None:
    def told(*hosts: str, insecure: bool = False) -> None:
        nodes = tuple(NodeAddress(host, 1883) for host in hosts)
        who = Identity(ClientId("pump-7"), nodes, "pump-7", None, None)
        require_here(who, insecure=insecure)

    for host in ("10.0.0.1", "node.example", "127.0.0.1.example", "fd00::1"):
        with pytest.raises(ConfigError, match="workrs enrol device"):
            told("127.0.0.1", host)
        told(host, insecure=True)
    told("127.0.0.1", "127.9.9.9", "localhost", "::1")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("n1=10.0.0.1", Endpoint("n1", "10.0.0.1", 8883)),
        ("n1=node.example:9000", Endpoint("n1", "node.example", 9000)),
        ("n1=fd00::1", Endpoint("n1", "fd00::1", 8883)),
        ("n1=[fd00::1]:9000", Endpoint("n1", "fd00::1", 9000)),
    ],
)
def test_a_node_of_init_is_read(text: str, found: Endpoint) -> None:
    assert endpoint(text) == found


@pytest.mark.parametrize(
    "text", ["n1", "n1=", "=h", "n1=h:", "n1=h:x", "n1=h:0", "n1=h:65535", "N=h"]
)
def test_a_node_of_init_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises((ConfigError, ValueError)):
        endpoint(text)


def test_a_port_of_any_length_is_refused_with_a_sentence() -> None:
    with pytest.raises(ConfigError, match="write NAME=HOST or NAME=HOST:PORT"):
        endpoint("n1=h:" + "9" * 5000)


@pytest.mark.parametrize("host", ["a..b", "a..b:8883", "a" * 64])
def test_a_name_that_no_host_can_have_is_refused_before_anything_is_made(host: str) -> None:
    with pytest.raises(ConfigError, match="no host can have such a name"):
        endpoint(f"n1={host}")


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "[::]:8883", "0.0.0.0:9000"])
def test_a_cluster_is_not_made_for_an_address_that_is_none(host: str) -> None:
    with pytest.raises(ConfigError, match="nobody can reach that address"):
        endpoint(f"n1={host}")


def test_whoever_would_listen_everywhere_is_not_told_to_be_reached_there() -> None:
    with pytest.raises(ConfigError, match="n1=ADDRESS") as refused:
        node_config("--name", "n1", "--listen", "0.0.0.0:1883")
    assert "n1=0.0.0.0" not in str(refused.value)
    with pytest.raises(ConfigError, match=r"n1=10\.0\.0\.1 "):
        node_config("--name", "n1", "--listen", "10.0.0.1:1883")


def test_the_folder_of_a_node_or_agent_does_not_depend_on_where_the_command_was_typed() -> None:
    found = agent.config(parsed(agent.options(), "--name", "a1", "--state", "state/a1"))
    assert found.state_dir == Path("state/a1").absolute()
    assert found.state_dir.is_absolute()
    assert node_config("--name", "n1", "--state", "state/n1").state_dir.is_absolute()


def test_a_list_of_images_is_refused_where_anything_would_run() -> None:
    words = ("--name", "a1", "--allow-image", "lab/*")
    assert agent.config(parsed(agent.options(), *words)).allowed_images == ("lab/*",)
    with pytest.raises(ConfigError, match="would run any command"):
        agent.config(parsed(agent.options(), *words, "--runtime", "process"))


def test_the_commands_that_revoke_prints_copy_what_they_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a shell reads them, with a copy on this machine in the place of scp."""
    path = tmp_path / "my farm"
    directory = create(path, Register(cluster="farm", nodes=NODES), now=NOW)
    directory.enrol(Kind.DEVICE, "pump-7", now=NOW)
    words = ("pump-7", "--cluster", str(path), "--by-hand")
    assert revoke.run(parsed(revoke.options(), *words)) == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if "scp" in line]
    assert len(printed) == len(NODES)
    for at, line in zip(NODES, printed, strict=True):
        target = tmp_path / at.node
        target.mkdir()
        command = line.replace("scp -p", "cp -p").replace(
            f"{at.host_in_url}:/etc/workrs/{at.node}/", "$T"
        )
        monkeypatch.setenv("T", str(target))
        subprocess.run(["sh", "-ec", command], check=True)
        brought = {path.name for path in target.iterdir()}
        assert brought == {"passwords", *(f"revoked-{kind.value}.pem" for kind in Kind)}
