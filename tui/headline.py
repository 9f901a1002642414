"""The two lines on top of every screen, and the line below them when something is wrong."""

from collections.abc import Sequence
from typing import Final

from tui import sign
from tui.cell import Cell, Look, Piece
from workrs.wire.view import ARRIVING, CANCELLING, QUEUED, RUNNING

VIEWS: Final[Sequence[str]] = ("overview", "jobs", "agents", "events", "graphs")


def tabs(current: str, look: Look, width: int) -> Cell:
    """Return the names of the views with their keys, and which node is watched."""
    found = [Piece(" workrs ", "accent")]
    for place, name in enumerate(VIEWS, start=1):
        shown = name == current
        found.append(Piece(f" {place}", "accent" if shown else "dim"))
        found.append(Piece(f"[{name}]" if shown else f" {name} ", "title" if shown else ""))
    via = f"▸ {look.model.via} " if look.model.via else ""
    if look.model.trouble:
        via = "✗ no node "
    used = sum(len(piece.text) for piece in found)
    if used + len(via) <= width:
        found += [
            Piece(" " * (width - used - len(via))),
            Piece(via, "bad" if look.model.trouble else "dim"),
        ]
    return found


def tab_at(x: int) -> str | None:
    """Return the view whose name stands at column *x* of the first line."""
    left = len(" workrs ")
    for name in VIEWS:
        width = len(name) + 4
        if left <= x < left + width:
            return name
        left += width
    return None


def summary(look: Look) -> Cell:
    """Return what a glance should tell: how much of everything, and what is wrong."""
    model, now = look
    if not model.is_complete:
        what = f"reading: {model.read:,} messages" if model.read else "connecting"
        return [Piece(f" ◌ {what} …", "dim")]
    heard = sum(node.is_heard(now) for node in model.nodes.values())
    size = max(model.view.size, len(model.nodes))
    live = [agent for agent in model.agents.values() if agent.state != "gone"]
    held = sum(agent.held for agent in live)
    slots = sum(agent.slots for agent in live)
    counts = model.counts
    waiting = counts[QUEUED] + counts[ARRIVING]
    bad = counts["failed"] + counts["expired"]
    rate = model.history.rate("throughput")
    parts: list[list[Piece]] = [
        [Piece(f" {heard}/{size}", "" if heard == size else "bad"), Piece(" nodes", "dim")],
        [Piece(sign.count(len(live))), Piece(" agents", "dim")],
        [Piece(f"{sign.count(held)}/{sign.count(slots)}"), Piece(" slots", "dim")],
        [Piece("● ", "info"), Piece(sign.count(counts[RUNNING])), Piece(" running", "dim")],
        [Piece("○ "), Piece(sign.count(waiting)), Piece(" queued", "dim")],
        [Piece("✓ ", "good"), Piece(sign.count(counts["succeeded"]))],
        [Piece("✗ ", "bad" if bad else "dim"), Piece(sign.count(bad), "bad" if bad else "")],
        [Piece(sign.rate(rate)), Piece(" ends/s", "dim")],
    ]
    if counts[CANCELLING]:
        parts.insert(5, [Piece("◐ ", "warn"), Piece(f"{counts[CANCELLING]} cancelling", "warn")])
    if model.forgotten:
        parts.append([Piece(f"{sign.count(model.forgotten)} ended ones not shown", "dim")])
    found: list[Piece] = []
    for part in parts:
        found += [*part, Piece("  ")]
    return found


def banner(look: Look) -> Cell:
    """Say what is wrong with what is shown; nothing when all is well."""
    model, now = look
    if model.trouble:
        old = "; what is shown is old" if model.via else ""
        text = f" ✗ {model.trouble}. Trying the next node{old} "
        return [Piece(text, "bad")]
    minority = model.minority(now)
    if minority:
        return [Piece(f" ◔ {minority} ", "bad")]
    silent = [node.name for node in model.nodes.values() if not node.is_heard(now)]
    if silent and model.is_complete:
        what = "is" if len(silent) == 1 else "are"
        return [
            Piece(f" ◍ {', '.join(sorted(silent))} {what} not heard; the others go on ", "warn")
        ]
    return []
