"""Heartbeats and wills: one message of an agent renews all of its leases.

1. A lease is extended only if the heartbeat lists it at the epoch and for the incarnation
   that was granted here; every other one it lists is named as refused in the receipt.
2. An attempt that a heartbeat lists is on disk before the receipt is published.
3. A higher incarnation ends all leases of the lower ones.
4. A storm of wills from one broker is not believed, and what the first of them did is undone
   where nothing was granted since.
"""

from dataclasses import replace

from broker import fault_count, hint, wish
from broker.agents import AgentEntry
from broker.effect import Publish
from broker.event import BeatHeard
from broker.limits import AGENT_FORGET_S, VIEW_EXPIRY_S
from broker.node import Node
from broker.settle import settle
from broker.storm import Shortened, Will
from workrs.domain import voter
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.job import Takeover
from workrs.domain.record import Holder
from workrs.wire import topics


def _refuse(node: Node, event: BeatHeard, why: str) -> None:
    node.dropped += 1
    node.fact_limited("beat_refused", agent=event.agent, via=event.via, why=why)


def on_beat(node: Node, event: BeatHeard, now: Instant) -> None:
    """Renew what is listed and answer with a receipt, or apply the will."""
    beat = event.beat
    if event.agent in node.settings.nodes:
        # Its grants would pass for claims of that node, which need no free lease.
        _refuse(node, event, "a node's name is no agent's")
        return
    if event.via and event.via not in node.settings.nodes:
        # No node's bridge: every name would get a table of its own in the storm guard.
        _refuse(node, event, "it came by no node of this cluster")
        return
    if node.agents.is_full(event.agent) and not _make_room(node, now):
        node.dropped += 1
        node.fact_limited("agent_not_heard", agent=event.agent, agents=len(node.agents.entries))
        return
    entry = node.agents.admit(event.agent, beat)
    if entry is None:
        return
    entry.heard = True
    if beat.gone:
        _on_will(node, entry, ClientId(event.via) or node.name, now)
        return
    if entry.profile is None or entry.incarnation != beat.incarnation or entry.gone:
        node.fact_limited("agent_up", agent=event.agent, incarnation=beat.incarnation.number)
    if entry.incarnation == beat.incarnation:
        fault_count.on_back(node, event.agent, now)
    else:
        entry.incarnation = beat.incarnation
        wish.forget(entry)
        _end_former(node, entry, now)
    entry.connection, entry.counter = beat.connection, beat.counter
    was_leaving = entry.profile is not None and entry.profile.draining
    entry.profile = beat.profile or entry.profile
    if was_leaving and entry.profile is not None and not entry.profile.draining:
        hint.on_stay(node, entry)
    entry.gone = entry.lapsed = False
    entry.seen_at = now
    entry.local = not event.via
    entry.refused = _renew(
        node, Holder(client=event.agent, incarnation=beat.incarnation), event, now
    )
    node.agents.refresh(entry)
    _receipt(node, entry)
    wish.on_beat(node, entry, beat.ordered, now)


def _make_room(node: Node, now: Instant) -> bool:
    """Forget the agent that is gone longest for a new one; return whether there was any."""
    agent = node.agents.gone_longest(now)
    if agent is not None:
        _forget(node, agent)
    return agent is not None


def forget_gone(node: Node, now: Instant) -> None:
    """Forget agents that are gone for so long that nobody waits for them."""
    for agent in node.agents.forgettable(now, gone_s=AGENT_FORGET_S):
        if agent.heard:
            _forget(node, agent)


def _forget(node: Node, agent: AgentEntry) -> None:
    node.agents.forget(agent)
    node.say(Publish(topics.node(node.name, "agent", agent.client), b""))
    node.fact_limited("agent_forgotten", agent=agent.client)


def _receipt(node: Node, entry: AgentEntry) -> None:
    topic = topics.node(node.name, "agent", entry.client)
    # Not QoS 0: without a PUBACK, Nagle at the bridge's end holds the next message back for 40 ms.
    # It expires wherever a bridge brought it, should its emptying never arrive there.
    node.say(Publish(topic, entry.view(), expiry_s=VIEW_EXPIRY_S))


