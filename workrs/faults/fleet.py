"""A cluster of its own with a crowd of agents, to load and to measure."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workrs.cli.cluster import ClusterPlan, LocalCluster, local_cluster
from workrs.faults import crowd
from workrs.faults.row import RowError


@dataclass(frozen=True, slots=True, kw_only=True)
class CrowdReport:
    """What the crowd did since it was last asked."""

    sent: Counter[str]
    """PUBLISH packets by verb."""
    logged: Counter[str]
    claims_s: list[float]
    """From a claim's first sending to a majority's grant."""


@dataclass(slots=True, kw_only=True)
class Crowd:
    """A running crowd."""

    process: subprocess.Popen[str]

    def report(self) -> CrowdReport:
        """Ask what it did since it was last asked. The first answer comes when all have joined."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RowError("the crowd of agents ended")
        found = json.loads(line)
        return CrowdReport(
            sent=Counter(found["sent"]),
            logged=Counter(found["logged"]),
            claims_s=found["claims_s"],
        )


@contextmanager
def fleet(root: Path, *, nodes: int = 3) -> Iterator[LocalCluster]:
    """Run nodes with the default timings and no agent while the context lasts."""
    with local_cluster(ClusterPlan(root=root, nodes=nodes)) as cluster:
        yield cluster


@contextmanager
def gathered(cluster: LocalCluster, agents: int, prefix: str) -> Iterator[Crowd]:
    """Have *agents* agents with a slot each, which have joined, while the context lasts.

    They begin at different nodes. Their names must be new to the cluster.
    """
    nodes = [word for host in cluster.hosts for word in ("--node", host)]
    words = ["--agents", str(agents), "--prefix", prefix]
    log = cluster.plan.root / "logs" / f"{prefix}.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", crowd.__name__, *nodes, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            joined = Crowd(process=process)
            joined.report()
            yield joined
        finally:
            process.kill()
