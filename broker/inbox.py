"""From bus messages to events. Nothing malformed passes, and nothing malformed stops us.

1. Total over junk: every message gives an event or a reason why it was dropped.
2. A device whose request cannot even be parsed is told why, on its own topic.
3. Requests that carry the retain flag are refused: a broker would repeat them for ever.
"""

from dataclasses import dataclass

from broker.event import (
    AgentHeard,
    AgentRequest,
    BeatHeard,
    CancelHeard,
    Event,
    LogHeard,
    OrderHeard,
    PeerBarred,
    PeerEmptied,
    PeerFunctionSeen,
    PeerRecordSeen,
    PeerSpecSeen,
    PeerStateSeen,
    Refused,
    SubmitHeard,
)
from workrs.domain.errors import IdError, WireError
from workrs.domain.function import FunctionRecord
from workrs.domain.ids import NUMBER_MAX, ClientId, JobId, LocalJobId, client_id, local_job_id
from workrs.domain.record import Record
from workrs.ports.bus import Message, Subscription
from workrs.wire import codec, message, topics

_AGENT_BODIES: dict[str, type[AgentRequest]] = {
    "claim": message.Claim,
    "outcome": message.OutcomeProposal,
    "checkpoint": message.CheckpointReport,
    "release": message.Release,
    "progress": message.Progress,
}


NAME_MAX = 1000
"""Longest job name that a refusal is sent to: the answer's topic must not outgrow MQTT's limit."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message that leads to nothing, and why."""

    topic: str
    reason: str


def vote_subscriptions() -> list[Subscription]:
    """Return what a node listens to on its first connection: whatever votes and leases need.

    Relayed submits are left out: peers take specs from the node that expanded them. So are
    relayed logs, which their own node publishes for all.
    """
    here = ("claim", "outcome", "checkpoint", "release", "progress", "order", "log")
    relayed = here[:-1]
    patterns = [
        f"{topics.ROOT}/up/+/beat",
        *(f"{topics.ROOT}/up/+/{verb}/+" for verb in here),
        f"{topics.ROOT}/relay/+/+/beat",
        *(f"{topics.ROOT}/relay/+/+/{verb}/+" for verb in relayed),
    ]
    shown = ("job/+", "spec/+", "function/+", "state", "barred")
    return [Subscription(pattern=pattern, qos=1) for pattern in patterns] + [
        Subscription(pattern=topics.node("+", *kind.split("/")), qos=1, no_local=True)
        for kind in shown
    ]


def intake_subscriptions() -> list[Subscription]:
    """Return what a node listens to on its second connection: the requests of devices.

    Of whatever depth, since a device that gets a topic wrong is told. Relayed cancels come the same
    way as those from here, for one device may send both.

    At QoS 0: a device repeats what is not answered, and in a flood the broker takes one packet of
    each client in turn, so that the node's acknowledgements would be a few dozen in a second.
    """
    patterns = [f"up/+/{verb}/#" for verb in ("submit", "run", "cancel")]
    return [
        Subscription(pattern=f"{topics.ROOT}/{pattern}", qos=0)
        for pattern in (*patterns, "relay/+/+/cancel/+")
    ]


def parse(name: ClientId, bus_message: Message) -> Event | Dropped | None:
    """Return the event a message stands for; None when it says nothing to this node."""
    try:
        up = topics.parse_up(bus_message.topic)
        if up is not None:
            return _from_client(up, bus_message)
        shown = topics.parse_node(bus_message.topic)
        if shown is not None:
            return _from_node(name, shown, bus_message.payload)
    except WireError as error:
        return _refuse(bus_message.topic, str(error))
    return _refuse_topic(bus_message.topic)


