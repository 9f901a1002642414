"""All that a node knows about one job: its own vote, its peers' and what it said of them.

1. `records` always holds this node's own record under its own name.
2. Peers' records only ever move to higher versions.
3. The tally never forgets an acceptance it has seen, though records move on.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from workrs.domain import quorum
from workrs.domain.ids import ClientId, Digest, Epoch, Instant, JobId
from workrs.domain.job import StoredSpec
from workrs.domain.quorum import Tally
from workrs.domain.record import NEVER, Record
from workrs.domain.voter import Vote
from workrs.wire.message import JobState

RIVALS_MAX = 4


class Served(NamedTuple):
    """The last job that a peer was seen to bring to an agent."""

    at: Instant
    place: tuple[int, int]
    """Of that job in the own queue."""


@dataclass(slots=True)
class JobEntry:
    """One job at one node."""

    job: JobId
    vote: Vote
    records: dict[ClientId, Record]
    stored: StoredSpec | None = None
    payload: bytes | None = None
    """The StoredSpec as it travels."""
    origin: ClientId | None = None
    """The node that took it in, or showed it first."""
    rivals: dict[Digest, bytes] = field(default_factory=dict)
    """Other specs under the same id, at most RIVALS_MAX."""
    tally: Tally = field(default_factory=Tally)
    is_stored: bool = False
    """A majority has the spec on disk. Once true it stays so."""
    told: JobState | None = None
    """What the device was last told."""
    arrived: int = 0
    """Order of arrival at this node."""
    queued: bool = False
    """It stands in the node's queue."""
    offered_to: ClientId | None = None
    offer_until: Instant = Instant(0.0)  # noqa: RUF009 (a NewType of an immutable float)
    restore_by: Instant | None = None
    """Until when it is offered only to agents that can restore its newest checkpoint; None while
    it is not free."""
    is_kept_back: bool = False
    """It stands in the queue for such agents alone."""
    held_up: str = ""
    """Why no agent is offered it though it is free, for humans."""
    avoid: tuple[ClientId, ...] = ()
    """Agents that let an offer lapse since the job was last held, the latest last."""
    yielded_to: Epoch = NEVER
    """The last claim that only a peer granted and for which offers were held back."""
    turn_at: Instant | None = None
    """When this node may offer though others rank before it."""
    waits_for: ClientId | None = None
    """The node that ranks first, while this one waits for its turn."""
    waits_until: Instant = Instant(0.0)  # noqa: RUF009
    propose_at: Instant | None = None
    """When this node may claim in order to cancel or expire the job."""
    turns: int = 1
    """How many turns, at least, it waits after its next claim. A power of two."""
    repeat_at: Instant | None = None
    """When to repeat the decision to a peer that asked too soon after it was last said."""
    asked_by: frozenset[ClientId] = frozenset()
    """Such peers that have not shown the decision since."""
    alarmed: bool = False
    """Two values were accepted at one epoch: a proposer is broken, nothing is voted any more."""
    knows: set[ClientId] = field(default_factory=set)
    """Nodes that have the decision on disk, once this one has it."""
    is_over: bool = False
    """Its retention is over, whatever the spec says: a peer has retired it, or room is needed."""
    progress_mark: tuple[Epoch, int] = (NEVER, 0)
    """The last report of progress that was taken: its epoch and number."""
    waiting_since: Instant | None = None
    """When its device submitted it here, until a majority has it."""
    copied: Digest | None = None
    """Of a spec that was only copied from a peer, at re-admission: no vote."""
    is_spec_shown: bool = False
    """The own broker may keep the spec under this node's name."""
    copies: int = 0
    """What the own broker keeps of the peers' records and specs; see `sweep.copy_bit`."""
    published_at: Instant = Instant(0.0)  # noqa: RUF009
    decided_at: Instant = Instant(0.0)  # noqa: RUF009

    @property
    def record(self) -> Record:
        """Return this node's own record."""
        return self.vote.record

    @property
    def is_open(self) -> bool:
        """Return whether the job is undecided."""
        return self.vote.record.decided is None

    def set_vote(self, node: ClientId, vote: Vote) -> None:
        """Replace the own vote and everything derived from it."""
        self.vote = vote
        self.records[node] = vote.record
        self.tally.add(node, vote.record)

    def see(self, node: ClientId, record: Record) -> bool:
        """Take in a peer's record; False when it is not news."""
        known = self.records.get(node)
        if known is not None and record.version <= known.version:
            return False
        self.records[node] = record
        self.tally.add(node, record)
        return True

    def check_stored(self, nodes: int) -> bool:
        """Return whether a majority has the own spec, remembering a yes."""
        digest = self.record.digest or self.copied
        if not self.is_stored and digest is not None:
            self.is_stored = quorum.is_stored(self.records, digest, nodes)
        return self.is_stored
