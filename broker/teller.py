"""What a device is told, and when.

1. *accepted* is said only after a majority has the job on disk; *waiting* while that lasts.
2. Final states are said on every node; those before only where the device was last heard.
3. The same is not said twice, unless the device asks again.
"""

from dataclasses import replace

from broker import front
from broker.effect import Publish
from broker.entry import JobEntry
from broker.event import Refused
from broker.node import Node
from workrs.domain.ids import ClientId, Instant, LocalJobId, job_id, split_job_id
from workrs.domain.record import Record
from workrs.ports.ledger import RetiredJob
from workrs.wire import codec, topics
from workrs.wire.message import JobState, State

WAITING_S = 1.0
"""How long a majority may take before a device is told that its job waits for one; the next
beat of the node says it, so 1.5 s in the mean."""
LINE_MAX = 300
"""Characters of a refusal's reason in the log: the device gets all of it."""


def tell(node: Node, entry: JobEntry, now: Instant, *, again: bool = False) -> None:
    """Publish the job's state to its device if it is news or was asked for."""
    decided = entry.record.decided
    device, local = split_job_id(entry.job)
    if decided is not None:
        state = front.final_state(local, entry.record, decided)
    elif device not in node.local_devices:
        return
    elif entry.check_stored(node.size):
        if entry.told is None or entry.told.state is State.WAITING:
            _say(node, entry, JobState(v=1, job=local, state=State.ACCEPTED), now)
        state = front.open_state(
            local, entry.records, entry.record, node.size, held_up=entry.held_up
        )
        if not node.minority.quorum:
            node.minority.noted[entry.job] = None
            state = replace(state, note=_minority_note(node, entry), quorum=False)
    elif _is_waiting(node, entry, now):
        state = front.waiting_state(local, node.name, reach=reach(node))
    else:
        return
    if again or _is_news(entry, state):
        _say(node, entry, state, now)


def reach(node: Node) -> str:
    """Return how many nodes a node reaches if they are too few, else nothing."""
    if node.minority.quorum:
        return ""
    return f"{node.name} reaches {node.minority.heard} of {node.size} nodes"


def _minority_note(node: Node, entry: JobEntry) -> str:
    kept = "it is to be cancelled; " if entry.record.cancel else ""
    return f"{kept}{reach(node)}: until it reaches a majority nothing is decided here"


def _is_waiting(node: Node, entry: JobEntry, now: Instant) -> bool:
    """Return whether it is time to say that no majority has the job yet."""
    since = entry.waiting_since
    return not node.minority.quorum or (since is not None and now >= since + WAITING_S)


def _is_news(entry: JobEntry, state: JobState) -> bool:
    if entry.told is None or state == entry.told:
        return entry.told is None
    if entry.stored is not None and entry.stored.plain:
        # A new attempt or checkpoint shows in JSON only: the plain word would just repeat.
        return front.plain_word(state) != front.plain_word(entry.told)
    return True


def _say(node: Node, entry: JobEntry, state: JobState, now: Instant) -> None:
    entry.told = state
    device, local = split_job_id(entry.job)
    expiry_s = _expiry_s(entry, now)
    if entry.stored is None or not entry.stored.plain:
        node.say(Publish(topics.down(device, local), state, expiry_s=expiry_s))
        if entry.stored is not None:
            return
    if entry.record.decided is not None:
        result = entry.record.decided.inline_result()
        if result is not None:
            # Before the final word, so that a device that has read the word has the result.
            node.say(Publish(topics.down(device, local, "out"), result, expiry_s=expiry_s))
    word = front.plain_word(state)
    node.say(Publish(topics.down(device, local, "state"), word, expiry_s=expiry_s))


def _expiry_s(entry: JobEntry, now: Instant) -> int | None:
    """Return how long the broker keeps a final state; open ones are replaced in time."""
    if entry.record.decided is None or entry.stored is None:
        return None
    left = entry.stored.spec.retention_s - (now - entry.decided_at)
    return max(1, int(left))


def reject(
    node: Node,
    device: str,
    name: str,
    reason: str,
    *,
    plain: bool,
    retry_after_s: float | None = None,
) -> None:
    """Refuse a request. Not retained: the id may belong to a job that goes on."""
    node.dropped += 1
    node.fact_limited("request_rejected", device=device, name=name[:80], reason=reason[:LINE_MAX])
    _answer(node, device, front.rejected(name, reason, retry_after_s), plain=plain)


def refusal(node: Node, event: Refused) -> tuple[str, bytes]:
    """Note what the gate refused; return where and how its device is told."""
    node.dropped += 1
    node.fact_limited(
        "request_rejected",
        device=event.device,
        name=event.name[:80],
        reason=event.reason[:LINE_MAX],
    )
    state = front.rejected(event.name, event.reason, event.retry_after_s)
    if event.plain:
        return topics.down(event.device, state.job, "state"), front.plain_word(state)
    return topics.down(event.device, state.job), codec.encode(state)


def tell_retired(node: Node, device: str, name: str, kept: RetiredJob, *, plain: bool) -> None:
    """Tell how a job ended that has left the bus. Not retained: it would stay for ever."""
    record = Record(job=job_id(ClientId(device), LocalJobId(name)))
    record = replace(record, epoch=kept.epoch, attempt=kept.attempt)
    _answer(node, device, front.final_state(name, record, kept.short), plain=plain)


def tell_kept(
    node: Node, device: ClientId, local: LocalJobId, *, plain: bool, cancel: bool = False
) -> None:
    """Tell that a request is kept by a node that does not vote yet, unless its job has ended.

    Not retained: nothing would take it back if the request is refused later.
    """
    known = node.entries.get(job_id(device, local))
    if known is not None and not known.is_open:
        return
    state = front.waiting_state(local, node.name, reach=reach(node))
    if cancel:
        state = replace(state, note=f"it is to be cancelled; {state.note}")
    _answer(node, device, state, plain=plain)


def _answer(node: Node, device: str, state: JobState, *, plain: bool) -> None:
    name = state.job
    if plain:
        body = front.plain_word(state)
        node.say(Publish(topics.down(device, name, "state"), body, retain=False))
    else:
        node.say(Publish(topics.down(device, name), state, retain=False))
