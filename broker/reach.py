"""Telling clients what a node can do for them that does not hear a majority of nodes.

1. A change is published at once in the node's state.
2. A job that no majority has is told as *waiting*: at once if the node knows why, else after
   a beat or two. *accepted* replaces it.
3. Of its open jobs here a device is told in the state of one, the newest, when its node loses
   the majority and when it is back; a few devices a beat, so that 10,000 jobs are no flood.
   What is said of other jobs in the meantime carries the same note.
"""

from broker import teller
from broker.effect import Publish
from broker.limits import NOTICES_PER_BEAT
from broker.node import Node
from workrs.domain.ids import ClientId, Instant, JobId
from workrs.domain.job import owner
from workrs.domain.quorum import majority
from workrs.wire import topics


def update(node: Node) -> None:
    """Look whether a majority is heard, and begin to say so when that has changed."""
    state = node.minority
    state.peers = tuple(name for name, peer in node.peers.items() if peer.live and peer.heard)
    quorum = len(node.live_nodes()) >= majority(node.size)
    if quorum == state.quorum:
        return
    state.quorum = quorum
    node.say(Publish(topics.node(node.name, "state"), node.state()))
    node.fact("majority_back" if quorum else "majority_lost", heard=state.heard, nodes=node.size)
    state.todo.clear()
    if quorum:
        state.todo.extend(state.noted)
        state.noted.clear()
    else:
        state.todo.extend(_newest_jobs(node))


def _newest_jobs(node: Node) -> list[JobId]:
    """Return the newest open job of every device that was last heard here."""
    found: dict[ClientId, JobId] = {}
    for job, entry in node.entries.items():
        if entry.is_open and (device := owner(job)) in node.local_devices:
            found[device] = job
    return list(found.values())


def on_beat(node: Node, now: Instant) -> None:
    """Tell devices whose jobs still wait, and some of those concerned by a change."""
    state = node.minority
    while state.arriving and now >= state.arriving[0][0] + teller.WAITING_S:
        _tell(node, state.arriving.popleft()[1], now)
    for _ in range(min(NOTICES_PER_BEAT, len(state.todo))):
        _tell(node, state.todo.popleft(), now)


def _tell(node: Node, job: JobId, now: Instant) -> None:
    entry = node.entries.get(job)
    if entry is not None and entry.is_open:
        teller.tell(node, entry, now)
