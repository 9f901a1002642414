"""What an agent needs to know to start. Every field has the option of `workrs agent` it is."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from workrs.adapters.stores.address import shared_location
from workrs.domain.errors import ConfigError
from workrs.domain.ids import client_id
from workrs.domain.lease import LeaseTiming
from workrs.ports.bus import Address
from workrs.trust.credential import Credential
from workrs.wire.message import LOCATIONS_MAX

RUNTIMES = ("docker", "process", "instant")
"""`instant` runs nothing: every job succeeds at once with its input. For benchmarks."""

GRACE_S = 30.0
"""Enough to hand over a few gibibytes. A service manager must wait longer: systemd's 90 s do."""
LEAVE_POLL_S = 15.0


def _cores() -> int:
    return os.cpu_count() or 1


def _memory_mb() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """One agent's configuration."""

    name: str
    nodes: tuple[Address, ...]
    """Brokers, in the order in which they are tried. Not all of the cluster's are needed."""
    credential: Credential | None = None
    """Who the agent is to the nodes. None: they ask nobody, as on one machine."""
    state_dir: Path
    """Its incarnation, its attempts' files, its warden's lock. Of this agent alone."""
    runtime: str = "docker"
    engine: str = ""
    """URL of the Docker Engine; empty: the machine's usual one."""
    slots: int = field(default_factory=_cores)
    """Jobs it runs at once."""
    memory_mb: int = field(default_factory=_memory_mb)
    """The most that one job may ask for."""
    labels: tuple[str, ...] = ()
    copies: int = 2
    """Stores that must have a checkpoint, nodes that must have a large result."""
    stores: tuple[str, ...] = ()
    """Where checkpoints go instead of the nodes: a shared folder, buckets. The same on every
    agent, and on the nodes, which remove what is left of jobs that are over."""
    checkpoint_key: Path | None = None
    """File with the keys that checkpoints are sealed with, the same on every agent."""
    pull: bool = True
    """Whether an image that is not here may be fetched from its registry."""
    allowed_images: tuple[str, ...] = ()
    """Patterns of the images that it runs, whatever the nodes let in; empty: all."""
    grace_s: float = GRACE_S
    """How long a stop may take for last checkpoints."""
    leave_when: str = ""
    """Command whose exit code says whether this machine's jobs should go elsewhere; empty: none."""
    leave_poll_s: float = LEAVE_POLL_S
    metrics: Address | None = None
    """Where Prometheus and health checks are answered, by nobody's leave. None: nowhere."""
    timing: LeaseTiming = field(default_factory=LeaseTiming)
    """Assumed until a node has said its own."""

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        client_id(self.name)
        if not self.nodes:
            raise ConfigError("an agent needs at least one node: --node HOST:PORT")
        if self.runtime not in RUNTIMES:
            raise ConfigError(f"runtime {self.runtime!r} is none of {', '.join(RUNTIMES)}")
        for name, low, high in (("slots", 1, 10_000), ("memory_mb", 4, 1 << 24), ("copies", 1, 5)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(f"{name} is {value}: write {low} to {high}")
        if self.leave_poll_s < 1:
            raise ConfigError(f"leave_poll_s is {self.leave_poll_s}: write 1 or more")
        if self.grace_s < 0:
            raise ConfigError(f"grace_s is {self.grace_s}: write 0 or more")
        if len({shared_location(url) for url in self.stores}) > LOCATIONS_MAX:
            raise ConfigError(f"{len(self.stores)} stores: at most {LOCATIONS_MAX}")
        if self.checkpoint_key is None and self.runtime != "instant":
            self._require_loopback()
        if self.runtime != "docker":
            self._require_no_engine()

    def _require_no_engine(self) -> None:
        """Refuse options that only an engine can keep."""
        if self.engine:
            raise ConfigError(f"an engine goes with the docker runtime, not with {self.runtime}")
        if self.allowed_images:
            raise ConfigError(
                f"a list of images goes with the docker runtime: {self.runtime} runs no image, and "
                "would run any command"
            )

    def _require_loopback(self) -> None:
        """Refuse to store what is in programs' memory, in the clear, on other machines."""
        far = next((f"node {node}" for node in self.nodes if not node.is_loopback), None)
        far = far or next((url for url in self.stores if not url.startswith("file:")), None)
        if far is not None:
            raise ConfigError(
                f"{far} is another machine, and checkpoints hold what programs have in "
                "memory: give --checkpoint-key FILE, the same on all agents; "
                "`workrs key make FILE` makes it"
            )
