"""Whether a cluster that was started is ready: what a node's broker shows, and what it lacks."""

import os
from collections.abc import Mapping
from typing import Final

from workrs.adapters.mqtt import connect
from workrs.cli.connection import fill
from workrs.domain.errors import BusError
from workrs.domain.quorum import majority
from workrs.ports.bus import Address
from workrs.wire.view import ClusterView

_PATTERNS: Final = ("node/+/state", "node/+/agent/+")


async def missing(addresses: Mapping[str, Address], node: str, wanted: set[str]) -> str:
    """Return what a node does not show of *wanted*, in words; nothing when it shows all.

    Args:
        addresses: of all nodes' brokers, by name.
        node: is asked.
        wanted: nodes, which are to be live, and agents, which a majority of nodes is to see.
    """
    view = ClusterView()
    try:
        async with connect(address=addresses[node], client_id=f"ready-{os.getpid()}") as bus:
            await fill(view, bus, _PATTERNS)
    except BusError:
        return f"the broker of {node} does not answer"
    live = {each.node for each in view.nodes() if each.state is not None and each.state.live}
    enough = majority(len(addresses))
    known = {a.agent for a in view.agents() if a.state != "gone" and a.nodes >= enough}
    left = ", ".join(sorted(wanted - live - known))
    return f"{node} does not see {left}" if left else ""
