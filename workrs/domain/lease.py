"""Lease timing: the numbers every node and agent must agree on, and the agent's deadline.

1. The holder counts from the moment it *sent* what was acknowledged, never from the answer.
2. An agent's deadline lies before the nodes' by `margin_s`, which covers drift and freezing.
3. Durations travel; instants never do.
"""

from dataclasses import dataclass
from math import isfinite

from workrs.domain.errors import ConfigError
from workrs.domain.ids import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTiming:
    """The same on every node and agent of a cluster. All in seconds."""

    ttl_s: float = 10.0
    """How long a grant or a heartbeat keeps a job."""
    heartbeat_period_s: float = 2.0
    margin_s: float = 2.0
    """How long before the nodes' end an agent freezes its containers."""
    reconnect_grace_s: float = 1.0
    """How long a broken connection may take to come back before its jobs are orphans."""
    clock_drift_max: float = 0.01
    """Difference of clock rates, as a fraction."""
    freeze_max_s: float = 1.0
    """The longest the warden may take to freeze all containers of an agent."""

    def __post_init__(self) -> None:
        """Refuse timings under which two agents could run one job."""
        # Written out: `astuple` costs more than all the rest of a message that carries timings.
        values = (
            self.ttl_s,
            self.heartbeat_period_s,
            self.margin_s,
            self.reconnect_grace_s,
            self.clock_drift_max,
            self.freeze_max_s,
        )
        if not all(map(isfinite, values)):
            # No comparison below would refuse a NaN.
            raise ConfigError(f"lease timings must be finite: {self}")
        if min(self.ttl_s, self.heartbeat_period_s, self.margin_s, self.freeze_max_s) <= 0:
            raise ConfigError(f"lease timings must be above 0: {self}")
        if self.reconnect_grace_s < 0 or not 0 <= self.clock_drift_max < 0.5:
            raise ConfigError(
                f"reconnect_grace_s ({self.reconnect_grace_s}) must be at least 0 and "
                f"clock_drift_max ({self.clock_drift_max}) from 0 to 0.5"
            )
        needed = self.margin_s + 3 * self.heartbeat_period_s
        if not self.ttl_s > needed:
            raise ConfigError(
                f"ttl_s ({self.ttl_s}) must be above margin_s + 3 x heartbeat_period_s "
                f"({self.margin_s} + 3 x {self.heartbeat_period_s} = {needed}): "
                "two lost heartbeats must not cost a lease"
            )
        least = self.ttl_s * 2 * self.clock_drift_max + self.freeze_max_s
        if self.margin_s < least:
            raise ConfigError(
                f"margin_s ({self.margin_s}) must be at least ttl_s x 2 x clock_drift_max + "
                f"freeze_max_s ({self.ttl_s} x 2 x {self.clock_drift_max} + {self.freeze_max_s} "
                f"= {least:g}): containers must be frozen before the nodes give the job away"
            )

    @property
    def holding_s(self) -> float:
        """Return how long after sending an acknowledged renewal the holder may run."""
        return self.ttl_s - self.margin_s

    @property
    def silence_s(self) -> float:
        """Return after how long without acknowledgement a client tries another node."""
        return self.ttl_s / 3


def safe_until(sent: Instant, timing: LeaseTiming) -> Instant:
    """Return the deadline that an acknowledged claim or heartbeat sent at *sent* gives."""
    return Instant(sent + timing.holding_s)
