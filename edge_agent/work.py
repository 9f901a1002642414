"""A job in an agent's hands: two small state machines and what they remember.

`Lease` says what this agent may claim to be towards the nodes, `Stage` what it does with the
job. They meet in few places: a stage after IDLE needs a lease that was held once; a container
may outlive a lease while the agent tries to get it back, frozen past the deadline.

1. `epoch` only grows. The epoch of a lease given up is never used again (`floor`).
2. `outcome` is what this agent proposes at `epoch`; at one epoch it is set once.
3. `safe_until` never moves without an acknowledgement by a majority.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from edge_agent.measured import Measured
from workrs.domain.ids import ClientId, Digest, Epoch, Instant, JobId
from workrs.domain.job import JobSpec, Outcome
from workrs.domain.ladder import Way
from workrs.domain.quorum import Tally
from workrs.domain.record import NEVER, CheckpointRef, Holder, Record

NOT = Instant(float("inf"))
"""The instant that never comes."""
PAST = Instant(float("-inf"))


class Lease(Enum):
    """Where this agent stands with the nodes."""

    CLAIMING = "claiming"
    BACKING_OFF = "backing off"
    """The votes were split; it claims a higher epoch in a moment."""
    HELD = "held"
    RELEASING = "releasing"
    """Given back; said until no record shows us any more. Takes no slot."""
    OVER = "over"
    """Decided, or somebody else's. Only a container may be left to remove."""


LEASES: Mapping[Lease, frozenset[Lease]] = {
    Lease.CLAIMING: frozenset({Lease.HELD, Lease.BACKING_OFF, Lease.RELEASING, Lease.OVER}),
    Lease.BACKING_OFF: frozenset({Lease.CLAIMING, Lease.RELEASING, Lease.OVER}),
    Lease.HELD: frozenset({Lease.CLAIMING, Lease.RELEASING, Lease.OVER}),
    Lease.RELEASING: frozenset({Lease.OVER}),
    Lease.OVER: frozenset(),
}
"""Every move there is. A lease in hand is claimed anew when voters of it are past its epoch, its
program running on; so a program may also end, and the job be given back, while it is claimed."""


class Stage(Enum):
    """What this agent does with the job."""

    IDLE = "idle"
    PREPARING = "preparing"
    """Input and checkpoint are fetched. Before the attempt counts: a silent store is no try."""
    RECORDING = "recording"
    """The attempt's number travels to a majority's disks, before the program's start."""
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"
    """The program ended; its result or its files are being stored."""
    REMOVING = "removing"
    """The container goes; `after` says what then."""
    PROPOSING = "proposing"


STAGES: Mapping[Stage, frozenset[Stage]] = {
    Stage.IDLE: frozenset({Stage.PREPARING, Stage.RECORDING, Stage.PROPOSING}),
    Stage.PREPARING: frozenset({Stage.PREPARING, Stage.RECORDING, Stage.REMOVING}),
    Stage.RECORDING: frozenset({Stage.STARTING, Stage.REMOVING}),
    Stage.STARTING: frozenset({Stage.PREPARING, Stage.RECORDING, Stage.RUNNING, Stage.REMOVING}),
    Stage.RUNNING: frozenset({Stage.EXITED, Stage.REMOVING}),
    Stage.EXITED: frozenset({Stage.PROPOSING, Stage.REMOVING}),
    Stage.REMOVING: frozenset({Stage.IDLE}),
    Stage.PROPOSING: frozenset({Stage.PROPOSING}),
}
"""Every move there is. What follows REMOVING starts from IDLE; nothing follows PROPOSING."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveBack:
    """After the container is gone: release the lease."""

    retry_after_s: float
    reason: str
    moved: bool = False
    """On purpose: the start that ends with it uses up none of the job's attempts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """After the container is gone: start again from this checkpoint, in the same attempt."""

    ref: CheckpointRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """After the container is gone: propose this outcome."""

    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginAnew:
    """After the container is gone: start from what the records say, as a new attempt."""


After = GiveBack | Restart | Finish | BeginAnew | None
"""None: nothing, the job is another's."""


