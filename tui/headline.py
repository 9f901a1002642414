"""The two lines on top of every screen, and the line below them when something is wrong."""

from collections.abc import Sequence
from typing import Final

from tui.cell import Cell, Look, Piece
from tui.model import amount
from workrs.wire.view import ARRIVING, CANCELLING, QUEUED, RUNNING

_BETWEEN: Final = "  "
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


def summary(look: Look, width: int) -> Cell:
    """Return what a glance should tell: how much of everything, and what needs somebody.

    Where there is no room the least of it is left out, not the last.
    """
    model = look.model
    if not model.is_complete:
        what = f"reading: {model.read:,} messages" if model.read else "connecting"
        return [Piece(f" ◌ {what} …", "dim")]
    parts = _parts(look)
    while len(parts) > 1 and sum(_width(part) for _, part in parts) > width:
        parts.remove(min(parts, key=lambda ranked: ranked[0]))
    return [piece for _, part in parts for piece in (*part, Piece(_BETWEEN))]


def _width(part: Cell) -> int:
    return sum(len(piece.text) for piece in part) + len(_BETWEEN)


def _parts(look: Look) -> list[tuple[int, Cell]]:
    """Return what may stand in the summary, each with its rank."""
    model, now = look
    counts = model.counts
    heard = sum(node.is_heard(now) for node in model.nodes.values())
    size = max(model.view.size, len(model.nodes))
    live = [agent for agent in model.agents.values() if agent.state != "gone"]
    gone = sum(agent.is_just_gone(now) for agent in model.agents.values())
    late = sum(agent.is_late(now, model.timing.ttl_s) for agent in live)
    held = sum(agent.held for agent in live)
    slots = sum(agent.slots for agent in live)
    orphans = model.orphans(now)
    bad = counts["failed"] + counts["expired"]
    parts: list[tuple[int, Cell]] = [
        (9, [Piece(f" {heard}/{size}", "" if heard == size else "bad"), Piece(" nodes", "dim")]),
        (5, _counted(len(live), "agent" if len(live) == 1 else "agents")),
    ]
    if gone:
        parts.append((8, [Piece(f"✗ {amount.count(gone)} gone", "bad")]))
    if late:
        parts.append((8, [Piece(f"◍ {amount.count(late)} late", "warn")]))
    parts += [
        (4, [Piece(f"{amount.count(held)}/{amount.count(slots)}"), Piece(" slots", "dim")]),
        (7, _counted(counts[RUNNING] - orphans, "running", "●", "info")),
        (6, _counted(counts[QUEUED] + counts[ARRIVING], "queued", "○")),
    ]
    if orphans:
        word = "orphan" if orphans == 1 else "orphans"
        parts.append((8, [Piece(f"◍ {amount.count(orphans)} {word}", "warn")]))
    if counts[CANCELLING]:
        parts.append((3, [Piece(f"◐ {amount.count(counts[CANCELLING])} cancelling", "warn")]))
    rate = amount.rate(model.history.rate("throughput"))
    parts += [
        (3, _counted(counts["succeeded"], "", "✓", "good")),
        (7, [Piece("✗ ", "bad" if bad else "dim"), Piece(amount.count(bad), "bad" if bad else "")]),
        (2, [Piece(rate), Piece(" ends/s", "dim")]),
    ]
    if model.forgotten:
        parts.append((1, _counted(model.forgotten, "ended ones not shown")))
    return parts


def _counted(number: int, word: str, mark: str = "", tone: str = "") -> Cell:
    found = [Piece(f"{mark} ", tone)] if mark else []
    return [*found, Piece(amount.count(number)), Piece(f" {word}" if word else "", "dim")]


def banner(look: Look) -> Cell:
    """Say what is wrong with what is shown; nothing when all is well."""
    model, now = look
    if model.trouble:
        old = "; this is old" if model.via else ""
        text = f" ✗ {model.trouble}. Trying the next{old} "
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
