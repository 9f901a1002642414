"""Goal: no schedule decides two outcomes, and every rule that prevents it is needed.

Method: random schedules over `vote_world`; then the same with one rule switched off, which
must be found out. A rule whose absence no schedule notices would be no rule.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.vote_world import RIVAL_SPEC, SPEC, Mood, Rules, World
from workrs.domain import quorum, voter
from workrs.domain.ids import ClientId, Digest, Epoch, Instant
from workrs.domain.quorum import Tally
from workrs.domain.record import Accepted, Holder, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workrs.domain.job import Outcome
    from workrs.domain.voter import ClaimRequest, Vote

STEPS = 400
SEEDS_MAX = 3000
"""Schedules within which each canary must be found out. Most need a few dozen."""


def world(seed: int, **options: object) -> World:
    made = World(random.Random(seed), **options)  # type: ignore[arg-type]
    made.run(STEPS)
    return made


@settings(max_examples=300)
@given(st.integers(0, 2**32))
def test_three_voters_never_decide_two_outcomes(seed: int) -> None:
    assert world(seed).violation() is None


@settings(max_examples=100)
@given(st.integers(0, 2**32))
def test_five_voters_never_decide_two_outcomes(seed: int) -> None:
    assert world(seed, nodes=5).violation() is None


@settings(max_examples=150)
@given(st.integers(0, 2**32))
def test_only_the_spec_of_the_majority_is_ever_decided(seed: int) -> None:
    assert world(seed, specs=(SPEC, RIVAL_SPEC)).violation() is None


@settings(max_examples=150)
@given(st.integers(0, 2**32))
def test_two_agents_on_copies_of_one_disk_do_no_harm(seed: int) -> None:
    assert world(seed, twins=True).violation() is None


def test_the_schedules_are_worth_something() -> None:
    """Jobs are decided, by agents and by cancelling, and by adoption after a takeover."""
    worlds = [world(seed) for seed in range(200)]
    decided = [next(iter(w.decided.values())) for w in worlds if w.decided]
    assert len(decided) > 80
    assert len({value.verdict for value in decided}) == 2
    adopted = [
        w
        for w in worlds
        if len({e for _, e, _ in w.watch.seen}) > len({d for *_, d in w.watch.seen})
    ]
    assert len(adopted) > 20


# Canaries.


def accept_any_epoch(vote: Vote, holder: Holder, epoch: Epoch, value: Outcome) -> Vote | None:
    """Accept from whoever comes, as a store without fencing does."""
    if vote.record.decided is not None:
        return None
    accepted = Accepted(epoch=epoch, outcome=value, digest=value.digest())
    return replace(vote, record=replace(vote.record, accepted=accepted)) if holder else None


def accept_any_value(vote: Vote, holder: Holder, epoch: Epoch, value: Outcome) -> Vote | None:
    """Accept a second value at the same epoch."""
    bare = replace(vote, record=replace(vote.record, accepted=None))
    return voter.outcome(bare, holder, epoch, value)


def grant_and_forget(
    vote: Vote, request: ClaimRequest, *, now: Instant, ttl_s: float
) -> Vote | None:
    """Forget at a grant what was accepted before."""
    granted = voter.claim(vote, request, now=now, ttl_s=ttl_s)
    return granted and replace(granted, record=replace(granted.record, accepted=None))


def grant_any_epoch(
    vote: Vote, request: ClaimRequest, *, now: Instant, ttl_s: float
) -> Vote | None:
    """Grant an epoch twice, or one below the highest."""
    lower = replace(vote, record=replace(vote.record, epoch=Epoch(0)))
    return voter.claim(lower, request, now=now, ttl_s=ttl_s)


def grant_any_spec(vote: Vote, request: ClaimRequest, *, now: Instant, ttl_s: float) -> Vote | None:
    """Grant without a look at the digest."""
    blind = replace(request, digest=vote.record.digest)
    return voter.claim(vote, blind, now=now, ttl_s=ttl_s)


def hold_any_spec(
    records: Mapping[ClientId, Record], holder: Holder, epoch: Epoch, digest: Digest, nodes: int
) -> bool:
    """Count grants of nodes that hold another spec."""
    same = {name: replace(record, digest=digest) for name, record in records.items()}
    return quorum.holds(same, holder, epoch, digest, nodes)


def adopt_lowest(records: Mapping[ClientId, Record], epoch: Epoch) -> Accepted | None:
    """Adopt the oldest acceptance instead of the newest."""
    found = [r.accepted for r in records.values() if r.accepted and r.accepted.epoch < epoch]
    return min(found, key=lambda a: a.epoch, default=None)


def adopt_accepted_only(records: Mapping[ClientId, Record], epoch: Epoch) -> Accepted | None:
    """Overlook that a decided record no longer shows what it accepted."""
    open_ones = {name: record for name, record in records.items() if record.decided is None}
    return quorum.must_adopt(open_ones, epoch)


def hold_without_majority(
    records: Mapping[ClientId, Record], holder: Holder, epoch: Epoch, digest: Digest, nodes: int
) -> bool:
    """Take the word of any one node."""
    return any(r.epoch == epoch and r.holder == holder for r in records.values()) and bool(
        digest and nodes
    )


class TallyOfMessages(Tally):
    """Counts messages, not nodes."""

    def add(self, node: ClientId, record: Record) -> None:
        """Count the same node again in every new version of its record."""
        super().add(ClientId(f"{node} {record.version}"), record)


class TallyOfValues(Tally):
    """Counts the same value at different epochs together."""

    def add(self, node: ClientId, record: Record) -> None:
        """Forget the epoch of an acceptance."""
        accepted = record.accepted
        if accepted is not None:
            record = replace(record, accepted=replace(accepted, epoch=Epoch(0)))
        super().add(node, record)


SLOW = Mood(value_speed=0.15, loss=0.1, haste=0.1, insight=0.0)
"""Many takeovers before anything is decided."""
DULL = Mood(value_speed=0.4, loss=0.3, haste=0.1, insight=0.02)
"""Few nodes learn of a decision, so others go on."""
CANARIES: dict[str, tuple[Callable[[], Rules], dict[str, object]]] = {
    "epoch check on outcome": (lambda: Rules(outcome=accept_any_epoch), {}),
    "epochs granted only upwards": (lambda: Rules(claim=grant_any_epoch), {}),
    "accepted survives a grant": (lambda: Rules(claim=grant_and_forget), {}),
    "adoption": (lambda: Rules(adopt=lambda _records, _epoch: None), {}),
    "adoption of what is decided": (lambda: Rules(adopt=adopt_accepted_only), {"mood": DULL}),
    "adoption of the highest epoch": (lambda: Rules(adopt=adopt_lowest), {"mood": SLOW}),
    "one value per epoch, proposer": (lambda: Rules(one_value_per_epoch=False), {}),
    "one value per epoch, voter": (
        lambda: Rules(one_value_per_epoch=False, outcome=accept_any_value),
        {},
    ),
    "a majority before proposing": (lambda: Rules(holds=hold_without_majority), {}),
    "majority over distinct nodes": (lambda: Rules(tally=TallyOfMessages), {}),
    "majority at one epoch": (lambda: Rules(tally=TallyOfValues), {}),
    "digest in the vote": (
        lambda: Rules(claim=grant_any_spec, holds=hold_any_spec),
        {"specs": (SPEC, RIVAL_SPEC)},
    ),
    "commit to disk before publishing": (lambda: Rules(forgetful_disks=True), {}),
    "random part of the incarnation": (lambda: Rules(nonces=False), {"twins": True}),
}


@pytest.mark.parametrize("name", CANARIES)
def test_without_this_rule_schedules_go_wrong(name: str) -> None:
    make, options = CANARIES[name]
    for seed in range(SEEDS_MAX):
        if world(seed, rules=make(), **options).violation() is not None:
            return
    pytest.fail(f"{SEEDS_MAX} schedules did not miss the rule")
