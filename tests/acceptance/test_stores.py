"""Goal: checkpoints live in a store that belongs to no node, and a store that fails stops no job.

Method: real agents and nodes with `--store`: a bucket of a real S3 server from which another
agent takes over; a folder on a full disk; a server that is killed.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from device_client import Device
from tests.acceptance.agreement import until
from tests.object_store_fixture import ObjectServer, seaweedfs
from workrs.cli.cluster import AgentPlan, LocalCluster

__all__ = ["seaweedfs"]  # a fixture is found by its name in the module


def chain(*, seconds: float) -> dict[str, object]:
    given = {"n": 20, "products": int(seconds * 10), "pace_s": 0.1, "save": True}
    spec = {"function": "matrix", "input": json.dumps(given)}
    return {**spec, "checkpoint": {"interval_s": 1.0}, "retention_s": 1.0}


def agents(url: str, count: int = 1) -> tuple[AgentPlan, ...]:
    names = [f"a{number + 1}" for number in range(count)]
    return tuple(AgentPlan(name=name, options=("--store", url)) for name in names)


def log(cluster: LocalCluster, member: str) -> str:
    return cluster.members[member].log.read_text()


def test_a_job_goes_on_from_a_bucket_and_leaves_nothing_there(
    start_cluster: Callable[..., LocalCluster], seaweedfs: ObjectServer, tmp_path: Path
) -> None:
    url = f"{seaweedfs.bucket}/{tmp_path.name}"
    with seaweedfs.environment():
        cluster = start_cluster(nodes=3, agent_plans=agents(url, 2), node_options=("--store", url))
        with Device("pump-7", nodes=cluster.hosts) as device:
            device.submit(chain(seconds=8.0), job="disturbed")

            def kept() -> bool:
                return any("checkpoint_kept" in log(cluster, agent) for agent in ("a1", "a2"))

            until("a checkpoint", kept)
            # The device hears of it by its node.
            until("its word", lambda: device.state("disturbed").checkpoint)
            agent = device.state("disturbed").agent
            assert agent is not None
            cluster.kill(agent)
            result = device.result("disturbed", timeout=60)
            assert b'"products": 80' in result.value
            taken = {"a1": "a2", "a2": "a1"}[agent]
            assert "store_ready" in log(cluster, taken)
            assert "restored job=pump-7_disturbed" in log(cluster, taken)
            assert not list(cluster.plan.root.glob("n*/blobs/blobs/*"))
            cluster.start(agent)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a file system that has no room."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tiny file system needs root")
    place = tmp_path / "full"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True)
    (place / "filler").write_bytes(bytes(56 << 10))
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_store_delays_checkpoints_and_no_job(
    start_cluster: Callable[..., LocalCluster], full: Path
) -> None:
    cluster = start_cluster(nodes=1, agent_plans=agents(full.as_uri()))
    with Device("pump-7", nodes=cluster.hosts) as device:
        # What the store refuses comes first; then there is room.
        device.submit(chain(seconds=25.0), job="long")

        def refused() -> bool:
            return "is full" in log(cluster, "a1")

        until("a refusal", refused)
        assert not device.state("long").state.is_final
        (full / "filler").unlink()
        until("a checkpoint", lambda: "checkpoint_kept" in log(cluster, "a1"))
        assert b'"products": 250' in device.result("long", timeout=60).value


def test_a_dead_store_delays_checkpoints_and_no_job(
    start_cluster: Callable[..., LocalCluster], seaweedfs: ObjectServer
) -> None:
    url = f"{seaweedfs.bucket}/dead"
    with seaweedfs.environment(AWS_ENDPOINT_URL="http://127.0.0.1:9"):
        cluster = start_cluster(nodes=1, agent_plans=agents(url), node_options=("--store", url))
        with Device("pump-7", nodes=cluster.hosts) as device:
            device.submit(chain(seconds=4.0), job="short")
            assert b'"products": 40' in device.result("short", timeout=60).value
        for words in ("store_unusable", "checkpoint_failed", "does not answer"):
            until(words, lambda words=words: words in log(cluster, "a1"))  # type: ignore[misc]
        until("the node's word", lambda: "store_not_cleared" in log(cluster, "n1"))
