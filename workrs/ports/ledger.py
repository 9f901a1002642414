"""The node's ledger: what must be on disk before it is said.

1. `commit` is atomic and durable: when it returns, a power cut loses nothing of it; when
   it raises, nothing of it happened.
2. The boot number rises at every open, before anything else is written.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from workrs.domain.ids import Digest, JobId
from workrs.domain.record import Record


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
    """Drop spec and record of a decided job; keep id, request and outcome digests.

    The short form answers late submits until `forget_after`.
    """

    job: JobId


Change = SaveSpec | SaveRecord | NoteHistory | RetireJob


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
    """One node's durable memory. Methods block; callers give them a thread."""

    @property
    def boot(self) -> int:
        """Starts of the daemon on this ledger, this one included. From 1."""
        ...

    def load(self) -> Iterable[SavedJob]:
        """Return every job that is not retired."""
        ...

    def commit(self, changes: Sequence[Change]) -> None:
        """Make all changes in one transaction, or raise LedgerError and make none."""
        ...

    def retired(self, job: JobId) -> tuple[Digest, Digest] | None:
        """Return (request digest, outcome digest) of a retired job, or None."""
        ...

    def close(self) -> None:
        """Release the file. Idempotent."""
        ...
