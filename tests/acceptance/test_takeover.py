"""Goal: another agent finishes a killed agent's job, from the last checkpoint.

Method: SIGKILL of a real agent in the middle of a job; the result must be that of an
undisturbed run, byte for byte. With processes the job's files are the checkpoint, with
containers its memory and files.
"""

import json
import os
import signal
from collections.abc import Callable

import pytest

from device_client import Device, Report
from tests.acceptance.agreement import until
from workrs.cli.cluster import LocalCluster
from workrs.cli.container_watch import ContainerWatch
from workrs.cli.stage import Stage


def chain(*, seconds: float = 8.0, ballast_mb: int = 0, save: bool = False) -> dict[str, object]:
    wanted = {"n": 20, "products": int(seconds * 10), "pace_s": 0.1}
    given = json.dumps({**wanted, "ballast_mb": ballast_mb, "save": save})
    return {"function": "matrix", "input": given, "checkpoint": {"interval_s": 1.0}}


def checkpointed(device: Device, job: str) -> Report | None:
    report = device.state(job)
    assert not report.state.is_final, report
    return report if report.checkpoint and (report.progress or 0) > 0.3 else None


def test_files_are_taken_over_by_another_process(
    start_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = start_cluster(nodes=3, agents=2)
    with Device("pump-7", nodes=cluster.hosts) as device:
        device.submit(chain(save=True), job="undisturbed")
        device.submit(chain(save=True), job="disturbed")
        report = until("a checkpoint", lambda: checkpointed(device, "disturbed"))
        assert report.agent is not None
        cluster.kill(report.agent)
        until("another agent", lambda: device.state("disturbed").agent not in (None, report.agent))
        result = device.result("disturbed", timeout=60)
        assert result.value == device.result("undisturbed", timeout=60).value
        assert result.attempt == 2
        cluster.start(report.agent)


@pytest.mark.engine
@pytest.mark.criu
def test_memory_and_files_are_taken_over_on_another_engine(
    start_engine_cluster: Callable[..., LocalCluster], engine_stage: Stage
) -> None:
    cluster = start_engine_cluster(agents=2)
    job = chain(seconds=10, ballast_mb=32)
    with (
        Device("pump-7", nodes=cluster.hosts) as device,
        ContainerWatch(engine_stage.engines) as watch,
    ):
        device.submit(job, job="disturbed")
        report = until("a checkpoint", lambda: checkpointed(device, "disturbed"))
        device.submit(job, job="undisturbed")
        before = watch.running("pump-7_disturbed")[0]
        assert report.agent == before.agent
        cluster.kill(before.agent)
        after = watch.wait_above("pump-7_disturbed", before.epoch, 60)
        assert after is not None
        assert after.engine != before.engine
        until("the former's end", lambda: before.engine not in engines(watch, "pump-7_disturbed"))
        cluster.start(before.agent)
        results = [device.result(name, timeout=60).value for name in ("disturbed", "undisturbed")]
        assert results[0] == results[1]


def engines(watch: ContainerWatch, job: str) -> set[str]:
    """Return which engines run the job."""
    return {seen.engine for seen in watch.running(job)}


def test_a_frozen_agent_comes_back_and_changes_nothing(
    start_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = start_cluster(nodes=3, agents=2)
    with Device("pump-7", nodes=cluster.hosts) as device:
        device.submit(chain(seconds=6, save=True), job="disturbed")
        report = until("a checkpoint", lambda: checkpointed(device, "disturbed"))
        assert report.agent is not None
        cluster.kill(report.agent, signal.SIGSTOP)
        until(
            "another agent",
            lambda: device.state("disturbed").agent not in (None, report.agent),
        )
        cluster.kill(report.agent, signal.SIGCONT)
        result = device.result("disturbed", timeout=60)
        assert result.agent != report.agent
        assert result.attempt == 2


def test_a_killed_broker_costs_no_takeover(start_cluster: Callable[..., LocalCluster]) -> None:
    cluster = start_cluster(nodes=3, agents=1)
    with Device("pump-7", nodes=cluster.hosts) as device:
        device.submit(chain(seconds=5), job="calm")
        until("running", lambda: (device.state("calm").progress or 0) > 0.1)
        for node in cluster.node_names[:2]:
            os.kill(cluster.broker_pid(node), signal.SIGKILL)
            until("another node", lambda: device.node is not None)
        result = device.result("calm", timeout=60)
        assert result.attempt == 1


def test_cancel_ends_a_running_job(start_cluster: Callable[..., LocalCluster]) -> None:
    cluster = start_cluster(nodes=3, agents=1)
    with Device("pump-7", nodes=cluster.hosts) as device:
        device.submit(chain(seconds=60), job="endless")
        until("running", lambda: (device.state("endless").progress or 0) > 0.01)
        device.cancel("endless")
        until("the end", lambda: device.state("endless").state.is_final)
        assert device.state("endless").state.value == "cancelled"
        device.run("echo", b"next", job="next")
        assert device.result("next", timeout=60).value == b"next"
