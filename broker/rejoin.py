"""Re-admission of a node that lost its disk, seen from that node.

1. It gathers the others that vote from their own disks: every one it hears, and at least a
   majority of the cluster's size.
2. It picks a generation above all of theirs, and a boot and a serial above all that they saw
   of it, on disk; else its new records would be taken for old ones. It shows the generation.
3. They raise themselves to it. From then on no vote that it forgot can count: see
   `workrs.domain.quorum` for why.
4. It copies each of their ledgers, each as of after the raise: decisions as decisions, retired
   ids as such, and every undecided job as one on which it abstains for ever.
5. It waits for a ttl, and then is a member like any other.

A crash anywhere begins again with a higher generation; what was copied stays and is only added
to. So does the loss of one of the others on the way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker import admission, front, functions, intake, retirement
from broker.admission import Phase
from broker.effect import Publish, ReadPeerLedger
from workrs.domain.errors import WireError
from workrs.domain.ids import NUMBER_MAX, Instant
from workrs.domain.job import digest_of
from workrs.domain.quorum import majority
from workrs.domain.record import Incarnation
from workrs.domain.voter import Vote
from workrs.ports.ledger import Rejoin, SaveSpec
from workrs.wire import topics

if TYPE_CHECKING:
    from broker.entry import JobEntry
    from broker.event import (
        CopiedAgent,
        CopiedJob,
        PeerLedgerFailed,
        PeerLedgerPart,
        PeerLedgerRead,
    )
    from broker.node import Node
    from workrs.domain.ids import ClientId

READ_AGAIN_S = 1.0
BOOT_SLACK = 1_000
SERIAL_SLACK = 1_000_000
"""How far a peer that is away now may have seen more of the lost disk than the others."""


def advance(node: Node, now: Instant) -> None:
    """Take the next step if its time has come."""
    match node.admission.phase:
        case Phase.GATHERING:
            _gather(node, now)
        case Phase.RAISING:
            _await_raise(node, now)
        case Phase.COPYING:
            _read(node, now)
        case Phase.RESTING:
            _rest(node, now)
        case Phase.LISTENING | Phase.VOTING:
            return
    admission.tell(node, now)


def _gather(node: Node, now: Instant) -> None:
    able = admission.able(node)
    waited = now >= node.admission.since + node.settings.timing.ttl_s
    if len(able) < majority(node.size) or not (waited or len(able) == node.size - 1):
        return
    it = node.admission
    generation = 1 + max(node.generation, *(state.generation for state in it.states.values()))
    if generation > NUMBER_MAX:
        return  # Somebody lied. Without a raise nothing of the way back is safe.
    own = node.settings.incarnation
    seen = [state.seen[node.name] for state in it.states.values() if node.name in state.seen]
    # Though nobody here saw more: one that is away may have, and shows it when it is back.
    number = 1 + BOOT_SLACK + max([own.number, *(s.boot for s in seen)])
    serial = 1 + SERIAL_SLACK + max([it.serial, *(s.serial for s in seen)])
    standing = replace(it.standing, boot=number, serial=serial)
    node.settings = replace(node.settings, incarnation=Incarnation(number, own.nonce))
    # What was seen of the lost disk is nothing that this one should have had at its start.
    it.serial_at_start = serial
    it.standing = standing
    admission.raise_generation(node, generation)
    it.donors = dict.fromkeys(sorted(able), now)
    it.read = set()
    node.note("rejoin_begun", None, generation=node.generation, boot=number, of=", ".join(able))
    it.enter(Phase.RAISING, now)
    node.say(Publish(topics.node(node.name, "state"), node.state()))


def _await_raise(node: Node, now: Instant) -> None:
    it = node.admission
    if _lost_one(node, now):
        return
    if all(it.states[donor].generation >= node.generation for donor in it.donors):
        it.enter(Phase.COPYING, now)
        _read(node, now)
    elif now > it.since + 3 * node.settings.timing.ttl_s:
        it.enter(Phase.GATHERING, now)


def _lost_one(node: Node, now: Instant) -> bool:
    """Begin again when one of the others is gone that was not read: it may not come back."""
    gone = set(node.admission.donors) - node.admission.read - set(admission.able(node))
    if gone:
        node.fact("rejoin_begins_again", gone=sorted(gone))
        node.admission.enter(Phase.GATHERING, now)
    return bool(gone)


def _read(node: Node, now: Instant) -> None:
    it = node.admission
    if _lost_one(node, now):
        return
    for donor, again_at in it.donors.items():
        if again_at is not None and now >= again_at:
            it.donors[donor] = None
            url = it.states[donor].blobs_url
            node.effects.reads.append(ReadPeerLedger(donor, url, node.generation))
    if len(it.read) == len(it.donors):
        it.enter(Phase.RESTING, now)


def _rest(node: Node, now: Instant) -> None:
    it = node.admission
    if now < it.since + node.settings.timing.ttl_s:
        return
    admission.raise_standing(node, replace(it.standing, rejoin=Rejoin.DONE))
    open_jobs = sum(1 for entry in node.entries.values() if entry.is_open)
    node.note("rejoined", None, generation=node.generation, abstains=open_jobs)
    it.enter(Phase.VOTING, now)
    node.say(Publish(topics.node(node.name, "state"), node.state()))


def _is_current(node: Node, event: PeerLedgerPart | PeerLedgerRead | PeerLedgerFailed) -> bool:
    it = node.admission
    return it.phase is Phase.COPYING and event.generation == node.generation


def on_failed(node: Node, event: PeerLedgerFailed, now: Instant) -> None:
    """Read that ledger again in a moment."""
    if _is_current(node, event) and event.node in node.admission.donors:
        node.admission.donors[event.node] = Instant(now + READ_AGAIN_S)
        node.fact("peer_ledger_unread", node=event.node, why=event.why)


def on_read(node: Node, event: PeerLedgerRead) -> None:
    """Note that all of a ledger has been taken in."""
    if _is_current(node, event):
        node.admission.read.add(event.node)
        node.fact("peer_ledger_read", node=event.node, generation=event.generation)


def on_part(node: Node, event: PeerLedgerPart, now: Instant) -> None:
    """Take in what another node knows. Knowledge only: none of it is a vote."""
    if not _is_current(node, event):
        return
    for agent in event.agents:
        _take_agent(node, agent)
    for function in event.functions:
        functions.learn(node, event.node, function)
    for retired in event.retired:
        if retired.job not in node.entries:
            node.take_retired(retired)
    for job in event.jobs:
        _take_job(node, event.node, job, now)


def _take_agent(node: Node, agent: CopiedAgent) -> None:
    entry = node.agents.know(agent.client, agent.incarnation)
    if entry.incarnation.number < agent.incarnation.number:
        entry.incarnation = agent.incarnation


def _take_job(node: Node, donor: ClientId, copied: CopiedJob, now: Instant) -> None:
    theirs = copied.record
    if theirs.job not in node.entries and node.find_retired(theirs.job) is not None:
        return
    entry = node.entry(theirs.job)
    if not entry.is_open:
        return
    if entry.payload is None and copied.payload is not None:
        _take_spec(node, entry, donor, copied.payload)
    abstaining = replace(entry.record, abstains=True, cancel=entry.record.cancel or theirs.cancel)
    if theirs.decided is None:
        intake.show_spec(node, entry)
        node.change(entry, replace(entry.vote, record=abstaining))
        return
    decided = replace(
        abstaining,
        epoch=theirs.epoch,
        attempt=theirs.attempt,
        decided=theirs.decided,
        decided_digest=theirs.decided_digest,
    )
    node.change(entry, Vote(record=decided))
    entry.decided_at = now
    retirement.begin(node, entry)


def _take_spec(node: Node, entry: JobEntry, donor: ClientId, payload: bytes) -> None:
    try:
        entry.stored = front.read_stored(entry.job, payload)
    except WireError as error:
        node.fact_limited("peer_spec_dropped", job=entry.job, node=donor, reason=str(error))
        return
    # The others leave the showing to the node that took the job in, and that may be this one.
    entry.origin = node.name
    entry.copied = digest_of(payload)
    node.note_spec(entry, payload)
    node.effects.changes.append(SaveSpec(job=entry.job, digest=entry.copied, payload=payload))
