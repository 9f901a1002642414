"""The rows of the matrix, in the order of docs/faults.md."""

from importlib import import_module
from importlib.util import find_spec

from workrs.faults.row import Row

_MODULES = (
    "process",
    "node",
    "agent",
    "network",
    "weather",
    "moving",
    "device",
    "poison",
    "checkpoint",
    "scale",
    "pairs",
    "takeover",
)


def all_rows() -> tuple[Row, ...]:
    """Return every row; each module of rows has a tuple ROWS."""
    found: list[Row] = []
    for name in _MODULES:
        if find_spec(place := f"workrs.faults.rows.{name}"):
            found += import_module(place).ROWS
    return tuple(found)
