"""The columns of the list of nodes: health, role, bridges, how much each says and how far it is."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from tui import sign
from tui.cell import Cell, Column, Look, Piece
from tui.model import node as nodes_rule
from tui.model.node import Node


def _bridges(node: Node, look: Look) -> Cell:
    """Return where the node's own bridges lead, each with a sign of whether it is up."""
    found: list[Piece] = []
    for target in sorted(look.model.nodes):
        if target == node.name:
            continue
        link = nodes_rule.link(look.model.nodes, node.name, target, look.now)
        mark, tone = {True: ("→", "good"), False: ("✗", "bad"), None: ("?", "dim")}[link.is_up]
        found += [Piece(mark, tone), Piece(f"{target} ")]
    return found or [Piece("alone", "dim")]


def _lag(node: Node, look: Look) -> Cell:
    """Return how many of the node's commits the farthest of the others has not seen."""
    ways = [
        link for link in nodes_rule.links(look.model.nodes, look.now) if link.source == node.name
    ]
    behind = max((link.behind for link in ways), default=0)
    return [Piece(sign.count(behind), "warn" if behind > 100 else "dim")]


def _heard(node: Node, look: Look) -> Cell:
    if node.heard is None:
        return [Piece("never", "bad")]
    is_late = node.heard.age_s(look.now) > nodes_rule.SILENT_S
    return [Piece(node.heard.text(look.now), "bad" if is_late else "dim")]


def _told(node: Node, _look: Look, *, name: str) -> Cell:
    return [Piece(sign.count(getattr(node.state, name)))] if node.state else []


NODES: Final[Sequence[Column[Node]]] = (
    Column(
        key="node", title="node", width=6, grows=1, rank=9, cell=lambda node, _: [Piece(node.name)]
    ),
    Column(
        key="health",
        title="health",
        width=13,
        rank=8,
        cell=lambda node, look: sign.state(node.health(look.now)),
    ),
    Column(
        key="role",
        title="role",
        width=7,
        rank=7,
        cell=lambda node, look: [Piece(node.role(look.now))],
    ),
    Column(
        key="bridges",
        title="bridges",
        width=13,
        grows=2,
        rank=7,
        cell=_bridges,
    ),
    Column(
        key="rate",
        title="msg/s",
        width=5,
        right=True,
        rank=6,
        cell=lambda node, _: [Piece(sign.rate(node.rate))],
    ),
    Column(key="lag", title="lag", width=5, right=True, rank=6, cell=_lag),
    Column(key="heard", title="heard", width=5, right=True, rank=6, cell=_heard),
    Column(
        key="open",
        title="open",
        width=6,
        right=True,
        rank=5,
        cell=partial(_told, name="jobs_open"),
    ),
    Column(
        key="ended",
        title="ended",
        width=6,
        right=True,
        rank=4,
        cell=partial(_told, name="jobs_decided"),
    ),
    Column(
        key="agents",
        title="agents",
        width=6,
        right=True,
        rank=3,
        cell=partial(_told, name="agents"),
    ),
    Column(
        key="refused",
        title="refused/s",
        width=9,
        right=True,
        rank=1,
        cell=lambda node, _: [Piece(sign.rate(node.dropped_rate), "dim")],
    ),
)
