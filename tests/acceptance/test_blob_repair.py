"""Goal: two nodes hold a checkpoint, also after one was killed and came back without its blobs.

Method: kill -9 of the agent, and of a node that holds a copy, its blobs deleted; back it fetches
them. Then the other holder's are lost, too: the job goes on from what was fetched.
"""

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from device_client import Device
from tests.acceptance.agreement import read_records, until
from workrs.cli.cluster import LocalCluster, wait_ready
from workrs.domain import quorum
from workrs.domain.ids import ClientId
from workrs.domain.record import CheckpointRef

JOB = "pump-7_long"
PRODUCTS = 120
COPIES = 2


def saving() -> dict[str, object]:
    given = json.dumps({"n": 20, "products": PRODUCTS, "pace_s": 0.1, "save": True})
    return {"function": "matrix", "input": given, "checkpoint": {"interval_s": 2.0}}


def checkpoint_of(cluster: LocalCluster) -> CheckpointRef | None:
    """Return the job's newest checkpoint once a majority names it."""
    records = read_records(cluster.addresses["n2"]).get(JOB, {})
    shown = {ClientId(node): record for node, record in records.items()}
    found = quorum.newest_checkpoints(shown)
    return found[0] if found and quorum.is_named(shown, found[0], 3) else None


def holders(cluster: LocalCluster, ref: CheckpointRef) -> list[str]:
    """Return the nodes that hold a checkpoint's manifest."""
    name = f"{ref.epoch}/{ref.manifest}"
    return [node for node in cluster.node_names if name in blobs(cluster, node)]


def two_holders(cluster: LocalCluster) -> list[str]:
    """Return the two that hold the newest checkpoint; nothing while it is under way."""
    ref = checkpoint_of(cluster)
    found = holders(cluster, ref) if ref else []
    return found if len(found) == COPIES else []


def blobs(cluster: LocalCluster, node: str) -> dict[str, bytes]:
    """Return what a node holds for the job; what goes while it is read is not there."""
    below = cluster.plan.root / node / "blobs" / "blobs" / JOB
    found = {}
    for folder, _, names in os.walk(below):
        for path in (Path(folder) / name for name in names):
            with suppress(FileNotFoundError):
                found[str(path.relative_to(below))] = path.read_bytes()
    return found


def test_a_node_that_lost_everything_gets_its_copies_with_its_re_admission(
    start_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = start_cluster(nodes=3, agents=1)
    with Device("pump-7", nodes=cluster.hosts) as device:
        device.submit(saving(), job="long")
        until("a checkpoint", lambda: checkpoint_of(cluster))
        cluster.kill("a1")
        first, other = until("two holders", lambda: two_holders(cluster))

        cluster.kill(first)
        shutil.rmtree(cluster.plan.root / first)
        member = cluster.members[first]
        member.argv = [*(word for word in member.argv if word != "--init"), "--rejoin"]
        cluster.start(first)
        until("its copy", lambda: blobs(cluster, first) == blobs(cluster, other) != {})

        cluster.start("a1")
        result = device.result("long", timeout=90)
        assert f'"products": {PRODUCTS}'.encode() in result.value
        asyncio.run(wait_ready(cluster))


def test_a_lost_copy_is_made_again_and_is_enough_to_go_on_from(
    start_cluster: Callable[..., LocalCluster],
) -> None:
    cluster = start_cluster(nodes=3, agents=1)
    with Device("pump-7", nodes=cluster.hosts) as device:
        device.submit(saving(), job="long")
        until("a checkpoint", lambda: checkpoint_of(cluster))
        # Without an agent nothing moves any more.
        cluster.kill("a1")
        first, other = until("two holders", lambda: two_holders(cluster))

        cluster.kill(first)
        shutil.rmtree(cluster.plan.root / first / "blobs")
        cluster.start(first)
        until("its copy", lambda: blobs(cluster, first) == blobs(cluster, other) != {})
        log = cluster.members[first].log
        until("its line", lambda: "copies_repaired" in log.read_text())

        cluster.kill(other)
        shutil.rmtree(cluster.plan.root / other / "blobs")
        cluster.start("a1")
        result = device.result("long", timeout=90)
        assert f'"products": {PRODUCTS}'.encode() in result.value
        assert f"restored job={JOB}" in cluster.members["a1"].log.read_text()
        cluster.start(other)
        asyncio.run(wait_ready(cluster))
