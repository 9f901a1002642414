"""What follows from a job's records once one of them has changed.

Decide if a majority has accepted; else propose, offer or wait; then tell the device.
Running it twice changes nothing more.
"""

from broker import dispatcher, proposer, teller
from broker.effect import Publish
from broker.entry import JobEntry
from broker.node import Node
from workrs.domain import quorum, voter
from workrs.domain.ids import Instant
from workrs.ports.ledger import RetireJob
from workrs.wire import topics

RETIRE_RETRY_S = 60.0
"""How long to wait with retiring a job that a peer does not know to be decided."""
RETENTION_UNKNOWN_S = 86400.0
"""How long a decided job is kept whose spec this node has not seen, or not yet."""


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
        _retire(node, entry, now)


def _decide(node: Node, entry: JobEntry, now: Instant) -> None:
    conflict = entry.tally.conflict()
    if conflict is not None:
        if not entry.alarmed:
            entry.alarmed = True
            what = "two values accepted"
            node.fact("protocol_violation", job=entry.job, epoch=conflict, what=what)
        return
    value = quorum.decision(entry.records, entry.tally, node.size)
    vote = voter.decide(entry.vote, value) if value is not None else None
    if vote is None or value is None:
        return
    node.change(entry, vote)
    node.jobs_decided += 1
    entry.decided_at = now
    node.note("decided", entry.job, verdict=value.verdict.value, epoch=entry.record.epoch)


def _repeat(node: Node, entry: JobEntry, now: Instant) -> None:
    """Say the decision again to a peer that asked a moment ago."""
    if entry.repeat_at is None:
        return
    if now < entry.repeat_at:
        node.poke(entry.job, entry.repeat_at)
        return
    entry.repeat_at = None
    node.repeat(entry)


def _retire(node: Node, entry: JobEntry, now: Instant) -> None:
    """Take a decided job off the bus once its result has been kept long enough."""
    retention_s = entry.stored.spec.retention_s if entry.stored else RETENTION_UNKNOWN_S
    due = Instant(entry.decided_at + retention_s)
    if now < due:
        node.poke(entry.job, due)
        return
    known = sum(1 for record in entry.records.values() if record.decided is not None)
    if known < node.size:
        node.poke(entry.job, Instant(now + RETIRE_RETRY_S))
        return
    node.note("retired", entry.job)
    node.effects.changes.append(RetireJob(job=entry.job))
    node.effects.dropped_blobs.append(entry.job)
    node.say(Publish(topics.record(node.name, entry.job), b""))
    node.say(Publish(topics.node(node.name, "spec", entry.job), b""))
    teller.forget(node, entry)
    node.jobs_decided -= 1
    del node.entries[entry.job]
