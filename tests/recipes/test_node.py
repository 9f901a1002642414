"""Goal: the Node.js program of docs/recipes.md asks for a function and gets its result.

Method: the program as it stands there, with the real library, against a real cluster whose node
is killed meanwhile, so that it has to go on to the next.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.acceptance.agreement import until
from tests.recipes.recipe_page import Kitchen
from workrs.cli.cluster import LocalCluster

PREFIX = Path(os.environ.get("WORKRS_PREFIX", "/opt/workrs"))
MODULES = PREFIX / "mqtt-js" / "node_modules"


@pytest.fixture
def node(kitchen: Kitchen) -> Kitchen:
    if shutil.which("node") is None or not (MODULES / "mqtt").is_dir():
        pytest.fail("Node.js with the package mqtt is not installed; type: sudo ./run setup")
    kitchen.env["NODE_PATH"] = str(MODULES)
    return kitchen


def test_the_recipe_as_it_stands(node: Kitchen) -> None:
    assert json.loads(node.block("node").result())["products"] == 60


def test_it_goes_on_at_the_next_node(node: Kitchen, cluster: LocalCluster) -> None:
    data = '{"n": 30, "products": 60, "pace_s": 0.1}'
    words = ["node", "device.js", ",".join(cluster.hosts), "pump-7", "matrix", "j1"]
    with node.start(words, data) as asking:
        asking.wait_for("running 0.")
        cluster.kill("n1")
        assert json.loads(asking.result())["products"] == 60
    cluster.start("n1")
    until("n1 to be back", lambda: "hello" in call(node, "echo", "back", "hello", 0)[0])


def call(node: Kitchen, function: str, job: str, data: str, code: int) -> tuple[str, str]:
    """Ask n1 for a function; return what was printed, and what was told."""
    at = f"{node.at.host}:{node.at.port}"
    ran = node.start(["node", "device.js", at, "pump-7", function, job], data)
    return ran.result(code), ran.told


def test_ends_of_all_kinds(node: Kitchen) -> None:
    assert call(node, "echo", "j1", "hello", 0)[0] == "hello"
    assert call(node, "echo", "j1", "hello", 0)[0] == "hello", "asked again when it has ended"
    assert call(node, "echo", "empty", "", 0)[0] == ""
    assert "rejected function 'nope' is not known" in call(node, "nope", "j2", "x", 1)[1]
