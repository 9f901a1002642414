"""What an agent's brain is told: facts, in the past tense.

Facts about a container carry the number of its *run*, so that what comes late from a
container that was given up is told from what its successor says.
"""

from dataclasses import dataclass
from enum import Enum

from workrs.domain.ids import ClientId, Epoch, JobId
from workrs.domain.record import CheckpointRef, Record
from workrs.wire.message import AgentView, NodeTerms, Offer, Order


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """The bus answered and every subscription is in force."""

    connection: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLost:
    """A connection ended, or could not be made."""

    connection: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TermsSeen:
    """A node published its terms."""

    node: ClientId
    terms: NodeTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class BeatAnswered:
    """A node published its view of this agent: the receipt for a heartbeat."""

    node: ClientId
    view: AgentView


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOffered:
    """A node offered a job."""

    offer: Offer


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordSeen:
    """A node published its vote on a job."""

    node: ClientId
    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReceived:
    """A node passed on an operator's order."""

    order: Order


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested:
    """The system asked this process to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveWished:
    """The machine's own hook wants the jobs to go elsewhere, or to come again."""

    leave: bool
    why: str = ""
    """The first line that the hook printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesListed:
    """The runtime told which images need not be fetched, and the machine its load."""

    images: tuple[str, ...]
    load: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Woken:
    """Time passed: the instant the brain asked for has come."""


class Blame(Enum):
    """Why a start did not come about, by what is to be done next."""

    CHECKPOINT = "checkpoint"
    """The checkpoint is damaged or cannot be restored here: use the one before it."""
    STORE = "store"
    """A store did not answer: nothing is known about the blob. Elsewhere, later."""
    CONTAINER = "container"
    """The program itself cannot be started: a failed attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartPrepared:
    """Input and checkpoint are here and verified."""

    job: JobId
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerStarted:
    """The program runs."""

    job: JobId
    run: int
    fetch_s: float = 0.0
    start_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFailed:
    """Preparing or starting failed; nothing of it is left."""

    job: JobId
    run: int
    blame: Blame
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressMade:
    """The program said how far it is."""

    job: JobId
    run: int
    fraction: float
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRead:
    """The end of what the program printed was read."""

    job: JobId
    run: int
    tail: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerExited:
    """The program ended."""

    job: JobId
    run: int
    code: int
    oom_killed: bool = False
    result: bytes | None = b""
    """None: too large for a message, to be stored as a blob."""
    result_bytes: int = 0
    stderr_tail: str = ""
    problem: str = ""
    """Why the runtime ended it, or lost it; else empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultStored:
    """A large result is in the nodes' stores."""

    job: JobId
    run: int
    url: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRefused:
    """A large result could not be stored."""

    job: JobId
    run: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointSaved:
    """A checkpoint lies complete in its stores. It exists once a majority has its manifest."""

    job: JobId
    run: int
    ref: CheckpointRef
    frozen_s: float
    upload_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFailed:
    """No checkpoint came about; the program runs on."""

    job: JobId
    run: int
    epoch: Epoch
    seq: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerKilled:
    """No process of the run is left; the rest of it is being removed."""

    job: JobId
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRemoved:
    """Nothing of the run is left on this machine."""

    job: JobId
    run: int


JobEvent = (
    StartPrepared
    | ContainerStarted
    | StartFailed
    | ProgressMade
    | LogRead
    | ContainerExited
    | ResultStored
    | ResultRefused
    | CheckpointSaved
    | CheckpointFailed
    | ContainerKilled
    | ContainerRemoved
)

Event = (
    Connected
    | ConnectionLost
    | TermsSeen
    | BeatAnswered
    | JobOffered
    | RecordSeen
    | OrderReceived
    | StopRequested
    | LeaveWished
    | ImagesListed
    | Woken
    | JobEvent
)
