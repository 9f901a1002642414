"""Offering jobs to agents, one agent at a time.

1. Only a job that a majority has on disk, that is undecided, not cancelled and not leased,
   is offered.
2. The node that ranks first for a job offers it at once; the others only if it was still
   free after their wait: see `turns`.
3. With no free agent nothing is scanned: the queue waits for a slot.
4. A job whose lease a majority shows, at an epoch this node did not grant, is not offered
   before a ttl without news of it: this node alone cannot know when that lease ends.
5. For a while only agents that can restore its newest checkpoint are offered a job.
6. Only so many offers of this node stand at a time as are answered soon: see `pace`.
"""

from zlib import crc32

from broker import hint, teller, turns
from broker.effect import Publish
from broker.entry import JobEntry
from broker.job_queue import Item
from broker.limits import AVOIDED_MAX, QUEUE_SLACK
from broker.node import Node
from workrs.domain import quorum
from workrs.domain.dispatch import OFFER_S, RESTORE_WAIT_S, choose, need_of
from workrs.domain.ids import ClientId, Epoch, Instant
from workrs.domain.record import CheckpointRef
from workrs.wire import topics
from workrs.wire.message import Offer


def _is_ready(node: Node, entry: JobEntry, now: Instant) -> bool:
    record = entry.record
    return (
        record.decided is None
        and not record.cancel
        and not record.abstains
        and now >= entry.vote.lease_until
        and entry.offered_to is None
        and entry.stored is not None
        and entry.check_stored(node.size)
    )


def consider(node: Node, entry: JobEntry, now: Instant) -> None:
    """Queue the job if it may be offered; note when to look again if not yet."""
    if entry.offered_to is not None:
        _watch_offer(node, entry, now)
    elif not entry.is_open or (now < entry.vote.lease_until and not hint.is_leaving(node, entry)):
        # Decided, or taken on the offer of another node.
        node.expected.pop(entry.job, None)
    if now >= entry.vote.lease_until:
        # Else the orphans of an agent that came back would fill its slots for ever.
        node.unhold(entry.record.holder, entry.job)
        _doubt_holder(node, entry, now)
    if _is_ready(node, entry, now):
        _await_restorer(node, entry, now)
        if entry.turn_at is not None and now < entry.turn_at:
            node.poke(entry.job, entry.turn_at)
        elif not entry.queued:
            assert entry.stored is not None
            item = (-entry.stored.spec.priority, entry.arrived, entry.job)
            _enqueue(node, entry, item, _to_restore(entry, now))
        if entry.is_kept_back and entry.restore_by is not None:
            node.poke(entry.job, entry.restore_by)
    elif entry.is_open and now < entry.vote.lease_until:
        turns.see_lease(node, entry, now)
        entry.restore_by = None
        entry.held_up = ""
        node.poke(entry.job, entry.vote.lease_until)


def _doubt_holder(node: Node, entry: JobEntry, now: Instant) -> None:
    """Have an agent asked last that let a lease run out in silence: its host may be lost."""
    holder = entry.record.holder
    agent = node.agents.get(holder.client) if holder is not None and entry.is_open else None
    silent_s = node.settings.timing.ttl_s / 2
    if agent is not None and not agent.lapsed and now - agent.seen_at > silent_s:
        agent.lapsed = True
        node.agents.refresh(agent)


def _enqueue(node: Node, entry: JobEntry, item: Item, newest: CheckpointRef | None) -> None:
    assert entry.stored is not None
    entry.queued = True
    entry.is_kept_back = newest is not None
    node.queue.push(need_of(entry.stored.spec, newest), item)


def _to_restore(entry: JobEntry, now: Instant) -> CheckpointRef | None:
    """Return the checkpoint that whoever is offered the job now must be able to restore."""
    if entry.restore_by is None or now >= entry.restore_by:
        return None
    return next(iter(quorum.newest_checkpoints(entry.records)), None)


def _await_restorer(node: Node, entry: JobEntry, now: Instant) -> None:
    """Begin and end the time in which a job is kept for those who can restore it."""
    if entry.restore_by is None:
        entry.restore_by = Instant(now + RESTORE_WAIT_S)
    elif now >= entry.restore_by and entry.is_kept_back:
        # It stands in the queue for agents that did not come; that place counts for nothing.
        entry.is_kept_back = entry.queued = False
        if entry.held_up:
            node.note("restore_given_up", entry.job, waited_s=RESTORE_WAIT_S)
        entry.held_up = ""


