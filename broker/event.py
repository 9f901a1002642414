"""What the brain of a node is told, already parsed. Junk never gets this far."""

from dataclasses import dataclass

from workrs.domain.function import FunctionRecord
from workrs.domain.ids import ClientId, JobId, LocalJobId
from workrs.domain.record import Incarnation, Record
from workrs.ports.ledger import SaveRetired
from workrs.wire import message


@dataclass(frozen=True, slots=True)
class SubmitHeard:
    """A device of this node wants a job done. The payload is still raw: the front judges it."""

    device: ClientId
    local: LocalJobId
    payload: bytes
    function: str = ""
    """Set when it came through `run/`, and the payload is the input itself."""


@dataclass(frozen=True, slots=True)
class CancelHeard:
    """The owner of a job wants it cancelled."""

    device: ClientId
    local: LocalJobId
    via: str


AgentRequest = (
    message.Claim
    | message.OutcomeProposal
    | message.CheckpointReport
    | message.Release
    | message.Progress
)


@dataclass(frozen=True, slots=True)
class AgentHeard:
    """An agent's request about one job, here or through a bridge."""

    agent: ClientId
    job: JobId
    request: AgentRequest
    via: str
    """The node that relayed it; empty when the agent is connected here."""


@dataclass(frozen=True, slots=True)
class BeatHeard:
    """An agent's heartbeat or last will."""

    agent: ClientId
    beat: message.Beat
    via: str


@dataclass(frozen=True, slots=True)
class OrderHeard:
    """An operator's order."""

    operator: ClientId
    order_id: LocalJobId
    order: message.Order
    via: str


@dataclass(frozen=True, slots=True)
class LogHeard:
    """An agent of this node shows the end of what a job printed, as it is."""

    agent: ClientId
    job: JobId
    tail: bytes


@dataclass(frozen=True, slots=True)
class PeerRecordSeen:
    """Another node's vote."""

    node: ClientId
    record: Record


@dataclass(frozen=True, slots=True)
class PeerSpecSeen:
    """Another node shows a job it stored."""

    node: ClientId
    job: JobId
    payload: bytes


@dataclass(frozen=True, slots=True)
class PeerFunctionSeen:
    """What another node has on its disk of a function."""

    node: ClientId
    record: FunctionRecord


@dataclass(frozen=True, slots=True)
class PeerBarred:
    """Another node has barred devices."""

    node: ClientId
    devices: tuple[ClientId, ...]


@dataclass(frozen=True, slots=True)
class PeerEmptied:
    """Another node shows nothing of a job any more, under one of its topics."""

    node: ClientId
    kind: str
    """`job` or `spec`."""
    job: JobId


@dataclass(frozen=True, slots=True)
class PeerStateSeen:
    """Another node's sign of life."""

    node: ClientId
    state: message.NodeState


@dataclass(frozen=True, slots=True)
class Refused:
    """A device's message was malformed, or too many before it had a job: tell it why."""

    device: ClientId
    name: str
    reason: str
    plain: bool
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class BrokerEmptied:
    """This node's broker (re)started with nothing retained: publish everything again."""


@dataclass(frozen=True, slots=True)
class CopiedJob:
    """A job that is not retired, as another node has it on disk."""

    record: Record
    payload: bytes | None
    """The StoredSpec's bytes; None when that node never had the spec."""


@dataclass(frozen=True, slots=True)
class CopiedAgent:
    """The latest incarnation of an agent that another node has heard."""

    client: ClientId
    incarnation: Incarnation


@dataclass(frozen=True, slots=True)
class PeerLedgerPart:
    """Some of what another node has on disk."""

    node: ClientId
    generation: int
    """That was asked for; that node had it on disk before it read the rest."""
    jobs: tuple[CopiedJob, ...] = ()
    retired: tuple[SaveRetired, ...] = ()
    agents: tuple[CopiedAgent, ...] = ()
    functions: tuple[FunctionRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class PeerLedgerRead:
    """All parts of a ledger have been told."""

    node: ClientId
    generation: int


@dataclass(frozen=True, slots=True)
class PeerLedgerFailed:
    """A ledger could not be read to its end; what was read of it was told."""

    node: ClientId
    generation: int
    why: str


Event = (
    SubmitHeard
    | CancelHeard
    | AgentHeard
    | BeatHeard
    | OrderHeard
    | LogHeard
    | PeerRecordSeen
    | PeerSpecSeen
    | PeerFunctionSeen
    | PeerBarred
    | PeerEmptied
    | PeerStateSeen
    | PeerLedgerPart
    | PeerLedgerRead
    | PeerLedgerFailed
    | Refused
    | Ticked
    | BrokerEmptied
)