def _renew(
    node: Node, holder: Holder, event: BeatHeard, now: Instant
) -> tuple[tuple[JobId, Epoch], ...]:
    refused = []
    ttl_s = node.settings.timing.ttl_s
    for job, epoch, attempt in event.beat.held:
        entry = node.entries.get(job)
        vote = (
            voter.renew(entry.vote, holder, epoch, attempt, now=now, ttl_s=ttl_s)
            if entry is not None
            else None
        )
        if entry is None or vote is None:
            refused.append((job, epoch))
            continue
        if vote.record is entry.vote.record:
            entry.vote = vote
        else:
            # The receipt says it is on disk; the record itself travels with its next change.
            node.change(entry, vote, publish=False)
        # An expired lease that comes alive again has no timer and no slot any more.
        node.poke(job, vote.lease_until)
        node.hold(holder, job)
    return tuple(refused)


def _end_former(node: Node, agent: AgentEntry, now: Instant) -> None:
    holder = Holder(client=agent.client, incarnation=agent.incarnation)
    for job in sorted(agent.holding):
        entry = node.entries[job]
        vote = voter.end_former(entry.vote, holder, now=now)
        if vote is not None:
            node.change(entry, vote)
            settle(node, entry, now)


def _on_will(node: Node, agent: AgentEntry, broker: ClientId, now: Instant) -> None:
    if node.storms.is_deaf(broker, now):
        return
    ttl_s = node.settings.timing.ttl_s
    believed = node.storms.breaks(broker, node.agents.count_live(), now, ttl_s)
    if believed is None:
        holder = Holder(client=agent.client, incarnation=agent.incarnation)
        shortened = _lose(node, agent, now, why="connection broke")
        node.storms.believe(broker, Will(now, holder, shortened))
        return
    node.note("storm_of_wills", None, node=broker, agents=len(believed) + 1)
    for will in believed:
        _undo(node, will, now)


def _undo(node: Node, will: Will, now: Instant) -> None:
    """Take a will back: its agent lives until its silence says otherwise."""
    agent = node.agents.get(will.holder.client)
    if agent is not None and agent.gone and agent.incarnation == will.holder.incarnation:
        agent.gone = False
        fault_count.take_back(node, agent.client, now)
        _receipt(node, agent)
    for lease in will.shortened:
        entry = node.entries.get(lease.job)
        if entry is None or not entry.is_open:
            continue
        record, until = entry.record, entry.vote.lease_until
        if (record.epoch, record.holder) == (lease.epoch, will.holder):
            node.change(entry, replace(entry.vote, lease_until=max(until, lease.lease_until)))
            node.hold(will.holder, lease.job)
            settle(node, entry, now)
    if agent is not None:
        node.agents.refresh(agent)


def _lose(node: Node, agent: AgentEntry, now: Instant, *, why: str) -> tuple[Shortened, ...]:
    """Bring the ends of a lost agent's leases forward; return those that were."""
    shortened = []
    agent.gone = True
    fault_count.on_lost(node, agent, now)
    node.agents.refresh(agent)
    holder = Holder(client=agent.client, incarnation=agent.incarnation)
    node.note_limited("agent_lost", None, agent=agent.client, jobs=len(agent.holding), why=why)
    grace_s = node.settings.timing.reconnect_grace_s
    for job in sorted(agent.holding | agent.offered):
        entry = node.entries.get(job)
        if entry is None:
            continue
        strict = entry.stored is not None and entry.stored.spec.takeover is Takeover.STRICT
        if not strict:
            vote = voter.shorten(entry.vote, holder, now=now, grace_s=grace_s)
            if vote is not None:
                shortened.append(Shortened(job, entry.record.epoch, entry.vote.lease_until))
                node.change(entry, vote)
        settle(node, entry, now)
    _receipt(node, agent)
    return tuple(shortened)


def check_silent(node: Node, now: Instant) -> None:
    """Note agents that fell silent without a will; their leases end by themselves."""
    for agent in node.agents.silent(now):
        _lose(node, agent, now, why="silent for a ttl")
