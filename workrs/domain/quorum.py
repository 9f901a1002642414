"""What a majority of nodes says of one job, read from their records.

1. Nodes are counted once each, and only records of one generation together.
2. An acceptance is a fact about an epoch: a record that has moved on does not undo it.
   Whoever counts keeps what it has seen (`Tally`).
3. The same value at different epochs does not count together.

Why generations: a node that lost its disk has forgotten votes. Let g be the generation before
and G the one of its re-admission, which it begins only when the others that raised themselves
to G, on disk, are at least a majority of the cluster's size. Every old majority with a
forgotten vote in it has a raised node in it too: of n nodes, n // 2 others vote in the
majority and at least n // 2 + 1 of the n - 1 others are raised. So
  - a job on which a majority with a forgotten vote was reached before the raise is known to a
    raised node, and the re-admitted node abstains on it;
  - after the raise no such majority comes about, because raised nodes vote at G alone.
With five nodes, one of them dead: 3 of the 4 others are raised, and 2 of the 4 others stood in
the old majority; 3 + 2 > 4.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from workrs.domain.ids import ClientId, Digest, Epoch
from workrs.domain.job import Outcome
from workrs.domain.record import Accepted, CheckpointRef, Holder, Record


def majority(nodes: int) -> int:
    """Return how many of *nodes* are more than half."""
    return nodes // 2 + 1


def _has_majority(generations: Iterable[int], nodes: int) -> bool:
    counts: dict[int, int] = {}
    for generation in generations:
        counts[generation] = counts.get(generation, 0) + 1
    return max(counts.values(), default=0) >= majority(nodes)


def is_stored(records: Mapping[ClientId, Record], digest: Digest, nodes: int) -> bool:
    """Return whether a majority has the spec of this digest on disk."""
    return _has_majority((r.generation for r in records.values() if r.digest == digest), nodes)


def is_settled(records: Mapping[ClientId, Record], digest: Digest, nodes: int) -> bool:
    """Return whether the spec of this digest is the one that counts under its id.

    A majority names it. Or a node abstains, so that a majority may have named it before that
    node's disk was lost, and a node saw that, or an agent has bid for it: only jobs that a majority
    has are offered.
    """
    if is_stored(records, digest, nodes):
        return True
    if not any(record.abstains for record in records.values()):
        return False
    return any(_tells_settled(r, records) for r in records.values() if r.digest == digest)


def _tells_settled(record: Record, records: Mapping[ClientId, Record]) -> bool:
    by_agent = record.holder is not None and record.holder.client not in records
    return record.settled or by_agent or record.attempt > 0 or bool(record.checkpoints)


def holds(
    records: Mapping[ClientId, Record], holder: Holder, epoch: Epoch, digest: Digest, nodes: int
) -> bool:
    """Return whether *holder* has the lease: a majority shows it at this epoch and digest."""
    return _has_majority(
        (
            r.generation
            for r in records.values()
            if r.epoch == epoch and r.holder == holder and r.digest == digest
        ),
        nodes,
    )


def leader(records: Mapping[ClientId, Record], nodes: int) -> tuple[Epoch, Holder] | None:
    """Return the lease that a majority shows, whoever has it."""
    counts: dict[tuple[int, Epoch, Holder], int] = {}
    for record in records.values():
        if record.holder is not None:
            key = (record.generation, record.epoch, record.holder)
            counts[key] = counts.get(key, 0) + 1
            if counts[key] >= majority(nodes):
                return record.epoch, record.holder
    return None


def is_fenced(records: Mapping[ClientId, Record], epoch: Epoch, nodes: int) -> bool:
    """Return whether so many nodes are past *epoch* that no majority can still show it.

    Of whatever generation: a node that is past it stays so in the next.
    """
    higher = sum(1 for r in records.values() if r.epoch > epoch)
    return higher > nodes - majority(nodes)


def highest_epoch(records: Mapping[ClientId, Record]) -> Epoch:
    """Return the highest epoch any record shows, 0 without records."""
    return max((r.epoch for r in records.values()), default=Epoch(0))


def must_adopt(records: Mapping[ClientId, Record], epoch: Epoch) -> Accepted | None:
    """Return the accepted outcome that the winner of *epoch* has to propose, if any.

    *records* are those that granted the epoch. The highest lower epoch's wins. A record that
    is decided has dropped what it accepted, so its decision stands for it: without this a
    winner whose majority includes it would propose a value of its own.
    """
    for record in records.values():
        if record.decided is not None:
            value = _decision_of(record, record.decided)
            return Accepted(epoch=record.epoch, outcome=value.outcome, digest=value.digest)
    found = [r.accepted for r in records.values() if r.accepted and r.accepted.epoch < epoch]
    return max(found, key=lambda a: a.epoch, default=None)


def is_cancelled(records: Mapping[ClientId, Record]) -> bool:
    """Return whether any of the records that gave the lease asks for cancellation."""
    return any(r.cancel for r in records.values())


def is_named(records: Mapping[ClientId, Record], ref: CheckpointRef, nodes: int) -> bool:
    """Return whether a majority's records name the checkpoint."""
    return _has_majority((r.generation for r in records.values() if ref in r.checkpoints), nodes)


