"""Which agent will probably take over a job that moves: it is told to fetch its checkpoints ahead.

1. Said by the node that offers the job first, with each checkpoint of a holder that drains. Nobody
   waits for it, and it binds nobody; but the agent that was told comes first when all fit as well.
2. An agent is expected to take no more jobs than it has free slots, as far as this node knows.
3. Nothing is expected any more of a job that stays, that somebody took, or that is decided.
"""

from broker.agents import AgentEntry
from broker.effect import Publish
from broker.entry import JobEntry
from broker.node import Node
from workrs.domain.dispatch import Candidate, choose, rank_nodes
from workrs.wire import topics
from workrs.wire.message import Order, OrderKind


def on_checkpoint(node: Node, entry: JobEntry) -> None:
    """Tell the agent that will be offered the job next of its newest checkpoint, if it moves."""
    if not is_leaving(node, entry):
        node.expected.pop(entry.job, None)
        return
    if entry.stored is None or rank_nodes(entry.job, node.voters(entry))[0] != node.name:
        return
    newest = entry.record.checkpoints[0]
    spec, former = entry.stored.spec, node.expected.pop(entry.job, None)
    found = choose(entry.job, spec, _unpromised(node), frozenset(), newest=newest, expecting=former)
    if found is not None:
        node.expected[entry.job] = found
        order = Order(
            order=OrderKind.FETCH, job=entry.job, checkpoint=newest, memory_mb=spec.memory_mb
        )
        node.say(Publish(topics.node(node.name, "order", found), order, retain=False))


def on_stay(node: Node, agent: AgentEntry) -> None:
    """Expect nothing of the jobs of an agent that was to leave and stays."""
    for job in agent.holding:
        node.expected.pop(job, None)


def is_leaving(node: Node, entry: JobEntry) -> bool:
    """Return whether the job's holder drains."""
    holder = entry.record.holder
    agent = node.agents.get(holder.client) if holder is not None else None
    return agent is not None and agent.profile is not None and agent.profile.draining


def _unpromised(node: Node) -> list[Candidate]:
    """Return the agents that have a free slot for which no other job is expected."""
    promised = list(node.expected.values())
    return [
        one
        for one in node.agents.candidates()
        if one.busy + promised.count(one.client) < one.profile.slots
    ]
