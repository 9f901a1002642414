"""Getting, keeping and giving back leases: an agent's conversation with the voters.

1. It holds a lease when a majority's records, of one generation, show (epoch, me) and the
   digest; before that nothing is run or proposed.
2. An epoch that was released or given up is never claimed again. After its release nothing
   is proposed at it.
3. A container runs on while its lease is claimed anew at a higher epoch, within the deadline
   that the old one gave. Such a claim is never released when it fails: a release would let
   another agent start before that deadline.
4. Whoever wants something repeats it; everything said here may be said twice.
"""

from enum import Enum, auto

from edge_agent.agent import Agent
from edge_agent.work import NOT, PAST, GiveBack, Lease, Work, growing
from workrs.domain import quorum
from workrs.domain.ids import ClientId, Epoch, Instant
from workrs.domain.lease import safe_until
from workrs.domain.record import Holder, Record
from workrs.wire.message import Claim, Release

CLAIM_REPEAT_FIRST_S = 0.1
CLAIM_REPEAT_MAX_S = 1.0
CLAIMS_MAX = 6
"""Sendings of one claim: 3.5 s. A job that is still not ours then will be offered again."""
ROUNDS_MAX = 6
LAPSE_SLACK_S = 0.5
"""A renewal this close to the deadline may reach the warden after it has frozen the program."""
BACK_OFF_FIRST_S = 0.1
BACK_OFF_MAX_S = 1.0
RELEASE_REPEAT_FIRST_S = 0.2
RELEASE_REPEAT_MAX_S = 2.0


class Standing(Enum):
    """What the records say of a job in hand."""

    SAME = auto()
    """Nothing that changes what is to be done."""
    WON = auto()
    DECIDED = auto()
    FENCED = auto()
    """Somebody else has it, or must be taken to have it."""
    GONE = auto()
    """Given up or given back, and nothing of ours is in the records that matters."""


def claim(work: Work, agent: Agent) -> None:
    """Bid for the job at the lowest epoch that may win."""
    work.epoch = Epoch(max(work.floor, quorum.highest_epoch(work.records) + 1))
    work.floor = Epoch(work.epoch + 1)
    work.turn(Lease.CLAIMING)
    work.claimed_at = agent.now
    work.claims = 0
    work.rounds += 1
    work.release_at = work.reclaim_at = NOT
    _say_claim(work, agent)


def _say_claim(work: Work, agent: Agent) -> None:
    body = Claim(incarnation=agent.incarnation, epoch=work.epoch, digest=work.digest)
    agent.say("claim", work.job, body)
    work.claim_at = agent.later(growing(CLAIM_REPEAT_FIRST_S, CLAIM_REPEAT_MAX_S, work.claims))
    work.claims += 1


def see(work: Work, node: ClientId, record: Record, agent: Agent) -> Standing:
    """Take a node's record, unless a newer one was seen, and say what follows from it."""
    known = work.records.get(node)
    if known is not None and record.version <= known.version:
        return Standing.SAME
    work.records[node] = record
    work.tally.add(node, record)
    return judge(work, agent)


def judge(work: Work, agent: Agent) -> Standing:
    """Say what the records known so far mean for this job."""
    nodes = agent.cluster.size
    outcome = quorum.decision(work.records, work.tally, nodes)
    if outcome is not None:
        work.decided = outcome
        return Standing.DECIDED
    match work.lease:
        case Lease.CLAIMING:
            return _judge_claim(work, agent)
        case Lease.HELD:
            fenced = quorum.is_fenced(work.records, work.epoch, nodes)
            return Standing.FENCED if fenced else Standing.SAME
        case Lease.BACKING_OFF:
            return Standing.FENCED if _is_lost(work, agent) else Standing.SAME
        case Lease.RELEASING:
            me = agent.holder
            shown = any(work.shows_me(r, me) for r in work.records.values())
            return Standing.SAME if shown else Standing.GONE
        case Lease.OVER:
            return Standing.SAME


def _judge_claim(work: Work, agent: Agent) -> Standing:
    nodes = agent.cluster.size
    if quorum.holds(work.records, agent.holder, work.epoch, work.digest, nodes):
        work.granted = {
            node: record
            for node, record in work.records.items()
            if work.shows_me(record, agent.holder) and record.digest == work.digest
        }
        work.turn(Lease.HELD)
        work.rounds = 0
        work.claim_at = NOT
        renew(work, work.claimed_at, agent)
        agent.beat_due = True
        agent.log("lease_won", job=work.job, epoch=work.epoch)
        return Standing.WON
    if _is_lost(work, agent):
        return _give_up(work, agent)
    lost = sum(_is_refused(record, work, agent.holder) for record in work.records.values())
    if lost > nodes - agent.cluster.majority:
        return back_off(work, agent)
    return Standing.SAME


def _is_refused(record: Record, work: Work, me: Holder) -> bool:
    """Return whether a node will never grant this claim."""
    taken = record.epoch == work.epoch and record.holder != me
    return record.abstains or record.epoch > work.epoch or taken


def _other_leads(work: Work, agent: Agent) -> bool:
    """Return whether a majority shows another holder at our epoch or above."""
    found = quorum.leader(work.records, agent.cluster.size)
    return found is not None and found[0] >= work.epoch and found[1] != agent.holder


