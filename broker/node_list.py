"""A node's way from one list of nodes to the next: see `workrs.domain.node_list` for why so.

1. The new list is on disk before anything is said under it.
2. It is *drained* when every other node has shown the same list, and since then the jobs that were
   open at that moment are decided; it shows that.
3. It is *ready* when all are drained, and since then it has read what the others have decided and
   retired (`broker.list_copy`); it shows that, too. What is decided must not wait for the bus: a
   bridge that breaks in the middle may have brought a peer's state, and not yet its records.
4. The change is over, on disk, when all of them are ready. A restart before begins to wait anew,
   for what is open by then.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from broker import list_copy
from workrs.domain.errors import ConfigError
from workrs.domain.node_list import Stage, are_near, distance, step

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from broker.node import Node
    from workrs.domain.ids import ClientId, Instant, JobId
    from workrs.ports.ledger import Standing
    from workrs.wire.message import NodeState


@dataclass(slots=True)
class ListChange:
    """What the node has seen of a change since its start."""

    others: frozenset[ClientId] = frozenset()
    """All other nodes of the list."""
    shown: set[ClientId] = field(default_factory=set)
    """Those that showed the same list."""
    drained: set[ClientId] = field(default_factory=set)
    """Those whose jobs of before are decided."""
    ready: set[ClientId] = field(default_factory=set)
    """Those that know what all others have decided."""
    before: set[JobId] | None = None
    """Jobs that were open when all had shown the list, and are; None until then."""
    unread: dict[ClientId, Instant | None] | None = None
    """Whose ledgers are left to read since all are drained, and when to ask: None while one is
    read. None until then."""

    @property
    def is_drained(self) -> bool:
        """Return whether every job of before the change is decided here."""
        return self.before is not None and not self.before

    @property
    def is_ready(self) -> bool:
        """Return whether what the others decided of such jobs is known here, too."""
        return self.is_drained and self.unread is not None and not self.unread


def begin(node: Node, standing: Standing, seen: Collection[ClientId]) -> Standing:
    """Take the list that the node was started with; return the standing with it.

    Args:
        node: just made.
        standing: as on disk.
        seen: the peers that the ledger knows.

    Raises:
        ConfigError: it is more than a step from the one on disk.
    """
    nodes, stage = step(standing.nodes, standing.stage, node.settings.nodes)
    node.list_change.others = frozenset(nodes) - {node.name}
    lacking = sorted(set(seen) - set(nodes))
    if lacking and not standing.nodes:
        raise ConfigError(
            f"the ledger of {node.name} is from before lists of nodes could change, and knows "
            f"{', '.join(lacking)}: start once with the list as it was, and remove nodes one at a "
            "time after that (docs/operations.md)"
        )
    if standing.nodes and set(nodes) != set(standing.nodes):
        node.fact("node_list_changed", nodes=list(nodes), before=list(standing.nodes))
    return replace(standing, nodes=nodes, stage=stage)


def see(node: Node, peer: ClientId, state: NodeState) -> None:
    """Note which list a peer shows, and how far it is."""
    own = node.settings.nodes
    if not state.live:
        return
    if distance(own, state.nodes) == 0:
        node.list_change.shown.add(peer)
        if state.list_drained:
            node.list_change.drained.add(peer)
        if state.list_ready:
            node.list_change.ready.add(peer)
    elif distance(own, state.nodes) > 1:
        theirs, mine = ", ".join(state.nodes), ", ".join(own)
        text = (
            f"node {peer} has the list {theirs}, and {node.name} has {mine}: they may differ by "
            "one node, while it is added or removed (docs/operations.md)"
        )
        node.fact_limited("node_lists_differ", node=peer, theirs=list(state.nodes))
        if not node.admission.votes:
            node.effects.halt = text


def is_near(node: Node, state: NodeState) -> bool:
    """Return whether this node may vote beside one that shows this state."""
    return are_near(node.settings.nodes, state.nodes, node.admission.standing.stage)


def others_lists(node: Node, states: Mapping[ClientId, NodeState]) -> str:
    """Return which nodes show lists beside which this one does not vote, for humans; or nothing."""
    found = [name for name, state in sorted(states.items()) if not is_near(node, state)]
    return f"; with the same list of nodes: {', '.join(found)}" if found else ""


def is_drained(node: Node) -> bool:
    """Return what the node shows of itself: no job of before the last change is open here."""
    return node.admission.standing.stage is Stage.OVER or node.list_change.is_drained


def is_ready(node: Node) -> bool:
    """Return what the node shows of itself: and it has read the ledgers of all others."""
    return node.admission.standing.stage is Stage.OVER or node.list_change.is_ready


def ends(node: Node, now: Instant) -> bool:
    """Return, once a beat, whether the change ends here and now."""
    it = node.list_change
    if node.admission.standing.stage is Stage.OVER or not node.admission.votes:
        return False
    if it.before is None and it.shown >= it.others:
        it.before = {entry.job for entry in node.entries.values() if entry.is_open}
    elif it.before:
        it.before = {job for job in it.before if _is_open(node, job)}
    if it.unread is None and it.is_drained and it.drained >= it.others:
        it.unread = dict.fromkeys(sorted(it.others), now)
    list_copy.ask(node, now)
    return it.is_ready and it.ready >= it.others


def waits_for(node: Node) -> str:
    """Return what a change that is not over waits for, for humans."""
    it = node.list_change
    if lacking := it.others - it.shown:
        return f"{', '.join(sorted(lacking))} did not show this list yet"
    if it.before:
        return f"{len(it.before)} jobs of before are undecided here, {min(it.before)} among them"
    if lacking := it.others - it.drained:
        return f"jobs of before may be undecided at {', '.join(sorted(lacking))}"
    if it.unread:
        return f"what is over has to be read in the ledgers of {', '.join(sorted(it.unread))}"
    return f"{', '.join(sorted(it.others - it.ready)) or node.name} has to read other ledgers"


def _is_open(node: Node, job: JobId) -> bool:
    entry = node.entries.get(job)
    return entry is not None and entry.is_open
