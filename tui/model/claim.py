"""One claim of a job over time: who held it, under which epoch, from when to when, and its end."""

from dataclasses import dataclass, replace
from typing import Final

from tui.model.age import Since
from workrs.domain.ids import ClientId, Epoch, Instant

CLAIMS_MAX: Final = 8
"""That are kept of one job; the oldest go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """An agent's hold on a job."""

    agent: ClientId
    epoch: Epoch
    since: Since
    ended: Instant | None = None
    how: str = ""
    """How it ended; empty while it lasts."""

    def lasted_s(self, now: Instant) -> float:
        """Return how long the agent has held it, at least."""
        return self.since.age_s(now if self.ended is None else self.ended)


def begin(claims: tuple[Claim, ...], claim: Claim) -> tuple[Claim, ...]:
    """Return the claims with a newer one."""
    return (*claims, claim)[-CLAIMS_MAX:]


def end(claims: tuple[Claim, ...], how: str, now: Instant) -> tuple[Claim, ...]:
    """Return the claims with the last of them ended, if it was not yet."""
    if not claims or claims[-1].ended is not None:
        return claims
    return (*claims[:-1], replace(claims[-1], ended=now, how=how))
