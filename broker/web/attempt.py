"""How often somebody may try to sign in. Pure.

Passwords have 128 random bits and nobody guesses one; what is protected is the broker's one thread,
which hashes every try, and names that people gave passwords of their own choice.

1. A try costs a token of the network it comes from (`broker.web.meter`) with this name, of the
   network, and of all. The first two are given back if it was right: many people may come from one
   address.
2. Whoever is refused costs the broker nothing.
"""

from dataclasses import dataclass, field
from typing import Final

from broker.web.meter import Meters, Rate, network_of
from workrs.domain.ids import Instant

OF_NAME: Final = Rate(5, 5 / 60)
"""Tries from one network with one name."""
OF_NETWORK: Final = Rate(20, 20 / 60)
OF_ALL: Final = Rate(100, 5.0)


@dataclass(slots=True)
class Attempts:
    """Of a node."""

    _meters: Meters = field(default_factory=Meters)

    def wait_s(self, address: str, name: str, now: Instant) -> float:
        """Count a try; return 0 if it may be made, or how long to wait first."""
        of_name, of_network = _keys(address, name)
        for key, rate in ((of_name, OF_NAME), (of_network, OF_NETWORK), ("all", OF_ALL)):
            wait_s = self._meters.spend(key, rate, now)
            if wait_s:
                return wait_s
        return 0.0

    def was_right(self, address: str, name: str) -> None:
        """Note that a try that was counted was no guess."""
        for key in _keys(address, name):
            self._meters.give_back(key)


def _keys(address: str, name: str) -> tuple[str, str]:
    network = network_of(address)
    return f"name {network} {name}", f"network {network}"
