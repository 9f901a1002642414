"""How often somebody may try to sign in, and how many requests are served. Pure.

Passwords have 128 random bits and nobody guesses one; what is protected is the broker's one thread,
which hashes every try, and names that people gave passwords of their own choice.

1. A try costs a token of the address it comes from with this name, of the address, and of all. The
   first two are given back if it was right: many people may come from one address.
2. Whoever is refused costs the broker nothing.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from workrs.domain.ids import Instant
from workrs.domain.quota import Bucket, spend


class Rate(NamedTuple):
    """So many at once, and so many a second in the long run."""

    burst: int
    rate_per_s: float


OF_NAME: Final = Rate(5, 5 / 60)
"""Tries from one address with one name."""
OF_ADDRESS: Final = Rate(20, 20 / 60)
OF_ALL: Final = Rate(100, 5.0)
REQUESTS: Final = Rate(200, 100.0)
"""Requests that the page answers, all together."""
METERS_MAX: Final = 10_000
"""Buckets that are remembered; the one unused longest begins anew."""


@dataclass(slots=True)
class Meters:
    """Buckets by what they count."""

    _buckets: dict[str, Bucket] = field(default_factory=dict)

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


@dataclass(slots=True)
class Attempts:
    """Of a node."""

    _meters: Meters = field(default_factory=Meters)

    def wait_s(self, address: str, name: str, now: Instant) -> float:
        """Count a try; return 0 if it may be made, or how long to wait first."""
        of_name, of_address = _keys(address, name)
        for key, rate in ((of_name, OF_NAME), (of_address, OF_ADDRESS), ("all", OF_ALL)):
            wait_s = self._meters.spend(key, rate, now)
            if wait_s:
                return wait_s
        return 0.0

    def was_right(self, address: str, name: str) -> None:
        """Note that a try that was counted was no guess."""
        for key in _keys(address, name):
            self._meters.give_back(key)


def _keys(address: str, name: str) -> tuple[str, str]:
    return f"name {address} {name}", f"address {address}"