def _is_lost(work: Work, agent: Agent) -> bool:
    """Return whether bidding on is pointless, or would bring back what others went past."""
    if _other_leads(work, agent):
        return True
    return work.invested and quorum.is_fenced(work.records, work.epoch, agent.cluster.size)


def _give_up(work: Work, agent: Agent) -> Standing:
    if work.invested:
        return Standing.FENCED
    _say_release(work, agent)
    agent.log("claim_lost", job=work.job, epoch=work.epoch)
    work.turn(Lease.OVER)
    return Standing.GONE


def back_off(work: Work, agent: Agent) -> Standing:
    """Give this epoch up and try a higher one in a moment, unless it was tried often enough."""
    if not work.invested:
        if work.rounds >= ROUNDS_MAX:
            return _give_up(work, agent)
        _say_release(work, agent)
    work.turn(Lease.BACKING_OFF)
    wait_s = growing(BACK_OFF_FIRST_S, BACK_OFF_MAX_S, work.rounds - 1)
    work.claim_at = agent.jittered(wait_s)
    agent.log("claim_split", job=work.job, epoch=work.epoch, round=work.rounds)
    return Standing.SAME


def on_claim_due(work: Work, agent: Agent) -> Standing:
    """Repeat a claim that is not answered, or claim anew after backing off."""
    work.claim_at = NOT
    if work.lease is Lease.BACKING_OFF:
        claim(work, agent)
    elif work.lease is Lease.CLAIMING:
        if work.claims >= CLAIMS_MAX:
            return back_off(work, agent) if work.invested else _give_up(work, agent)
        _say_claim(work, agent)
    return Standing.SAME


def renew(work: Work, sent: Instant, agent: Agent) -> None:
    """Move the deadline: what was sent at *sent* is acknowledged by a majority."""
    if sent <= work.renewed_at:
        return
    timing = agent.cluster.timing
    if agent.now >= work.safe_until - LAPSE_SLACK_S:
        work.lapsed = True
    work.renewed_at = sent
    work.safe_until = safe_until(sent, timing)
    work.reclaim_at = Instant(sent + timing.ttl_s / 2)


def on_refused(work: Work, agent: Agent) -> None:
    """Repeat the claim of a lease that a node did not extend.

    Either its grant was lost, and this makes it good; or the node is past this epoch, and
    answers with the record that we missed.
    """
    if work.lease is Lease.HELD and agent.now >= work.healed_at + CLAIM_REPEAT_MAX_S:
        work.healed_at = agent.now
        body = Claim(incarnation=agent.incarnation, epoch=work.epoch, digest=work.digest)
        agent.say("claim", work.job, body)


def on_reclaim_due(work: Work, agent: Agent, *, connected: bool) -> None:
    """Claim a higher epoch when voters of ours are past this one and nobody else won.

    They granted a bid that failed. This epoch cannot get them back, and with a third node
    away the rest may be no majority: without this the container would stay frozen for good.
    """
    work.reclaim_at = agent.later(agent.cluster.timing.silence_s)
    if work.lease is not Lease.HELD:
        work.reclaim_at = NOT
    elif connected and any(r.epoch > work.epoch for r in work.records.values()):
        agent.log("lease_reclaimed", job=work.job, epoch=work.epoch)
        claim(work, agent)


def release(work: Work, agent: Agent, back: GiveBack) -> None:
    """Give the lease back; said until no record shows it. No program may be left."""
    assert work.run == 0 or work.killed, f"{work.job}: released over a running program"
    work.claim_at = work.reclaim_at = work.propose_at = work.report_at = NOT
    work.turn(Lease.RELEASING)
    work.retry_after_s = back.retry_after_s
    work.release_reason = back.reason
    if back.moved and work.listed_attempt:
        work.spared += 1
    work.releases = 0
    work.safe_until = PAST
    # What follows is the end of what the program printed: for its device, and no log.
    told = back.reason.partition("\n")[0]
    agent.log("lease_released", job=work.job, epoch=work.epoch, reason=told)
    on_release_due(work, agent)


def withdraw(work: Work, agent: Agent) -> Standing:
    """Take back a claim that has not won, because this agent takes nothing more."""
    _say_release(work, agent)
    work.turn(Lease.OVER)
    return Standing.GONE


def on_release_due(work: Work, agent: Agent) -> Standing:
    """Say the release again, until the leases it ends have ended by themselves."""
    if agent.now >= work.renewed_at + agent.cluster.timing.ttl_s and work.releases:
        return Standing.GONE
    _say_release(work, agent)
    wait_s = growing(RELEASE_REPEAT_FIRST_S, RELEASE_REPEAT_MAX_S, work.releases)
    work.release_at = agent.later(wait_s)
    work.releases += 1
    return Standing.SAME


def _say_release(work: Work, agent: Agent) -> None:
    body = Release(
        incarnation=agent.incarnation,
        epoch=work.epoch,
        retry_after_s=work.retry_after_s,
        reason=work.release_reason,
        spared=work.spared,
    )
    agent.say("release", work.job, body)
