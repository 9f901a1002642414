"""The faults there are: each breaks something and plans its mending.

A fault draws what it hits and for how long from the generator it is given, and from nothing
else. Lengths go from far below a lease to four of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from workrs.testing.simulator import fault_of_agent, fault_of_bus, fault_of_node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from workrs.testing.simulator.world import World


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault."""

    name: str
    available: Callable[[World], bool]
    """Whether there is anything to break now."""
    inject: Callable[[World, Random], str]
    """Break it, and return what was broken for the trace."""


def _all() -> Mapping[str, Fault]:
    found = {}
    for module in (fault_of_node, fault_of_bus, fault_of_agent):
        for available, inject in module.FAULTS:
            name = inject.__name__.replace("_", " ").strip()
            found[name] = Fault(name, available, inject)
    return found


FAULTS = _all()
