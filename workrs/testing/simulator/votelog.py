"""Every vote that ever reached a disk, and what must hold of them: S2, S3, S4.

It counts majorities over disks itself and uses none of the rules under test.

S2 at most one outcome of a job is ever decided, and only one that a majority accepted at one
epoch and generation; once it is, nothing else is accepted at any higher epoch.
S3 epochs only grow; an epoch is granted once by a node; one holder has a majority of it; a node
that lost its votes on a job that others know never votes on it again. S4 what is of a lower
epoch than a node has granted changes nothing there.
"""

from dataclasses import dataclass, field

from workrs.domain.ids import ClientId, Digest, JobId
from workrs.domain.record import Accepted, CheckpointRef, Holder, Record
from workrs.testing.simulator.broken import broken

Ballot = tuple[JobId, int, int]
"""Job, generation and epoch."""


@dataclass(slots=True)
class Win:
    """An epoch that a majority granted, and what was known when it did."""

    holder: Holder
    checkpoint: CheckpointRef | None
    """The newest that a majority had accepted by then."""


@dataclass(slots=True)
class VoteLog:
    """All disks together, as somebody sees them who sees everything."""

    names: tuple[ClientId, ...]
    """Of the nodes."""
    votes: dict[tuple[ClientId, JobId], Record] = field(default_factory=dict)
    grants: dict[Ballot, dict[ClientId, Holder]] = field(default_factory=dict)
    wins: dict[Ballot, Win] = field(default_factory=dict)
    accepted: dict[Ballot, dict[ClientId, Digest]] = field(default_factory=dict)
    decided: dict[JobId, Digest] = field(default_factory=dict)
    chosen_at: dict[JobId, int] = field(default_factory=dict)
    """Epoch at which a majority was first seen to have accepted the outcome."""
    checkpoints: dict[JobId, dict[CheckpointRef, set[ClientId]]] = field(default_factory=dict)
    last_winner: dict[JobId, Holder] = field(default_factory=dict)
    forgotten: set[tuple[ClientId, JobId]] = field(default_factory=set)
    """Votes that went with a disk, on jobs that other nodes know."""
    attempts: dict[tuple[ClientId, JobId], int] = field(default_factory=dict)
    """The highest that a node ever had on a disk, a lost one included."""
    takeovers: int = 0

    @property
    def majority(self) -> int:
        """Return how many nodes are more than half."""
        return len(self.names) // 2 + 1

    def lose_disk(self, node: ClientId) -> None:
        """Take that all of a node's votes are gone."""
        known = {job for name, job in self.votes if name != node}
        for key in [key for key in self.votes if key[0] == node]:
            if self.votes[key].epoch and key[1] in known:
                self.forgotten.add(key)
            del self.votes[key]

    def save(self, node: ClientId, new: Record) -> None:
        """Take a record that is now on a node's disk."""
        old = self.votes.get((node, new.job))
        self.votes[node, new.job] = new
        key = (node, new.job)
        self.attempts[key] = max(new.attempt, self.attempts.get(key, 0))
        if old is not None:
            self._check_order(node, old, new)
        self._grant(node, new)
        self._accept(node, old, new)
        self._keep(node, old, new)
        if new.decided_digest is not None:
            self._decide(node, new.job, new.decided_digest)

    def _check_order(self, node: ClientId, old: Record, new: Record) -> None:
        if new.epoch < old.epoch:
            broken("S3", f"{new.job}: epoch of {node} goes back from {old.epoch} to {new.epoch}")
        if new.attempt < old.attempt:
            broken("S3", f"{new.job}: attempt at {node} goes back to {new.attempt}")
        if old.decided_digest is not None and old.decided_digest != new.decided_digest:
            broken("S2", f"{new.job}: the decision of {node} changed")
        if old.cancel and not new.cancel:
            broken("S4", f"{new.job}: {node} forgot that it is to be cancelled")

    def _grant(self, node: ClientId, new: Record) -> None:
        if new.holder is None or new.epoch == 0:
            return
        if (node, new.job) in self.forgotten:
            broken("S3", f"{new.job}: {node} votes again, though it forgot what it voted")
        ballot = (new.job, new.generation, int(new.epoch))
        granted = self.grants.setdefault(ballot, {})
        before = granted.setdefault(node, new.holder)
        if before != new.holder:
            who = f"{before.client} and {new.holder.client}"
            broken("S3", f"{new.job}: {node} granted epoch {new.epoch} to {who}")
        if sum(1 for holder in granted.values() if holder == new.holder) >= self.majority:
            self._win(ballot, new.holder)

    def _win(self, ballot: Ballot, holder: Holder) -> None:
        won = self.wins.get(ballot)
        if won is not None:
            if won.holder != holder:
                broken("S3", f"{ballot}: {won.holder.client} and {holder.client} both hold it")
            return
        is_late = any(b[0] == ballot[0] and b[2] > ballot[2] for b in self.wins)
        self.wins[ballot] = Win(holder, self.newest(ballot[0]))
        if is_late:
            return  # a grant that nobody waits for any more: a higher epoch was won before
        former = self.last_winner.get(ballot[0])
        self.last_winner[ballot[0]] = holder
        if former is not None and former != holder:
            self.takeovers += 1

    def newest(self, job: JobId) -> CheckpointRef | None:
        """Return the newest checkpoint that a majority ever had on disk."""
        known = self.checkpoints.get(job, {})
        kept = [ref for ref, nodes in known.items() if len(nodes) >= self.majority]
        return max(kept, key=lambda ref: ref.order, default=None)

    def _accept(self, node: ClientId, old: Record | None, new: Record) -> None:
        vote = new.accepted
        if vote is None:
            return
        is_known = old is not None and old.accepted == vote
        if is_known and old is not None and old.generation == new.generation:
            return
        if old is not None and not is_known and vote.epoch < old.epoch:
            broken("S4", f"{new.job}: {node} at epoch {old.epoch} accepted one of {vote.epoch}")
        ballot = (new.job, new.generation, int(vote.epoch))
        voters = self.accepted.setdefault(ballot, {})
        others = {digest for digest in voters.values() if digest != vote.digest}
        if others:
            broken("S2", f"{new.job}: two values were accepted at epoch {vote.epoch}")
        chosen = self.decided.get(new.job, vote.digest)
        if vote.epoch > self.chosen_at.get(new.job, vote.epoch) and vote.digest != chosen:
            broken("S2", f"{new.job}: {node} accepted another value after the outcome was chosen")
        voters[node] = vote.digest
        if len(voters) >= self.majority:
            self._choose(new.job, vote)

    def _choose(self, job: JobId, vote: Accepted) -> None:
        digest = vote.digest
        known = self.decided.setdefault(job, digest)
        self.chosen_at.setdefault(job, int(vote.epoch))
        if known != digest:
            broken("S2", f"{job}: majorities accepted two outcomes, {known[:8]} and {digest[:8]}")

    def _decide(self, node: ClientId, job: JobId, digest: Digest) -> None:
        known = self.decided.get(job)
        if known is None:
            # A node that accepts and decides in one batch leaves only the decision on disk.
            if not self._is_chosen(job, digest, {node}):
                broken("S2", f"{job}: {node} decided what no majority has accepted")
            known = self.decided[job] = digest
        if known != digest:
            broken("S2", f"{job}: {node} decided {digest[:8]}, but {known[:8]} was decided")

    def _is_chosen(self, job: JobId, digest: Digest, deciding: set[ClientId]) -> bool:
        if len(deciding) >= self.majority:
            return True
        return any(
            ballot[0] == job
            and len(deciding | {n for n, d in voters.items() if d == digest}) >= self.majority
            for ballot, voters in self.accepted.items()
        )

    def _keep(self, node: ClientId, old: Record | None, new: Record) -> None:
        for ref in new.checkpoints:
            if old is not None and ref in old.checkpoints:
                continue
            if old is not None and ref.epoch < old.epoch:
                broken("S4", f"{new.job}: {node} at {old.epoch} took a checkpoint of {ref.epoch}")
            known = self.checkpoints.setdefault(new.job, {})
            known.setdefault(ref, set()).add(node)
