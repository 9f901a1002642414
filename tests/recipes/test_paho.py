"""Goal: the C program of docs/recipes.md asks for a function and gets its result.

Method: compiled as the page has it, with the real library, against a real cluster whose node is
killed meanwhile, so that it has to go on to the next.
"""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.acceptance.agreement import until
from tests.recipes.recipe_page import Kitchen
from workrs.cli.cluster import LocalCluster


@pytest.fixture
def paho(kitchen: Kitchen) -> Kitchen:
    if shutil.which("gcc") is None or not Path("/usr/include/MQTTClient.h").exists():
        pytest.fail("gcc or libpaho-mqtt-dev is not installed; type: sudo ./run setup")
    assert json.loads(kitchen.block("paho").result())["products"] == 60
    return kitchen


def test_the_recipe_and_ends_of_all_kinds(paho: Kitchen) -> None:
    assert call(paho, "echo", "j1", "hello", 0)[0] == "hello"
    assert call(paho, "echo", "j1", "hello", 0)[0] == "hello", "asked again when it has ended"
    assert call(paho, "echo", "empty", "", 0)[0] == ""
    assert "rejected function 'nope' is not known" in call(paho, "nope", "j2", "x", 1)[1]


def call(paho: Kitchen, function: str, job: str, data: str, code: int) -> tuple[str, str]:
    """Ask n1 for a function; return what was printed, and what was told."""
    at = f"{paho.at.host}:{paho.at.port}"
    ran = paho.start(["./device", "pump-7", function, job, at], data)
    return ran.result(code), ran.told


def test_it_goes_on_at_the_next_node(paho: Kitchen, cluster: LocalCluster) -> None:
    data = '{"n": 30, "products": 60, "pace_s": 0.1}'
    with paho.start(["./device", "pump-7", "matrix", "j1", *cluster.hosts], data) as asking:
        asking.wait_for("running 0.")
        cluster.kill("n1")
        assert json.loads(asking.result())["products"] == 60
    cluster.start("n1")
    until("n1 to be back", lambda: "hello" in call(paho, "echo", "back", "hello", 0)[0])


def test_a_broker_that_is_killed_and_back_is_enough(paho: Kitchen, cluster: LocalCluster) -> None:
    data = '{"n": 30, "products": 60, "pace_s": 0.1}'
    at = f"{paho.at.host}:{paho.at.port}"
    with paho.start(["./device", "pump-7", "matrix", "j1", at], data) as asking:
        asking.wait_for("running 0.")
        os.kill(cluster.broker_pid("n1"), signal.SIGKILL)
        assert json.loads(asking.result())["products"] == 60
