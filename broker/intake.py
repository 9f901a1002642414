"""Taking jobs in and taking them back: what devices ask for, from any side.

1. The same id with the same request is the same job, however often it arrives.
2. The same id with another request changes nothing and is refused with the reason.
3. A spec is on disk before anything about it is published: both leave with one batch.
4. No more jobs are on their way to a majority than its nodes keep up with (`room`).
"""

from dataclasses import replace

from broker import front, retirement, teller
from broker.effect import Publish
from broker.entry import JobEntry
from broker.event import CancelHeard, SubmitHeard
from broker.limits import (
    DEVICE_SHARE,
    DEVICES_MAX,
    OPEN_MAX,
    OPEN_MAX_BYTES,
    RETRY_AFTER_S,
    TENANT_SHARE,
    TURN_MAX,
)
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
    tenant_of,
)
from workrs.domain.job import StoredSpec, digest_of
from workrs.domain.quota import share
from workrs.ports.ledger import RetiredJob, SaveSpec
from workrs.wire import codec, topics


def room(node: Node) -> int:
    """Return how many requests of devices the next batch may have.

    A node that took in all it is sent would bury its peers under specs and votes, and the
    heartbeats of their agents with them. Without a majority jobs only wait here.
    """
    if not node.minority.quorum:
        return TURN_MAX
    return min(TURN_MAX, node.spread.room(len(node.unsure)))


def on_submit(node: Node, event: SubmitHeard, now: Instant) -> None:
    """Store a new job, answer a known one, refuse what cannot be one."""
    functions = node.functions.definitions
    plain = bool(event.function)
    hear_device(node, event.device)
    try:
        # Before functions are looked up: a known job is known though its function is gone.
        request = front.request_of(event.function, event.payload)
        job = job_id(event.device, event.local)
        known = node.entries.get(job)
        if known is not None and known.stored is not None:
            _answer_known(node, known, request, now, plain=plain)
            return
        if known is None and (kept := node.find_retired(job)) is not None:
            _answer_retired(node, event, request, kept)
            return
        if plain:
            stored = front.take_run(
                event.device, event.local, event.function, event.payload, functions
            )
        else:
            stored = front.take_submit(event.device, event.local, event.payload, functions)
        front.check_image(stored.spec.image, node.settings.allowed_images)
    except WireError as error:
        teller.reject(node, event.device, event.local, str(error), plain=plain)
        return
    if known is None and (full := _is_full(node) or _is_too_much(node, stored, len(event.payload))):
        node.gate.note_refusal(event.device, now)
        teller.reject(
            node, event.device, event.local, full, plain=plain, retry_after_s=RETRY_AFTER_S
        )
        return
    entry = node.entry(stored.job)
    if entry.is_open:
        _store(node, entry, stored)
        entry.waiting_since = now
        node.minority.arriving.append((now, entry.job))
        settle(node, entry, now)
    else:
        teller.tell(node, entry, now, again=True)


def _is_full(node: Node) -> str:
    """Return why the node takes no new job now, or nothing."""
    jobs_open = len(node.entries) - node.jobs_decided
    if jobs_open < OPEN_MAX and node.open_bytes < OPEN_MAX_BYTES:
        return ""
    return (
        f"{node.name} has {jobs_open} open jobs with {node.open_bytes >> 20} MiB of specs, as "
        f"much as it keeps: submit again in {RETRY_AFTER_S:g} s"
    )


def _is_too_much(node: Node, stored: StoredSpec, size_bytes: int) -> str:
    """Return why the device, or its tenant, may have no further job open, or nothing."""
    device, _ = split_job_id(stored.job)
    own, whole = node.usage.of(device)
    quotas = node.gate.quotas
    jobs_open = len(node.entries) - node.jobs_decided
    for name, use, quota, part in (
        (device, own, quotas.device, DEVICE_SHARE),
        (tenant_of(device), whole, quotas.tenant, TENANT_SHARE),
    ):
        jobs_max = min(quota.open_max, share(jobs_open, OPEN_MAX, part))
        room_bytes = share(node.open_bytes, OPEN_MAX_BYTES, part) // node.size
        bytes_max = min(quota.open_max_bytes, room_bytes)
        if use.jobs and (use.jobs >= jobs_max or use.size_bytes + size_bytes > bytes_max):
            return (
                f"{name} has {use.jobs} open jobs with {use.size_bytes} bytes of specs, and may "
                f"have {jobs_max} with {bytes_max} bytes now: submit again in {RETRY_AFTER_S:g} s"
            )
    return ""


def _answer_retired(node: Node, event: SubmitHeard, request: Digest, kept: RetiredJob) -> None:
    """Say how a job ended that has left the bus, to who sent this very job."""
    plain = bool(event.function)
    if kept.request in ("", request):
        teller.tell_retired(node, event.device, event.local, kept, plain=plain)
    else:
        teller.reject(node, event.device, event.local, front.REUSED, plain=plain)


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
        teller.tell(node, entry, now, again=True)


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
    node.note_spec(entry, payload)
    entry.origin = origin
    node.effects.changes.append(SaveSpec(job=entry.job, digest=digest, payload=payload))
    if entry.record.abstains:
        entry.copied = digest
    elif entry.is_open:
        node.change(entry, replace(entry.vote, record=replace(entry.record, digest=digest)))
    else:
        retirement.slim(node, entry)


def show_spec(node: Node, entry: JobEntry) -> None:
    """Publish the spec under this node's name."""
    payload = entry.payload
    if payload is None and node.payload is not None and entry.stored is not None:
        payload = node.payload(entry.job)
    if payload is not None:
        entry.is_spec_shown = True
        node.say(Publish(topics.node(node.name, "spec", entry.job), payload))


def hear_device(node: Node, device: ClientId) -> None:
    """Note that the device speaks to this node now."""
    devices = node.local_devices
    devices.pop(device, None)
    devices[device] = None
    if len(devices) > DEVICES_MAX:
        del devices[next(iter(devices))]


def on_cancel(node: Node, event: CancelHeard, now: Instant) -> None:
    """Note that the owner wants its job cancelled."""
    if not event.via:
        hear_device(node, event.device)
    else:
        node.local_devices.pop(event.device, None)
    entry = node.entries.get(job_id(event.device, event.local))
    if entry is None:
        if not event.via:
            _refuse_cancel(node, event)
        return
    request_cancel(node, entry, now)


def _refuse_cancel(node: Node, event: CancelHeard) -> None:
    """Say why nothing is there to cancel: it has ended long ago, or is not known here."""
    kept = node.find_retired(job_id(event.device, event.local))
    if kept is not None:
        teller.tell_retired(node, event.device, event.local, kept, plain=False)
        return
    reach = teller.reach(node)
    reason = "there is no job of this id to cancel" + (f", but {reach}" if reach else "")
    teller.reject(node, event.device, event.local, reason, plain=False)


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
