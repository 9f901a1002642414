"""The graphs: the last minutes of throughput, running, queued and takeovers, as lines of blocks."""

from typing import Final

from tui import sign
from tui.cell import Cell, Look, Piece
from tui.model import amount
from tui.model.age import duration
from tui.model.history import METRICS

_TITLES: Final = {
    "throughput": ("ends/s", "good"),
    "running": ("running", "info"),
    "queued": ("queued", "dim"),
    "takeovers": ("takeovers", "warn"),
}
_LABEL: Final = 17


def _now(look: Look, name: str) -> str:
    """Return the metric's present value."""
    history = look.model.history
    if name == "takeovers":
        return amount.count(sum(history.last(name, 60))) + "/min"
    if name == "throughput":
        return amount.rate(history.rate(name))
    newest = history.last(name, 1)
    return amount.count(newest[0]) if newest else "-"


def trend(look: Look, width: int, height: int) -> list[Cell]:
    """Return all metrics in *height* lines: two beside each other, or below each other."""
    if height < len(METRICS):
        half = (width - 3) // 2
        rows = [_strip(look, name, half, 1) for name in METRICS]
        return [[*rows[0][0], Piece("   "), *rows[1][0]], [*rows[2][0], Piece("   "), *rows[3][0]]]
    # An empty line after each, where there is room: without it full ones make one slab.
    each = height // len(METRICS)
    found: list[Cell] = []
    for name in METRICS:
        lines = _strip(look, name, width, max(1, each - 1))
        found += [*lines, *[[]] * (each - len(lines))]
    return found


def _strip(look: Look, name: str, width: int, height: int) -> list[Cell]:
    title, tone = _TITLES[name]
    room = max(1, width - _LABEL)
    lines = sign.chart(look.model.history.last(name, room), room, height)
    found: list[Cell] = []
    for place, line in enumerate(lines):
        is_last = place == len(lines) - 1
        label = f"{title:<9} {_now(look, name):>6} " if is_last else ""
        found.append([Piece(f"{label:<{_LABEL}}", ""), Piece(line, tone)])
    return found


def curves(look: Look, width: int, height: int) -> list[Cell]:
    """Return each metric as a graph of its own with a scale, over all that is kept."""
    each = max(3, height // len(METRICS))
    room = max(1, width - 8)
    found: list[Cell] = []
    for name in METRICS:
        title, tone = _TITLES[name]
        kept = look.model.history.last(name, room * 4)
        values = sign.squeeze(kept, room)
        top = max([*values, 1.0])
        span = f"last {duration(len(kept))}" if kept else ""
        found.append(
            [Piece(title, "heading"), Piece(f"  {_now(look, name)}  "), Piece(span, "dim")]
        )
        lines = sign.chart(values, room, each - 2, top)
        for place, line in enumerate(lines):
            scale = amount.rate(top) if place == 0 else "0" if place == len(lines) - 1 else ""
            found.append([Piece(f"{scale:>6} ", "dim"), Piece("│", "rule"), Piece(line, tone)])
        found.append([])
    return found[:height]
