"""The help screen: every key with the name it can be given another by, every sign, the filter."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from textual.binding import Binding

from tui import sign
from tui.cell import Cell, Piece
from tui.page import Section

_FILTER: Final = (
    ("sum", "lines with `sum` anywhere"),
    ("state:running", "by one column: job, device, state, agent, note, rung, arch, label"),
    ("agent:a1,a2", "any of several"),
    ("-gone", "lines without it"),
)
_STATES: Final = {
    "arriving": "not yet on the disks of a majority",
    "queued": "it waits for an agent, or for its next attempt",
    "running": "an agent holds its lease",
    "orphan": "its lease ran out, or its agent is gone: to be taken over",
    "cancelling": "somebody wants it cancelled; undecided",
    "late": "an agent that was not heard for longer than a lease lasts",
    "silent": "a node that was not heard for 3 s",
    "minority": "a node that reaches no majority of nodes",
}


def sections(bindings: Iterable[Binding], keymap: Mapping[str, str]) -> list[Section]:
    """Return the page."""
    return [
        Section("keys", _keys(bindings, keymap)),
        Section("filter", [_pair(word, text, 16) for word, text in _FILTER]),
        Section("signs", [_sign(word, text) for word, text in _STATES.items()]),
        Section(
            "bars and numbers",
            [
                [*sign.bar(0.6, 0.4, 14), Piece("  saved in a checkpoint, done since, to do")],
                _pair("lease", "seconds until it ends, if no further heartbeat came", 16),
                _pair("saved", "age of the newest checkpoint; > where it may be older", 16),
                _pair("lag", "commits of a node that another has not seen yet", 16),
                _pair("→n2  ✗n2  ?n2", "bridge to n2: up, down, n2 does not say", 16),
            ],
        ),
    ]


def _keys(bindings: Iterable[Binding], keymap: Mapping[str, str]) -> Sequence[Cell]:
    found: list[Cell] = []
    for each in bindings:
        action = each.id or ""
        keys = keymap.get(action, each.key).replace("question_mark", "?")
        keys = keys.replace("slash", "/").replace("ctrl+", "^").replace(",", " ")
        text = f"{each.description:<22}"
        found.append([Piece(f"{keys:<16}", "accent"), Piece(text), Piece(action, "dim")])
    return found


def _pair(word: str, text: str, width: int) -> Cell:
    return [Piece(f"{word:<{width}}", "accent"), Piece(text)]


def _sign(word: str, text: str) -> Cell:
    return [*sign.state(word), Piece(" " * max(1, 14 - len(word))), Piece(text, "dim")]
