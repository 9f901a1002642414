"""What a device is told, and when.

1. *accepted* is said only after a majority has the job on disk.
2. Final states are said on every node; those before only where the device was last heard.
3. The same is not said twice, unless the device asks again.
"""

from broker import front
from broker.effect import Publish
from broker.entry import JobEntry
from broker.node import Node
from workrs.domain.ids import Instant, split_job_id
from workrs.domain.job import owner
from workrs.wire import topics
from workrs.wire.message import JobState, State


def tell(node: Node, entry: JobEntry, now: Instant, *, again: bool = False) -> None:
    """Publish the job's state to its device if it is news or was asked for."""
    decided = entry.record.decided
    device, local = split_job_id(entry.job)
    if decided is not None:
        state = front.final_state(local, entry.record, decided)
    elif device in node.local_devices and entry.check_stored(node.size):
        if entry.told is None:
            _say(node, entry, JobState(v=1, job=local, state=State.ACCEPTED), now)
        state = front.open_state(local, entry.records, entry.record, node.size)
    else:
        return
    if again or _is_news(entry, state):
        _say(node, entry, state, now)


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


def reject(node: Node, device: str, name: str, reason: str, *, plain: bool) -> None:
    """Refuse a request. Not retained: the id may belong to a job that goes on."""
    node.dropped += 1
    node.fact("request_rejected", device=device, name=name[:80], reason=reason)
    state = front.rejected(name, reason)
    if plain:
        body = front.plain_word(state)
        node.say(Publish(topics.down(device, name, "state"), body, retain=False))
    else:
        node.say(Publish(topics.down(device, name), state, retain=False))


def forget(node: Node, entry: JobEntry) -> None:
    """Empty what this node's broker retains for the device."""
    device, local = owner(entry.job), split_job_id(entry.job)[1]
    for rest in ((), ("state",), ("out",)):
        node.say(Publish(topics.down(device, local, *rest), b""))
