"""A cluster whose agents run on two Docker Engines of this machine, for what jobs do between them.

Three nodes, default timings, and everything in a folder that is gone in the end.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_client import Device
from workrs.cli.cluster import AgentPlan, ClusterPlan, LocalCluster, local_cluster
from workrs.cli.leftover import unmount_below
from workrs.cli.stage import Stage, stage

_LOOK_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What runs while a bench measures."""

    root: Path
    stage: Stage
    cluster: LocalCluster
    device: Device


@contextmanager
def two_engines(*, device: str, agents: int, options: tuple[str, ...] = ()) -> Iterator[Bench]:
    """Run the cluster, its agents with *options* spread over both engines, and one device."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="workrs-bench-")))
        stack.callback(unmount_below, root)
        found = stack.enter_context(stage(root, purpose="bench", runtime="docker", engines=2))
        plans = tuple(
            AgentPlan(
                name=f"edge-{i}",
                runtime=found.runtime,
                engine=found.engine(i),
                slots=4,
                options=options,
            )
            for i in range(agents)
        )
        plan = ClusterPlan(root=root, nodes=3, agents=plans, functions=found.functions)
        cluster = stack.enter_context(local_cluster(plan))
        client = stack.enter_context(Device(device, nodes=cluster.hosts))
        yield Bench(root=root, stage=found, cluster=cluster, device=client)


def until(condition: Callable[[], Any], what: str, timeout_s: float = 120.0) -> Any:
    """Poll until *condition* gives something true; return it, or end the bench."""
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(_LOOK_S)  # noqa: TID251
    return found
