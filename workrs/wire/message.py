"""What travels over the bus besides specs and records. Field names are the wire's.

1. Requests (from clients) refuse unknown fields; states (from nodes) ignore them, so a
   newer node can say more to an older reader.
2. Every request of an agent names its incarnation and an epoch: that is what is fenced.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from workrs.domain.dispatch import AgentProfile
from workrs.domain.errors import OutcomeError, WireError
from workrs.domain.fault_history import FaultHistory
from workrs.domain.function import Function
from workrs.domain.host import HostFacts
from workrs.domain.ids import NUMBER_MAX, Digest, Epoch, JobId
from workrs.domain.job import INLINE_MAX_BYTES, REASON_MAX, Outcome, StoredSpec
from workrs.domain.job_state import State as State  # noqa: PLC0414 (told by its message)
from workrs.domain.lease import LeaseTiming
from workrs.domain.record import CheckpointRef, Incarnation
from workrs.domain.rollback import Seen

_CLOSED = {"extra": "forbid"}
NONCE_MAX = 64
LOCATIONS_MAX = 5
"""Stores that a checkpoint may name. A record shows two checkpoints and must stay a message."""
URL_MAX = 1000


def _check_incarnation(incarnation: Incarnation) -> None:
    """Refuse what would end every later incarnation of that name, or bloat a record."""
    if not 0 <= incarnation.number <= NUMBER_MAX or len(incarnation.nonce) > NONCE_MAX:
        raise WireError(
            f"incarnation: the number is 0 to 2^53, the nonce at most {NONCE_MAX} characters"
        )


HOST_TEXT_MAX = 100


def _check_host(host: HostFacts | None) -> None:
    """Refuse facts of a machine that no machine has: they stand in records and views."""
    if host is not None and len(max(host.arch, host.cpu, host.kernel, host.criu, key=len)) > (
        HOST_TEXT_MAX
    ):
        raise WireError(f"host: each fact has at most {HOST_TEXT_MAX} characters")


KEY_ID_MAX = 32
KEYS_MAX = 32
STORES_MAX = 32


def _check_keys(keys: tuple[str, ...]) -> None:
    """Refuse ids that no key has: they stand in records and views."""
    if len(keys) > KEYS_MAX or any(len(key) > KEY_ID_MAX for key in keys):
        raise WireError(f"key: at most {KEYS_MAX}, each of at most {KEY_ID_MAX} characters")


def _check_profile(profile: AgentProfile) -> None:
    """Refuse what would bloat every node's view of the agent."""
    _check_host(profile.host)
    _check_keys(profile.keys or ())
    stores = profile.stores or ()
    if len(stores) > STORES_MAX or any(len(url) > URL_MAX for url in stores):
        raise WireError(f"stores: at most {STORES_MAX}, each of at most {URL_MAX} characters")


