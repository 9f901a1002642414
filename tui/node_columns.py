"""The columns of the list of nodes: health, role, bridges, how much each says and how far it is."""

from collections.abc import Sequence
from typing import Final

from tui import sign
from tui.cell import Cell, Look, Piece
from tui.column import Column, number, words
from tui.model import amount
from tui.model import node as nodes_rule
from tui.model.node import Link, Node

_FAR: Final = 100
"""Commits behind from which a bridge is worth a look."""


def bridge(link: Link) -> Piece:
    """Return the sign of whether a bridge is up."""
    return Piece(*{True: ("→", "good"), False: ("✗", "bad"), None: ("?", "dim")}[link.is_up])


def behind(count: int) -> Piece:
    """Return how far a bridge is behind."""
    return Piece(amount.count(count), "warn" if count > _FAR else "dim")


def _bridges(node: Node, look: Look) -> Cell:
    """Return where the node's own bridges lead, each with a sign of whether it is up."""
    found: list[Piece] = []
    for target in sorted(look.model.nodes):
        if target != node.name:
            link = nodes_rule.link(look.model.nodes, node.name, target, look.now)
            found += [bridge(link), Piece(f"{target} ")]
    return found or [Piece("alone", "dim")]


def _lag(node: Node, look: Look) -> Cell:
    """Return how many of the node's commits the farthest of the others has not seen."""
    found = nodes_rule.links(look.model.nodes, look.now)
    return [behind(max((link.behind for link in found if link.source == node.name), default=0))]


def _heard(node: Node, look: Look) -> Cell:
    if node.heard is None:
        return [Piece("never", "bad")]
    is_late = node.heard.age_s(look.now) > nodes_rule.SILENT_S
    return [Piece(node.heard.text(look.now), "bad" if is_late else "dim")]


NODES: Final[Sequence[Column[Node]]] = (
    words("node", lambda node: node.name, width=6, grows=1, rank=9),
    Column(
        key="health",
        title="health",
        width=13,
        rank=8,
        cell=lambda node, look: sign.state(node.health(look.now)),
        sort=lambda node, look: (node.health(look.now) == "ok", node.name),
    ),
    Column(
        key="role",
        title="role",
        width=7,
        rank=7,
        cell=lambda node, look: [Piece(node.role(look.now))],
    ),
    Column(key="bridges", title="bridges", width=13, grows=2, rank=7, cell=_bridges),
    Column(
        key="rate",
        title="msg/s",
        width=5,
        right=True,
        rank=6,
        cell=lambda node, look: [
            Piece(amount.rate(node.rate if node.is_heard(look.now) else None))
        ],
        sort=lambda node, _: -(node.rate or 0.0),
    ),
    Column(key="lag", title="lag", width=5, right=True, rank=6, cell=_lag),
    Column(key="heard", title="heard", width=5, right=True, rank=6, cell=_heard),
    number(
        "open",
        lambda node: node.state.jobs_open if node.state else None,
        form=amount.count,
        width=6,
        rank=5,
    ),
    number(
        "ended",
        lambda node: node.state.jobs_decided if node.state else None,
        form=amount.count,
        width=6,
        rank=4,
    ),
    number(
        "agents",
        lambda node: node.state.agents if node.state else None,
        form=amount.count,
        width=6,
        rank=3,
    ),
    number(
        "refused/s",
        lambda node: node.dropped_rate,
        form=amount.rate,
        width=9,
        rank=1,
        tone="dim",
    ),
)
