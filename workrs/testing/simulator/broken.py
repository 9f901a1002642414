"""The promise that a run has broken."""

from typing import NoReturn

from workrs.domain.errors import WorkrsError


class BrokenError(WorkrsError):
    """An invariant does not hold."""

    def __init__(self, rule: str, fact: str) -> None:
        """Name the rule as FAULTS and the documents do, and the fact that breaks it."""
        super().__init__(f"{rule}: {fact}")
        self.rule = rule


def broken(rule: str, fact: str) -> NoReturn:
    """Say that *rule* is broken by *fact*."""
    raise BrokenError(rule, fact)
