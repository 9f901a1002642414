"""What follows from a job's records once one of them has changed.

Decide if a majority has accepted; else propose, offer or wait; then tell the device.
Running it twice changes nothing more.
"""

from dataclasses import replace
from itertools import islice

from broker import dispatcher, proposer, retirement, teller
from broker.entry import JobEntry
from broker.limits import ASKS_PER_BEAT
from broker.node import Node
from workrs.domain import quorum, voter
from workrs.domain.ids import Instant

ASK_S = 10.0
"""How often a vote is shown again, at most, on a job that no majority is known to have."""


def settle(node: Node, entry: JobEntry, now: Instant) -> None:
    """Bring the job as far as its records allow."""
    if entry.is_open:
        # First: a node that knows the decision has nothing to propose.
        _decide(node, entry, now)
    if entry.is_open:
        proposer.propose(node, entry, now)
        _decide(node, entry, now)
    dispatcher.consider(node, entry, now)
    teller.tell(node, entry, now)
    if not entry.is_open:
        _repeat(node, entry, now)
        retirement.consider(node, entry, now)
    if _is_unsure(node, entry):
        node.unsure[entry.job] = None
    elif entry.job in node.unsure:
        del node.unsure[entry.job]
        if entry.waiting_since is not None and entry.origin == node.name:
            node.spread.arrived(entry.waiting_since, now)


def _is_unsure(node: Node, entry: JobEntry) -> bool:
    """Return whether the node shows an open job that no majority is known to have.

    One that it abstains on, and one that it claims in order to end it, too: of those, an answer
    would be lost in the same way.
    """
    shows = entry.record.digest is not None or entry.record.abstains
    claims = entry.record.holder == node.holder
    return entry.is_open and shows and (claims or not entry.check_stored(node.size))


def ask(node: Node, now: Instant) -> None:
    """Show votes again on jobs that no majority is known to have, a few each beat.

    Peers that retired a job meanwhile answer once, to whoever hears them then: an answer that was
    said before their bridge was back is lost, and nothing else would bring another. Without a
    majority nobody could answer for it.
    """
    if not node.minority.quorum:
        return
    for job in list(islice(node.unsure, ASKS_PER_BEAT)):
        del node.unsure[job]
        entry = node.entries.get(job)
        if entry is None or not _is_unsure(node, entry):
            continue
        node.unsure[job] = None
        if now >= entry.published_at + min(ASK_S, node.settings.timing.ttl_s):
            node.repeat(entry)


def _decide(node: Node, entry: JobEntry, now: Instant) -> None:
    conflict = entry.tally.conflict()
    if conflict is not None:
        if not entry.alarmed:
            entry.alarmed = True
            what = "two values accepted"
            node.fact("protocol_violation", job=entry.job, epoch=conflict, what=what)
        return
    found = quorum.decided(entry.records, entry.tally, node.size)
    vote = voter.decide(entry.vote, found.outcome, found.digest) if found else None
    if vote is None or found is None:
        return
    # A heartbeat that noted the last start may have missed this node, but not all that voted;
    # what devices are told must not depend on which node tells it.
    starts = max(record.attempt for record in entry.records.values())
    node.change(entry, replace(vote, record=replace(vote.record, attempt=starts)))
    entry.decided_at = now
    retirement.begin(node, entry)
    verdict = found.outcome.verdict.value
    node.note("decided", entry.job, verdict=verdict, epoch=entry.record.epoch)


def _repeat(node: Node, entry: JobEntry, now: Instant) -> None:
    """Say the decision again to a peer that asked a moment ago and still does not show it."""
    if entry.repeat_at is None:
        return
    if now < entry.repeat_at:
        node.poke(entry.job, entry.repeat_at)
        return
    entry.repeat_at = None
    if entry.asked_by:
        entry.asked_by = frozenset()
        node.repeat(entry)