LOG_MAX_BYTES = 8 * 1024
"""What of a program's output is shown at most; the end is kept."""
LOG_S = 30.0
"""How long one order shows a job's log. Its reader repeats it, so one that died costs no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """`up/{agent}/claim/{job}`: a bid for the job's lease at an epoch."""

    __pydantic_config__ = _CLOSED

    incarnation: Incarnation
    epoch: Epoch
    digest: Digest

    def __post_init__(self) -> None:
        """Refuse an incarnation that no agent has."""
        _check_incarnation(self.incarnation)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeProposal:
    """`up/{agent}/outcome/{job}`."""

    __pydantic_config__ = _CLOSED

    incarnation: Incarnation
    epoch: Epoch
    outcome: Outcome

    def __post_init__(self) -> None:
        """Refuse what would make a record too large for a broker to carry."""
        size = len(self.outcome.inline_result() or b"")
        if size > INLINE_MAX_BYTES:
            raise OutcomeError(
                f"the result has {size} bytes, at most {INLINE_MAX_BYTES} go inline: store it "
                "as a blob and propose its result_url"
            )
        if len(self.outcome.reason) > REASON_MAX:
            raise OutcomeError(f"the reason is longer than {REASON_MAX} characters")
        if len(self.outcome.result_url or "") > URL_MAX:
            raise OutcomeError(f"result_url is longer than {URL_MAX} characters")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointReport:
    """`up/{agent}/checkpoint/{job}`: the blobs are stored, the manifest asks for votes."""

    __pydantic_config__ = _CLOSED

    incarnation: Incarnation
    checkpoint: CheckpointRef

    def __post_init__(self) -> None:
        """Refuse what would make a record too large for a broker to carry."""
        ref = self.checkpoint
        texts = (ref.rung, ref.next_why, *ref.location)
        _check_keys((ref.key,))
        longest = max((len(text) for text in texts), default=0)
        _check_host(ref.host)
        if len(ref.location) > LOCATIONS_MAX or longest > URL_MAX:
            raise WireError(
                f"checkpoint: at most {LOCATIONS_MAX} locations of at most {URL_MAX} characters"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """`up/{agent}/release/{job}`: give the lease back before its end."""

    __pydantic_config__ = _CLOSED

    incarnation: Incarnation
    epoch: Epoch
    retry_after_s: float = 0.0
    reason: str = ""
    spared: int = 0
    """How many of the job's starts so far ended on purpose: see `Record.spared`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`up/{agent}/progress/{job}`."""

    __pydantic_config__ = _CLOSED

    incarnation: Incarnation
    epoch: Epoch
    progress: float
    """0 to 1."""
    note: str = ""
    seq: int = 0
    """Counts the agent's reports of this epoch from 1: one that comes late is dropped. 0: none."""


class Held(NamedTuple):
    """A lease an agent believes it holds."""

    job: JobId
    epoch: Epoch
    attempt: int
    """The start of the program it is at or about to make; 0 before it knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """`up/{agent}/beat`: heartbeat; with `gone`, the agent's last will."""

    __pydantic_config__ = _CLOSED

    incarnation: Incarnation
    connection: int
    """Counts the agent's connections of this incarnation."""
    counter: int = 0
    """Counts its heartbeats; a will has 0."""
    held: tuple[Held, ...] = ()
    profile: AgentProfile | None = None
    """None in a will."""
    gone: bool = False
    ordered: int = 0
    """Number of the newest drain or undrain that it has taken; 0: none yet."""

    def __post_init__(self) -> None:
        """Refuse an incarnation that no agent has, and attempts that no ledger holds."""
        _check_incarnation(self.incarnation)
        if self.profile is not None:
            _check_profile(self.profile)
        if any(not 0 <= held.attempt <= NUMBER_MAX for held in self.held):
            raise WireError("held: an attempt is 0 to 2^53")
        if not 0 <= self.ordered <= NUMBER_MAX:
            raise WireError("ordered is 0 to 2^53")


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentView:
    """`node/{n}/agent/{agent}`: a node's view of an agent, and its receipt for a heartbeat."""

    incarnation: Incarnation
    connection: int
    counter: int
    refused: tuple[tuple[JobId, Epoch], ...] = ()
    """Leases of that heartbeat which the node did not extend."""
    profile: AgentProfile | None = None
    held: int = 0
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Barred:
    """`node/{n}/barred`: devices that a node has barred just now, for its peers to do the same."""

    devices: tuple[str, ...]
    """Their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTerms:
    """`node/{n}/terms`: retained, what agents must know of a node and what hardly ever changes.

    Apart from the state, which is repeated every second: at 1,000 agents that would be 3,000
    deliveries a second of what no agent reads.
    """

    nodes: tuple[str, ...]
    """Names of all nodes of the cluster."""
    timing: LeaseTiming = field(default_factory=LeaseTiming)
    blobs_url: str = ""
    faults: FaultHistory = field(default_factory=FaultHistory)
    """How many agents were lost in how much time, as the node counted; told again once it would
    change a plan, at most every minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """`node/{n}/state`: retained, repeated every second, and the daemon's last will."""

    boot: int
    nonce: str
    nodes: tuple[str, ...]
    """Names of all nodes of the cluster."""
    live: bool = True
    ready: bool = True
    """False while it may not vote; `health` says why."""
    health: str = "ok"
    generation: int = 0
    """Of its votes."""
    rejoining: bool = False
    """It lost its disk: it does not vote, and whoever sees its generation raises its own to it."""
    serial: int = 0
    """Commits of its ledger."""
    seen: Mapping[str, Seen] = field(default_factory=dict)
    """The most it ever saw of each other node's disk."""
    software: str = ""
    blobs_url: str = ""
    timing: LeaseTiming = field(default_factory=LeaseTiming)
    beat: int = 0
    """Counts the repetitions: a reader without a clock in common sees it live."""
    jobs_open: int = 0
    jobs_decided: int = 0
    agents: int = 0
    dropped: int = 0
    """Messages refused since the start."""
    quorum: bool = True
    """False while it hears no majority of nodes: nothing is accepted or decided there."""
    nodes_heard: int = 0
    """Nodes that give it signs of life, itself included; 0: it does not say."""
    hears: tuple[str, ...] = ()
    """The other nodes among them: whose bridges lead here."""
    sent: int = 0
    """Messages it has published since its start."""
    list_drained: bool = False
    """No job is open here that was when all nodes had shown the present list."""
    list_ready: bool = False
    """And what the others have decided and retired is known here since they all said so. False of
    a node from before lists could change."""

    def __post_init__(self) -> None:
        """Refuse numbers that no ledger holds."""
        counts = [self.boot, self.serial, self.generation]
        for seen in self.seen.values():
            counts += [seen.boot, seen.serial]
        if min(counts) < 0 or max(counts) > NUMBER_MAX:
            raise WireError("boot, serial, generation and what was seen of others are 0 to 2^53")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """`node/{n}/offer/{agent}`: the job fits you, its next epoch is this."""

    job: JobId
    epoch: Epoch
    digest: Digest
    stored: StoredSpec


class OrderKind(StrEnum):
    """What an operator can ask for."""

    CANCEL = "cancel"
    DRAIN = "drain"
    UNDRAIN = "undrain"
    LOG = "log"
    """Show what a job prints, for LOG_S from now."""
    ADD = "add"
    """Give a function this definition, on all nodes."""
    REMOVE = "remove"
    """Take a function away, on all nodes."""
    FETCH = "fetch"
    """Of a node alone: fetch a checkpoint of a job that is about to be moved, which may come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """`up/{operator}/order/{id}`, and `node/{n}/order/{agent}` when it concerns an agent."""

    __pydantic_config__ = _CLOSED

    order: OrderKind
    agent: str = ""
    job: str = ""
    function: str = ""
    """With `add` and `remove`."""
    definition: Function | None = None
    """With `add`."""
    checkpoint: CheckpointRef | None = None
    """With `fetch`."""
    memory_mb: int = 0
    """With `fetch`: what the job may need."""
    number: int = 0
    """Of a node's drain or undrain: an agent that knows a higher one does not take it."""
    incarnation: Incarnation | None = None
    """With `number`: the one that it is meant for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReply:
    """`down/{operator}/{id}`: what became of an order."""

    ok: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointState:
    """The newest checkpoint, as its device sees it."""

    epoch: int
    seq: int
    location: tuple[str, ...]
    bytes: int
    progress: float | None = None
    rung: str | None = None
    """`memory` or `files`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """`down/{device}/{job}`."""

    v: int
    """Always 1. Required here so that it is never left out as a default."""
    job: str
    state: State
    epoch: int | None = None
    attempt: int | None = None
    agent: str | None = None
    progress: float | None = None
    note: str | None = None
    checkpoint: CheckpointState | None = None
    exit_code: int | None = None
    result: str | None = None
    result_b64: str | None = None
    result_url: str | None = None
    reason: str | None = None
    quorum: bool | None = None
    """False: the node that says so reaches no majority, so it may be behind the others."""
    retry_after_s: float | None = None
    """With *rejected*: the node has no room now. The same request may be taken after that."""
