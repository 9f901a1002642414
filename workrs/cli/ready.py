"""Whether a cluster that was started is ready: what a node's broker shows, and what it lacks."""

import os
from collections import Counter
from collections.abc import Mapping

from workrs.adapters.mqtt import connect
from workrs.domain.errors import BusError
from workrs.domain.quorum import majority
from workrs.ports.bus import Address, Message, Subscription, read_retained
from workrs.wire import codec, topics
from workrs.wire.message import AgentView, NodeState


async def missing(addresses: Mapping[str, Address], node: str, wanted: set[str]) -> str:
    """Return what a node does not show of *wanted*, in words; nothing when it shows all.

    Args:
        addresses: of all nodes' brokers, by name.
        node: is asked.
        wanted: nodes, which are to be live, and agents, which a majority of nodes is to see.
    """
    states = Subscription(pattern=topics.node("+", "state"))
    agents = Subscription(pattern=topics.node("+", "agent", "+"), qos=0)
    client = f"ready-{os.getpid()}"
    try:
        async with connect(address=addresses[node], client_id=client) as bus:
            found = await read_retained(
                bus, states, agents, echo_topic=f"{topics.ROOT}/echo/{client}"
            )
    except BusError:
        return f"the broker of {node} does not answer"
    live_nodes, views = _live(found)
    enough = majority(len(addresses))
    known = {agent for agent, count in views.items() if count >= enough}
    left = ", ".join(sorted(wanted - live_nodes - known))
    return f"{node} does not see {left}" if left else ""


def _live(found: list[Message]) -> tuple[set[str], Counter[str]]:
    """Return the live nodes, and how many nodes show each agent as live."""
    nodes: set[str] = set()
    views: Counter[str] = Counter()
    for message in found:
        shown = topics.parse_node(message.topic)
        if shown is None or not message.payload:
            continue
        if shown.kind == "state":
            if codec.decode(NodeState, message.payload).live:
                nodes.add(shown.node)
        elif not codec.decode(AgentView, message.payload).gone:
            views[shown.name] += 1
    return nodes, views
