"""A row of the fault matrix: what is broken, on what cluster, and when it counts as passed.

1. A row's `inject` breaks something, heals it, and measures; it raises RowError when the
   row's condition is not met. Everything is whole again when it returns.
2. What holds for every row (no job lost, none with two outcomes, …) is not checked by the
   row: `workrs.faults.check` does that, over the trace, after each injection.
3. All times are seconds on CLOCK_MONOTONIC since the site began, all figures are seconds
   unless the figure's name says otherwise.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from workrs.domain.errors import WorkrsError
from workrs.faults.plan import SitePlan

if TYPE_CHECKING:
    from workrs.faults.site import Site

ENGINE: Final = "engine"
"""Needs a Docker Engine of the project's own."""
CRIU: Final = "criu"
"""Needs checkpoints of memory, so an engine too."""
NET: Final = "net"
"""Needs network namespaces and nftables, so root."""


class RowError(WorkrsError):
    """The row's condition is not met."""

    def __init__(self, why: str) -> None:
        """Say which one, in numbers where there are some."""
        super().__init__(f"the row's condition is not met: {why}")
        self.why = why
        self.injection: Injection | None = None
        """What was measured until then, where the site knows it."""


class Mark(NamedTuple):
    """A point on an injection's timeline."""

    at_s: float
    lane: str
    """A node, an agent, a job, or `broker NODE`."""
    kind: str
    """fault, heal, will, grant, takeover, running, outcome or note."""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """One fault that was injected, and what was measured."""

    name: str
    began_s: float
    ended_s: float
    figures: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """Name of a figure to its values: `lease` → (1.21, 1.19)."""
    notes: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()


Inject = Callable[["Site"], Injection]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the matrix."""

    name: str
    """For `--only`, in words joined by dashes: `broker-killed`."""
    title: str
    passes_when: str
    inject: Inject
    plan: SitePlan = field(default_factory=SitePlan)
    """Rows with equal plans share a running site."""
    repeat: int = 10
    """Injections in the full matrix."""
    quick: int = 0
    """Injections in the test suite; 0: not there."""
    needs: frozenset[str] = frozenset()
    """Of ENGINE, CRIU, NET. A row whose needs the machine lacks is skipped and said so."""
    bounds: Mapping[str, float] = field(default_factory=dict)
    """Figure to the largest p99 that passes, checked over all injections of the row."""
