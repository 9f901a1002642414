"""What a row wants to run on: a small cluster with short leases, and a stream of jobs."""

from dataclasses import dataclass, field

from workrs.domain.lease import LeaseTiming

TEST_TIMING = LeaseTiming(ttl_s=3.0, heartbeat_period_s=0.5, margin_s=1.1, reconnect_grace_s=1.0)
"""The shortest ttl that the rules allow with the default bound on freezing, rounded up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """The steady stream of jobs that runs beside every fault and is checked at the end."""

    echo_period_s: float = 0.5
    """Every so often a job that ends at once. 0: none."""
    long_jobs: int = 2
    """So many jobs run at any time that take `long_job_s` and save checkpoints."""
    long_job_s: float = 6.0
    devices: int = 2
    """Devices that share the stream; each begins at another node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlan:
    """A cluster to break. Equal plans share one."""

    nodes: int = 3
    agents: int = 3
    slots: int = 6
    runtime: str = "process"
    """process, docker (engines of our own, CRIU where there is one) or instant."""
    engines: int = 2
    """For docker: agents take turns on them."""
    memory_rung: bool = False
    """For docker: the load's long jobs are to be saved with their memory."""
    timing: LeaseTiming = TEST_TIMING
    load: LoadPlan = field(default_factory=LoadPlan)
    net: bool = False
    """Members run in network namespaces of their own: `Site.net` is there."""
    small_disks: bool = False
    """Every node's state folder lies on a small file system of its own."""
    functions: str = ""
    """Further TOML for the functions file; IMAGE stands for the job image."""
    node_options: tuple[str, ...] = ()
    agent_options: tuple[str, ...] = ()
