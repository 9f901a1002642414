"""The page of one node: what it says of itself, its bridges both ways, and what was seen of it."""

from tui import sign
from tui.cell import Cell, Look, Piece
from tui.model import amount
from tui.model import node as nodes_rule
from tui.model.node import Link, Node
from tui.node_columns import behind, bridge
from tui.page import Section, fact, facts, table, timeline
from workrs.domain.ids import ClientId

_ROLES = {
    "votes": "its vote counts for every job",
    "keeps": "it keeps what it is given and cannot vote now",
    "rejoins": "it lost its disk and catches up; it does not vote yet",
    "-": "nothing, for as long as it is not heard",
}


def sections(look: Look, name: ClientId) -> list[Section]:
    """Return the page."""
    node = look.model.nodes.get(name)
    if node is None:
        return [Section("node", [[Piece("No node of this name was heard of.", "dim")]])]
    mine = (event for event in look.model.events if event.subject == name)
    found = [
        Section("state", _state(node, look)),
        Section("ledger", _ledger(node)),
        Section("messages", _messages(node)),
        Section("bridges", _bridges(node, look), 1),
        Section("what happened", timeline(mine, look.now), 1),
    ]
    return [section for section in found if section.lines]


def _state(node: Node, look: Look) -> list[Cell]:
    health, role = node.health(look.now), node.role(look.now)
    heard = "never" if node.heard is None else f"{node.heard.text(look.now)} ago"
    lines: list[Cell] = [
        fact("health", *sign.state(health)),
        fact("role", role, Piece(f"  {_ROLES[role]}", "dim")),
        fact("heard", heard, Piece("  it says so every second", "dim")),
    ]
    state = node.state
    if state is None:
        return lines
    size = len(state.nodes)
    if state.nodes_heard and node.is_heard(look.now):
        tone = "" if state.quorum else "bad"
        lines.append(fact("hears", Piece(f"{state.nodes_heard} of {size} nodes", tone)))
    timing = state.timing
    lines += facts(
        [
            ("started", f"{state.boot} time{'s' if state.boot != 1 else ''}"),
            ("software", state.software),
            ("blob store", state.blobs_url),
            ("leases", f"{timing.ttl_s:g} s, a heartbeat every {timing.heartbeat_period_s:g} s"),
        ]
    )
    return lines


def _ledger(node: Node) -> list[Cell]:
    state = node.state
    if state is None:
        return []
    numbers = [
        ("open jobs", state.jobs_open),
        ("ended jobs", state.jobs_decided),
        ("agents", state.agents),
        ("commits", state.serial),
    ]
    return [fact(name, f"{value:>12,}") for name, value in numbers]


def _messages(node: Node) -> list[Cell]:
    state = node.state
    if state is None:
        return []
    return table(
        ("", "a second", "since its start"),
        [
            ("published", amount.rate(node.rate), f"{state.sent:,}"),
            ("refused", amount.rate(node.dropped_rate), f"{state.dropped:,}"),
        ],
        right=("a second", "since its start"),
    )


def _bridges(node: Node, look: Look) -> list[Cell]:
    """Return a line for each bridge that leads from the node or to it."""
    found = nodes_rule.links(look.model.nodes, look.now)
    mine = [link for link in found if link.source == node.name]
    mine += [link for link in found if link.target == node.name]
    if not mine:
        return [[Piece("it is alone", "dim")]]
    rows = [(link.source, [bridge(link)], link.target, _word(link), _lag(link)) for link in mine]
    return table(("from", "", "to", "state", "commits behind"), rows, right=("commits behind",))


def _word(link: Link) -> Cell:
    if link.is_up is None:
        return [Piece(f"{link.target} does not say", "dim")]
    return sign.state("up" if link.is_up else "down")


def _lag(link: Link) -> Cell:
    return [Piece("-", "dim") if link.is_up is None else behind(link.behind)]