def _hold_up(node: Node, entry: JobEntry, newest: CheckpointRef, now: Instant) -> None:
    """Say that a free job waits although an agent is free, which cannot restore it."""
    assert entry.stored is not None
    free = node.agents.candidates()
    if not entry.held_up and choose(entry.job, entry.stored.spec, free, frozenset()) is not None:
        entry.held_up = (
            f"waits for an agent that can restore checkpoint {newest.epoch}.{newest.seq} "
            f"({newest.rung}), {RESTORE_WAIT_S:g} s at most"
        )
        node.note("restore_awaited", entry.job, epoch=newest.epoch, seq=newest.seq)
        teller.tell(node, entry, now)


def _watch_offer(node: Node, entry: JobEntry, now: Instant) -> None:
    """End an offer that was taken, that lapsed, or whose agent is gone."""
    assert entry.offered_to is not None
    agent = node.agents.get(entry.offered_to)
    taken = now < entry.vote.lease_until or not entry.is_open
    lapsed = now >= entry.offer_until or agent is None or agent.gone
    if not taken and not lapsed:
        node.poke(entry.job, entry.offer_until)
        return
    if taken:
        node.expected.pop(entry.job, None)
        entry.restore_by = None
        entry.held_up = ""
        entry.avoid = ()
        entry.turn_at = entry.waits_for = None
    else:
        entry.avoid = (*entry.avoid, entry.offered_to)[-AVOIDED_MAX:]
        if agent is not None:
            agent.lapsed = True
    entry.offered_to = None
    node.pace.ended(entry.job, now, taken=taken)
    if agent is not None:
        agent.offered.discard(entry.job)
        node.agents.refresh(agent)


def stand_back(node: Node, entry: JobEntry, now: Instant) -> None:
    """Leave the job to the nodes that granted a lease this node did not."""
    led = quorum.leader(entry.records, node.size)
    if led is not None and led[0] > entry.record.epoch:
        entry.turn_at = Instant(now + node.settings.timing.ttl_s)
        # Not free yet: those who can restore it have their time when it is.
        entry.restore_by = Instant(entry.turn_at + RESTORE_WAIT_S)


def tidy(node: Node) -> None:
    """Take jobs out of the queue that ended while no free agent could take them."""
    jobs_open = len(node.entries) - node.jobs_decided
    if len(node.queue) > 2 * jobs_open + QUEUE_SLACK:
        node.queue.keep_only(lambda item: _is_queued(node, item))


def _is_queued(node: Node, item: Item) -> bool:
    entry = node.entries.get(item[2])
    return entry is not None and entry.is_open and entry.arrived == item[1]


def pump(node: Node, now: Instant) -> None:
    """Offer queued jobs while agents have free slots."""
    for profile in node.agents.take_fresh():
        node.queue.revive(profile)
    while node.pace.has_room and node.agents.has_free() and (found := node.queue.pop()) is not None:
        need, item = found
        entry = node.entries.get(item[2])
        if entry is None or not entry.queued:
            continue  # ended, or queued anew under another need
        entry.queued = False
        if not _is_ready(node, entry, now) or turns.must_wait(node, entry, now):
            continue
        assert entry.stored is not None
        newest = _to_restore(entry, now)
        if need != need_of(entry.stored.spec, newest):
            # It has stood there since before it was held or saved. Given up under that need it
            # would take all others aside with it, and be forgotten.
            _enqueue(node, entry, item, newest)
            if newest is not None and entry.restore_by is not None:
                node.poke(entry.job, entry.restore_by)
            continue
        agent = choose(
            entry.job,
            entry.stored.spec,
            node.agents.candidates(),
            frozenset(entry.avoid),
            newest=newest,
            expecting=node.expected.get(entry.job),
        )
        if agent is None:
            entry.queued = True
            node.queue.give_up(need, item)
            if newest is not None:
                _hold_up(node, entry, newest, now)
        else:
            _offer(node, entry, agent, now)


def _offer(node: Node, entry: JobEntry, client: ClientId, now: Instant) -> None:
    assert entry.stored is not None
    assert entry.record.digest is not None
    jitter = crc32(f"{node.name}{entry.job}{entry.record.epoch}".encode()) % 256 / 1024
    entry.offered_to = client
    node.pace.offered(entry.job, now)
    entry.offer_until = Instant(now + OFFER_S * (1 + jitter))
    node.poke(entry.job, entry.offer_until)
    agent = node.agents.get(client)
    assert agent is not None
    agent.offered.add(entry.job)
    node.agents.refresh(agent)
    offer = Offer(
        job=entry.job,
        epoch=Epoch(1 + quorum.highest_epoch(entry.records)),
        digest=entry.record.digest,
        stored=entry.stored,
    )
    node.say(Publish(topics.node(node.name, "offer", client), offer, retain=False))
