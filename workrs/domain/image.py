"""Which images may run: by the operator's list of patterns, at the nodes and at the agents."""

from collections.abc import Sequence
from fnmatch import fnmatchcase


def is_allowed(image: str | None, patterns: Sequence[str]) -> bool:
    """Return whether *image* is on the list; an empty list allows all.

    A pattern is an image's whole name, with ``*`` for any characters: ``*@sha256:*`` takes images
    by digest alone.
    """
    return not patterns or any(fnmatchcase(image or "", pattern) for pattern in patterns)
