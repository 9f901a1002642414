"""What the brain of a node wants done: first on disk, then on the bus, then in the log.

The order is the promise: the shell commits all `changes` in one transaction and only then
publishes, so nothing is ever said that a power cut could take back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from workrs.domain.ids import ClientId, JobId
from workrs.ports.ledger import Change


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish on this node's own broker."""

    topic: str
    body: object
    """A wire dataclass for the codec, or bytes as they are. b"" empties a retained topic."""
    qos: int = 1
    retain: bool = True
    expiry_s: int | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """Something the log should say."""

    event: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class ReadPeerLedger:
    """Read another node's ledger, as of its raise to *generation* or later.

    Answered by `PeerLedgerPart`s and a `PeerLedgerRead`, or by `PeerLedgerFailed`.
    """

    node: ClientId
    url: str
    """Of its blob server."""
    generation: int


@dataclass(slots=True)
class Effects:
    """All that one batch of events leads to."""

    changes: list[Change] = field(default_factory=list)
    publishes: list[Publish] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    dropped_blobs: list[JobId] = field(default_factory=list)
    """Jobs whose blobs nobody needs any more."""
    reads: list[ReadPeerLedger] = field(default_factory=list)
    halt: str = ""
    """Why this daemon must end: then nothing of the batch is to be done."""
