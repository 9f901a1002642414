"""Goal: devices that submit as fast as they can cost no agent a lease, no other device its turn.

Method: real nodes with small quotas, a crowd of real connections that reads nothing it is told,
and a device that behaves. The same crowd without quotas, and with bars that are over at once, shows
that it is these that keep it out. `bench/flood.py` is the same with a thousand, and measures.
"""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from device_client import Device
from tests.acceptance.agreement import until
from workrs.cli.cluster import AgentPlan, ClusterPlan, LocalCluster, local_cluster
from workrs.faults import flood

pytestmark = pytest.mark.timeout(600)  # a crowd on a busy machine
DEVICES = 100
BURST = 2
NODES = 3
QUOTAS = ("--device-rate", "0.01", "--device-burst", str(BURST))
"""So that the jobs of the flood that are taken are few."""
BAR = ("--bar", "300")
"""Nobody is back within the test."""
NO_QUOTAS = ("--device-rate", "1000000", "--device-burst", "1000000")
NO_BAR = ("--bar", "0.001")
TAKEN_MAX = DEVICES * BURST * NODES
"""Jobs, if each device finds its way to each node before it is barred at all."""
BARS_MAX = DEVICES * NODES
SPEC = {"image": "none", "command": ["true"], "priority": 5}
"""Before what the flood has left in the queue."""
AGENTS = tuple(AgentPlan(name=f"a{n}", runtime="instant", slots=4) for n in (1, 2))
StartCluster = Callable[..., LocalCluster]


@contextmanager
def flooding(cluster: LocalCluster) -> Iterator[Callable[[], Counter[str]]]:
    """Let the crowd submit; give a function that returns all that it did."""
    nodes = [word for host in cluster.hosts for word in ("--node", host)]
    command = [sys.executable, "-m", flood.__name__, "--devices", str(DEVICES), *nodes]
    done: Counter[str] = Counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def ask() -> Counter[str]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            done.update(json.loads(process.stdout.readline()))
            return done

        try:
            yield ask
        finally:
            process.kill()


def logs(cluster: LocalCluster) -> str:
    return "".join(member.log.read_text() for member in cluster.members.values())


def test_a_flood_is_refused_and_its_devices_are_shut_out_and_nobody_else_notices(
    start_cluster: StartCluster, tmp_path: Path
) -> None:
    cluster = start_cluster(agent_plans=AGENTS, node_options=(*QUOTAS, *BAR))
    with (
        flooding(cluster) as ask,
        Device("pump-7", cluster.hosts, outbox=str(tmp_path / "outbox")) as device,
    ):
        until("all are shut out", lambda: logs(cluster).count(" device_barred ") >= DEVICES, 240)
        until("they have noticed", lambda: ask()["lost"] >= DEVICES, 60)
        device.result(device.submit(SPEC, job="calm"), timeout=60)
        done = ask()
    assert done["rejected"] > 0
    assert done["accepted"] <= TAKEN_MAX
    assert done["barred"] <= BARS_MAX
    assert " taken_over " not in logs(cluster)
    assert " lease_lost " not in logs(cluster)
    assert "device_barred device=pump-7" not in logs(cluster)


@pytest.mark.parametrize(
    ("options", "word", "harm_min"),
    [((*NO_QUOTAS, *BAR), "accepted", TAKEN_MAX), ((*QUOTAS, *NO_BAR), "barred", BARS_MAX)],
    ids=["without quotas it is taken in", "without a bar it is back at once"],
)
def test_what_keeps_a_flood_out_is_the_quota_and_the_bar(
    tmp_path: Path, options: tuple[str, ...], word: str, harm_min: int
) -> None:
    # Stopped in the middle of it, so nobody waits for what it has left to agree.
    plan = ClusterPlan(root=tmp_path / "cluster", agents=AGENTS, node_options=options)
    with local_cluster(plan) as cluster, flooding(cluster) as ask:
        until(f"more than {harm_min} are {word}", lambda: ask()[word] > harm_min, 240)
