"""Signs, bars and graphs: each state has a sign of its own, so that colour is never the only one.

All of them are one cell wide in every terminal font that has box drawing.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from tui.cell import Piece
from tui.model.event import Kind

STATES: Final[Mapping[str, tuple[str, str]]] = {
    "arriving": ("◌", "dim"),
    "queued": ("○", ""),
    "running": ("●", "info"),
    "orphan": ("◍", "warn"),
    "cancelling": ("◐", "warn"),
    "succeeded": ("✓", "good"),
    "failed": ("✗", "bad"),
    "cancelled": ("⊘", "dim"),
    "expired": ("∅", "bad"),
    "live": ("●", "good"),
    "late": ("◍", "warn"),
    "draining": ("◐", "warn"),
    "gone": ("✗", "bad"),
    "ok": ("●", "good"),
    "silent": ("◍", "bad"),
    "minority": ("◔", "bad"),
    "rejoining": ("◐", "warn"),
    "never heard": ("◌", "bad"),
    "up": ("●", "good"),
    "down": ("✗", "bad"),
}
"""Sign and tone by word."""
_OTHER: Final = ("◐", "warn")

EVENTS: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.ARRIVED: ("◌", "dim"),
    Kind.ACCEPTED: ("○", ""),
    Kind.CLAIMED: ("◇", ""),
    Kind.STARTED: ("●", "info"),
    Kind.CHECKPOINTED: ("◆", "dim"),
    Kind.TAKEN_OVER: ("↷", "warn"),
    Kind.RELEASED: ("◁", ""),
    Kind.CANCELLING: ("◐", "warn"),
    Kind.SUCCEEDED: ("✓", "good"),
    Kind.FAILED: ("✗", "bad"),
    Kind.CANCELLED: ("⊘", "dim"),
    Kind.EXPIRED: ("∅", "bad"),
    Kind.AGENT_CAME: ("▲", "good"),
    Kind.AGENT_GONE: ("▼", "bad"),
    Kind.AGENT_DRAINS: ("◐", "warn"),
    Kind.AGENT_BACK: ("▲", "good"),
    Kind.NODE_LIVE: ("▲", "good"),
    Kind.NODE_SILENT: ("▼", "bad"),
    Kind.NODE_GONE: ("▼", "bad"),
    Kind.MAJORITY_LOST: ("▼", "bad"),
    Kind.MAJORITY_BACK: ("▲", "good"),
    Kind.WATCHING: ("▸", "accent"),
    Kind.NODE_LOST: ("✗", "bad"),
    Kind.ORDERED: ("▸", "accent"),
}

_EIGHTHS: Final = " ▁▂▃▄▅▆▇█"


def state(word: str) -> list[Piece]:
    """Return sign and word of a state."""
    sign, tone = STATES.get(word, _OTHER)
    return [Piece(f"{sign} ", tone), Piece(word, tone)]


def bar(done: float | None, saved: float | None, width: int) -> list[Piece]:
    """Return a progress bar: what is saved in a checkpoint, what is done since, what is left.

    The three are told apart by their strokes, not by colour alone.
    """
    if done is None:
        return [Piece("┄" * width, "dim")]
    filled = min(width, max(0, round(done * width)))
    kept = min(filled, max(0, round((saved or 0.0) * width)))
    parts = [
        ("━" * kept, "info"),
        ("╍" * (filled - kept), "info"),
        ("─" * (width - filled), "rule"),
    ]
    return [Piece(text, tone) for text, tone in parts if text]


def slots(used: int, total: int, width: int) -> list[Piece]:
    """Return the slots of an agent, one a sign, or a share where there are too many."""
    shown, full = (total, used) if total <= width else (width, round(used / total * width))
    full = min(full, shown)
    return [Piece("▰" * full, "info"), Piece("▱" * (shown - full), "rule")]


def level(share: float) -> str:
    """Return a block as high as *share*, 0 to 1."""
    return _EIGHTHS[min(8, max(0, round(share * 8)))]


def chart(values: Sequence[float], width: int, height: int, top: float = 0.0) -> list[str]:
    """Return the newest *width* values as lines of blocks, the highest line first.

    Args:
        values: the newest last; above zero.
        width: columns, one a value; missing ones on the left are blank.
        height: lines.
        top: value that reaches the top; 0: the highest of those shown.
    """
    shown = [0.0] * max(0, width - len(values)) + list(values)[-width:]
    top = top or max(shown, default=0.0) or 1.0
    eighths = [min(height * 8, max(value > 0, round(value / top * height * 8))) for value in shown]
    return [
        "".join(_EIGHTHS[min(8, max(0, each - 8 * line))] for each in eighths)
        for line in reversed(range(height))
    ]


def squeeze(values: Sequence[float], width: int) -> list[float]:
    """Return at most *width* means of equally many neighbours, so that all values are seen."""
    if len(values) <= width:
        return list(values)
    size = -(-len(values) // width)
    first = len(values) % size
    groups = [values[:first]] if first else []
    groups += [values[at : at + size] for at in range(first, len(values), size)]
    return [sum(group) / len(group) for group in groups]