def _from_client(up: topics.Up, bus_message: Message) -> Event | Dropped | None:
    payload = bus_message.payload
    if bus_message.retain:
        if not payload:
            return None  # a retained request was cleared, most likely by this node
        return _refuse(bus_message.topic, "requests must not be retained: publish without -r")
    if up.via and up.verb in ("submit", "run", "log"):
        return Dropped(bus_message.topic, f"relayed {up.verb}")
    match up.verb:
        case "submit" | "run":
            return SubmitHeard(up.client, LocalJobId(up.name), payload, up.function)
        case "cancel":
            return CancelHeard(up.client, LocalJobId(up.name), up.via)
        case "beat":
            return BeatHeard(up.client, codec.decode(message.Beat, payload), up.via)
        case "order":
            order = codec.decode(message.Order, payload)
            return OrderHeard(up.client, LocalJobId(up.name), order, up.via)
        case "log":
            return LogHeard(up.client, JobId(up.name), payload)
        case verb if verb in _AGENT_BODIES:
            request = codec.decode(_AGENT_BODIES[verb], payload)
            return AgentHeard(up.client, JobId(up.name), request, up.via)
        case _:
            return Dropped(bus_message.topic, f"nothing listens to {up.verb}")


def _from_node(name: ClientId, shown: topics.Node, payload: bytes) -> Event | None:
    if shown.node == name:
        return None
    if not payload:
        is_job = shown.kind in ("job", "spec")
        return PeerEmptied(shown.node, shown.kind, JobId(shown.name)) if is_job else None
    match shown.kind:
        case "job":
            record = codec.decode(Record, payload)
            if record.job != shown.name:
                raise WireError(f"record of {record.job} shown as {shown.name}")
            _check_numbers(record)
            return PeerRecordSeen(shown.node, record)
        case "spec":
            return PeerSpecSeen(shown.node, JobId(shown.name), payload)
        case "function":
            function = codec.decode(FunctionRecord, payload)
            if function.function != shown.name:
                raise WireError(f"function {function.function} shown as {shown.name}")
            return PeerFunctionSeen(shown.node, function)
        case "barred":
            named = codec.decode(message.Barred, payload).devices
            return PeerBarred(shown.node, tuple(map(client_id, named)))
        case "state":
            return PeerStateSeen(shown.node, codec.decode(message.NodeState, payload))
        case _:
            return None


def _check_numbers(record: Record) -> None:
    """Refuse what no ledger holds. Not in the record's constructor: it is made with every vote."""
    counts = (
        record.epoch,
        record.generation,
        record.serial,
        record.attempt,
        record.spared,
        *record.version,
    )
    if min(counts) < 0 or max(counts) > NUMBER_MAX:
        raise WireError(f"record of {record.job}: its numbers are 0 to 2^53")


def _refuse(topic: str, reason: str) -> Event | Dropped:
    """Tell a device what was wrong with its request; drop what others got wrong."""
    up = topics.parse_up(topic)
    if up is not None and not up.via and up.verb in topics.DEVICE_VERBS | {"order"}:
        return Refused(up.client, up.name, reason, plain=up.verb == "run")
    return Dropped(topic, reason)


def _refuse_topic(topic: str) -> Event | Dropped:
    """Tell a device which part of the topic it published to is wrong."""
    head, _, rest = topic.removeprefix(topics.ROOT + "/").partition("/")
    device, _, tail = rest.partition("/")
    verb, *names = tail.split("/")
    wanted = {"submit": 1, "cancel": 1, "run": 2}.get(verb)
    name = names[-1] if names else ""
    if (
        head != "up"
        or wanted is None
        or not name
        or len(name) > NAME_MAX
        or set("+#\0") & set(name)
    ):
        return Dropped(topic, "not a topic of this protocol")
    try:
        client = client_id(device)
    except IdError as error:
        return Dropped(topic, str(error))
    if len(names) != wanted:
        shape = "run/FUNCTION/JOB" if verb == "run" else f"{verb}/JOB"
        reason = f"the topic must end in {shape}"
    else:
        reason = _first_bad(names)
    return Refused(client, names[-1], reason, plain=verb == "run")


def _first_bad(names: list[str]) -> str:
    try:
        for name in names[:-1]:
            client_id(name)
        local_job_id(names[-1])
    except IdError as error:
        return str(error)
    return "malformed"
