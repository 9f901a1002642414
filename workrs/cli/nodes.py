"""`workrs nodes`: the nodes of the cluster, how they stand and whom they hear.

A node repeats its state every second, and one that died without a word shows its last one for ever.
So the command listens until each has spoken once more, for SILENT_S at most.
"""

import asyncio
from argparse import Namespace
from collections.abc import Mapping, Sequence

from tui.model import node as rule
from tui.model.node import SILENT_S, Node
from workrs.cli.connection import NODE_TIMEOUT_S, add_node_options, ask_first, caller
from workrs.cli.error import OK
from workrs.cli.options import Options
from workrs.cli.table import print_json, print_table
from workrs.domain.errors import WireError
from workrs.domain.ids import ClientId, Instant
from workrs.ports.bus import Bus, Message, Subscription, read_retained
from workrs.wire import codec, topics
from workrs.wire.message import NodeState

COLUMNS = ("node", "health", "role", "bridges", "lag", "open", "ended", "agents", "software")
_SLACK_S = 0.2


def options() -> Options:
    """Describe the subcommand."""
    it = Options(
        "nodes",
        "list nodes, their health and their bridges",
        examples=("workrs nodes", "workrs nodes --json | jq '.[] | select(.health != \"ok\")'"),
    )
    it.flag("--json", help="print JSON")
    add_node_options(it)
    return it


def run(asked: Namespace) -> int:
    """Listen, print."""
    # Whatever a node says or does not, the answer comes.
    hearing = ask_first(caller(asked), _hear, within_s=2 * NODE_TIMEOUT_S + SILENT_S)
    nodes, now = asyncio.run(hearing)
    if asked.json:
        print_json([as_json(node, nodes, now) for node in nodes.values()])
    else:
        rows = [row(node, nodes, now) for node in nodes.values()]
        print_table(COLUMNS, rows, empty="no node has spoken yet")
    return OK


def row(node: Node, nodes: Mapping[ClientId, Node], now: Instant) -> list[str]:
    """Return a line of the list of nodes."""
    state = node.state
    ways = _bridges(node, nodes, now)
    signs = {True: "→", False: "✗", None: "?"}
    bridges = " ".join(f"{signs[way.is_up]}{way.target}" for way in ways) or "alone"
    counts = ["", "", ""]
    if state is not None:
        counts = [f"{n}" for n in (state.jobs_open, state.jobs_decided, state.agents)]
    return [
        node.name,
        node.health(now),
        node.role(now),
        bridges,
        str(max((way.behind for way in ways), default=0)),
        *counts,
        state.software if state is not None else "",
    ]


def as_json(node: Node, nodes: Mapping[ClientId, Node], now: Instant) -> dict[str, object]:
    """Return what `--json` says of a node."""
    state = node.state
    return {
        "node": node.name,
        "health": node.health(now),
        "role": node.role(now),
        "heard": node.is_heard(now),
        "quorum": None if state is None else state.quorum,
        "ready": None if state is None else state.ready,
        "jobs_open": None if state is None else state.jobs_open,
        "jobs_decided": None if state is None else state.jobs_decided,
        "agents": None if state is None else state.agents,
        "dropped": None if state is None else state.dropped,
        "generation": None if state is None else state.generation,
        "boot": None if state is None else state.boot,
        "commits": None if state is None else state.serial,
        "software": None if state is None else state.software,
        "blobs_url": None if state is None else state.blobs_url,
        "bridges": [
            {"to": way.target, "up": way.is_up, "behind": way.behind}
            for way in _bridges(node, nodes, now)
        ],
    }


def _bridges(node: Node, nodes: Mapping[ClientId, Node], now: Instant) -> Sequence[rule.Link]:
    return [way for way in rule.links(nodes, now) if way.source == node.name]


async def _hear(bus: Bus) -> tuple[dict[ClientId, Node], Instant]:
    """Return the nodes by name, and when they were judged."""
    clock = asyncio.get_running_loop().time
    states = Subscription(pattern=topics.node("+", "state"))
    echo = f"{topics.ROOT}/echo/{bus.client_id}"
    nodes: dict[ClientId, Node] = {}
    for message in await read_retained(bus, states, echo_topic=echo):
        _take(nodes, message, Instant(clock()), retained=True)
    until = clock() + SILENT_S + _SLACK_S
    while clock() < until and not all(map(_has_spoken, nodes.values())):
        try:
            async with asyncio.timeout_at(until):
                for message in await bus.receive():
                    _take(nodes, message, Instant(clock()), retained=False)
        except TimeoutError:
            break
    return dict(sorted(nodes.items())), Instant(clock())


def _has_spoken(node: Node) -> bool:
    """Return whether nothing is to be waited for: it was heard live, or said it was gone."""
    if node.state is None or node.heard is None:
        return False
    return not node.heard.before or not node.state.live


def _take(nodes: dict[ClientId, Node], message: Message, now: Instant, *, retained: bool) -> None:
    found = topics.parse_node(message.topic)
    if found is None or found.kind != "state" or not message.payload:
        return
    try:
        state = codec.decode(NodeState, message.payload)
    except WireError:
        return
    for name in (found.node, *map(ClientId, state.nodes)):
        nodes.setdefault(name, Node(name))
    rule.hear(nodes[found.node], state, now, retained=retained)
