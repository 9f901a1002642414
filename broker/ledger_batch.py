"""The rows of one commit to the ledger, made from changes, and changes made from rows.

Of several records or specs of one job in one commit only the last becomes a row.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, assert_never

from broker import ledger_function
from workrs.domain.errors import LedgerError
from workrs.domain.fault_history import FaultHistory
from workrs.domain.ids import ClientId, JobId
from workrs.domain.job import Outcome, Verdict, shortened
from workrs.domain.record import Record
from workrs.domain.rollback import Seen
from workrs.ports.ledger import (
    Change,
    NoteHistory,
    RetiredJob,
    RetireJob,
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

Row = tuple[str | int | float | bytes | None, ...]


@dataclass(slots=True)
class Batch:
    """The rows of one commit, the last of each job."""

    wall_s: float
    specs: dict[JobId, Row] = field(default_factory=dict)
    records: dict[JobId, Row] = field(default_factory=dict)
    history: list[Row] = field(default_factory=list)
    retired: dict[JobId, None] = field(default_factory=dict)
    swept: dict[JobId, None] = field(default_factory=dict)
    taken: list[Row] = field(default_factory=list)
    """Retired jobs of a peer."""
    seen: dict[ClientId, Seen] = field(default_factory=dict)
    standings: list[Standing] = field(default_factory=list)
    faults: FaultHistory | None = None
    functions: dict[str, Row] = field(default_factory=dict)

    def add(self, change: Change) -> None:  # noqa: C901 (a table)
        """Take in one change; LedgerError when it cannot follow the ones before."""
        match change:
            case SaveRecord(record=record):
                self._refuse_retired(record.job)
                self.records[record.job] = _record_row(record, self.wall_s)
            case SaveSpec(job=job, digest=digest, payload=payload):
                self._refuse_retired(job)
                self.specs[job] = (job, digest, payload)
            case NoteHistory(event=event, job=job, facts=facts):
                self.history.append((self.wall_s, event, job, json.dumps(dict(facts))))
            case RetireJob(job=job):
                self.retired[job] = None
            case SweepJob(job=job):
                self.swept[job] = None
            case SaveRetired(job=job, kept=kept):
                self.taken.append((job, *_retired_row(kept), self.wall_s))
            case SaveSeen(node=node, seen=seen):
                self.seen[node] = seen
            case SaveStanding(standing=standing):
                self.standings.append(standing)
            case SaveFaults(history=history):
                self.faults = history
            case SaveFunction(record=shown):
                self.functions[shown.function] = ledger_function.row(change)
            case _:
                assert_never(change)

    def _refuse_retired(self, job: JobId) -> None:
        if job in self.retired:
            raise LedgerError(f"job {job}: a retired job would come back")


def _record_row(record: Record, wall_s: float) -> Row:
    decided = record.decided
    if decided is not None:
        state = str(decided.verdict)
    elif record.abstains:
        state = "abstaining"
    elif record.cancel:
        state = "cancelling"
    else:
        state = "queued" if record.holder is None else "running"
    return (
        record.job,
        state,
        record.epoch,
        None if record.holder is None else record.holder.client,
        record.decided_digest,
        None if decided is None else wall_s,
        codec.encode(record).decode(),
    )


def retired_job(row: Sequence[Any]) -> RetiredJob:
    """Return what the columns `_KEPT` say."""
    request, outcome, verdict, exit_code, reason, epoch, attempt = row
    short = shortened(Outcome(verdict=Verdict(verdict), exit_code=exit_code, reason=reason))
    return RetiredJob(request=request, outcome=outcome, short=short, epoch=epoch, attempt=attempt)


def _retired_row(kept: RetiredJob) -> Row:
    short = kept.short
    end = (str(short.verdict), short.exit_code, short.reason, kept.epoch, kept.attempt)
    return (kept.request, kept.outcome, *end)
