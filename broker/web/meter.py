"""Counts what is asked for, by whom. Pure.

1. Whoever has one IPv6 address has 2^64 of them, so those of a /64 count as one.
2. At most METERS_MAX counts are remembered. The one unused longest begins anew, so a table that is
   filled on purpose lets its filler ask more often, and nobody else less; what all may ask together
   has a bound of its own, whose count is used at every request.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Final, NamedTuple

from workrs.domain.ids import Instant
from workrs.domain.quota import Bucket, spend

METERS_MAX: Final = 10_000
_LOWER_BITS: Final = 64


class Rate(NamedTuple):
    """So many at once, and so many a second in the long run."""

    burst: int
    rate_per_s: float


@dataclass(slots=True)
class Meters:
    """Buckets by what they count."""

    _buckets: dict[str, Bucket] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._buckets)

    def spend(self, key: str, rate: Rate, now: Instant) -> float:
        """Take a token; return 0, or how many seconds until there is one."""
        before = self._buckets.pop(key, None)
        after, wait_s = spend(before, rate_per_s=rate.rate_per_s, burst=rate.burst, now=now)
        self._buckets[key] = after
        if len(self._buckets) > METERS_MAX:
            del self._buckets[next(iter(self._buckets))]
        return wait_s

    def give_back(self, key: str) -> None:
        """Put back what was spent last."""
        found = self._buckets.get(key)
        if found is not None:
            self._buckets[key] = found._replace(tokens=found.tokens + 1)


@lru_cache(maxsize=1024)
def network_of(address: str) -> str:
    """Return what an address counts as: itself, or the /64 it is in."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return f"{IPv6Address(int(found) >> _LOWER_BITS << _LOWER_BITS)}/64"
