"""What a person may have meant: names near to one that does not exist."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_NAMED_MAX: Final = 3
_LOOKED_AT_MAX: Final = 20_000
"""Names that are compared: 0.1 s for those of usual length."""


def near(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` with what is near to *word*, or nothing."""
    names = list(known)[:_LOOKED_AT_MAX]
    same = [name for name in names if name.lower() == word.lower()]
    found = same or get_close_matches(word[:200], names, n=_NAMED_MAX, cutoff=0.7)
    return f"; did you mean {' or '.join(found)}?" if found else ""