@dataclass(slots=True, kw_only=True)
class Work:
    """One job in this agent's hands."""

    job: JobId
    spec: JobSpec
    digest: Digest
    floor: Epoch
    """Lowest epoch this agent may still claim."""

    lease: Lease = Lease.CLAIMING
    epoch: Epoch = NEVER
    claimed_at: Instant = PAST
    """First send time of the claim of `epoch`."""
    claims: int = 0
    """Times that claim was sent."""
    rounds: int = 0
    """Epochs claimed since a lease was last held."""
    healed_at: Instant = PAST
    """When the claim of a lease in hand was last repeated, because a node refused to extend it."""
    claim_at: Instant = NOT
    """When to repeat the claim, or to claim anew after backing off."""
    release_at: Instant = NOT
    releases: int = 0
    retry_after_s: float = 0.0
    release_reason: str = ""
    safe_until: Instant = PAST
    """First instant at which the container must be frozen."""
    lapsed: bool = False
    """Whether the warden may have frozen the container since it was last thawed."""
    renewed_at: Instant = PAST
    """Send time of what `safe_until` follows from."""
    reclaim_at: Instant = NOT
    """When a lease that nobody renewed is claimed anew, the container running on."""
    records: dict[ClientId, Record] = field(default_factory=dict)
    granted: dict[ClientId, Record] = field(default_factory=dict)
    """The records that gave the lease."""
    tally: Tally = field(default_factory=Tally)
    decided: Outcome | None = None

    stage: Stage = Stage.IDLE
    run: int = 0
    """Number of the container in hand; 0: none, and nothing is left of the last."""
    killed: bool = False
    """No process of the container in hand is left."""
    run_epoch: Epoch = NEVER
    """Epoch of its start: the name the runtime and the warden know it by."""
    attempt: int = 0
    spared: int = 0
    """Starts before this one that ended on purpose, and count for nothing."""
    candidates: list[Way] = field(default_factory=list)
    """Starts still to be tried, the best first."""
    way: Way | None = None
    """The one this run is started by; None: from the beginning."""
    fall_why: str = ""
    """Why the newest checkpoint is of no use here."""
    recorded: bool = False
    """Whether a majority has `attempt` on disk."""
    started_at: Instant = NOT
    """When the program of this attempt was first started here."""
    timeout_at: Instant = NOT
    frozen: bool = False
    told_until: Instant = PAST
    """The deadline that the start was given; the warden knows no other before it is done."""
    after: After = None
    outcome: Outcome | None = None
    proposed_at: Epoch = NEVER
    """The last epoch at which `outcome` was said."""
    propose_at: Instant = NOT
    proposals: int = 0
    store_at: Instant = NOT
    """When to offer a large result to the stores again."""
    stores: int = 0

    saving: bool = False
    """Whether a checkpoint is being taken or uploaded."""
    save_at: Instant = NOT
    saved_at: Instant = PAST
    """When the last one was begun."""
    begun_at: dict[tuple[Epoch, int], Instant] = field(default_factory=dict)
    """When those under way were begun, by epoch and number."""
    files_asked: tuple[Epoch, int] | None = None
    """Epoch and number of the checkpoint that the program ended for; None: it ended for none."""
    measured: Measured = field(default_factory=Measured)
    seq: int = 0
    kept: list[CheckpointRef] = field(default_factory=list)
    """Checkpoints of this job whose blobs are not deleted yet, newest first."""
    confirmed: set[CheckpointRef] = field(default_factory=set)
    """Those that a majority's records were seen to name."""
    report_at: Instant = NOT
    reports: int = 0
    stored_s: float = 0.0
    """How long it took to store the last one."""
    left_at: Instant = NOT
    """When the job was asked to be handed over: see `moving`."""
    leave_reason: str = ""
    parted: bool = False
    """It stands still for its last checkpoint here."""
    copies: int = 0
    """Checkpoints since it was to leave."""

    progress: tuple[float, str] | None = None
    told: tuple[float, str] | None = None
    tell_at: Instant = NOT
    told_at: Instant = PAST
    tellings: int = 0
    """How often progress was told; numbers the reports."""

    log_until: Instant = PAST
    """Until when somebody wants to see what the program prints."""
    log_at: Instant = NOT
    """When to read it next."""
    log_read_at: Instant = PAST
    log_told: bytes | None = None
    """What was shown last; None: the next is shown though it may be the same."""

    @property
    def alive(self) -> bool:
        """Return whether there is a program to freeze and thaw."""
        return self.stage is Stage.RUNNING

    @property
    def leaving(self) -> bool:
        """Return whether the job is to be handed over, or can no more be kept."""
        return self.left_at != NOT or self.parted

    @property
    def invested(self) -> bool:
        """Return whether giving the job up would waste work of ours."""
        return self.run != 0 or self.outcome is not None

    @property
    def listed_attempt(self) -> int:
        """Return the attempt that a heartbeat names, and the nodes write down; 0: none yet."""
        return self.attempt if self.recorded or self.stage is Stage.RECORDING else 0

    @property
    def counted_attempt(self) -> int:
        """Return which of the job's `attempts_max` this start is."""
        return max(1, self.attempt - self.spared)

    def quieten(self) -> None:
        """Want nothing any more at any time."""
        self.claim_at = self.release_at = self.reclaim_at = self.timeout_at = NOT
        self.save_at = self.report_at = self.propose_at = self.store_at = self.tell_at = NOT
        self.log_at = NOT

    def hurry(self, now: Instant) -> None:
        """Repeat at once what may have been lost with a connection."""
        if self.lease is Lease.CLAIMING:
            self.claim_at = now
            self.claims = 0
        if self.release_at != NOT:
            self.release_at = now
        if self.report_at != NOT:
            self.report_at = now
        if self.propose_at != NOT:
            self.propose_at = now

    def turn(self, lease: Lease) -> None:
        """Go to *lease*; to stay is no move, and one that the table does not have a mistake."""
        assert lease is self.lease or lease in LEASES[self.lease], (
            f"{self.job}: {self.lease} to {lease}"
        )
        self.lease = lease

    def move(self, stage: Stage) -> None:
        """Go to *stage*; a move that the table does not have is a mistake of ours."""
        assert stage in STAGES[self.stage], f"{self.job}: {self.stage} to {stage}"
        self.stage = stage

    def next_wake(self) -> Instant:
        """Return when this job wants to be looked at without anything having happened."""
        freeze_at = self.safe_until if self.alive and not self.frozen else NOT
        return min(
            freeze_at,
            self.claim_at,
            self.release_at,
            self.reclaim_at,
            self.timeout_at,
            self.save_at,
            self.report_at,
            self.propose_at,
            self.store_at,
            self.tell_at,
            self.log_at,
        )

    def shows_me(self, record: Record, me: Holder) -> bool:
        """Return whether *record* is a vote for this agent at its present epoch."""
        return record.epoch == self.epoch and record.holder == me


def growing(first_s: float, most_s: float, times: int) -> float:
    """Return the wait after the *times*-th repetition: doubling from *first_s* to *most_s*."""
    return float(min(most_s, first_s * 2.0 ** min(times, 16)))
