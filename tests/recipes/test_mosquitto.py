"""Goal: mosquitto_pub and mosquitto_sub are a whole device, as docs/recipes.md has it.

Method: its blocks, run by the shell, against a real cluster whose broker is killed meanwhile.
"""

import json
import os
import signal

from tests.acceptance.agreement import until
from tests.recipes.recipe_page import Kitchen
from workrs.cli.cluster import LocalCluster

DOWN = "workrs/1/down/pump-7"


def test_by_hand(kitchen: Kitchen) -> None:
    with kitchen.block("watch") as watch:
        # Until it hears something it may not have subscribed yet, and each block is done once.
        until("the first words", lambda: said(kitchen, watch.printed))
        watch.wait_for(f"{DOWN}/job-1/state succeeded")
        # What is retained is told in any order to who subscribes to all of it.
        watch.wait_for(f"{DOWN}/job-1/out hello\n")
        kitchen.block("submit").result()
        watch.wait_for('"state":"succeeded"')
        states = [
            json.loads(line.split(" ", 1)[1])
            for line in watch.printed.splitlines(keepends=True)
            if line.startswith(f"{DOWN}/job-2 ") and line.endswith("\n")
        ]
        assert any(0 < state.get("progress", 0) < 1 for state in states)
        assert json.loads(states[-1]["result"])["products"] == 20
        kitchen.block("cancel").result()
        watch.wait_for(f"{DOWN}/job-3/state cancelled")
    assert kitchen.block("late").result() == "hello"


def said(kitchen: Kitchen, printed: str) -> bool:
    kitchen.block("run").result()
    return "job-1/state" in printed


def test_the_script_gets_its_result_though_the_broker_is_killed(
    kitchen: Kitchen, cluster: LocalCluster
) -> None:
    with kitchen.block("ask") as asking:
        asking.wait_for("running 0.")
        os.kill(cluster.broker_pid("n1"), signal.SIGKILL)
        assert json.loads(asking.result())["products"] == 60


def test_the_script_says_why_there_is_no_result(kitchen: Kitchen) -> None:
    refused = kitchen.start(["sh", "ask.sh", "nope", "j1"], "x")
    refused.result(code=1)
    assert "rejected function 'nope' is not known" in refused.told


def test_the_script_waits_for_a_broker_and_takes_an_empty_result(
    kitchen: Kitchen, cluster: LocalCluster
) -> None:
    cluster.kill("n1")
    with kitchen.start(["sh", "ask.sh", "echo", "j1"]) as asking:
        asking.wait_for("trying again")
        cluster.start("n1")
        assert asking.result() == ""
