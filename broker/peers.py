"""What other nodes show, and what this node makes of it.

1. A peer's record never changes this node's vote by itself: only a decision, a wish to
   cancel and a node's own claim are followed, by the voter's rules.
2. A spec is taken from the peer that shows it; a different one under the same id replaces
   the own only when it is the one that counts (`quorum.is_settled`).
3. Only the nodes of the cluster are heard: a forgotten one must not count for a majority.
4. What a peer still shows of a retired job is emptied on this node's own broker, since an
   emptied topic is not told to a bridge that was down.
"""

from broker import admission, dispatcher, functions, intake, list_copy, proposer, retirement, teller
from broker.effect import Publish
from broker.entry import RIVALS_MAX, JobEntry
from broker.event import PeerEmptied, PeerLedgerPart, PeerRecordSeen, PeerSpecSeen, PeerStateSeen
from broker.front import read_stored
from broker.node import PEER_SILENT_S, Node, Peer
from broker.settle import settle
from broker.sweep import copy_bit
from workrs.domain import quorum, voter
from workrs.domain.errors import WireError
from workrs.domain.ids import ClientId, Instant
from workrs.domain.job import digest_of, owner
from workrs.domain.record import Record
from workrs.wire import topics

REPEAT_S = 1.0
"""Least time between repetitions of a decision: most peers know it a moment later anyway."""


def on_record(node: Node, event: PeerRecordSeen, now: Instant) -> None:
    """Take in another node's vote."""
    record, peer = event.record, event.node
    if peer not in node.settings.nodes:
        node.dropped += 1
        return
    admission.see_record(node, peer, record)
    if record.job not in node.entries and _is_no_open_job(node, peer, record):
        return
    entry = node.entry(record.job)
    if not record.retired:
        entry.copies |= copy_bit(node.settings.nodes, peer, "job")
    if not entry.is_open:
        _on_late_record(node, entry, event, now)
        return
    is_news = entry.see(peer, record)
    if not is_news:
        return
    if record.cancel and (vote := voter.cancel(entry.vote)) is not None:
        node.change(entry, vote)
    proposer.follow(node, entry, peer, record, now)
    if record.abstains or record.digest not in (None, entry.record.digest):
        _adopt_settled(node, entry)
        if record.digest is not None and record.digest != entry.record.digest:
            # The peer needs the own spec to take it, and the node that showed it may have lost it.
            intake.show_spec(node, entry)
    dispatcher.stand_back(node, entry, now)
    settle(node, entry, now)


def on_ledger(node: Node, event: PeerLedgerPart, now: Instant) -> None:
    """Take decisions and functions in a ledger that is read for a change, as from the bus."""
    if not list_copy.is_read(node, event):
        return
    for function in event.functions:
        functions.learn(node, event.node, function)
    for copied in event.jobs:
        entry = node.entries.get(copied.record.job)
        if copied.record.decided is not None and (entry is None or entry.is_open):
            on_record(node, PeerRecordSeen(event.node, copied.record), now)


def _is_no_open_job(node: Node, peer: ClientId, record: Record) -> bool:
    """Return whether a record of an unknown job opens none; answer what shows a retired one."""
    if record.retired:
        return True
    kept = node.find_retired(record.job)
    if kept is None:
        return _is_blank(record)
    # Whatever it says, the own broker keeps it.
    node.say(Publish(topics.record(peer, record.job), b""))
    retirement.answer(node, record.job, kept)
    return True


def _is_blank(record: Record) -> bool:
    """Return whether a record says only that its node knows nothing of the job."""
    known = (record.digest, record.epoch, record.cancel, record.decided, record.abstains)
    return known == (None, 0, False, None, False)


def _on_late_record(node: Node, entry: JobEntry, event: PeerRecordSeen, now: Instant) -> None:
    """Note that a peer has the decision, or tell it."""
    if event.record.decided is None:
        _tell_decision(node, entry, event.node, now)
        return
    entry.knows.add(event.node)
    entry.asked_by -= {event.node}
    entry.is_over |= event.record.retired
    if retirement.may_leave(node, entry, now):
        node.poke(entry.job, now)


def _tell_decision(node: Node, entry: JobEntry, peer: ClientId, now: Instant) -> None:
    """Say the decision again, or soon: the peer's vote may have crossed it on its way."""
    ready = Instant(entry.published_at + REPEAT_S)
    if now >= ready:
        node.repeat(entry)
    else:
        entry.asked_by |= {peer}
        entry.repeat_at = ready
        node.poke(entry.job, ready)


