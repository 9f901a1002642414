"""Goal: an operator changes functions while nodes run, and nothing that is killed takes it back.

Method: `workrs function` and mosquitto_pub as programs, against a real cluster whose nodes get
SIGKILL.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.agreement import until
from tests.acceptance.test_mosquitto_pub import publish, subscriber
from workrs.cli.cluster import LocalCluster

SLOW = "import time, sys\ntime.sleep(4)\nprint('first')\n"


def function(cluster: LocalCluster, *words: str, code: int | None = 0, at: str = "") -> str:
    """Run `workrs function` against a node or all; return what it printed. Code None: any."""
    hosts = [str(cluster.addresses[at])] if at else cluster.hosts
    nodes = [word for host in hosts for word in ("--node", host)]
    ran = subprocess.run(
        [sys.executable, "-m", "workrs.cli.main", "function", *words, *nodes],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert code in (None, ran.returncode), ran
    return ran.stdout + ran.stderr


def having(cluster: LocalCluster, name: str, at: str = "") -> tuple[int, int]:
    """Return a function's version, and how many nodes show it: nothing while none is there."""
    printed = function(cluster, "list", "--json", code=None, at=at)
    found = json.loads(printed) if printed.startswith("[") else []
    shown = [(each["version"], each["nodes"]) for each in found if each["function"] == name]
    return shown[0] if shown else (0, 0)


@pytest.fixture
def cluster(start_cluster: Callable[..., LocalCluster]) -> LocalCluster:
    return start_cluster(nodes=3, agents=1)


def test_a_function_is_added_changed_and_removed_while_nodes_die(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    at = cluster.addresses["n1"]
    (tmp_path / "main.py").write_text(SLOW)
    program = ["--image", "none", "--file", f"main.py={tmp_path}/main.py", "--caller", "pump-*"]
    start = ["--command", "python3 /job/in/main.py"]
    added = function(cluster, "add", "answer", *program, *start)
    assert added.startswith("function answer is version 1, on ")
    down = "workrs/1/down"
    with subscriber(at, f"{down}/#", tmp_path / "out") as lines:
        publish(at, "workrs/1/up/pump-7/run/answer/old", "-m", "x")
        publish(at, "workrs/1/up/press-1/run/answer/old", "-m", "x")
        until("a refusal", lambda: any("may not be called by press-1" in line for line in lines()))
        until("the job", lambda: f"{down}/pump-7/old/state accepted" in lines())
        # The one that is away learns it; the job that runs keeps the program it began with.
        cluster.kill("n3")
        changed = function(cluster, "add", "answer", "--image", "none", "--command", "echo second")
        assert changed.startswith("function answer is version 2, on 2 of 3 nodes")
        cluster.start("n3")
        until("n3 to learn", lambda: having(cluster, "answer") == (2, 3))
        publish(at, "workrs/1/up/press-1/run/answer/new", "-m", "x")
        until("its result", lambda: f"{down}/press-1/new/out second" in lines())
        until("the first's result", lambda: f"{down}/pump-7/old/out first" in lines())
    for name in cluster.node_names:
        cluster.kill(name)
    for name in cluster.node_names:
        cluster.start(name)
    until("all nodes to show it again", lambda: having(cluster, "answer") == (2, 3))
    assert "is removed: version 3" in function(cluster, "remove", "answer")
    assert "was removed" in function(cluster, "show", "answer", code=1)
    cluster.kill("n1")
    cluster.start("n1")
    until("n1 to be back", lambda: having(cluster, "echo", at="n1")[1] == 3)
    assert having(cluster, "answer") == (0, 0), "nothing brings it back"


def test_a_majority_is_wanted(cluster: LocalCluster) -> None:
    for name in ("n2", "n3"):
        cluster.kill(name)
    refused = ["add", "answer", "--image", "none", "--command", "true"]
    reason = "n1 reaches 1 of 3 nodes; nothing was changed"
    until("a refusal", lambda: reason in function(cluster, *refused, "--timeout", "5", code=None))
    late = ["add", "late", "--image", "none", "--command", "true"]
    assert reason in function(cluster, *late, code=1)
    for name in ("n2", "n3"):
        cluster.start(name)
    for name in ("n2", "n3"):
        until("the majority", lambda name=name: having(cluster, "echo", at=name)[1] == 3)  # type: ignore[misc]
    assert having(cluster, "late") == (0, 0)
