"""What a person may have meant: names near to one that does not exist."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_NAMED_MAX: Final = 3
_LOOKED_AT_MAX: Final = 20_000
"""Names that are compared: 0.1 s for those of usual length."""


def near(word: str, known: Iterable[str], *, likeness: float = 0.6) -> str:
    """Return `; did you mean …?` with what is near to *word*, or nothing.

    Args:
        word: that was not found.
        known: what there is.
        likeness: 0 to 1; higher where names have much in common anyway.
    """
    names = list(known)[:_LOOKED_AT_MAX]
    same = [name for name in names if name.lower() == word.lower()]
    found = same or get_close_matches(word[:200], names, n=_NAMED_MAX, cutoff=likeness)
    return f"; did you mean {' or '.join(found)}?" if found else ""
