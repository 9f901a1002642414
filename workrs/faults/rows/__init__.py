"""The rows of the matrix, in the order of docs/faults.md."""

from importlib import import_module

from workrs.faults.row import Row

_MODULES = (
    "process",
    "agent",
    "network",
    "weather",
    "moving",
    "device",
    "poison",
    "checkpoint",
    "scale",
)


def all_rows() -> tuple[Row, ...]:
    """Return every row; each module of rows has a tuple ROWS."""
    found: list[Row] = []
    for name in _MODULES:
        try:
            module = import_module(f"workrs.faults.rows.{name}")
        except ModuleNotFoundError:
            continue
        found += module.ROWS
    return tuple(found)
