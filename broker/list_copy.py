"""What a node takes over from its peers' ledgers while the list of nodes changes: what is over.

A retired job is known to a majority of the nodes that were listed when it was retired, and its
topics are empty. Two changes later that need not be a majority: of five nodes of which two are
new and one was away, three know nothing of it, and a submit that comes once more would be a new
job to them. With a decided one it is the same where a bridge broke before it had brought it. So
each node reads the ledgers of all others once all use the new list and are drained, and only then
is the change over for it. Decisions are taken as if the bus had brought them (`peers.on_ledger`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.effect import Publish, ReadPeerLedger
from workrs.domain.ids import Instant
from workrs.wire import topics

if TYPE_CHECKING:
    from broker.event import PeerLedgerFailed, PeerLedgerPart, PeerLedgerRead
    from broker.node import Node

READ_AGAIN_S = 1.0


def ask(node: Node, now: Instant) -> None:
    """Have those ledgers read whose turn it is."""
    unread = node.list_change.unread or {}
    for peer, again_at in unread.items():
        state = node.admission.states.get(peer)
        if again_at is not None and now >= again_at and state is not None:
            unread[peer] = None
            node.effects.reads.append(ReadPeerLedger(peer, state.blobs_url, node.generation))


def on_part(node: Node, event: PeerLedgerPart) -> None:
    """Take in which jobs are retired."""
    if not is_read(node, event):
        return
    for retired in event.retired:
        if retired.job not in node.entries and node.find_retired(retired.job) is None:
            node.take_retired(retired)


def on_read(node: Node, event: PeerLedgerRead) -> None:
    """Note that all of a ledger has been taken in."""
    if node.list_change.unread and is_read(node, event):
        del node.list_change.unread[event.node]
        node.fact("peer_ledger_read", node=event.node, generation=event.generation)
        if not node.list_change.unread:
            node.say(Publish(topics.node(node.name, "state"), node.state()))


def on_failed(node: Node, event: PeerLedgerFailed, now: Instant) -> None:
    """Read that ledger again in a moment."""
    if node.list_change.unread and is_read(node, event):
        node.list_change.unread[event.node] = Instant(now + READ_AGAIN_S)
        node.fact("peer_ledger_unread", node=event.node, why=event.why)


def is_read(node: Node, event: PeerLedgerPart | PeerLedgerRead | PeerLedgerFailed) -> bool:
    """Return whether this is of a ledger that is being read."""
    return (node.list_change.unread or {}).get(event.node, Instant(0.0)) is None
