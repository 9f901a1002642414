"""Canaries of the nodes: whose word is believed, and what of it."""

from dataclasses import replace
from unittest.mock import patch

from broker import beats, brain, intake
from broker.agents import AgentEntry, AgentTable
from broker.event import BeatHeard, SubmitHeard
from broker.node import Node
from broker.storm import StormGuard, Will
from workrs.domain.errors import WireError
from workrs.domain.ids import ClientId, Epoch, Instant, JobId, job_id
from workrs.domain.record import Holder, Record
from workrs.testing.canaries import stops
from workrs.testing.canaries.canary import Canary
from workrs.testing.canaries.worlds import (
    crowd,
    early_and_long,
    failing,
    long_and_strict,
    pair,
    resubmitted,
    single,
    world,
)
from workrs.wire.message import Beat

_on_submit = intake.on_submit
_restore = brain.restore
_renew = beats._renew  # noqa: SLF001 (a canary is what the rule is not, wherever it stands)
_admit = AgentTable.admit


def restore_free(
    node: Node, record: Record, payload: bytes | None, now: Instant, decided_ago_s: float
) -> None:
    """Take a job from the ledger with its lease over."""
    _restore(node, record, payload, now, decided_ago_s)
    entry = node.entries[record.job]
    entry.vote = replace(entry.vote, lease_until=now)


def renew_all(
    node: Node, holder: Holder, event: BeatHeard, now: Instant
) -> tuple[tuple[JobId, Epoch], ...]:
    """Extend every lease of the agent, listed or not."""
    refused = _renew(node, holder, event, now)
    until = Instant(now + node.settings.timing.ttl_s)
    for entry in node.entries.values():
        if entry.is_open and entry.record.holder == holder:
            entry.vote = replace(entry.vote, lease_until=max(entry.vote.lease_until, until))
            node.poke(entry.job, entry.vote.lease_until)
    return refused


def admit_any_will(table: AgentTable, client: ClientId, beat: Beat) -> AgentEntry | None:
    """Believe a will of whichever connection."""
    entry = table.entries.get(client)
    if beat.gone and entry is not None and beat.incarnation == entry.incarnation:
        return None if entry.gone else entry
    return _admit(table, client, beat)


def no_storm(
    guard: StormGuard, broker: ClientId, live_agents: int, now: Instant, ttl_s: float
) -> list[Will] | None:
    """Believe every will, however many come at once."""
    assert guard is not None
    assert broker
    assert live_agents >= 0
    assert now is not None
    assert ttl_s
    return None


def submit_anew(node: Node, event: SubmitHeard, now: Instant) -> None:
    """Store whatever comes under an id, known or not."""
    try:
        known = node.entries.get(job_id(event.device, event.local))
    except WireError:
        known = None
    if known is not None and known.is_open and known.payload != event.payload:
        known.stored = None
    _on_submit(node, event, now)


OF_NODES = (
    Canary(
        rule="full ttl after a node's restart",
        without="a node that starts takes all leases on its disk for ended",
        breaks=("S6",),
        leave_out=lambda: patch.object(brain, "restore", restore_free),
        plan=world("node killed", nodes=1, jobs=long_and_strict, agents=pair),
    ),
    Canary(
        rule="listing of leases in the heartbeat",
        without="a heartbeat renews all leases of its agent, listed or not",
        breaks=("L1",),
        leave_out=lambda: patch.object(beats, "_renew", renew_all),
        plan=world("agent cut off", nodes=1, jobs=failing, agents=single),
    ),
    Canary(
        rule="a later connection beats an older will",
        without="the will of a connection is believed though its agent has a newer one",
        breaks=("R2",),
        leave_out=lambda: patch.object(AgentTable, "admit", admit_any_will),
        plan=world(
            "broker stopped for a keepalive",
            nodes=3,
            jobs=early_and_long,
            agents=pair,
            faults_at_s=(4.0,),
        ),
        world=stops.known,
    ),
    Canary(
        rule="storm guard",
        without="every will is believed, however many come at once",
        breaks=("R2",),
        leave_out=lambda: patch.object(StormGuard, "breaks", no_storm),
        plan=world(
            "broker of a crowd stopped for a keepalive",
            nodes=1,
            jobs=early_and_long,
            agents=crowd,
            faults_at_s=(4.0,),
            ttl_s=10.0,
        ),
        world=stops.known,
    ),
    Canary(
        rule="digest check of a re-submitted id",
        without="another spec under a known id replaces the first",
        breaks=("S1", "S9"),
        leave_out=lambda: patch.object(intake, "on_submit", submit_anew),
        plan=world("slow network", "link cut", nodes=3, jobs=resubmitted),
    ),
)
