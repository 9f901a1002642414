"""Canaries of the votes: what a node grants and accepts, what a proposer may propose."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from unittest.mock import patch

from broker import dispatcher
from broker.entry import JobEntry
from broker.node import Node
from edge_agent import ending
from edge_agent.agent import Agent
from edge_agent.work import Lease, Work
from workrs.domain import quorum, voter
from workrs.domain.ids import ClientId, Digest, Epoch, Instant
from workrs.domain.job import Outcome
from workrs.domain.quorum import Tally
from workrs.domain.record import Accepted, CheckpointRef, Holder, Record
from workrs.domain.voter import ClaimRequest, Vote
from workrs.testing.canaries.canary import Canary
from workrs.testing.canaries.worlds import APART, contested, pair, short, world

_RULES = {name: getattr(voter, name) for name in ("claim", "outcome", "checkpoint")}
_LOSSES = ("link cut", "agent cut off", "agent stopped", "slow network", "minority cut off")


def outcome_of_any_epoch(vote: Vote, holder: Holder, epoch: Epoch, value: Outcome) -> Vote | None:
    """Accept from whoever comes, as a store without fencing does."""
    assert holder
    record = vote.record
    known = record.accepted
    if record.decided is not None or record.abstains or (known and known.epoch == epoch):
        return None
    accepted = Accepted(epoch=epoch, outcome=value, digest=value.digest())
    return replace(vote, record=replace(record, accepted=accepted))


def checkpoint_of_any_epoch(vote: Vote, holder: Holder, ref: CheckpointRef) -> Vote | None:
    """Keep a checkpoint of whoever comes."""
    assert holder
    record = vote.record
    if record.decided is not None or ref in record.checkpoints:
        return None
    kept = (ref, *record.checkpoints)[: voter.CHECKPOINTS_KEPT]
    return replace(vote, record=replace(record, checkpoints=kept))


def count_messages(tally: Tally, node: ClientId, record: Record) -> None:
    """Count a node again in every version of its record."""
    accepted = record.accepted
    if accepted is not None:
        key = (record.generation, accepted.epoch, accepted.digest)
        tally.seen.setdefault(key, set()).add(ClientId(f"{node} {record.version}"))


def adopt_nothing(records: Mapping[ClientId, Record], epoch: Epoch) -> Accepted | None:
    """Propose what one likes."""
    assert records or epoch
    return None


def propose_anew(work: Work, agent: Agent) -> None:
    """Propose what one would say now, whatever was said at this epoch before."""
    if work.lease is Lease.HELD and work.outcome is not None and work.proposals:
        work.outcome = replace(work.outcome, reason=f"said {work.proposals + 1} times")
    _propose(work, agent)


_propose = ending.propose


def claim_of_any_spec(
    vote: Vote, request: ClaimRequest, *, now: Instant, ttl_s: float
) -> Vote | None:
    """Grant without a look at the digest."""
    blind = replace(request, digest=vote.record.digest)
    granted: Vote | None = _RULES["claim"](vote, blind, now=now, ttl_s=ttl_s)
    return granted


def hold_of_any_spec(
    records: Mapping[ClientId, Record], holder: Holder, epoch: Epoch, digest: Digest, nodes: int
) -> bool:
    """Count grants of nodes that hold another spec."""
    same = {name: replace(record, digest=digest) for name, record in records.items()}
    return _holds(same, holder, epoch, digest, nodes)


_holds = quorum.holds


def _ignore_digests() -> AbstractContextManager[object]:
    stack = ExitStack()
    stack.enter_context(patch.object(voter, "claim", claim_of_any_spec))
    stack.enter_context(patch.object(quorum, "holds", hold_of_any_spec))
    return stack


def is_ready_unstored(node: Node, entry: JobEntry, now: Instant) -> bool:
    """Offer a job though no majority has its spec: dispatch may be wrong."""
    assert node
    record = entry.record
    return (
        record.decided is None
        and not record.cancel
        and not record.abstains
        and now >= entry.vote.lease_until
        and entry.offered_to is None
        and entry.stored is not None
        and record.digest is not None
    )


def _hasty_dispatch() -> AbstractContextManager[object]:
    return patch.object(dispatcher, "_is_ready", is_ready_unstored)


OF_VOTES = (
    Canary(
        rule="epoch check on outcome",
        without="a node accepts an outcome of any epoch, from anybody",
        breaks=("S2", "S4"),
        leave_out=lambda: patch.object(voter, "outcome", outcome_of_any_epoch),
        plan=world(*_LOSSES, nodes=3),
    ),
    Canary(
        rule="epoch check on checkpoint",
        without="a node keeps a checkpoint of any epoch, from anybody",
        breaks=("S4", "S5"),
        leave_out=lambda: patch.object(voter, "checkpoint", checkpoint_of_any_epoch),
        plan=world(*_LOSSES, nodes=3),
    ),
    Canary(
        rule="majority counted over distinct nodes",
        without="every version of a record counts as one more node",
        breaks=("S2",),
        leave_out=lambda: patch.object(Tally, "add", count_messages),
        plan=world(*_LOSSES, nodes=3),
    ),
    Canary(
        rule="adoption of an accepted outcome by the next holder",
        without="the next holder proposes its own",
        breaks=("S2",),
        leave_out=lambda: patch.object(quorum, "must_adopt", adopt_nothing),
        plan=world(
            "minority cut off", nodes=3, jobs=short, agents=pair, on="outcome", faults_at_s=APART
        ),
    ),
    Canary(
        rule="one value per epoch",
        without="an agent says anew what it proposes each time it repeats it",
        breaks=("S2",),
        leave_out=lambda: patch.object(ending, "propose", propose_anew),
        plan=world(*_LOSSES, nodes=3, jobs=short),
    ),
    Canary(
        rule="digest in the vote",
        without="nodes grant, and agents count grants, whichever spec is stored",
        breaks=("S9",),
        leave_out=_ignore_digests,
        plan=world("slow network", nodes=3, jobs=contested),
        world=_hasty_dispatch,
    ),
)
