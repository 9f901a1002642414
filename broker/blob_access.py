"""Who may do what at a node's blob store. Pure.

1. Who writes for a job shows a lease, and needs no further token: the connection names the
   agent, the path names the epoch, and the votes that this node has seen name the holder. That
   is known at every node before the program starts, ends with the lease, and cannot be stolen.
2. An epoch that no majority can show any more is refused, whoever asks, and so is a decided job.
3. A holder may delete what was written for its job up to its own epoch, and a former one what
   it wrote itself: after a move it clears away behind it.
4. Where a cluster has no credentials nobody is told apart, and rule 2 alone is kept.

Not promised: that an agent reads only what it needs. All agents may read all inputs, results and
checkpoints; the last are sealed with keys that no node has.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from broker.blob_error import BlobFencedError, BlobForbiddenError
from broker.blob_name import BlobName
from workrs.domain import quorum
from workrs.domain.ids import ClientId, Epoch, JobId
from workrs.domain.job import owner
from workrs.domain.record import Record
from workrs.trust.kind import Kind

Records = Mapping[ClientId, Record]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who asks, as its credentials say."""

    name: ClientId
    kind: Kind

    def __str__(self) -> str:
        """Return it as logs show it."""
        return f"{self.kind.value} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The rules of one node. A caller of None: the cluster has no credentials."""

    records: Callable[[JobId], Records]
    """The votes on a job that this node knows; empty for a job it does not know."""
    nodes: int
    """Nodes of the cluster."""

    def check_write(self, caller: Caller | None, name: BlobName) -> None:
        """Raise BlobError unless *caller* may store *name* now."""
        if name.job is None or name.epoch is None:
            self._require(caller, is_own=_is(caller, name.folder[1]))
            return
        self._refuse_stale(name.job, name.epoch)
        if caller is not None and self._held(name.job, caller.name) != name.epoch:
            raise BlobForbiddenError(
                f"{caller} has no lease of {name.job} at epoch {name.epoch} that this node knows of"
            )

    def _held(self, job: JobId, name: ClientId) -> Epoch | None:
        """Return the epoch at which a majority's votes show the lease of *name*.

        Of whatever generation: what a node forgot was either voted by others too, or is nothing
        that this node has seen.
        """
        counts: dict[Epoch, int] = {}
        for record in self.records(job).values():
            if record.holder is not None and record.holder.client == name:
                counts[record.epoch] = counts.get(record.epoch, 0) + 1
        needed = quorum.majority(self.nodes)
        return next((epoch for epoch, count in counts.items() if count >= needed), None)

    def _refuse_stale(self, job: JobId, epoch: Epoch) -> None:
        records = self.records(job)
        if any(record.decided is not None for record in records.values()):
            raise BlobFencedError(f"job {job} is decided")
        if quorum.is_fenced(records, epoch, self.nodes):
            highest = quorum.highest_epoch(records)
            raise BlobFencedError(f"epoch {epoch} of job {job} is past: it is at {highest}")

    def check_delete(self, caller: Caller | None, name: BlobName, *, is_writer: bool) -> None:
        """Raise BlobError unless *caller* may delete *name*, which lies under a job.

        Args:
            caller: who asks.
            name: what is to go.
            is_writer: whether it is the one who stored something at this epoch.
        """
        if caller is None or is_writer:
            return
        assert name.job is not None
        assert name.epoch is not None
        epoch = self._held(name.job, caller.name)
        if epoch is None or epoch < name.epoch:
            raise BlobForbiddenError(
                f"{caller} does not hold {name.job} at epoch {name.epoch} or later"
            )

    def check_read(self, caller: Caller | None, job: str) -> None:
        """Raise BlobError unless *caller* may read what lies under *job*."""
        self._require(caller, is_own=_reads_all(caller) or _is(caller, owner(JobId(job))))

    def check_read_input(self, caller: Caller | None, name: BlobName) -> None:
        """Raise BlobError unless *caller* may read the input *name*."""
        self._require(caller, is_own=_reads_all(caller) or _is(caller, name.folder[1]))

    def check_peer(self, caller: Caller | None) -> None:
        """Raise BlobError unless *caller* is a node."""
        self._require(caller, is_own=caller is not None and caller.kind is Kind.NODE)

    @staticmethod
    def _require(caller: Caller | None, *, is_own: bool) -> None:
        if caller is not None and not is_own:
            raise BlobForbiddenError(f"this is not {caller}'s to have")


def _is(caller: Caller | None, name: str) -> bool:
    return caller is not None and caller.name == name


def _reads_all(caller: Caller | None) -> bool:
    return caller is not None and caller.kind is not Kind.DEVICE
