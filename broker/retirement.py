"""Taking decided jobs off the bus, answering for them afterwards, leaving nothing behind.

1. A job is retired when its result was kept long enough, every live node is known to have the
   decision, and a majority of all nodes has it on disk. A node that is dead for good holds
   nothing up; one that comes back is told.
2. Whoever asks for a retired job, or shows anything of it but its short form, is answered by
   the short form: not retained, in a version of its own.
3. What this node published of a retired job is emptied at once; the copies of what a peer did
   not empty within COPIES_S, too. All of it is emptied again on every new connection until it
   was said on one that held: a link that dies between the commit and the publishing leaves
   nothing behind.
"""

from dataclasses import replace
from itertools import islice, product, takewhile

from broker.effect import Publish
from broker.entry import JobEntry
from broker.limits import (
    DECIDED_MAX,
    DECIDED_MAX_BYTES,
    EARLY_PER_BEAT,
    REPEATS_PER_BEAT,
    SWEEPS_PER_BEAT,
)
from broker.node import PEER_BEAT_S, Node
from broker.sweep import copy_bit
from workrs.domain import quorum
from workrs.domain.ids import Digest, Instant, JobId, split_job_id
from workrs.domain.job import StoredSpec, shortened
from workrs.domain.quorum import Tally
from workrs.domain.record import Record
from workrs.ports.ledger import RetiredJob, SweepJob
from workrs.wire import topics

RETIRE_RETRY_S = 60.0
"""How long to wait with retiring a job that a peer is not known to know as decided."""
RETENTION_UNKNOWN_S = 86400.0
"""How long a decided job is kept whose spec this node has not seen, or not yet."""
COPIES_S = 3.0
"""How long a node leaves it to its peers to empty their own topics at its broker."""
SWEPT_S = 15.0
"""How long a connection must hold after the emptying for it to be believed: three keepalives."""
_ENTRY_BYTES = 1_000
"""What a record takes at a broker, its texts not counted."""


def begin(node: Node, entry: JobEntry) -> None:
    """Note who knows the decision, and let go of what a decided job needs no more."""
    entry.knows = {name for name, record in entry.records.items() if record.decided is not None}
    entry.is_over = any(record.retired for record in entry.records.values())
    entry.records = {node.name: entry.record}
    entry.tally, entry.rivals, entry.avoid = Tally(), {}, ()
    node.note_decided(entry, _size_bytes(node, entry))
    slim(node, entry)


def slim(node: Node, entry: JobEntry) -> None:
    """Keep of a decided job's spec only what is still asked; the ledger has the whole."""
    if entry.stored is not None:
        spec = replace(entry.stored.spec, input=None, input_b64=None, files={}, env={})
        entry.stored = replace(entry.stored, spec=spec)
    if node.payload is not None:
        entry.payload = None


def _size_bytes(node: Node, entry: JobEntry) -> int:
    decided = entry.record.decided
    texts = (decided.result, decided.result_b64, decided.reason) if decided else ()
    result_bytes = sum(len(text) for text in texts if text)
    spec_bytes = len(entry.payload or b"")
    return (node.size + 1) * (result_bytes + _ENTRY_BYTES) + node.size * spec_bytes


def consider(node: Node, entry: JobEntry, now: Instant) -> None:
    """Take a decided job off the bus once its result has been kept long enough."""
    due = _due(entry)
    if now < due:
        node.poke(entry.job, due)
        return
    if not may_leave(node, entry, now):
        _ask_again(node, entry, now)
        return
    _retire(node, entry, now)


def _ask_again(node: Node, entry: JobEntry, now: Instant) -> None:
    """Say an overdue decision again: a peer that has retired it shows nothing, but answers.

    Jobs that were decided together are due together. Those beyond what a beat may say are looked
    at in one of the next, each in the beat that has room for it, not all in every one.
    """
    ahead_beats = node.repeats // REPEATS_PER_BEAT
    node.repeats += 1
    if ahead_beats:
        node.poke(entry.job, Instant(now + ahead_beats * PEER_BEAT_S))
        return
    node.repeat(entry)
    node.poke(entry.job, Instant(now + RETIRE_RETRY_S))


def may_leave(node: Node, entry: JobEntry, now: Instant) -> bool:
    """Return whether a decided job may be retired now."""
    return (
        now >= _due(entry)
        and len(entry.knows) >= quorum.majority(node.size)
        and entry.knows.issuperset(node.live_nodes())
    )


