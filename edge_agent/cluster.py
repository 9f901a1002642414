"""The cluster as this agent sees it: which nodes there are, their timing, their stores.

1. Nothing is claimed before a node has said how many nodes there are.
2. When nodes disagree, the larger cluster and the shorter lease are believed: both only
   make this agent more careful than it needs to be.
"""

from workrs.domain.ids import ClientId
from workrs.domain.lease import LeaseTiming
from workrs.domain.quorum import majority
from workrs.wire.message import NodeState

NODES_MAX = 16
"""Nodes whose states are kept: a cluster has 5, and one may have been another's before."""


class Cluster:
    """What the nodes' states add up to."""

    def __init__(self, fallback: LeaseTiming) -> None:
        """Know nothing yet but the timing that the configuration assumes."""
        self.timing = fallback
        self.names: frozenset[ClientId] = frozenset()
        self.size = 0
        self.majority = 1
        self.stores: tuple[str, ...] = ()
        self._states: dict[ClientId, NodeState] = {}

    @property
    def known(self) -> bool:
        """Return whether any node has said who belongs to the cluster."""
        return self.size > 0

    def see(self, node: ClientId, state: NodeState) -> bool:
        """Take a node's state; return whether it brought a new timing."""
        last = self._states.get(node)
        if last is None and len(self._states) >= NODES_MAX:
            return False
        self._states[node] = state
        if last is not None and (last.nodes, last.timing, last.live, last.blobs_url) == (
            state.nodes,
            state.timing,
            state.live,
            state.blobs_url,
        ):
            return False
        before = self.timing
        self._add_up()
        return before != self.timing

    def _add_up(self) -> None:
        states = self._states.values()
        largest = max((s.nodes for s in states), key=len)
        self.names = frozenset(ClientId(name) for name in largest)
        self.size = len(self.names)
        self.majority = majority(self.size)
        members = {n: s for n, s in self._states.items() if n in self.names}
        if members:
            self.timing = min((s.timing for s in members.values()), key=lambda t: t.holding_s)
        self.stores = tuple(
            s.blobs_url for _, s in sorted(members.items()) if s.live and s.blobs_url
        )

    def timings(self) -> int:
        """Return how many different timings the nodes state; more than 1 is a mistake."""
        return len({s.timing for n, s in self._states.items() if n in self.names})