def on_spec(node: Node, event: PeerSpecSeen, now: Instant) -> None:
    """Take in a job that another node stored."""
    if event.node not in node.settings.nodes:
        node.dropped += 1
        return
    known = node.entries.get(event.job)
    if known is None and (kept := node.find_retired(event.job)) is not None:
        node.say(Publish(topics.node(event.node, "spec", event.job), b""))
        retirement.answer(node, event.job, kept)
        return
    if known is not None:
        known.copies |= copy_bit(node.settings.nodes, event.node, "spec")
    digest = digest_of(event.payload)
    has_spec = known is not None and known.stored is not None
    if known is not None and has_spec:
        own = known.record.digest or known.copied
        if own == digest or not known.is_open:
            return
    try:
        stored = read_stored(event.job, event.payload)
    except WireError as error:
        node.dropped += 1
        node.fact_limited("peer_spec_dropped", job=event.job, node=event.node, reason=str(error))
        return
    entry = node.entry(event.job)
    entry.copies |= copy_bit(node.settings.nodes, event.node, "spec")
    if entry.stored is not None:
        if len(entry.rivals) < RIVALS_MAX:
            entry.rivals[digest] = event.payload
        _adopt_settled(node, entry)
    else:
        # The device spoke to that node, so that node answers it.
        node.local_devices.pop(owner(event.job), None)
        intake.store(node, entry, stored, event.payload, digest, origin=event.node)
        if entry.told is not None:
            # In both forms, since nobody knew which: the other one would stay for ever.
            retirement.untell(node, entry.job, plain=not stored.plain)
    settle(node, entry, now)


def _adopt_settled(node: Node, entry: JobEntry) -> None:
    """Replace a losing spec by the one that counts."""
    for digest, payload in entry.rivals.items():
        if not quorum.is_settled(entry.records, digest, node.size):
            continue
        lost = entry.stored
        stored = read_stored(entry.job, payload)
        intake.store(node, entry, stored, payload, digest, origin=node.name)
        intake.show_spec(node, entry)
        node.change(entry, voter.disown(entry.vote))
        entry.rivals = {}
        if lost is not None and lost.plain != stored.plain and entry.told is not None:
            retirement.untell(node, entry.job, plain=lost.plain)
        if lost is not None and lost.request != stored.request:
            reason = "another spec of this id, submitted at the same time, was taken"
            _, local = entry.job.split("_", 1)
            teller.reject(node, owner(entry.job), local, reason, plain=lost.plain)
        return


def on_emptied(node: Node, event: PeerEmptied) -> None:
    """Note that a peer took a job off the bus. What it voted stays a fact."""
    if event.node not in node.settings.nodes:
        return
    bit = copy_bit(node.settings.nodes, event.node, event.kind)
    entry = node.entries.get(event.job)
    if entry is not None:
        entry.copies &= ~bit
    else:
        node.sweep.note_emptied(event.job, bit)


def on_state(node: Node, event: PeerStateSeen, now: Instant) -> None:
    """Take in a peer's sign of life, or its will."""
    if event.node == node.name or event.node not in node.settings.nodes:
        return
    was = node.peers.get(event.node)
    state = event.state
    node.peers[event.node] = Peer(now, state.live, state.blobs_url, ready=state.ready)
    admission.see_state(node, event.node, state)
    if node.admission.votes:
        admission.raise_generation(node, state.generation)
    if was is not None and was.heard and was.live == event.state.live:
        return
    if event.state.timing != node.settings.timing:
        node.fact("timing_differs", node=event.node, theirs=str(event.state.timing))
    if event.state.live:
        node.fact("peer_up", node=event.node)
    else:
        _lose(node, event.node, now)


def expect(node: Node, now: Instant) -> None:
    """Give the peers time to show up before any of them counts as dead.

    Nodes that start together would else all rank themselves first.
    """
    for name in node.settings.nodes:
        if name != node.name:
            node.peers.setdefault(name, Peer(now, live=True, heard=False))


def check_silent(node: Node, now: Instant) -> None:
    """Count peers that stopped giving signs of life as dead."""
    for name, peer in node.peers.items():
        if peer.live and now - peer.seen_at > PEER_SILENT_S:
            peer.live = False
            _lose(node, name, now)


def _lose(node: Node, name: ClientId, now: Instant) -> None:
    """Show the undecided jobs of a dead peer, for whoever missed them."""
    node.fact("peer_down", node=name)
    if not node.admission.votes:
        return
    for entry in list(node.entries.values()):
        if entry.is_open and entry.origin == name:
            intake.show_spec(node, entry)
            settle(node, entry, now)
