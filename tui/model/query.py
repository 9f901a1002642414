"""The filter language of all lists: words that must be there, `key:value`, `-` to turn round.

`state:running -agent:a1 sum` are running jobs, not of a1, with `sum` anywhere in their line.
Case does not matter. A value with several words apart by commas means any of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Term:
    key: str
    """Empty: anywhere."""
    values: tuple[str, ...]
    negated: bool

    def holds(self, fields: Mapping[str, str]) -> bool:
        places = [fields.get(self.key, "")] if self.key else list(fields.values())
        found = any(value in place.lower() for value in self.values for place in places)
        return found is not self.negated


@dataclass(frozen=True, slots=True)
class Query:
    """A filter. Empty: everything."""

    text: str
    terms: tuple[_Term, ...]

    def matches(self, fields: Mapping[str, str]) -> bool:
        """Return whether a line with these fields, name by text, is wanted."""
        return all(term.holds(fields) for term in self.terms)

    def __bool__(self) -> bool:
        """Return whether it leaves anything out."""
        return bool(self.terms)


def parse(text: str) -> Query:
    """Read a filter. Every text is one: what is half typed filters by what is there."""
    terms = []
    for word in text.lower().split():
        negated = word.startswith("-") and len(word) > 1
        key, colon, rest = word.removeprefix("-" if negated else "").partition(":")
        values = tuple(filter(None, (rest if colon else key).split(",")))
        if values:
            terms.append(_Term(key if colon else "", values, negated))
    return Query(" ".join(text.split()), tuple(terms))


EVERYTHING = parse("")
