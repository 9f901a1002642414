"""The cluster as this agent sees it: which nodes there are, their timing, their stores.

1. Nothing is claimed before a node has said how many nodes there are.
2. When nodes disagree, the larger cluster and the shorter lease are believed: both only
   make this agent more careful than it needs to be. A node that one of its own list leaves
   out was removed. Only terms count that were shown since the last connect, as all nodes are
   started anew when their list changes: what a removed one said would be believed for ever.
3. The stores of nodes that answered lately come first; those of silent ones are last resorts.
"""

from collections.abc import Iterator

from edge_agent.work import NOT
from workrs.domain.fault_history import FaultHistory, longest
from workrs.domain.ids import ClientId, Instant
from workrs.domain.lease import LeaseTiming
from workrs.domain.quorum import majority
from workrs.wire.message import NodeTerms

NODES_MAX = 16
"""Nodes whose terms are kept: a cluster has 5, and one may have been another's before."""


class Cluster:
    """What the nodes' terms add up to."""

    def __init__(self, fallback: LeaseTiming) -> None:
        """Know nothing yet but the timing that the configuration assumes."""
        self.timing = fallback
        self.names: frozenset[ClientId] = frozenset()
        self.size = 0
        self.majority = 1
        self._terms: dict[ClientId, NodeTerms] = {}
        self._shown: set[ClientId] = set()
        """Whose terms came on this connection."""
        self._heard: dict[ClientId, Instant] = {}
        self._first_heard = NOT
        """When any of them answered for the first time."""

    @property
    def known(self) -> bool:
        """Return whether any node has said who belongs to the cluster."""
        return self.size > 0

    @property
    def stores(self) -> tuple[str, ...]:
        """Return the URLs of the members' blob stores, in the order of preference."""
        silent = set(self._silent())
        ranked = sorted((node in silent, node) for node in self._members())
        urls = (self._terms[node].blobs_url for _, node in ranked)
        return tuple(url for url in urls if url)

    @property
    def faults(self) -> FaultHistory:
        """Return how often agents are lost, as the member counted it that watched longest."""
        return longest(self._terms[node].faults for node in self._members())

    def hear(self, node: ClientId, now: Instant) -> None:
        """Note that a member answered."""
        self._heard[node] = now
        self._first_heard = min(self._first_heard, now)

    def reconnect(self) -> None:
        """Note that a connection begins: whoever still belongs to the cluster shows its terms."""
        self._shown.clear()

    def see(self, node: ClientId, terms: NodeTerms) -> bool:
        """Take a node's terms; return whether they brought a new timing."""
        if node not in self._terms and len(self._terms) >= NODES_MAX:
            gone = next((n for n in self._terms if n not in self._shown | self.names), None)
            if gone is None:
                return False
            del self._terms[gone]
        self._terms[node] = terms
        self._shown.add(node)
        before = self.timing
        largest = max((self._terms[name].nodes for name in self._named()), key=len)
        self.names = frozenset(ClientId(name) for name in largest)
        self.size = len(self.names)
        self.majority = majority(self.size)
        timings = {self._terms[node].timing for node in self._members()}
        if timings:
            self.timing = min(timings, key=lambda timing: timing.holding_s)
        return before != self.timing

    def _named(self) -> list[ClientId]:
        """Return those that no node of their own lists leaves out, else all."""
        said = {
            node: set(terms.nodes) for node, terms in self._terms.items() if node in self._shown
        }
        left_out = {n for n in said if any(m in said[n] and n not in said[m] for m in said)}
        return [node for node in said if node not in left_out] or list(said)

    def timings(self) -> int:
        """Return how many different timings the nodes state; more than 1 is a mistake."""
        return len({self._terms[node].timing for node in self._members()})

    def _members(self) -> Iterator[ClientId]:
        return (node for node in self._terms if node in self.names)

    def _silent(self) -> Iterator[ClientId]:
        """Yield those who did not answer while another did. Nobody knows of any at the start."""
        newest = max(self._heard.values(), default=Instant(0.0))
        for node in self._members():
            heard = self._heard.get(node, self._first_heard)
            if newest - heard >= self.timing.silence_s:
                yield node
