"""The node's brain: a batch of events and the time in, effects out. No I/O, no clock.

1. Whatever arrives, in whatever order and how often, votes change only by the rules of
   `workrs.domain.voter`.
2. A request that changes nothing is answered by repeating the record, so that its sender
   sees why.
3. A decision is adopted wherever it is seen and told to whoever does not know it.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from broker import (
    admission,
    backlog,
    bars,
    beats,
    dispatcher,
    fault_count,
    front,
    functions,
    hint,
    intake,
    list_copy,
    orders,
    peers,
    reach,
    rejoin,
    retirement,
    teller,
)
from broker.effect import Effects, Publish
from broker.entry import JobEntry
from broker.event import (
    AgentHeard,
    BeatHeard,
    BrokerEmptied,
    CancelHeard,
    Event,
    LogHeard,
    OrderHeard,
    PeerBarred,
    PeerEmptied,
    PeerFunctionSeen,
    PeerLedgerFailed,
    PeerLedgerPart,
    PeerLedgerRead,
    PeerRecordSeen,
    PeerSpecSeen,
    PeerStateSeen,
    Refused,
    SubmitHeard,
    Ticked,
)
from broker.limits import EPOCHS_AHEAD_MAX, TIDY_BEATS, VIEW_EXPIRY_S
from broker.node import PEER_BEAT_S, Node
from broker.settle import ask, settle
from workrs.domain import quorum, voter
from workrs.domain.ids import Instant, JobId
from workrs.domain.job import digest_of
from workrs.domain.record import Holder, Record
from workrs.domain.voter import Vote
from workrs.ports.ledger import Ledger
from workrs.wire import message, topics


def handle(node: Node, events: Iterable[Event], now: Instant) -> Effects:
    """Let a batch of events happen at *now* and return what is to be done, in order."""
    if node.beat == 0:
        peers.expect(node, now)
    for event in events:
        if not backlog.hold_back(node, event, now):
            _handle(node, event, now)
    if not node.admission.votes:
        admission.listen(node, now)
        rejoin.advance(node, now)
        # Before any job is looked at: heartbeats among it keep leases that would end now.
        for event in backlog.release(node):
            _handle(node, event, now)
    if node.admission.votes:
        for entry in node.due(now):
            settle(node, entry, now)
    if now >= node.next_beat_at:
        _tick(node, now)
    reach.update(node)
    if node.admission.votes:
        dispatcher.pump(node, now)
    functions.finish(node)
    bars.tell_peers(node)
    return node.finish(now)


def start(node: Node, ledger: Ledger, now: Instant, wall_s: float) -> None:
    """Take everything from the ledger, and begin to find out whether the node may vote.

    Args:
        node: made with the ledger's boot number, otherwise new.
        ledger: just opened.
        now: the node's clock.
        wall_s: unix time, for how long results are kept.
    """
    node.payload = ledger.payload
    node.sweep.load(ledger.unswept())
    admission.begin(node, ledger.standing, ledger.seen(), now)
    fault_count.begin(node, ledger.faults(), now)
    functions.load(node, ledger.functions())
    # The oldest decisions first: they are the first to make room.
    for saved in sorted(ledger.load(), key=lambda saved: saved.decided_wall_s or 0.0):
        ago_s = max(0.0, wall_s - (saved.decided_wall_s or wall_s))
        restore(node, saved.record, saved.payload, now, ago_s)


def restore(
    node: Node, record: Record, payload: bytes | None, now: Instant, decided_ago_s: float
) -> None:
    """Take a job from the ledger at the start. Every lease counts as live for one ttl."""
    if record.decided is None:
        record = replace(record, generation=node.generation)
    entry = node.entry(record.job)
    held = record.holder is not None and record.decided is None
    until = Instant(now + node.settings.timing.ttl_s) if held else now
    if payload is not None:
        # Before the vote, while the entry is open: a decision takes off what was added here.
        node.note_spec(entry, payload)
    entry.set_vote(node.name, Vote(record=record, lease_until=until))
    if held and record.holder is not None:
        node.hold(record.holder, record.job)
    if payload is not None:
        entry.stored = front.read_stored(record.job, payload)
        entry.is_spec_shown = True  # perhaps, by an earlier start
        entry.origin = node.name
        entry.copied = digest_of(payload) if record.abstains else None
    if record.decided is not None:
        entry.decided_at = Instant(now - decided_ago_s)
        retirement.begin(node, entry)
    # At once, whatever the lease: a job to be cancelled has waited long enough.
    node.poke(record.job, now)


def _handle(node: Node, event: Event, now: Instant) -> None:  # noqa: C901, PLR0912 (a table)
    match event:
        case AgentHeard(via=via) | CancelHeard(via=via) | OrderHeard(via=via) if (
            via and via not in node.settings.nodes
        ):
            node.dropped += 1  # its clients may count votes by a list that is two steps away
        case PeerRecordSeen():
            peers.on_record(node, event, now)
        case AgentHeard():
            _on_agent(node, event, now)
        case SubmitHeard():
            intake.on_submit(node, event, now)
        case PeerSpecSeen():
            peers.on_spec(node, event, now)
        case BeatHeard():
            beats.on_beat(node, event, now)
        case PeerStateSeen():
            peers.on_state(node, event, now)
        case PeerFunctionSeen():
            functions.on_peer(node, event)
        case PeerLedgerPart():
            rejoin.on_part(node, event, now)
            peers.on_ledger(node, event, now)
            list_copy.on_part(node, event)
        case PeerLedgerRead():
            rejoin.on_read(node, event)
            list_copy.on_read(node, event)
        case PeerLedgerFailed():
            rejoin.on_failed(node, event, now)
            list_copy.on_failed(node, event, now)
        case CancelHeard():
            intake.on_cancel(node, event, now)
        case OrderHeard():
            orders.on_order(node, event, now)
        case LogHeard():
            orders.on_log(node, event)
        case Refused():
            teller.reject(
                node,
                event.device,
                event.name,
                event.reason,
                plain=event.plain,
                retry_after_s=event.retry_after_s,
            )
        case BrokerEmptied():
            _refill(node, now)
        case PeerBarred():
            bars.on_peer(node, event, now)
        case PeerEmptied():
            peers.on_emptied(node, event)
        case Ticked():
            pass
        case _:
            assert_never(event)


def _on_agent(node: Node, event: AgentHeard, now: Instant) -> None:
    entry = node.entries.get(event.job)
    if entry is None:
        _answer_unknown(node, event.job)
        return
    if _is_stale(entry, event):
        return
    is_votable = entry.is_open and not entry.alarmed and event.agent not in node.settings.nodes
    vote = _apply(node, entry, event, now) if is_votable else None
    if vote is None:
        _note_fenced(node, entry, event)
        node.repeat(entry)
        return
    before = entry.record
    is_progress = isinstance(event.request, message.Progress)
    # Progress is no vote: it is not saved, and only the agent's own node shows it.
    node.change(entry, vote, save=not is_progress, publish=not is_progress or not event.via)
    _note(node, before, event)
    if isinstance(event.request, message.CheckpointReport):
        hint.on_checkpoint(node, entry)
    settle(node, entry, now)


def _note_fenced(node: Node, entry: JobEntry, event: AgentHeard) -> None:
    """Count and log what somebody says of a job that another holds. Claims may lose: no line."""
    record, request = entry.record, event.request
    if isinstance(request, message.Claim):
        return
    said = request.checkpoint if isinstance(request, message.CheckpointReport) else request
    epoch = said.epoch
    is_anothers = record.holder is not None and record.holder.client != event.agent
    if epoch >= record.epoch and not is_anothers:
        return
    node.dropped += 1
    verb = type(request).__name__
    node.fact_limited(
        "fenced", agent=event.agent, job=entry.job, what=verb, epoch=epoch, at=record.epoch
    )


def _answer_unknown(node: Node, job: JobId) -> None:
    """Tell an agent what there is to tell of a job without an entry: its end, or nothing."""
    kept = node.find_retired(job)
    if kept is not None:
        retirement.answer(node, job, kept)
    else:
        node.reply(Record(job=job))


def _is_stale(entry: JobEntry, event: AgentHeard) -> bool:
    """Return whether this is progress from before what was taken last; else remember it."""
    request = event.request
    if not isinstance(request, message.Progress) or not request.seq:
        return False
    mark = (request.epoch, request.seq)
    if mark <= entry.progress_mark:
        return True
    if request.epoch == entry.record.epoch:
        entry.progress_mark = mark
    return False


def _apply(node: Node, entry: JobEntry, event: AgentHeard, now: Instant) -> Vote | None:
    request = event.request
    holder = Holder(client=event.agent, incarnation=request.incarnation)
    timing = node.settings.timing
    match request:
        case message.Claim():
            if request.epoch > quorum.highest_epoch(entry.records) + EPOCHS_AHEAD_MAX:
                node.dropped += 1
                node.fact_limited("claim_too_high", agent=event.agent, job=entry.job)
                return None
            bid = voter.ClaimRequest(epoch=request.epoch, holder=holder, digest=request.digest)
            return voter.claim(entry.vote, bid, now=now, ttl_s=timing.ttl_s)
        case message.OutcomeProposal():
            vote = voter.outcome(entry.vote, holder, request.epoch, request.outcome)
            return None if vote is entry.vote else vote
        case message.CheckpointReport():
            return voter.checkpoint(entry.vote, holder, request.checkpoint)
        case message.Release():
            return voter.release(
                entry.vote,
                holder,
                request.epoch,
                now=now,
                retry_after_s=request.retry_after_s,
                reason=request.reason,
                spared=request.spared,
            )
        case message.Progress():
            return voter.progress(entry.vote, holder, request.epoch, request.progress, request.note)
        case _:
            assert_never(request)


def _note(node: Node, before: Record, event: AgentHeard) -> None:
    job, agent, request = event.job, event.agent, event.request
    match request:
        case message.Claim(epoch=epoch):
            former = before.holder.client if before.holder else None
            kind = "taken_over" if former not in (None, agent) else "granted"
            node.note(kind, job, agent=agent, epoch=epoch, former=former)
        case message.CheckpointReport(checkpoint=ref):
            saved: dict[str, str | float | None] = {"bytes": ref.bytes, "rung": ref.rung}
            saved |= {"frozen_s": ref.frozen_s, "upload_s": ref.upload_s}
            node.note("checkpointed", job, agent=agent, epoch=ref.epoch, seq=ref.seq, **saved)
        case message.Release(epoch=epoch, reason=reason):
            node.note("released", job, agent=agent, epoch=epoch, reason=reason)
        case _:
            pass


def _tick(node: Node, now: Instant) -> None:
    """Give the periodic sign of life and look for the silent."""
    node.next_beat_at = Instant(now + PEER_BEAT_S)
    node.beat += 1
    node.admission.is_save_due = True
    node.say(Publish(topics.node(node.name, "state"), node.state()))
    peers.check_silent(node, now)
    reach.on_beat(node, now)
    if node.admission.votes:
        fault_count.on_beat(node, now)
        beats.check_silent(node, now)
        functions.on_beat(node)
        admission.watch_list(node, now)
        retirement.on_beat(node, now)
        ask(node, now)
    else:
        backlog.on_beat(node, now)
    if node.beat % TIDY_BEATS == 0:
        beats.forget_gone(node, now)
        dispatcher.tidy(node)
    for event, count in node.lines.next_beat():
        node.fact("lines_left_out", of=event, count=count)


def _refill(node: Node, now: Instant) -> None:
    """Publish everything this node has to say, on a broker that may know nothing."""
    node.sweep.reconnect()
    node.say(Publish(topics.node(node.name, "state"), node.state()))
    node.say(Publish(topics.node(node.name, "terms"), node.terms()))
    functions.refill(node)
    for agent in node.agents.entries.values():
        if agent.profile is None and not agent.gone:
            continue
        topic = topics.node(node.name, "agent", agent.client)
        node.say(Publish(topic, agent.view(), expiry_s=VIEW_EXPIRY_S))
    for entry in node.entries.values():
        peer = node.peers.get(entry.origin) if entry.origin else None
        if entry.origin == node.name or peer is None or not peer.live:
            intake.show_spec(node, entry)
        node.repeat(entry)
        teller.tell(node, entry, now, again=True)
