"""How often agents are lost: what was counted, and what is believed while little was.

The rate is the mean of a Gamma distribution: losses over agent-time, with a prior worth half
a loss in half an hour. So no faults seen is not no faults expected, 1,000 quiet agent-hours
are believed as what they are, and three losses in the first hour as well.

1. Evidence is halved when there is more than enough of it: what was counted last weighs most,
   and a fleet that changes is known anew after some `LOSSES_MAX` losses.
2. Histories of two observers are never added: they saw the same agents.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from workrs.domain.errors import WireError

PRIOR_LOSSES = 0.5
PRIOR_AGENT_S = 1800.0
LOSSES_MAX = 200
"""The rate is then known to 7 %, which costs a job less than 0.1 % of its time."""
AGENT_S_MAX = 1e7
"""116 agent-days. Without a single loss the time between them is believed to be twice that."""
_OF_NOTE = 0.25
"""Share by which the time between losses must have changed to be worth a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultHistory:
    """Agents lost, and the time for which agents were watched. Lost: gone without a word."""

    losses: int = 0
    agent_s: float = 0.0

    def __post_init__(self) -> None:
        """Refuse counts that nobody counted."""
        if not (0 <= self.losses <= 10 * LOSSES_MAX and 0 <= self.agent_s <= 10 * AGENT_S_MAX):
            raise WireError(
                f"a fault history of {self.losses} losses in {self.agent_s} s: at most "
                f"{10 * LOSSES_MAX} and {10 * AGENT_S_MAX:g}, and none below 0"
            )

    @property
    def mtbf_s(self) -> float:
        """Return the mean time between losses of one agent, as far as it is known."""
        return (self.agent_s + PRIOR_AGENT_S) / (self.losses + PRIOR_LOSSES)

    def watched(self, agent_s: float) -> "FaultHistory":
        """Return the history after *agent_s* more seconds of agents' lives without a loss."""
        return _halved(self.losses, self.agent_s + min(max(0.0, agent_s), AGENT_S_MAX))

    def lost(self, agents: int = 1) -> "FaultHistory":
        """Return the history after the loss of *agents*; negative: they were not lost after all."""
        return _halved(max(0, self.losses + agents), self.agent_s)

    def differs(self, told: "FaultHistory") -> bool:
        """Return whether whoever was *told* another history would plan otherwise now."""
        ratio = self.mtbf_s / told.mtbf_s
        return not 1 - _OF_NOTE < ratio < 1 / (1 - _OF_NOTE)


def _halved(losses: int, agent_s: float) -> FaultHistory:
    while losses > LOSSES_MAX or agent_s > AGENT_S_MAX:
        losses, agent_s = (losses + 1) // 2, agent_s / 2
    return FaultHistory(losses=losses, agent_s=agent_s)


def longest(histories: Iterable[FaultHistory]) -> FaultHistory:
    """Return the history of who watched longest; of those, the one with most losses."""
    nothing = FaultHistory()
    return max(histories, key=lambda h: (h.agent_s, h.losses), default=nothing)
