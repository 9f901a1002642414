"""Numbers that a person writes: lengths of time, and how many."""

import math
import re
from typing import Final

from workrs.domain.errors import ConfigError

_UNITS_S: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LENGTH: Final = re.compile(r"([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*([smhd]?)", re.ASCII)
_LENGTH_MAX_S: Final = 100 * 365 * 86400.0
"""A century: an event loop's clock takes no more than a few of them."""
_COUNT_MAX: Final = 2**31 - 1


def seconds(text: str) -> float:
    """Return the seconds of `90`, `1.5`, `90s`, `15m`, `12h` or `30d`, or raise ConfigError."""
    found = _LENGTH.fullmatch(text.strip().lower())
    length_s = float(found[1]) * _UNITS_S[found[2]] if found else math.nan
    if not length_s <= _LENGTH_MAX_S:
        raise ConfigError("write seconds, or a number with a unit: 90, 1.5, 15m, 12h, 30d")
    return length_s


def count(text: str) -> int:
    """Return a number from 1 up, or raise ConfigError."""
    text = text.strip().replace("_", "")
    digits = text if text.isascii() and text.isdigit() else "0"
    found = int(digits) if len(digits) < len(str(_COUNT_MAX)) + 1 else 0
    if not 0 < found <= _COUNT_MAX:
        raise ConfigError(f"write a whole number from 1 to {_COUNT_MAX:,}")
    return found
