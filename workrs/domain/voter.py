"""A node's rules: what it grants, accepts and refuses. Paxos acceptor plus a lease.

1. An epoch is granted at most once and only upwards; every grant fences all before it.
2. An outcome is accepted only from the holder of the highest epoch granted here, and
   only one value at an epoch.
3. A decided record never changes again.
4. A vote that abstains grants and accepts nothing, ever: this node forgot what it voted.
5. The clock (`now`, `lease_until`) decides who may *try*; only epochs decide what counts.
   With every clock wrong there is still one outcome; only energy is wasted.

Each rule returns the new vote, or None when it refuses; a refusal changes nothing.
"""

from dataclasses import dataclass, replace

from workrs.domain.ids import EPOCH_MAX, Digest, Epoch, Instant
from workrs.domain.job import REASON_MAX, Outcome
from workrs.domain.record import Accepted, CheckpointRef, Holder, Record

CHECKPOINTS_KEPT = 2
NOTE_MAX = 200
RETRY_AFTER_MAX_S = 3600.0
"""Longest wait a release may ask for: one broken agent must not put a job off for good."""
_PAST = Instant(0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A record and the one thing about it that never travels."""

    record: Record
    lease_until: Instant = _PAST
    """First instant, on this node's clock, at which another agent may claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """A bid for the lease of a job at an epoch."""

    epoch: Epoch
    holder: Holder
    digest: Digest | None
    by_node: bool = False
    """A node's claim, made to cancel or expire the job."""


def _supersedes(new: Holder, old: Holder) -> bool:
    """Return whether *new* is the same agent, in the same or a later incarnation."""
    if new.client != old.client:
        return False
    return new.incarnation == old.incarnation or new.incarnation.number > old.incarnation.number


def claim(vote: Vote, request: ClaimRequest, *, now: Instant, ttl_s: float) -> Vote | None:
    """Grant the epoch, or None."""
    record = vote.record
    if record.decided is not None or not record.epoch < request.epoch <= EPOCH_MAX:
        return None
    if record.abstains:
        return None
    if not request.by_node:
        if record.digest is None or record.digest != request.digest:
            return None
        free = now >= vote.lease_until
        if not free and not (record.holder and _supersedes(request.holder, record.holder)):
            return None
    granted = replace(
        record, epoch=request.epoch, holder=request.holder, progress=None, note="", reason=""
    )
    return Vote(record=granted, lease_until=Instant(now + ttl_s))


def _is_held_by(record: Record, holder: Holder, epoch: Epoch) -> bool:
    return record.decided is None and record.epoch == epoch and record.holder == holder


def renew(
    vote: Vote, holder: Holder, epoch: Epoch, attempt: int, *, now: Instant, ttl_s: float
) -> Vote | None:
    """Extend a lease that a heartbeat lists; None when it is not held here."""
    record = vote.record
    if not _is_held_by(record, holder, epoch):
        return None
    if attempt > record.attempt:
        record = replace(record, attempt=attempt)
    return Vote(record=record, lease_until=max(vote.lease_until, Instant(now + ttl_s)))


def end_former(vote: Vote, holder: Holder, *, now: Instant) -> Vote | None:
    """End the lease of a lower incarnation of *holder*; None when there is none."""
    held = vote.record.holder
    if held is None or held.client != holder.client or vote.record.decided is not None:
        return None
    if held.incarnation.number >= holder.incarnation.number or vote.lease_until <= now:
        return None
    return replace(vote, lease_until=now)


def shorten(vote: Vote, holder: Holder, *, now: Instant, grace_s: float) -> Vote | None:
    """Bring the end of a lease forward because the holder's connection broke."""
    record = vote.record
    if record.holder != holder or record.decided is not None:
        return None
    until = min(vote.lease_until, Instant(now + grace_s))
    return replace(vote, lease_until=until) if until < vote.lease_until else None


def checkpoint(vote: Vote, holder: Holder, ref: CheckpointRef) -> Vote | None:
    """Keep a newer checkpoint of the lease's holder, or None."""
    record = vote.record
    if not _is_held_by(record, holder, ref.epoch):
        return None
    if record.checkpoints and ref.order <= record.checkpoints[0].order:
        return None
    kept = (ref, *record.checkpoints)[:CHECKPOINTS_KEPT]
    return replace(vote, record=replace(record, checkpoints=kept))


def outcome(vote: Vote, holder: Holder, epoch: Epoch, value: Outcome) -> Vote | None:
    """Accept the holder's outcome, or None. Accepting the same again changes nothing."""
    record = vote.record
    if not _is_held_by(record, holder, epoch):
        return None
    digest = value.digest()
    if record.accepted is not None and record.accepted.epoch == epoch:
        return vote if record.accepted.digest == digest else None
    accepted = Accepted(epoch=epoch, outcome=value, digest=digest)
    return replace(vote, record=replace(record, accepted=accepted))


def release(
    vote: Vote,
    holder: Holder,
    epoch: Epoch,
    *,
    now: Instant,
    retry_after_s: float,
    reason: str,
    spared: int = 0,
) -> Vote | None:
    """Take the holder's release. Nothing is accepted at this epoch any more.

    *spared* is how many of the starts so far ended on purpose, by the holder's count; one that
    miscounts cannot spare more than there were.
    """
    if not _is_held_by(vote.record, holder, epoch):
        return None
    record = vote.record
    freed = replace(
        record,
        holder=None,
        progress=None,
        note="",
        reason=reason[:REASON_MAX],
        spared=max(record.spared, min(spared, record.attempt)),
    )
    wait_s = min(RETRY_AFTER_MAX_S, max(0.0, retry_after_s))
    return Vote(record=freed, lease_until=Instant(now + wait_s))


def progress(vote: Vote, holder: Holder, epoch: Epoch, done: float, note: str) -> Vote | None:
    """Take what the holder says of its progress, 0 to 1. Shown, never voted on."""
    if not _is_held_by(vote.record, holder, epoch):
        return None
    done = min(1.0, max(0.0, done))
    return replace(vote, record=replace(vote.record, progress=done, note=note[:NOTE_MAX]))


def disown(vote: Vote) -> Vote:
    """End the lease of a job whose spec was replaced; the epoch stays granted."""
    return Vote(record=replace(vote.record, holder=None), lease_until=vote.lease_until)


def cancel(vote: Vote) -> Vote | None:
    """Note that the owner or an operator wants the job cancelled."""
    if vote.record.cancel or vote.record.decided is not None:
        return None
    return replace(vote, record=replace(vote.record, cancel=True))


def decide(vote: Vote, value: Outcome, digest: Digest | None = None) -> Vote | None:
    """Note the decision, for good. `accepted` has served and is dropped.

    *digest* is what was voted on; to be given where *value* may have lost its result.
    """
    if vote.record.decided is not None:
        return None
    done = replace(
        vote.record,
        decided=value,
        decided_digest=digest or value.digest(),
        accepted=None,
        progress=None,
        note="",
        reason="",
    )
    return replace(vote, record=done)
