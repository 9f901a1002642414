"""One event, one line: a stable key and fields, written by the standard library's logging.

The key is part of the interface: tests and dashboards read it. Fields come in the order
given; values with spaces are quoted as JSON, so a line can be taken apart again.
"""

import json
import logging
import sys
from collections.abc import Mapping
from typing import TextIO

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/:+@%")


def _printable(letter: str) -> str:
    return letter if letter.isprintable() else json.dumps(letter).strip('"')


def _quote(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    if text and set(text) <= _PLAIN:
        return text
    # JSON writes out line ends and escapes, but not those above ASCII: 0x9b is one, too, for some
    # terminals, and there are characters that turn the rest of a line around.
    return "".join(map(_printable, json.dumps(text, ensure_ascii=False)))


_COUNTS: dict[str, int] = {}


def counts() -> dict[str, int]:
    """Return how often each event of this program was logged, details that were not shown too."""
    return dict(_COUNTS)


def count_from_zero(*keys: str) -> None:
    """Count events before their first one.

    Prometheus sees no growth in a counter that begins with 1, so an alert on what must never happen
    would miss the only time that it did.
    """
    for key in keys:
        _COUNTS.setdefault(key, 0)


class EventLog:
    """Writes events of one program or part of it."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def event(self, key: str, /, *, level: int = logging.INFO, **fields: object) -> None:
        """Log that *key* happened, with its facts."""
        self.facts(key, fields, level=level)

    def facts(self, key: str, fields: Mapping[str, object], *, level: int = logging.INFO) -> None:
        """Log that *key* happened, with facts whose names are known at run time only."""
        _COUNTS[key] = _COUNTS.get(key, 0) + 1
        if self._logger.isEnabledFor(level):
            facts = " ".join(f"{name}={_quote(value)}" for name, value in fields.items())
            self._logger.log(level, "%s", f"{key} {facts}" if facts else key)

    def warning(self, key: str, /, **fields: object) -> None:
        """Log something an operator should look at."""
        self.event(key, level=logging.WARNING, **fields)

    def debug(self, key: str, /, **fields: object) -> None:
        """Log a detail."""
        self.event(key, level=logging.DEBUG, **fields)


def get(name: str) -> EventLog:
    """Return the log of the part called *name*."""
    return EventLog(name)


def configure(*, level: int = logging.INFO, stream: TextIO | None = None) -> None:
    """Send events as lines with the wall time to *stream* (standard error by default)."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        logging.Formatter(
            "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s %(message)s", "%H:%M:%S"
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
