"""docs/events.md, made from the code: every event that nodes and agents log, with its fields.

Run: python -m workrs.cli.event_reference > docs/events.md   (a test fails when it is stale)

The keys are found where they are written, in the calls that log them. A key that is chosen at
run time has to be a name that is written out in the same module.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2]
_LOGGED_BY: Final[Mapping[str, str]] = {
    "event": "info",
    "warning": "warning",
    "debug": "debug",
    "fact": "info",
    "fact_limited": "info, few a beat",
    "note": "info, history",
    "note_limited": "info, history, few a beat",
    "log": "info",
}
"""Methods that log, and how: also into the ledger's history, or at most a few lines a second."""
_CHOSEN: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("broker/brain.py", "kind"): ("granted", "taken_over"),
    ("broker/functions.py", "event"): ("function_added", "function_removed"),
}
_PASSED_ON: Final = frozenset(
    {"broker/node.py", "edge_agent/supervisor.py", "workrs/adapters/log.py"}
)
"""Modules that log what another gave them."""
_HEAD: Final = """\
# Events

One line of a log is one event: the time, the level, who says it, a key, and fields.

```
14:03:07.120 INFO    node[n2] taken_over job=pump-7_sum agent=a2 epoch=2 former=a1
```

The keys are an interface: what reads them (tests, the dashboard, alerts on
`workrs_events_total{event="…"}`) goes on working, and CHANGELOG.md says when one changes. Values
with other characters than letters, digits and `._-/:+@%` are quoted as JSON. *History*: it is
also a row of the [ledger](ledger.md)'s history. *Few a beat*: clients can cause it at will, so
lines beyond a few a second are left out and counted (`lines_left_out`).

This page is made from the code: `python -m workrs.cli.event_reference > docs/events.md`.
"""


def found() -> Iterator[tuple[str, str, str, str]]:
    """Return key, package, how it is logged and its fields, of every call that logs.

    Raises:
        LookupError: a key is chosen at run time and nobody said from what.
    """
    for package in ("broker", "edge_agent", "workrs"):
        for path in sorted((_ROOT / package).rglob("*.py")):
            where = path.relative_to(_ROOT).as_posix()
            if where in _PASSED_ON or where.startswith(("workrs/testing", "workrs/faults")):
                continue
            for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                    continue
                how = _LOGGED_BY.get(call.func.attr)
                if how is not None and call.args:
                    for key in _keys(where, call):
                        yield key, package, how, _fields(call)


def _fields(call: ast.Call) -> str:
    """Return the names of the fields that a call gives; … for what it gathered before."""
    given = [word.arg for word in call.keywords if word.arg != "level"]
    names = [f"`{name}`" if name else "…" for name in given]
    match call.args[1:]:
        case [ast.Name() | ast.Attribute(), *_] if "note" in ast.unparse(call.func):
            names.append("`job`")
    return " ".join(names)


def _keys(where: str, call: ast.Call) -> tuple[str, ...]:
    """Return the keys that a call may log; none when it is no call of ours."""
    match call.args[0]:
        case ast.Constant(value=str(key)) if key.replace("_", "").isalnum() and key.islower():
            return (key,)
        case ast.Name(id=name) if (where, name) in _CHOSEN:
            return _CHOSEN[where, name]
        case ast.Name(id=name) if name in ("event", "key", "kind"):
            raise LookupError(f"{where}: which events can {name} be?")
        case _:
            return ()


def reference() -> str:
    """Return the page."""
    rows: dict[tuple[str, str], tuple[set[str], set[str]]] = {}
    for key, package, how, fields in found():
        levels, names = rows.setdefault((key, package), (set(), set()))
        levels.add(how)
        names.update(fields.split())
    lines = [
        f"| `{key}` | {_SAID_BY[package]} | {'; '.join(sorted(how))} | {' '.join(sorted(fields))} |"
        for (key, package), (how, fields) in sorted(rows.items())
    ]
    return (
        "\n".join([_HEAD, "| key | said by | how | fields |", "|---|---|---|---|", *lines]) + "\n"
    )


_SAID_BY: Final = {"broker": "node", "edge_agent": "agent", "workrs": "both"}

if __name__ == "__main__":
    print(reference(), end="")
