"""How many requests the page answers, and whose. Pure.

1. A request of nobody who is signed in counts for the network it comes from (`broker.web.meter`),
   and then for all strangers. One network may take a fifth of what all strangers may.
2. A request of a visitor counts for the visitor's name, wherever it comes from, and then for all
   visitors. So strangers take nothing from visitors, not even those behind the same address.
3. What one is refused is not counted for all.
4. Both sums together bound what the page costs its node, whose votes matter more.

Not promised: that a stranger is served while strangers in many networks ask for all they can.
"""

from dataclasses import dataclass, field
from typing import Final

from broker.web.meter import Meters, Rate, network_of
from workrs.domain.ids import ClientId, Instant

OF_NETWORK: Final = Rate(120, 20.0)
"""Strangers behind one address: signing in takes five requests at most."""
OF_STRANGERS: Final = Rate(400, 100.0)
OF_VISITOR: Final = Rate(120, 20.0)
"""One name, at all its browsers: an open page asks once a second."""
OF_VISITORS: Final = Rate(400, 200.0)
"""More than each of the most sessions there may be (128) asks for with an open page."""


@dataclass(slots=True)
class Traffic:
    """Of a node's page."""

    _meters: Meters = field(default_factory=Meters)

    def wait_s(self, address: str, name: ClientId | None, now: Instant) -> float:
        """Count a request; return 0 if it is answered, or how long to wait first.

        Args:
            address: where it comes from.
            name: who is signed in where it comes from; None: nobody.
            now: as of when.
        """
        if name is None:
            counts = ((f"network {network_of(address)}", OF_NETWORK), ("strangers", OF_STRANGERS))
        else:
            counts = ((f"visitor {name}", OF_VISITOR), ("visitors", OF_VISITORS))
        for key, rate in counts:
            wait_s = self._meters.spend(key, rate, now)
            if wait_s:
                return wait_s
        return 0.0
