"""Goal: the page's programs get their work done in a cluster with certificates and passwords.

Method: a cluster of one node made by `workrs init`, a device of each kind enrolled, and the
page's blocks, while the broker gets SIGKILL; then under a name that the node cannot prove.
"""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.acceptance.agreement import until
from tests.mosquitto_fixture import HOST, free_port
from tests.recipes.recipe_page import Kitchen, Run
from tests.recipes.test_node import MODULES
from tests.secure_cluster import block_of_ports
from workrs.examples.functions import functions_toml
from workrs.ports.bus import Address

WORKRS = [sys.executable, "-m", "workrs.cli.main"]


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Path]:
    """Yield the directory of a cluster that runs: one node, one agent, two devices."""
    farm = tmp_path / "farm"
    (tmp_path / "functions.toml").write_text(functions_toml("none"))
    port = block_of_ports()
    for words in (
        ["init", str(farm), f"n1={HOST}:{port}", "--user", "ann"],
        ["enrol", "agent", "a1", "--cluster", str(farm)],
        ["enrol", "device", "pump-7", "--cluster", str(farm)],
        ["enrol", "device", "meter-3", "--cluster", str(farm), "--password"],
    ):
        subprocess.run([*WORKRS, *words], check=True, capture_output=True, timeout=60)
    node = ["node", "--credential", str(farm / "nodes/n1"), "--init"]
    node += ["--functions", str(tmp_path / "functions.toml"), "--blobs", f"{HOST}:{free_port()}"]
    agent = ["agent", "--credential", str(farm / "members/a1.pem"), "--runtime", "process"]
    agent += ["--checkpoint-key", str(farm / "checkpoint.key")]
    with ExitStack() as stack:
        for name, words in (("n1", node), ("a1", agent)):
            log = stack.enter_context((tmp_path / f"{name}.log").open("wb"))
            state = ["--state", str(tmp_path / name)]
            process = stack.enter_context(
                subprocess.Popen([*WORKRS, *words, *state], stdout=log, stderr=log)
            )
            stack.callback(process.terminate)
        yield farm


@pytest.fixture(params=[("pump-7", "certificate"), ("meter-3", "password")], ids=lambda it: it[1])
def kitchen(farm: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Kitchen:
    """Return the surroundings of a device that has nothing but its credential."""
    device, _ = request.param
    credential = farm / f"members/{device}.pem"
    nodes = re.search(r"^nodes: n1=(\S+):(\d+)$", credential.read_text(), re.MULTILINE)
    assert nodes is not None
    kitchen = Kitchen(tmp_path / "kitchen", Address(host=nodes[1], port=int(nodes[2])), device)
    kitchen.env = {"CREDENTIAL": str(credential), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    return kitchen


def test_a_device_that_proves_who_it_is(kitchen: Kitchen, tmp_path: Path) -> None:
    is_password = kitchen.device == "meter-3"
    block = kitchen.block("password") if is_password else kitchen.block("certificate")
    block.result()
    asking = kitchen.start(["sh", "ask.sh", "echo", "j1"], "hello")
    assert asking.result() == "hello"
    stranger = Kitchen(tmp_path / "stranger", kitchen.at, kitchen.device)
    stranger.env = {"XDG_CONFIG_HOME": str(tmp_path / "nothing")}
    with stranger.start(["sh", "ask.sh", "echo", "j2"], "hello") as refused:
        until("a refusal", lambda: refused.told.count("trying again") >= 2)
        assert "accepted" not in refused.told


def broker_pid(state: Path) -> int:
    """Return the process id of the Mosquitto that the node with this state runs."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_broker = (process / "comm").read_text().strip() == "mosquitto"
            if is_broker and os.fsencode(state) in (process / "cmdline").read_bytes():
                return int(process.name)
    pytest.fail(f"no broker runs in {state}")


@pytest.mark.parametrize("name", ["node-trusted", "paho-trusted"])
def test_a_program_that_proves_who_it_is_and_asks_its_node_to(
    kitchen: Kitchen, tmp_path: Path, name: str
) -> None:
    kitchen.env["NODE_PATH"] = str(MODULES)
    block = kitchen.block("node-trusted") if name[0] == "n" else kitchen.block("paho-trusted")
    assert block.result() == "hello", block.told

    def start(host: str, function: str, job: str, data: str) -> Run:
        at = f"{host}:{kitchen.at.port}"
        words = {
            "node-trusted": ["node", "device.js", at, kitchen.device, function, job],
            "paho-trusted": ["./device", kitchen.device, function, job, at],
        }[name]
        return kitchen.start(words, data)

    data = '{"n": 30, "products": 60, "pace_s": 0.1}'
    with start(kitchen.at.host, "matrix", "j1", data) as asking:
        asking.wait_for("running 0.")
        os.kill(broker_pid(tmp_path / "n1"), signal.SIGKILL)
        assert json.loads(asking.result())["products"] == 60
    # The node's certificate has its address, and not this name of it.
    with start("localhost", "echo", "j2", "hello") as deceived:
        deceived.stay(5)
        assert "accepted" not in deceived.told


def test_a_program_without_its_credential_is_not_let_in(kitchen: Kitchen) -> None:
    del kitchen.env["CREDENTIAL"]
    kitchen.env["NODE_PATH"] = str(MODULES)
    at = f"{kitchen.at.host}:{kitchen.at.port}"
    words = ["node", "device.js", at, kitchen.device, "echo", "j1"]
    with kitchen.start(words, "hello") as refused:
        refused.stay(3)
        assert "accepted" not in refused.told
