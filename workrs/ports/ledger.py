"""The node's ledger: what must be on disk before it is said.

1. `commit` is atomic and durable: when it returns, a power cut loses nothing of it; when
   it raises, nothing of it happened.
2. The boot number rises at every open, before anything else is written.
3. The serial counts commits: it rises within each, so it is never ahead of the disk.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from workrs.domain.fault_history import FaultHistory
from workrs.domain.function import FunctionRecord
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.domain.job import Outcome
from workrs.domain.node_list import Stage
from workrs.domain.record import Record
from workrs.domain.rollback import Seen


class Rejoin(IntEnum):
    """Whether this ledger was made for a node that lost its disk. Only rises."""

    NEVER = 0
    """It was made for a new node."""
    UNDER_WAY = 1
    """The node may not vote yet."""
    DONE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a ledger says of its node as a voter. Nothing of it ever goes back."""

    boot: int = 0
    """Starts of the daemon on this ledger."""
    serial: int = 0
    """Commits."""
    generation: int = 0
    """Of this node's votes: see `workrs.domain.quorum`."""
    rejoin: Rejoin = Rejoin.NEVER
    nodes: tuple[ClientId, ...] = ()
    """The list of nodes it was started with last; empty: not yet, or by an older version."""
    stage: Stage = Stage.NEW
    """How far the change to that list is. It alone may go back, with a new list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveSpec:
    """Store the immutable spec of a job, replacing a losing one."""

    job: JobId
    digest: Digest
    payload: bytes
    """The StoredSpec exactly as it travels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveRecord:
    """Store this node's vote on a job."""

    record: Record


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteHistory:
    """Append a fact for humans and statistics: granted, taken_over, checkpointed, agent_lost …."""

    event: str
    job: JobId | None
    facts: Mapping[str, str | int | float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetireJob:
    """Drop spec and record of a decided job; keep what `RetiredJob` says.

    The short form answers whoever asks late, until `forget_after`.
    """

    job: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepJob:
    """Note that the node's own broker keeps nothing of a retired job any more."""

    job: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class RetiredJob:
    """What is kept of a job that left the bus."""

    request: Digest
    """Of what the device sent; empty when the job was closed without its spec."""
    outcome: Digest
    """Of the outcome that was voted on, its result included."""
    short: Outcome
    """That outcome as far as it is kept: verdict, exit code, the beginning of the reason."""
    epoch: Epoch
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveRetired:
    """Take over from a peer that a job was decided and retired. Nothing if it is known here."""

    job: JobId
    kept: RetiredJob


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveSeen:
    """Note the most that a peer was seen to have on its disk."""

    node: ClientId
    seen: Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveStanding:
    """Raise what is higher in *standing* than on disk. The commit's own serial counts too."""

    standing: Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveFaults:
    """Note how many agents were lost in how much time, in place of what was noted before."""

    history: FaultHistory


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveFunction:
    """Store what this node knows of a function, in place of a record that counts less."""

    record: FunctionRecord
    filed: Digest
    """Of the definition that the node's own functions file had at the last start; or empty."""


Change = (
    SaveSpec
    | SaveRecord
    | NoteHistory
    | RetireJob
    | SweepJob
    | SaveRetired
    | SaveSeen
    | SaveStanding
    | SaveFaults
    | SaveFunction
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedJob:
    """A job as found on disk."""

    record: Record
    digest: Digest | None
    payload: bytes | None
    """The StoredSpec's bytes; None when this node never had the spec."""
    decided_wall_s: float | None
    """Unix time at which this node noted the decision. For retention only."""


class Ledger(Protocol):
    """One node's durable memory. Methods block, on the event loop too: decision 0005 says why.

    Whoever reads all of it does so in a thread.
    """

    @property
    def boot(self) -> int:
        """Starts of the daemon on this ledger, this one included. From 1."""
        ...

    @property
    def standing(self) -> Standing:
        """What is on disk of the node as a voter, this start included."""
        ...

    def seen(self) -> Mapping[ClientId, Seen]:
        """Return the most that each peer was seen to have on its disk, as far as it was saved."""
        ...

    def faults(self) -> FaultHistory:
        """Return how many agents were lost in how much time, as it was noted last."""
        ...

    def functions(self) -> Iterable[SaveFunction]:
        """Return every function as it was saved last, removed ones too."""
        ...

    def load(self) -> Iterable[SavedJob]:
        """Return every job that is not retired, a few at a time."""
        ...

    def load_retired(self) -> Iterator[SaveRetired]:
        """Return every retired job, a few at a time."""
        ...

    def commit(self, changes: Sequence[Change]) -> None:
        """Make all changes in one transaction, or raise LedgerError and make none."""
        ...

    def retired(self, job: JobId) -> RetiredJob | None:
        """Return what is kept of a retired job, or None."""
        ...

    def payload(self, job: JobId) -> bytes | None:
        """Return the stored spec's bytes of a job that is not retired, or None."""
        ...

    def unswept(self) -> Iterable[JobId]:
        """Return the retired jobs that were never noted as swept."""
        ...

    def close(self) -> None:
        """Release the file. Idempotent."""
        ...