def _due(entry: JobEntry) -> Instant:
    if entry.is_over:
        return entry.decided_at
    retention_s = entry.stored.spec.retention_s if entry.stored else RETENTION_UNKNOWN_S
    return Instant(entry.decided_at + retention_s)


def _retire(node: Node, entry: JobEntry, now: Instant) -> None:
    record, job = entry.record, entry.job
    assert record.decided is not None
    node.note("retired", job)
    node.retire(entry, _kept(entry.stored, record))
    _empty_own(node, entry)
    node.sweep.said.append((now, job))
    if entry.copies:
        node.sweep.left[job] = now, entry.copies


def _kept(stored: StoredSpec | None, record: Record) -> RetiredJob:
    """Return what the ledger keeps, for questions that come before it is on disk."""
    assert record.decided is not None
    return RetiredJob(
        request=stored.request if stored else Digest(""),
        outcome=record.decided_digest or record.decided.digest(),
        short=shortened(record.decided),
        epoch=record.epoch,
        attempt=record.attempt,
    )


def _empty_own(node: Node, entry: JobEntry) -> None:
    """Empty what this node itself published. Each peer does so, too, and bridges carry it."""
    node.say(Publish(topics.record(node.name, entry.job), b""))
    if entry.is_spec_shown:
        node.say(Publish(topics.node(node.name, "spec", entry.job), b""))
    # Without the spec nobody knows in which form its device was told.
    plain = entry.stored.plain if entry.stored else None
    for form in (False, True):
        if plain in (None, form):
            untell(node, entry.job, plain=form)


def untell(node: Node, job: JobId, *, plain: bool) -> None:
    """Empty what the device was told in one of the two forms."""
    device, local = split_job_id(job)
    for rest in (("state",), ("out",)) if plain else ((),):
        node.say(Publish(topics.down(device, local, *rest), b""))


def _empty_all(node: Node, job: JobId) -> None:
    """Empty all that the own broker may keep, what bridges brought of the peers included."""
    _empty_copies(node, job, -1)
    untell(node, job, plain=False)
    untell(node, job, plain=True)


def _empty_copies(node: Node, job: JobId, copies: int) -> None:
    nodes = node.settings.nodes
    for name, kind in product(nodes, ("job", "spec")):
        if copies & copy_bit(nodes, name, kind):
            node.say(Publish(topics.node(name, kind, job), b""))


def answer(node: Node, job: JobId, kept: RetiredJob) -> None:
    """Tell the decision of a retired job to whoever listens."""
    record = Record(
        job=job,
        epoch=kept.epoch,
        attempt=kept.attempt,
        decided=kept.short,
        decided_digest=kept.outcome,
        retired=True,
    )
    node.reply(record)


def on_beat(node: Node, now: Instant) -> None:
    """Make room, and go on emptying what may be left: a few each time."""
    node.repeats = 0
    _make_room(node, now)
    sweep = node.sweep
    for _ in range(min(SWEEPS_PER_BEAT, len(sweep.todo))):
        job = sweep.todo.popleft()
        if job not in node.entries:
            _empty_all(node, job)
            sweep.said.append((now, job))
    # A peer that did not do so itself is dead, or its bridge was down.
    late = list(takewhile(lambda left: now - left[1][0] >= COPIES_S, sweep.left.items()))
    for job, (_, copies) in late:
        del sweep.left[job]
        _empty_copies(node, job, copies)
    while sweep.said and now - sweep.said[0][0] >= SWEPT_S + COPIES_S + PEER_BEAT_S:
        node.effects.changes.append(SweepJob(job=sweep.said.popleft()[1]))


def _make_room(node: Node, now: Instant) -> None:
    """Retire the oldest before their time while there are too many, or too large ones."""
    if len(node.decided) <= DECIDED_MAX and node.decided_bytes <= DECIDED_MAX_BYTES:
        return
    before = len(node.decided)
    # Those that are over already wait for a peer, and look again by themselves.
    waiting = (job for job in node.decided if not node.entries[job].is_over)
    for job in list(islice(waiting, EARLY_PER_BEAT)):
        if len(node.decided) <= DECIDED_MAX and node.decided_bytes <= DECIDED_MAX_BYTES:
            break
        entry = node.entries[job]
        entry.is_over = True
        consider(node, entry, now)
    if jobs := before - len(node.decided):
        node.fact("retired_early", jobs=jobs, left=len(node.decided))
