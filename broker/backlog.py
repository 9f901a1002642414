"""What a node hears before it votes, kept in memory until it does.

1. Nothing that may lead to a vote is handled before; nothing that nobody repeats is lost.
2. Of peers' records and specs and of heartbeats the newest each is kept. Messages of devices
   and wishes to cancel are kept in order, up to HELD_BACK_MAX, because `mosquitto_pub` repeats
   nothing; beyond that, or HELD_BACK_MAX_BYTES, they are refused with a reason.
   No other order of this node's operators is kept: carried out late it would undo what was
   ordered through another node meanwhile. Who gave it repeats it as long as it is wanted.
3. Other requests of agents are dropped: agents repeat them. So are heartbeats of more than
   AGENTS_MAX agents, and what stands under a name that is no node's of the cluster.
4. Who waits is told, a few senders a beat, once for every time that they ask: devices when a
   majority takes long, operators, who ask again by themselves, when none is heard.
"""

from collections.abc import Iterable

from broker import admission, teller
from broker.effect import Publish
from broker.event import (
    AgentHeard,
    BeatHeard,
    CancelHeard,
    Event,
    LogHeard,
    OrderHeard,
    PeerEmptied,
    PeerRecordSeen,
    PeerSpecSeen,
    SubmitHeard,
)
from broker.limits import AGENTS_MAX, NOTICES_PER_BEAT
from broker.node import Node
from workrs.domain.ids import Instant, job_id
from workrs.wire import codec, topics
from workrs.wire.message import OrderKind, OrderReply

HELD_BACK_MAX = 10_000
HELD_BACK_MAX_BYTES = 64 << 20
"""Of submits and definitions of functions. Without it 10,000 of the largest would take 2.5 GiB."""


def hold_back(node: Node, event: Event, now: Instant) -> bool:
    """Keep an event that may lead to a vote until this node votes; False if it need not wait."""
    it = node.admission
    if it.votes:
        return False
    match event:
        case PeerRecordSeen(node=peer, record=record):
            # A short record is not retained: it takes the place of no copy that is.
            key: object = ("short" if record.retired else "job", peer, record.job)
            known = it.held_back.get(key)
            if isinstance(known, PeerRecordSeen) and record.version < known.record.version:
                return True
        case PeerSpecSeen(node=peer, job=job):
            key = ("spec", peer, job)
        case PeerEmptied(node=peer, kind=kind, job=job):
            # Its peers have retired the job. They answer for it once this node shows it.
            it.held_back.pop((kind, peer, job), None)
            return True
        case BeatHeard(agent=agent):
            key = ("beat", agent)
        case SubmitHeard() | CancelHeard() | OrderHeard():
            _hold_back_request(node, event, now)
            return True
        case AgentHeard() | LogHeard():
            node.dropped += 1
            return True
        case _:
            return False
    if _has_room(node, event, key):
        it.held_back.pop(key, None)
        it.held_back[key] = event
    else:
        node.dropped += 1
    return True


def _has_room(node: Node, event: PeerRecordSeen | PeerSpecSeen | BeatHeard, key: object) -> bool:
    """Return whether an event of which the newest is kept comes under a name that is."""
    if not isinstance(event, BeatHeard):
        return event.node in node.settings.nodes
    it = node.admission
    if key not in it.held_back:
        if it.held_back_agents >= AGENTS_MAX:
            return False
        it.held_back_agents += 1
    return True


def _hold_back_request(
    node: Node, event: SubmitHeard | CancelHeard | OrderHeard, now: Instant
) -> None:
    it = node.admission
    if isinstance(event, OrderHeard) and not _may_come_late(event):
        if not (event.via or node.minority.quorum):
            text = f"{teller.reach(node)}: nothing was changed; give the order again later"
            _refuse(node, event, text)
        return
    if event in it.held_back:
        it.untold.setdefault(event, now)
        return
    count = it.held_back_requests + 1
    size_bytes = it.held_back_bytes
    if isinstance(event, SubmitHeard):
        size_bytes += len(event.payload)
    elif isinstance(event, OrderHeard) and event.order.definition is not None:
        size_bytes += len(codec.encode(event.order.definition))
    if count <= HELD_BACK_MAX and size_bytes <= HELD_BACK_MAX_BYTES:
        it.held_back_requests, it.held_back_bytes = count, size_bytes
        it.held_back[event] = event
        it.untold[event] = now
        return
    reason = (
        f"this node does not vote yet ({admission.health(node)}) and keeps "
        f"{it.held_back_requests} requests with {it.held_back_bytes >> 20} MiB already: send it "
        "to another node, or again later"
    )
    match event:
        case OrderHeard(via=""):
            _refuse(node, event, reason)
        case SubmitHeard(device=device, local=local, function=function):
            teller.reject(node, device, local, reason, plain=bool(function))
        case CancelHeard(device=device, local=local, via=""):
            teller.reject(node, device, local, reason, plain=False)
        case _:
            node.dropped += 1


def _may_come_late(event: OrderHeard) -> bool:
    """Return whether an order undoes none that was given after it, when it is carried out late."""
    match event.order.order:
        case OrderKind.CANCEL:
            return True
        case OrderKind.DRAIN | OrderKind.UNDRAIN:
            return bool(event.via)  # it is only counted here
        case _:
            return False


def on_beat(node: Node, now: Instant) -> None:
    """Tell some of those whose requests are kept that they wait."""
    it = node.admission
    is_alone = not node.minority.quorum
    told = 0
    for event, since in list(it.untold.items()):
        if told == NOTICES_PER_BEAT or not (is_alone or now >= since + teller.WAITING_S):
            break  # the rest came later
        match event:
            case OrderHeard(via=""):
                if not is_alone:
                    continue
                kept = "the order is kept until this node votes, and not carried out yet"
                _refuse(node, event, f"{teller.reach(node)}: {kept}")
            case SubmitHeard(device=device, local=local, function=function):
                teller.tell_kept(node, device, local, plain=bool(function))
            case CancelHeard(device=device, local=local, via=""):
                known = node.entries.get(job_id(device, local))
                plain = known is not None and known.stored is not None and known.stored.plain
                teller.tell_kept(node, device, local, plain=plain, cancel=True)
            case _:
                pass  # its own node answers
        del it.untold[event]
        told += 1


def _refuse(node: Node, event: OrderHeard, text: str) -> None:
    reply = OrderReply(ok=False, text=text)
    node.say(Publish(topics.down(event.operator, event.order_id), reply, retain=False))


def release(node: Node) -> Iterable[Event]:
    """Return what was held back, once this node votes. Heartbeats first: they keep leases."""
    it = node.admission
    if not it.held_back or not it.votes:
        return []
    held = list(it.held_back.values())
    it.held_back.clear()
    it.untold.clear()
    it.held_back_requests = it.held_back_bytes = it.held_back_agents = 0
    beats = [event for event in held if isinstance(event, BeatHeard)]
    return beats + [event for event in held if not isinstance(event, BeatHeard)]
