"""The field: nodes, and more agents than jobs, each with one slot, so that a kill hits one job.

An agent that was killed is started again after AWAY_S, when its job is with another one. So
there are always spare agents, and the number of those that run hardly changes.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from device_client import Device
from workrs.cli.cluster import AgentPlan, ClusterPlan, LocalCluster, local_cluster
from workrs.cli.leftover import unmount_below
from workrs.cli.stage import stage
from workrs.faults.diary import Diary, Entry, local_day_s
from workrs.faults.trace import Lease, Recorder
from workrs.ports.runtime import Rung

if TYPE_CHECKING:
    from collections.abc import Iterator

DEVICE = "grid"
AWAY_S = 4.0
"""Longer than a takeover: the agent that died never gets its own job back."""
AGENT_MEMORY_MB = 8192


@dataclass(slots=True, kw_only=True)
class Field:
    """A running cluster with eyes and a hand that kills."""

    root: Path
    cluster: LocalCluster
    device: Device
    trace: Recorder
    diary: Diary
    image: str
    kills: int = 0
    _away: dict[str, float] = field(default_factory=dict)
    """Agents that were killed, and when each comes back."""

    @property
    def now_s(self) -> float:
        """Return the time, on the clock that all logs are put on too."""
        return self.trace.now_s

    def holder(self, job: str) -> Lease | None:
        """Return the newest lease of a job that a majority of nodes showed."""
        return self.trace.holder(f"{DEVICE}_{job}")

    def saves(self, agent: str) -> bool:
        """Return whether the agent is at a checkpoint: dumping or storing it."""
        return any((self.root / agent / "transfer").glob("run-*/save-*"))

    def kill(self, agent: str) -> float:
        """SIGKILL an agent, and so what it runs; return when."""
        at_s = self.now_s
        self.cluster.kill(agent)
        self.kills += 1
        self._away[agent] = at_s + AWAY_S
        return at_s

    def is_up(self, agent: str) -> bool:
        """Return whether an agent was not killed, or is back."""
        return agent not in self._away

    def tend(self) -> list[Entry]:
        """Start agents whose time has come; return what the logs say that is new."""
        for agent in [a for a, back_s in self._away.items() if back_s <= self.now_s]:
            del self._away[agent]
            self.cluster.start(agent)
        for member in self.cluster.members.values():
            if member.name not in self._away and not member.is_running():
                raise SystemExit(f"{member.name} ended by itself: see {member.log}")
        return self.diary.take()

    def forget(self, job: str) -> None:
        """Drop what the trace keeps of a job."""
        self.trace.forget(frozenset({f"{DEVICE}_{job}"}))


@contextmanager
def open_field(agents: int, keep_logs: Path | None) -> Iterator[Field]:
    """Run three nodes and *agents* agents on two engines while the context lasts."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="workrs-grid-")))
        stack.callback(unmount_below, root)
        found = stack.enter_context(stage(root, purpose="grid", runtime="docker", engines=2))
        if found.rung is not Rung.MEMORY:
            raise SystemExit(f"no memory rung here: {found.why}")
        plans = tuple(
            AgentPlan(
                name=f"edge-{number + 1}",
                runtime=found.runtime,
                engine=found.engine(number),
                slots=1,
                options=("--memory-mb", str(AGENT_MEMORY_MB), "--offline"),
            )
            for number in range(agents)
        )
        cluster = stack.enter_context(local_cluster(ClusterPlan(root=root, agents=plans)))
        if keep_logs is not None:
            stack.callback(_keep, root / "logs", keep_logs)
        # What the recorder would write fills a disk in an hour; what it keeps is enough.
        trace = stack.enter_context(Recorder(cluster.addresses, Path("/dev/null")).running())
        zero_wall_s = local_day_s() - (time.monotonic() - trace.zero_s)
        yield Field(
            root=root,
            cluster=cluster,
            device=stack.enter_context(Device(DEVICE, nodes=cluster.hosts)),
            trace=trace,
            diary=Diary(root / "logs", zero_wall_s),
            image=found.image,
        )


def _keep(logs: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in logs.glob("*.log"):
        (folder / path.name).write_bytes(path.read_bytes())
