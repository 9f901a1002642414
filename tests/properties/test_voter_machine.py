"""Goal: whatever is asked of a voter in whatever order, its vote only ever moves forward.

Method: a state machine of hypothesis over all rules, agents old and new, any clock.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from workrs.domain import voter
from workrs.domain.ids import ClientId, Digest, Epoch, Instant, JobId
from workrs.domain.job import Outcome, Verdict, digest_of
from workrs.domain.record import CheckpointRef, Holder, Incarnation, Record
from workrs.domain.voter import ClaimRequest, Vote

TTL_S = 10.0
SPECS = [digest_of(b"a"), digest_of(b"b")]
HOLDER = st.builds(
    Holder,
    client=st.sampled_from([ClientId("edge-1"), ClientId("edge-2"), ClientId("n1")]),
    incarnation=st.builds(Incarnation, st.integers(1, 2), st.sampled_from(["x", "y"])),
)
EPOCH = st.integers(0, 6).map(Epoch)
VALUE = st.sampled_from(
    [
        Outcome(verdict=Verdict.SUCCEEDED, result="1"),
        Outcome(verdict=Verdict.SUCCEEDED, result="2"),
        Outcome(verdict=Verdict.CANCELLED),
    ]
)


class VoterMachine(RuleBasedStateMachine):
    """One vote, and what is remembered of its past."""

    def __init__(self) -> None:
        """Begin with an empty vote."""
        super().__init__()
        self.vote = Vote(record=Record(job=JobId("pump_j1")))
        self.now = 100.0
        self.granted: dict[Epoch, Holder] = {}
        self.values: dict[Epoch, Digest] = {}

    def take(self, vote: Vote | None, *, moves: set[str]) -> None:
        """Take a vote; only the named parts of its record may differ."""
        if vote is None:
            return
        before, after = self.vote.record, vote.record
        assert after.epoch >= before.epoch
        assert before.decided is None or after == before
        for name in Record.__slots__:
            if name not in moves:
                assert getattr(after, name) == getattr(before, name), name
        if after.epoch > before.epoch:
            assert after.holder is not None
            assert after.epoch not in self.granted
            self.granted[after.epoch] = after.holder
        accepted = after.accepted
        if accepted is not None and accepted != before.accepted:
            assert accepted.epoch == before.epoch
            assert self.granted[accepted.epoch] == before.holder
            assert self.values.setdefault(accepted.epoch, accepted.digest) == accepted.digest
            assert accepted.digest == accepted.outcome.digest()
        self.vote = vote

    @rule(seconds=st.sampled_from([0.0, 1.0, TTL_S, 100.0, -50.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(digest=st.sampled_from(SPECS))
    def store(self, digest: Digest) -> None:
        if self.vote.record.decided is None:
            self.vote = replace(self.vote, record=replace(self.vote.record, digest=digest))

    @rule(epoch=EPOCH, holder=HOLDER, digest=st.sampled_from([*SPECS, None]), by_node=st.booleans())
    def claim(self, epoch: Epoch, holder: Holder, digest: Digest | None, *, by_node: bool) -> None:
        bid = ClaimRequest(epoch=epoch, holder=holder, digest=digest, by_node=by_node)
        vote = voter.claim(self.vote, bid, now=Instant(self.now), ttl_s=TTL_S)
        if vote is not None and not by_node:
            assert digest == self.vote.record.digest is not None
            held = self.vote.record.holder
            assert self.now >= self.vote.lease_until or (held and held.client == holder.client)
        self.take(vote, moves={"epoch", "holder", "progress", "note", "reason"})

    @rule(epoch=EPOCH, holder=HOLDER, attempt=st.integers(0, 3))
    def renew(self, epoch: Epoch, holder: Holder, attempt: int) -> None:
        vote = voter.renew(self.vote, holder, epoch, attempt, now=Instant(self.now), ttl_s=TTL_S)
        if vote is not None:
            assert vote.lease_until >= self.vote.lease_until
            assert vote.record.attempt >= self.vote.record.attempt
        self.take(vote, moves={"attempt"})

    @rule(holder=HOLDER)
    def end_former(self, holder: Holder) -> None:
        self.take(voter.end_former(self.vote, holder, now=Instant(self.now)), moves=set())

    @rule(holder=HOLDER, grace_s=st.floats(0, 5))
    def shorten(self, holder: Holder, grace_s: float) -> None:
        vote = voter.shorten(self.vote, holder, now=Instant(self.now), grace_s=grace_s)
        assert vote is None or vote.lease_until < self.vote.lease_until
        self.take(vote, moves=set())

    @rule(epoch=EPOCH, holder=HOLDER, seq=st.integers(1, 3))
    def checkpoint(self, epoch: Epoch, holder: Holder, seq: int) -> None:
        ref = CheckpointRef(
            epoch=epoch, seq=seq, manifest=SPECS[0], location=(), rung="files", bytes=1
        )
        vote = voter.checkpoint(self.vote, holder, ref)
        if vote is not None:
            assert (
                ref
                == vote.record.checkpoints[0]
                == max(vote.record.checkpoints, key=lambda r: r.order)
            )
        self.take(vote, moves={"checkpoints"})

    @rule(epoch=EPOCH, holder=HOLDER, value=VALUE)
    def outcome(self, epoch: Epoch, holder: Holder, value: Outcome) -> None:
        self.take(voter.outcome(self.vote, holder, epoch, value), moves={"accepted"})

    @rule(epoch=EPOCH, holder=HOLDER, retry_after_s=st.floats(allow_nan=True))
    def release(self, epoch: Epoch, holder: Holder, retry_after_s: float) -> None:
        vote = voter.release(
            self.vote,
            holder,
            epoch,
            now=Instant(self.now),
            retry_after_s=retry_after_s,
            reason="",
        )
        assert vote is None or self.now <= vote.lease_until <= self.now + 3600
        self.take(vote, moves={"holder", "progress", "note", "reason"})

    @rule(epoch=EPOCH, holder=HOLDER, done=st.floats(allow_nan=True))
    def progress(self, epoch: Epoch, holder: Holder, done: float) -> None:
        vote = voter.progress(self.vote, holder, epoch, done, "")
        assert vote is None or 0.0 <= (vote.record.progress or 0.0) <= 1.0
        self.take(vote, moves={"progress", "note"})

    @rule()
    def cancel(self) -> None:
        self.take(voter.cancel(self.vote), moves={"cancel"})

    @rule()
    def disown(self) -> None:
        if self.vote.record.decided is None:
            self.take(voter.disown(self.vote), moves={"holder"})

    @rule(value=VALUE, sure=st.integers(0, 9))
    def decide(self, value: Outcome, sure: int) -> None:
        if sure:
            return  # Rarely, or nothing else would ever happen.
        moves = {"decided", "decided_digest", "accepted", "progress", "note", "reason"}
        self.take(voter.decide(self.vote, value), moves=moves)

    @invariant()
    def a_holder_was_granted_the_highest_epoch(self) -> None:
        record = self.vote.record
        if record.holder is not None:
            assert self.granted[record.epoch] == record.holder
        assert record.epoch == max(self.granted, default=0)
        assert len(record.checkpoints) <= voter.CHECKPOINTS_KEPT
        if record.accepted is not None:
            assert record.accepted.epoch <= record.epoch


TestVoterMachine = VoterMachine.TestCase
TestVoterMachine.settings = settings(max_examples=150, stateful_step_count=40)
