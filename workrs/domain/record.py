"""A node's whole vote on one job, as it stands on disk and on the bus.

1. Merging records is idempotent and free of order: a version only replaces a lower one.
2. A record never carries an instant. When a lease ends is each node's own knowledge.
3. `accepted` survives later grants and releases; `decided` survives everything.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from workrs.domain.errors import IdError
from workrs.domain.host import HostFacts
from workrs.domain.ids import ClientId, Digest, Epoch, JobId, is_digest
from workrs.domain.job import Outcome


class Incarnation(NamedTuple):
    """One start of a program. Two are the same only if both parts are."""

    number: int
    """Above any on the program's disk and in any node's view of it."""
    nonce: str
    """64 random bits in hex: a copied or restored disk cannot repeat an incarnation."""


class Version(NamedTuple):
    """Orders the records of one node on one job."""

    boot: int
    """Starts of the daemon on this database."""
    step: int


NEVER = Epoch(0)
_FIRST = Version(0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who was granted a lease: an agent, or a node that cancels or expires the job."""

    client: ClientId
    incarnation: Incarnation


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRef:
    """Where a checkpoint's manifest lies, and what a reader must know before fetching it."""

    epoch: Epoch
    seq: int
    """Counts the checkpoints of one epoch from 1."""
    manifest: Digest
    location: tuple[str, ...]
    """Base URLs of the stores that hold it, at least one."""
    rung: str
    """`memory` or `files`."""
    bytes: int
    progress: float | None = None
    host: HostFacts | None = field(default=None, compare=False)
    """The machine it was saved on, on the memory rung. Not part of which checkpoint it is: a node
    that does not know the field names the same one without it."""

    key: str = field(default="", compare=False)
    """Id of the cluster's key that opens it, 16 hex digits; empty where it is not sealed. Not part
    of which checkpoint it is, like the machine."""
    work_s: float | None = field(default=None, compare=False)
    """Work of the job that it holds, since the job's beginning. Not part of which checkpoint it
    is, as all below."""
    frozen_s: float | None = field(default=None, compare=False)
    """How long the program stood still for it."""
    upload_s: float | None = field(default=None, compare=False)
    """How long its parts took into the stores; the program ran meanwhile."""
    next_s: float | None = field(default=None, compare=False)
    """After how much more work the next one is planned."""
    next_why: str = field(default="", compare=False)
    """What that follows from: see `workrs.domain.next_checkpoint.Why`."""

    def __post_init__(self) -> None:
        """Refuse a name that is none: stores make paths of it."""
        if not is_digest(self.manifest):
            raise IdError(f"manifest {self.manifest[:80]!r} is no SHA-256 in lower-case hex")

    @property
    def order(self) -> tuple[int, int]:
        """Return what makes one checkpoint newer than another."""
        return (self.epoch, self.seq)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A node's vote for an outcome at an epoch."""

    epoch: Epoch
    outcome: Outcome
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One node's vote on one job."""

    job: JobId
    version: Version = _FIRST
    digest: Digest | None = None
    """Of the stored spec; None while this node has none."""
    generation: int = 0
    """Rises when a node is re-admitted. Votes of different generations never count together."""
    epoch: Epoch = NEVER
    """The highest granted."""
    holder: Holder | None = None
    checkpoints: tuple[CheckpointRef, ...] = ()
    """The two newest accepted, newest first."""
    attempt: int = 0
    """Starts of the program so far."""
    spared: int = 0
    """How many of them ended because the job was moved on purpose; they are no failed attempts."""
    cancel: bool = False
    accepted: Accepted | None = None
    decided: Outcome | None = None
    decided_digest: Digest | None = None
    """Of the outcome that was voted on, whatever `decided` still holds of it."""
    retired: bool = False
    """The short form of a job that left the bus: the decision without its result. Said to
    whoever does not know the decision, never retained."""
    progress: float | None = None
    """What the holder last said. Not durable, never voted on."""
    note: str = ""
    reason: str = ""
    """Why the last attempt ended, for humans."""
    serial: int = 0
    """Commits of the node's ledger with the one that holds this vote: see `rollback`."""
    settled: bool = False
    """This node saw a majority name `digest`. Shown since a node lost its disk: the votes that
    are left may not tell it any more."""
    abstains: bool = False
    """The node lost its disk while this job was open: it never votes on it, having forgotten
    what it promised. It still learns and shows the decision."""
