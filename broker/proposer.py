"""Nodes as proposers: how a job is cancelled, or expires because no spec can win.

1. A node proposes under the agents' rules: a majority's grant first, adoption of what was
   accepted before, one value per epoch.
2. Its record is its claim, and an outcome accepted there at its own epoch its proposal.
3. The first live node in rendezvous order claims, the next ranks wait one turn each: all at
   once would preempt each other for ever. After a claim, its own or one that it granted, a
   node waits one to two turns, by rank, so that nodes which claimed at the same moment, and
   split the votes, do so no second time; after each further claim of its own twice as long.
"""

from broker.entry import JobEntry
from broker.node import PEER_SILENT_S, Node
from workrs.domain import quorum, voter
from workrs.domain.dispatch import rank_nodes
from workrs.domain.ids import ClientId, Digest, Epoch, Instant
from workrs.domain.job import Outcome, Verdict
from workrs.domain.record import Record

TURN_S = PEER_SILENT_S
"""A turn, unless a ttl is shorter. Far above what a round takes, and by then all nodes agree on
who lives. In turns of a ttl a split vote took four to ten of them: 40 s and more by default."""
TURNS_MAX = 16
"""Where no majority can be had, a claim is a commit and a message for nothing."""


def is_unwinnable(entry: JobEntry, nodes: int) -> bool:
    """Return whether so many specs share the id that none can reach a majority."""
    abstain = sum(1 for record in entry.records.values() if record.abstains)
    counts: dict[Digest, int] = {}
    for record in entry.records.values():
        if record.digest is not None:
            counts[record.digest] = counts.get(record.digest, 0) + 1
    if len(counts) < 2:
        return False
    silent = nodes - abstain - sum(counts.values())
    if max(counts.values()) + silent >= quorum.majority(nodes):
        return False
    # A spec that was accepted with a vote that is forgotten now has won already.
    return not any(quorum.is_settled(entry.records, digest, nodes) for digest in counts)


def propose(node: Node, entry: JobEntry, now: Instant) -> None:
    """Take the next step towards ending a job that should not run."""
    if entry.alarmed or entry.record.abstains:
        return
    if not (entry.record.cancel or is_unwinnable(entry, node.size)):
        return
    if entry.propose_at is None:
        entry.propose_at = _turn_at(node, entry, now, after=0)
    if now >= entry.propose_at:
        # Though a majority may have granted the last claim: if they had also accepted, the
        # job would be decided, so some of them are lost to it.
        _claim(node, entry, now)
    if _has_majority(node, entry):
        _propose_value(node, entry, entry.record.epoch)
    node.poke(entry.job, entry.propose_at)


def _turn_at(node: Node, entry: JobEntry, now: Instant, *, after: int) -> Instant:
    """Return when it is this node's turn to claim."""
    turn_s = min(TURN_S, node.settings.timing.ttl_s)
    rank = _ranked(node, entry, after=after).index(node.name)
    return Instant(now + turn_s * wait_turns(after, rank, node.size))


def _ranked(node: Node, entry: JobEntry, *, after: int) -> list[ClientId]:
    """Return the nodes in the order of their turns; the dead have none before the first claim.

    They have after it: nodes that were stopped together take each other for dead when they go
    on, and each itself for the first of the living.
    """
    return rank_nodes(entry.job, node.settings.nodes if after else node.voters(entry))


def wait_turns(after: int, rank: int, nodes: int) -> float:
    """Return how many turns a node of this rank waits.

    *after* is 0 before the first claim, then a power of two: no two ranks ever wait equally long,
    though one has claimed more often than the other.
    """
    return after * (1 + rank / nodes) if after else rank


def _granting(node: Node, entry: JobEntry, epoch: Epoch) -> dict[ClientId, Record]:
    return {
        name: record
        for name, record in entry.records.items()
        if record.epoch == epoch and record.holder == node.holder
    }


def _has_majority(node: Node, entry: JobEntry) -> bool:
    return quorum.leader(entry.records, node.size) == (entry.record.epoch, node.holder)


def _propose_value(node: Node, entry: JobEntry, epoch: Epoch) -> None:
    own = entry.record.accepted
    if own is not None and own.epoch == epoch:
        return
    adopted = quorum.must_adopt(_granting(node, entry, epoch), epoch)
    if adopted is not None:
        value = adopted.outcome
    elif entry.record.cancel:
        value = Outcome(verdict=Verdict.CANCELLED, reason="cancelled on request")
    else:
        value = Outcome(
            verdict=Verdict.EXPIRED,
            reason="different specs were submitted under this id at the same time, "
            "and none of them reached a majority: submit again under a new id",
        )
    accepted = voter.outcome(entry.vote, node.holder, epoch, value)
    if accepted is not None:
        node.change(entry, accepted)


def _claim(node: Node, entry: JobEntry, now: Instant) -> None:
    timing = node.settings.timing
    request = voter.ClaimRequest(
        epoch=Epoch(1 + quorum.highest_epoch(entry.records)),
        holder=node.holder,
        digest=entry.record.digest,
        by_node=True,
    )
    granted = voter.claim(entry.vote, request, now=now, ttl_s=timing.ttl_s)
    if granted is not None:
        node.change(entry, granted)
        node.note("claimed_by_node", entry.job, epoch=request.epoch)
    entry.propose_at = _turn_at(node, entry, now, after=entry.turns)
    entry.turns = min(2 * entry.turns, TURNS_MAX)


def follow(node: Node, entry: JobEntry, peer: ClientId, record: Record, now: Instant) -> None:
    """Vote on the claim and the proposal that a peer's own record stands for."""
    if record.holder is None or record.holder.client != peer or entry.alarmed:
        return
    request = voter.ClaimRequest(
        epoch=record.epoch, holder=record.holder, digest=record.digest, by_node=True
    )
    granted = voter.claim(entry.vote, request, now=now, ttl_s=node.settings.timing.ttl_s)
    if granted is not None:
        node.change(entry, granted)
        entry.propose_at = _turn_at(node, entry, now, after=entry.turns)
    if record.accepted is not None and record.accepted.epoch == record.epoch:
        accepted = voter.outcome(entry.vote, record.holder, record.epoch, record.accepted.outcome)
        if accepted is not None:
            node.change(entry, accepted)
