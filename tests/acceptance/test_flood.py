"""Goal: devices that submit as fast as they can cost no agent a lease, no other device its turn.

Method: real nodes with small quotas, a crowd of real connections at the lowest priority that reads
nothing it is told, and a device that behaves. `bench/flood.py` is the same with a thousand.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from device_client import Device
from tests.acceptance.agreement import until
from workrs.cli.cluster import AgentPlan, LocalCluster
from workrs.faults import flood

DEVICES = 100
QUOTAS = ("--device-rate", "0.1", "--device-burst", "2", "--bar", "300")
"""So that the jobs of the flood that are taken are few, and nobody is back within the test."""
SPEC = {"image": "none", "command": ["true"], "priority": 5}
"""Before what the flood has left in the queue."""


@contextmanager
def flooding(cluster: LocalCluster) -> Iterator[Callable[[], dict[str, int]]]:
    """Let the crowd submit; give a function that returns what it did since it was asked last."""
    nodes = [word for host in cluster.hosts for word in ("--node", host)]
    command = [sys.executable, "-m", flood.__name__, "--devices", str(DEVICES), "--idle", *nodes]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def ask() -> dict[str, int]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            found: dict[str, int] = json.loads(process.stdout.readline())
            return found

        try:
            yield ask
        finally:
            process.kill()


def logs(cluster: LocalCluster) -> str:
    return "".join(member.log.read_text() for member in cluster.members.values())


def test_a_flood_is_refused_and_its_devices_are_shut_out_and_nobody_else_notices(
    start_cluster: Callable[..., LocalCluster], tmp_path: Path
) -> None:
    agents = tuple(AgentPlan(name=f"a{n}", runtime="instant", slots=4) for n in (1, 2))
    cluster = start_cluster(agent_plans=agents, node_options=QUOTAS)
    done: dict[str, int] = {}
    with (
        flooding(cluster) as ask,
        Device("pump-7", cluster.hosts, outbox=str(tmp_path / "outbox")) as device,
    ):

        def shut_out() -> bool:
            for word, count in ask().items():
                done[word] = done.get(word, 0) + count
            return logs(cluster).count(" device_barred ") >= DEVICES

        until("all are shut out", shut_out, 240)
        until("they have noticed", lambda: shut_out() and done["lost"] >= DEVICES, 60)
        assert done["rejected"] > 0
        device.result(device.submit(SPEC, job="calm"), timeout=60)
    assert " taken_over " not in logs(cluster)
    assert " lease_lost " not in logs(cluster)
    assert "device_barred device=pump-7" not in logs(cluster)
