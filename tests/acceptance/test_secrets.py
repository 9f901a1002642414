"""Goal: what a job carries and prints is in no log, and what is on disk is nobody else's.

Method: a real cluster; jobs that carry a secret in every field and print it, and requests that are
refused; then every log is searched and every file's mode looked at.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from device_client import Device, JobFailedError
from tests.acceptance.agreement import until
from workrs.wire import topics

if TYPE_CHECKING:
    from collections.abc import Callable

    from workrs.cli.cluster import LocalCluster

SECRET = "hunter2-7f3a"
OTHERS = 0o077
REFUSED = 3
"""Requests that nothing can be made of."""


def carrying(**fields: object) -> dict[str, object]:
    """Return a spec with the secret in all that a program gets."""
    return {
        "image": "none",
        "command": ["sh", "/job/in/main.sh", SECRET],
        "env": {"TOKEN": SECRET},
        "input": SECRET,
        "attempts_max": 1,
        "checkpoint": {"mode": "off"},
        **fields,
    }


def printing(code: int) -> dict[str, str]:
    talk = f"cat /job/in/input; echo $TOKEN >&2; echo 0.5 $TOKEN >/job/progress; exit {code}"
    return {"main.sh": talk.replace("/job/", "$WORKRS_JOB_DIR/"), "key": SECRET}


def test_no_log_has_what_jobs_carry_and_no_file_is_open_to_others(
    start_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = start_cluster(nodes=1, agents=1)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Device("pump-7", nodes=cluster.hosts) as device,
    ):
        port = server.getsockname()[1]
        device.submit(carrying(files=printing(0)), job="good")
        device.submit(carrying(files=printing(3), attempts_max=2), job="bad")
        server.close()  # an address that refuses, with a secret in it
        url = f"http://user:{SECRET}@127.0.0.1:{port}/in?signature={SECRET}"
        fetching = carrying(files=printing(0), input_url=url)
        del fetching["input"]
        device.submit(fetching, job="fetch")
        publish(cluster, "submit/broken", json.dumps({"v": 1, "image": SECRET, "cpus": SECRET}))
        publish(cluster, "submit/junk", f'{{"v": 1, "image": "{SECRET}')
        publish(cluster, "run/nothing/r1", SECRET)
        assert SECRET in (device.result("good", timeout=60).text or "")
        with pytest.raises(JobFailedError, match=SECRET):
            device.result("bad", timeout=60)
        until("the address refused", lambda: "start_failed" in everything(cluster))
        device.cancel("fetch")
        until("its end", lambda: device.state("fetch").state.is_final)
    until("an exit", lambda: "job_exited" in everything(cluster))
    until("the refusals", lambda: everything(cluster).count("request_rejected") >= REFUSED)
    assert [line for line in everything(cluster).splitlines() if SECRET in line] == []
    assert open_to_others(cluster) == []


def publish(cluster: LocalCluster, below: str, payload: str) -> None:
    address = cluster.addresses["n1"]
    topic = f"{topics.ROOT}/up/pump-7/{below}"
    words = ["-h", address.host, "-p", str(address.port), "-q", "1", "-t", topic, "-m", payload]
    subprocess.run(["mosquitto_pub", *words], check=True)


def everything(cluster: LocalCluster) -> str:
    """Return all that all programs have logged."""
    logs = (cluster.plan.root / "logs").iterdir()
    return "".join(path.read_text(errors="replace") for path in logs)


def open_to_others(cluster: LocalCluster) -> list[Path]:
    """Return what somebody else could reach; ledgers and keys are closed besides their folders."""
    root = cluster.plan.root
    found = []
    # By `walk`, which passes over what goes meanwhile.
    walks = [os.walk(root / name) for name in ("n1", "a1")]
    for path in (
        Path(folder) / name for walk in walks for folder, _, names in walk for name in names
    ):
        if not path.is_file():
            continue
        above = [] if path.name.startswith("ledger") else path.relative_to(root).parents
        if all(is_open(place) for place in (path, *(root / folder for folder in above))):
            found.append(path)
    return found


def is_open(path: Path) -> bool:
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & OTHERS)
    except FileNotFoundError:  # nobody reaches what has just gone
        return False
