"""Whose turn it is to offer a job.

1. The node that ranks first for a job offers it at once; each of the others waits TURN_S longer
   than the one before it. Doubled offers do no harm, the votes decide; but each costs an agent
   a claim that it loses.
2. A node that brought a job to an agent within TURN_S, and none yet that comes after this one in
   the queue, is on its way to it, and is waited for, PATIENCE_S in all. Nodes work through a long
   queue at their own pace: 1,000 agents and 10,000 jobs on two busy cores, and the nodes ahead
   offered a tenth of the others' jobs again.
3. A claim that only a peer granted may be repeated before the job is offered anew.
4. A turn that came while no agent was free has passed: with a long queue every node would
   otherwise offer every slot.
"""

from broker.entry import JobEntry, Served
from broker.node import Node
from workrs.domain.dispatch import OFFER_S, rank_nodes
from workrs.domain.ids import Instant
from workrs.domain.record import NEVER

CLAIM_TURN_S = 1.5
"""How long a claim that a peer granted may take to be repeated here: agents do so every second."""
TURN_S = 1.5 * OFFER_S
"""How long each rank waits for the one before it."""
PATIENCE_S = 6 * TURN_S
"""A node far behind is helped, though both may then offer the same job."""


def must_wait(node: Node, entry: JobEntry, now: Instant) -> bool:
    """Return whether nodes before this one, or a claim under way, should have their chance first.

    If so the job is looked at again in time.
    """
    claimed = max((r.epoch for r in entry.records.values() if r.holder), default=NEVER)
    if claimed > max(entry.record.epoch, entry.yielded_to):
        # This node may have refused it for somebody it let go since. With a third node away the
        # two that are left would else help two agents to split for ever.
        entry.yielded_to = claimed
        entry.turn_at = Instant(now + CLAIM_TURN_S)
    if entry.turn_at is None or now > entry.turn_at + TURN_S:
        _queue_up(node, entry, now)
    assert entry.turn_at is not None
    if now >= entry.turn_at:
        entry.turn_at = _extend(node, entry, entry.turn_at)
    if now >= entry.turn_at:
        return False
    node.poke(entry.job, entry.turn_at)
    return True


def see_lease(node: Node, entry: JobEntry, now: Instant) -> None:
    """Note that the node this one waits for has brought the job to an agent."""
    if entry.waits_for is not None:
        node.served[entry.waits_for] = Served(now, _place(entry))
        entry.waits_for = None


def _queue_up(node: Node, entry: JobEntry, now: Instant) -> None:
    ranked = rank_nodes(entry.job, node.voters(entry))
    rank = ranked.index(node.name)
    entry.turn_at = Instant(now + rank * TURN_S)
    entry.waits_for = ranked[0] if rank else None
    entry.waits_until = Instant(now + PATIENCE_S)


def _extend(node: Node, entry: JobEntry, turn_at: Instant) -> Instant:
    """Return when the turn comes if the node that ranks first is on its way to the job."""
    served = node.served.get(entry.waits_for) if entry.waits_for is not None else None
    if served is None or served.place > _place(entry):
        return turn_at
    return max(turn_at, min(Instant(served.at + TURN_S), entry.waits_until))


def _place(entry: JobEntry) -> tuple[int, int]:
    assert entry.stored is not None
    return -entry.stored.spec.priority, entry.arrived
