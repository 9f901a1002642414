"""From bus messages to events. Nothing malformed passes, and nothing malformed stops us."""

from collections.abc import Container
from dataclasses import dataclass

from edge_agent.event import (
    BeatAnswered,
    Event,
    JobOffered,
    OrderReceived,
    RecordSeen,
    TermsSeen,
)
from workrs.domain.errors import WireError
from workrs.domain.ids import EPOCH_MAX, ClientId, JobId, split_job_id
from workrs.domain.record import Record
from workrs.ports.bus import Message, Subscription
from workrs.wire import codec, message, topics


@dataclass(frozen=True, slots=True)
class Dropped:
    """A message that leads to nothing, and why."""

    topic: str
    reason: str


def subscriptions(name: ClientId) -> list[Subscription]:
    """Return what an agent always listens to. Records come job by job."""
    return [
        Subscription(pattern=topics.node("+", "terms")),
        Subscription(pattern=topics.node("+", "agent", name)),
        Subscription(pattern=topics.node("+", "offer", name)),
        Subscription(pattern=topics.node("+", "order", name)),
    ]


def job_pattern(job: JobId) -> str:
    """Return the filter for all nodes' records of a job."""
    return topics.record("+", job)


def parse(name: ClientId, bus_message: Message, jobs: Container[JobId]) -> Event | Dropped | None:
    """Return the event a message stands for; None when it says nothing to this agent.

    Records of other than *jobs* are not even decoded: they are the last words of jobs that
    were just given up.
    """
    shown = topics.parse_node(bus_message.topic)
    if shown is None:
        return Dropped(bus_message.topic, "not a node's topic")
    if not bus_message.payload:
        return None
    if shown.kind == "job" and JobId(shown.name) not in jobs:
        return None
    try:
        return _from_node(name, shown, bus_message.payload)
    except WireError as error:
        return Dropped(bus_message.topic, str(error))


def _from_node(name: ClientId, shown: topics.Node, payload: bytes) -> Event | Dropped | None:
    match shown.kind:
        case "job":
            record = codec.decode(Record, payload)
            if record.job != shown.name:
                raise WireError(f"a record of {record.job[:80]} under another job's name")
            return RecordSeen(node=shown.node, record=record)
        case "terms":
            return TermsSeen(node=shown.node, terms=codec.decode(message.NodeTerms, payload))
        case "agent" | "offer" | "order" if shown.name != name:
            return None
        case "agent":
            return BeatAnswered(node=shown.node, view=codec.decode(message.AgentView, payload))
        case "offer":
            offer = codec.decode(message.Offer, payload)
            split_job_id(offer.job)  # it becomes part of topics and of paths
            if offer.job != offer.stored.job or not 1 <= offer.epoch <= EPOCH_MAX:
                raise WireError(f"an offer of {offer.job[:80]} that contradicts itself")
            return JobOffered(offer=offer)
        case "order":
            return OrderReceived(order=codec.decode(message.Order, payload))
        case _:
            return None