def newest_checkpoints(records: Mapping[ClientId, Record]) -> list[CheckpointRef]:
    """Return every checkpoint the records name, newest first, each once."""
    refs = {ref for record in records.values() for ref in record.checkpoints}
    return sorted(refs, key=lambda ref: (*ref.order, ref.manifest), reverse=True)


def next_attempt(records: Mapping[ClientId, Record]) -> int:
    """Return the number of the next start of the program, from 1."""
    return 1 + max((r.attempt for r in records.values()), default=0)


def spared(records: Mapping[ClientId, Record]) -> int:
    """Return how many of the starts so far ended on purpose, as far as these records know."""
    return max((r.spared for r in records.values()), default=0)


@dataclass(slots=True)
class Tally:
    """Which nodes were ever seen to accept what. Only grows, but for nodes that were removed."""

    seen: dict[tuple[int, Epoch, Digest], set[ClientId]] = field(default_factory=dict)

    def add(self, node: ClientId, record: Record) -> None:
        """Count the acceptance this record shows, if any."""
        if record.accepted is not None:
            key = (record.generation, record.accepted.epoch, record.accepted.digest)
            self.seen.setdefault(key, set()).add(node)

    def keep(self, nodes: Collection[ClientId]) -> None:
        """Leave out what all other nodes accepted: they belong to the cluster no more."""
        for voters in self.seen.values():
            voters.intersection_update(nodes)

    def decided(self, nodes: int) -> Digest | None:
        """Return the digest that a majority accepted at one epoch and generation."""
        for (_, _, digest), voters in self.seen.items():
            if len(voters) >= majority(nodes):
                return digest
        return None

    def conflict(self) -> Epoch | None:
        """Return an epoch at which two values were accepted: a broken proposer, or None."""
        first: dict[tuple[int, Epoch], Digest] = {}
        for generation, epoch, digest in self.seen:
            if first.setdefault((generation, epoch), digest) != digest:
                return epoch
        return None


class Decision(NamedTuple):
    """A decided outcome, under the digest that was voted on."""

    outcome: Outcome
    """Without its result where the job was retired by whoever shows it."""
    digest: Digest


def _decision_of(record: Record, outcome: Outcome) -> Decision:
    # Not computed where the record names it: a retired job's outcome has lost its result,
    # and under a digest of its own it would pass for a second outcome.
    return Decision(outcome, record.decided_digest or outcome.digest())


def _fullness(outcome: Outcome) -> tuple[bool, int]:
    """Order the forms of one outcome: with its result before without, long before short."""
    results = (outcome.result, outcome.result_b64, outcome.result_url)
    return (any(r is not None for r in results), len(outcome.reason))


def decided(records: Mapping[ClientId, Record], tally: Tally, nodes: int) -> Decision | None:
    """Return the job's decision if the records show one; in full if any of them has it so."""
    shown = [_decision_of(r, r.decided) for r in records.values() if r.decided is not None]
    if shown:
        return max(shown, key=lambda one: _fullness(one.outcome))
    digest = tally.decided(nodes)
    if digest is None:
        return None
    for record in records.values():
        if record.accepted is not None and record.accepted.digest == digest:
            return Decision(record.accepted.outcome, digest)
    return None


def decision(records: Mapping[ClientId, Record], tally: Tally, nodes: int) -> Outcome | None:
    """Return the job's decided outcome if the records show one."""
    found = decided(records, tally, nodes)
    return found.outcome if found else None
