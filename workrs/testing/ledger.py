"""A ledger in memory with the rules of the real one, and a disk that outlives it.

1. It passes the same contract suite as the SQLite ledger.
2. What `commit` returned for is on the `MemoryDisk`; a new `MemoryLedger` on the same disk
   is the daemon after a crash.
3. `MemoryDisk.broken` makes every write fail, as a full disk does, until it is cleared.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import assert_never

from workrs.domain.errors import LedgerError, WireError
from workrs.domain.fault_history import FaultHistory
from workrs.domain.ids import ClientId, Digest, JobId
from workrs.domain.job import StoredSpec, shortened
from workrs.domain.record import Record
from workrs.domain.rollback import Seen
from workrs.ports.ledger import (
    Change,
    NoteHistory,
    RetiredJob,
    RetireJob,
    SavedJob,
    SaveFaults,
    SaveFunction,
    SaveRecord,
    SaveRetired,
    SaveSeen,
    SaveSpec,
    SaveStanding,
    Standing,
    SweepJob,
)
from workrs.wire import codec


@dataclass(slots=True)
class MemoryDisk:
    """What a crash leaves behind."""

    standing: Standing = field(default_factory=Standing)
    seen: dict[ClientId, Seen] = field(default_factory=dict)
    jobs: dict[JobId, SavedJob] = field(default_factory=dict)
    retired: dict[JobId, RetiredJob] = field(default_factory=dict)
    unswept: dict[JobId, None] = field(default_factory=dict)
    history: list[NoteHistory] = field(default_factory=list)
    faults: FaultHistory = field(default_factory=FaultHistory)
    functions: dict[str, SaveFunction] = field(default_factory=dict)
    broken: str = ""
    """Why writes fail; empty while they do not."""


def _request(saved: SavedJob) -> Digest:
    if saved.payload is None:
        return Digest("")
    try:
        return codec.decode(StoredSpec, saved.payload).request
    except WireError as error:
        raise LedgerError(f"job {saved.record.job}: {error}") from error


class MemoryLedger:
    """A `Ledger` on a `MemoryDisk`."""

    def __init__(
        self, disk: MemoryDisk | None = None, *, wall: Callable[[], float] = lambda: 0.0
    ) -> None:
        """Begin the next boot on *disk*; *wall* stamps decisions."""
        self.disk = MemoryDisk() if disk is None else disk
        self._wall = wall
        self._open = True
        self._require_working()
        standing = self.disk.standing
        self.disk.standing = replace(standing, boot=standing.boot + 1)
        self._boot = self.disk.standing.boot

    @property
    def boot(self) -> int:
        """Starts on this disk, this one included. From 1."""
        return self._boot

    @property
    def standing(self) -> Standing:
        """What is on disk of the node as a voter, this start included."""
        return self.disk.standing

    def seen(self) -> Mapping[ClientId, Seen]:
        """Return the most that each peer was seen to have on its disk."""
        return dict(self.disk.seen)

    def faults(self) -> FaultHistory:
        """Return how many agents were lost in how much time, as it was noted last."""
        return self.disk.faults

    def functions(self) -> Iterable[SaveFunction]:
        """Return every function as it was saved last, removed ones too."""
        return list(self.disk.functions.values())

    def _require_working(self) -> None:
        if not self._open:
            raise LedgerError("the ledger is closed")
        if self.disk.broken:
            raise LedgerError(f"cannot write to the ledger: {self.disk.broken}")

    def load(self) -> Iterable[SavedJob]:
        """Return every job that is not retired."""
        return list(self.disk.jobs.values())

    def commit(self, changes: Sequence[Change]) -> None:
        """Make all changes, or raise LedgerError and make none."""
        if not changes:
            return
        self._require_working()
        disk = self.disk
        old = (copy(disk.jobs), copy(disk.retired), copy(disk.unswept), copy(disk.history))
        standing, seen, faults = disk.standing, copy(disk.seen), disk.faults
        functions = copy(disk.functions)
        disk.standing = replace(standing, serial=standing.serial + 1)
        try:
            for change in changes:
                self._apply(change)
        except LedgerError:
            disk.jobs, disk.retired, disk.unswept, disk.history = old
            disk.standing, disk.seen, disk.faults = standing, seen, faults
            disk.functions = functions
            raise

    def _apply(self, change: Change) -> None:  # noqa: C901, PLR0912 (a table)
        match change:
            case SaveRecord(record=record):
                self._save_record(record)
            case SaveSpec(job=job, digest=digest, payload=payload):
                self._refuse_retired(job)
                saved = self.disk.jobs.get(job)
                self.disk.jobs[job] = SavedJob(
                    record=Record(job=job) if saved is None else saved.record,
                    digest=digest,
                    payload=payload,
                    decided_wall_s=None if saved is None else saved.decided_wall_s,
                )
            case NoteHistory():
                self.disk.history.append(change)
            case RetireJob(job=job):
                self._retire(job)
            case SweepJob(job=job):
                self.disk.unswept.pop(job, None)
            case SaveRetired(job=job, kept=kept):
                if job not in self.disk.jobs and job not in self.disk.retired:
                    self.disk.retired[job] = kept
                    self.disk.unswept[job] = None
            case SaveSeen(node=node, seen=seen):
                self.disk.seen[node] = seen
            case SaveStanding(standing=new):
                old = self.disk.standing
                self.disk.standing = Standing(
                    boot=max(old.boot, new.boot),
                    serial=max(old.serial, new.serial),
                    generation=max(old.generation, new.generation),
                    rejoin=max(old.rejoin, new.rejoin),
                    nodes=new.nodes or old.nodes,
                    stage=new.stage if new.nodes else old.stage,
                )
            case SaveFaults(history=history):
                self.disk.faults = history
            case SaveFunction(record=shown):
                known = self.disk.functions.get(shown.function)
                if known is not None and shown.stamp < known.record.stamp:
                    raise LedgerError(f"function {shown.function}: its version would go back")
                self.disk.functions[shown.function] = change
            case _:
                assert_never(change)

    def _save_record(self, record: Record) -> None:
        self._refuse_retired(record.job)
        saved = self.disk.jobs.get(record.job)
        decided_wall_s = None if record.decided is None else self._wall()
        if saved is not None:
            if record.epoch < saved.record.epoch:
                raise LedgerError(f"job {record.job}: the epoch of a record would go back")
            before = saved.record.decided_digest
            if before is not None and before != record.decided_digest:
                raise LedgerError(f"job {record.job}: a decision would change")
            if saved.decided_wall_s is not None:
                decided_wall_s = saved.decided_wall_s
        self.disk.jobs[record.job] = SavedJob(
            record=record,
            digest=None if saved is None else saved.digest,
            payload=None if saved is None else saved.payload,
            decided_wall_s=decided_wall_s,
        )

    def _refuse_retired(self, job: JobId) -> None:
        if job in self.disk.retired:
            raise LedgerError(f"job {job}: a retired job would come back")

    def _retire(self, job: JobId) -> None:
        saved = self.disk.jobs.get(job)
        if saved is None:
            return
        record = saved.record
        if record.decided is None or record.decided_digest is None:
            raise LedgerError(f"job {job}: an undecided job would be forgotten")
        self.disk.retired[job] = RetiredJob(
            request=_request(saved),
            outcome=record.decided_digest,
            short=shortened(record.decided),
            epoch=record.epoch,
            attempt=record.attempt,
        )
        self.disk.unswept[job] = None
        del self.disk.jobs[job]

    def retired(self, job: JobId) -> RetiredJob | None:
        """Return what is kept of a retired job, or None."""
        return self.disk.retired.get(job)

    def payload(self, job: JobId) -> bytes | None:
        """Return the stored spec's bytes of a job that is not retired, or None."""
        saved = self.disk.jobs.get(job)
        return None if saved is None else saved.payload

    def unswept(self) -> Iterable[JobId]:
        """Return the retired jobs that were never noted as swept."""
        return list(self.disk.unswept)

    def load_retired(self) -> Iterator[SaveRetired]:
        """Return every retired job."""
        for job, kept in sorted(self.disk.retired.items(), key=lambda item: item[0]):
            yield SaveRetired(job=job, kept=kept)

    def close(self) -> None:
        """Refuse further commits. Idempotent."""
        self._open = False
