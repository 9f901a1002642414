"""What one device, or all devices of one tenant, may ask of a node.

1. Requests are counted by a bucket: `burst` at once, and `rate_per_s` for ever.
2. Open jobs and the bytes of their specs have a highest number each.
3. Room that many share is given out by what is left of it (`share`): whoever uses little always
   finds some, however many others take all they can.
4. Nothing here is a matter of safety. What is refused is told with a time to wait, and who asks
   again after that is served as if nothing had been.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from workrs.domain.errors import ConfigError
from workrs.domain.ids import Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The limits of one device, or of one tenant."""

    rate_per_s: float
    """Requests a second, in the long run."""
    burst: int
    """Requests at once, after a silence."""
    open_max: int
    """Open jobs."""
    open_max_bytes: int
    """Bytes of their specs."""

    def __post_init__(self) -> None:
        """Refuse limits that would let nothing through."""
        for name in ("rate_per_s", "burst", "open_max", "open_max_bytes"):
            value = getattr(self, name)
            if not value > 0:
                raise ConfigError(f"a quota's {name} must be above 0, not {value}")


DEVICE = Quota(rate_per_s=100.0, burst=20_000, open_max=20_000, open_max_bytes=64 << 20)
"""An outbox of 10,000 jobs may leave at once, twice."""
TENANT = Quota(rate_per_s=1_000.0, burst=100_000, open_max=50_000, open_max_bytes=192 << 20)
"""Half of what a node keeps, in jobs and in bytes."""
BAR_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """All quotas of a node."""

    device: Quota = field(default_factory=lambda: DEVICE)
    tenant: Quota = field(default_factory=lambda: TENANT)
    bar_s: float = BAR_S
    """How long a device is barred that goes on although it is refused."""

    def __post_init__(self) -> None:
        """Refuse a bar that never ends or never begins."""
        if not 0 < self.bar_s <= 86_400:
            raise ConfigError(f"a device is barred for 0 to 86,400 s, not {self.bar_s}")


class Bucket(NamedTuple):
    """Requests that may be made, as of an instant."""

    tokens: float
    at: Instant


def spend(
    bucket: Bucket | None, *, rate_per_s: float, burst: float, now: Instant
) -> tuple[Bucket, float]:
    """Take one token out; return the bucket and 0, or how many seconds until there is one.

    Without a bucket it is full. A clock that stood still or went back adds nothing.
    """
    tokens = float(burst)
    if bucket is not None:
        tokens = min(tokens, bucket.tokens + max(0.0, now - bucket.at) * rate_per_s)
    if tokens >= 1:
        return Bucket(tokens - 1, now), 0.0
    return Bucket(tokens, now), (1 - tokens) / rate_per_s


def share(used: int, most: int, part: float) -> int:
    """Return how much of a room of *most* one may hold while *used* of it is taken by all.

    A *part* of what is free (dynamic thresholds, as in the buffers of switches): one alone gets
    part / (1 + part) of the room, each of n gets part / (1 + n part), and some is always free.
    """
    return max(1, int((most - used) * part))
