"""How often agents are lost, as this node counts it for all who plan checkpoints.

1. Lost is an agent that is gone without a word: its connection broke and did not come back
   within the grace, or it was silent for a ttl. One that drains is not.
2. A node counts while it votes and hears a majority: alone it would take every agent behind
   the other nodes for lost.
3. A loss is on disk with the record of it; of the time that was watched, `SAVE_S` at most are
   lost with the daemon.

Every node counts all agents, so agents believe one of them and add nothing up.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from broker.effect import Publish
from broker.storm import STORM_S
from workrs.domain.fault_history import FaultHistory
from workrs.domain.ids import ClientId, Instant
from workrs.ports.ledger import SaveFaults
from workrs.wire import topics

if TYPE_CHECKING:
    from broker.agents import AgentEntry
    from broker.node import Node

SAVE_S = 600.0
"""Between two commits that only say for how long nothing was lost."""
TELL_S = 60.0
"""Between two times that agents are told: each costs a message to every agent."""
LOOK_MAX_S = 5.0
"""What a beat that came late counts for at most: nobody watched while the machine slept."""


@dataclass(slots=True)
class FaultCount:
    """What one node has counted, and what of it is on disk and on the bus."""

    history: FaultHistory = field(default_factory=FaultHistory)
    told: FaultHistory = field(default_factory=FaultHistory)
    """What the agents know."""
    told_at: Instant = Instant(0.0)  # noqa: RUF009 (a NewType of an immutable float)
    saved_at: Instant = Instant(0.0)  # noqa: RUF009
    looked_at: Instant = Instant(0.0)  # noqa: RUF009
    lost_at: dict[ClientId, Instant] = field(default_factory=dict)
    """Losses that are younger than the grace and a storm: each may turn out to be none."""


def begin(node: Node, history: FaultHistory, now: Instant) -> None:
    """Go on from what is on disk."""
    node.faults = FaultCount(
        history=history, told=history, told_at=now, saved_at=now, looked_at=now
    )


def on_beat(node: Node, now: Instant) -> None:
    """Count the time that passed for every agent that is there; save and tell it, rarely."""
    count = node.faults
    passed_s = min(now - count.looked_at, LOOK_MAX_S)
    count.looked_at = now
    open_s = max(node.settings.timing.reconnect_grace_s, STORM_S)
    count.lost_at = {c: at for c, at in count.lost_at.items() if now - at <= open_s}
    if not node.minority.quorum:
        return
    count.history = count.history.watched(passed_s * node.agents.count_live())
    if now - count.saved_at >= SAVE_S:
        _save(node, now)
    if now - count.told_at >= TELL_S and count.history.differs(count.told):
        whole_s = float(round(count.history.agent_s))
        count.told, count.told_at = replace(count.history, agent_s=whole_s), now
        node.say(Publish(topics.node(node.name, "terms"), node.terms()))


def on_lost(node: Node, agent: AgentEntry, now: Instant) -> None:
    """Count an agent that is gone without a word."""
    draining = agent.profile is None or agent.profile.draining
    if draining or not node.minority.quorum or not node.admission.votes:
        return
    count = node.faults
    count.history = count.history.lost()
    count.lost_at[agent.client] = now
    _save(node, now)


def on_back(node: Node, client: ClientId, now: Instant) -> None:
    """Take a loss back if its agent came back in time: it lost no job."""
    lost_at = node.faults.lost_at.get(client)
    if lost_at is not None and now - lost_at <= node.settings.timing.reconnect_grace_s:
        take_back(node, client, now)


def take_back(node: Node, client: ClientId, now: Instant) -> None:
    """Take a loss back that was none, if there is one of late."""
    if node.faults.lost_at.pop(client, None) is not None:
        node.faults.history = node.faults.history.lost(-1)
        _save(node, now)


def _save(node: Node, now: Instant) -> None:
    node.faults.saved_at = now
    node.effects.changes.append(SaveFaults(history=node.faults.history))
