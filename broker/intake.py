"""Taking jobs in and taking them back: what devices ask for, from any side.

1. The same id with the same request is the same job, however often it arrives.
2. The same id with another request changes nothing and is refused with the reason.
3. A spec is on disk before anything about it is published: both leave with one batch.
"""

from dataclasses import replace

from broker import front, teller
from broker.effect import Publish
from broker.entry import JobEntry
from broker.event import CancelHeard, SubmitHeard
from broker.node import Node
from broker.settle import settle
from workrs.domain import voter
from workrs.domain.errors import WireError
from workrs.domain.ids import (
    ClientId,
    Digest,
    Instant,
    JobId,
    job_id,
    local_job_id,
    split_job_id,
)
from workrs.domain.job import StoredSpec, digest_of
from workrs.ports.ledger import SaveSpec
from workrs.wire import codec, topics


def on_submit(node: Node, event: SubmitHeard, now: Instant) -> None:
    """Store a new job, answer a known one, refuse what cannot be one."""
    functions = node.settings.functions
    plain = bool(event.function)
    hear_device(node, event.device)
    try:
        # Before functions are looked up: a known job is known though its function is gone.
        request = front.request_of(event.function, event.payload)
        known = node.entries.get(job_id(event.device, event.local))
        if known is not None and known.stored is not None:
            _answer_known(node, known, request, now, plain=plain)
            return
        if plain:
            stored = front.take_run(
                event.device, event.local, event.function, event.payload, functions
            )
        else:
            stored = front.take_submit(event.device, event.local, event.payload, functions)
    except WireError as error:
        teller.reject(node, event.device, event.local, str(error), plain=plain)
        return
    old = node.retired(stored.job) if stored.job not in node.entries else None
    if old is not None:
        reason = "this job has ended and its result is no longer kept; use a new id"
        teller.reject(node, event.device, event.local, reason, plain=plain)
        return
    entry = node.entry(stored.job)
    if entry.is_open:
        _store(node, entry, stored)
        settle(node, entry, now)
    else:
        teller.tell(node, entry, now, again=True)


def _answer_known(
    node: Node, entry: JobEntry, request: Digest, now: Instant, *, plain: bool
) -> None:
    """Repeat what is known of a job, or refuse another spec under its id."""
    assert entry.stored is not None
    conflict = front.differs(request, entry.stored)
    device, local = split_job_id(entry.job)
    if conflict is not None:
        teller.reject(node, device, local, conflict, plain=plain)
    elif entry.is_stored or not entry.is_open:
        teller.tell(node, entry, now, again=True)
    else:
        # Not yet on a majority: show the spec and the vote again, a peer may have missed them.
        show_spec(node, entry)
        node.repeat(entry)


def _store(node: Node, entry: JobEntry, stored: StoredSpec) -> None:
    payload = codec.encode(stored)
    store(node, entry, stored, payload, digest_of(payload), origin=node.name)
    show_spec(node, entry)


def store(
    node: Node,
    entry: JobEntry,
    stored: StoredSpec,
    payload: bytes,
    digest: Digest,
    *,
    origin: ClientId,
) -> None:
    """Take a spec as this node's own vote, or only to read it when the job is decided."""
    entry.stored = stored
    entry.payload = payload
    entry.origin = origin
    node.effects.changes.append(SaveSpec(job=entry.job, digest=digest, payload=payload))
    if entry.is_open:
        node.change(entry, replace(entry.vote, record=replace(entry.record, digest=digest)))


def show_spec(node: Node, entry: JobEntry) -> None:
    """Publish the spec under this node's name."""
    if entry.payload is not None:
        node.say(Publish(topics.node(node.name, "spec", entry.job), entry.payload))


def hear_device(node: Node, device: ClientId) -> None:
    """Note that the device speaks to this node now."""
    node.local_devices.add(device)


def on_cancel(node: Node, event: CancelHeard, now: Instant) -> None:
    """Note that the owner wants its job cancelled."""
    if not event.via:
        hear_device(node, event.device)
    else:
        node.local_devices.discard(event.device)
    entry = node.entries.get(job_id(event.device, event.local))
    if entry is None:
        if not event.via:
            reason = "there is no job of this id to cancel"
            teller.reject(node, event.device, event.local, reason, plain=False)
        return
    request_cancel(node, entry, now)


def request_cancel(node: Node, entry: JobEntry, now: Instant) -> None:
    """Note the wish to cancel; who wins the job next has to fulfil it."""
    vote = voter.cancel(entry.vote)
    if vote is not None:
        node.change(entry, vote)
    else:
        teller.tell(node, entry, now, again=True)
        node.repeat(entry)
    if entry.is_open:
        # Else it might be retired in the middle of a batch, and revived by the rest of it.
        settle(node, entry, now)


def parse_local(text: str) -> JobId | None:
    """Return the bus id that an operator's `DEVICE/ID` names, or None."""
    device, slash, local = text.partition("/")
    if not slash:
        return JobId(text)
    return job_id(ClientId(device), local_job_id(local))
