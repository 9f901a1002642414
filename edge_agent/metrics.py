"""What an agent says of itself to Prometheus, and when it is healthy and ready.

Read off the brain when it is asked, between two batches.
"""

from collections.abc import Callable
from typing import Final

from edge_agent.brain import Brain
from edge_agent.uplink import Line
from workrs.adapters.metric import Metric, gauge, info
from workrs.adapters.metric_server import OK
from workrs.domain.ids import Instant

LATE_S: Final = 10.0
"""So late with what is due, an agent is stuck."""


class AgentMetrics:
    """Looks at one agent."""

    def __init__(self, brain: Brain, clock: Callable[[], float]) -> None:
        """Take the brain, and the clock that it is told the time by."""
        self._brain = brain
        self._clock = clock

    def health(self) -> str:
        """Return `ok`, or what is wrong. To be without a node is not: its jobs run on."""
        late_s = self._late_s()
        return OK if late_s < LATE_S else f"it has done nothing for {late_s:.0f} s: see its log"

    def ready(self) -> str:
        """Return `ok`, or why it gets no jobs."""
        if (found := self.health()) != OK:
            return found
        if self._brain.uplink.line is not Line.UP:
            return "no node is reached"
        if self._brain.leave_wishes:
            return f"it leaves: {', '.join(sorted(self._brain.leave_wishes))}"
        return OK

    def _late_s(self) -> float:
        wake = self._brain.next_wake()
        return 0.0 if wake is None else max(0.0, Instant(self._clock()) - wake)

    def metrics(self) -> list[Metric]:
        """Return everything about the agent."""
        brain = self._brain
        up, leaving = brain.uplink.line is Line.UP, bool(brain.leave_wishes)
        return [
            info(
                "workrs_agent_info",
                "What runs here.",
                agent=brain.agent.name,
                rung=brain.agent.rung,
            ),
            gauge("workrs_agent_ready", "1 while /ready is ok.", self.ready() == OK),
            gauge("workrs_agent_connected", "1 while it reaches a node.", up),
            gauge("workrs_agent_leaving", "1 while it hands over its jobs.", leaving),
            gauge("workrs_agent_slots", "Jobs that it runs at once.", brain.profile.slots),
            gauge("workrs_agent_jobs", "Jobs that it has in hand.", len(brain.roster.works)),
            gauge("workrs_agent_late_seconds", "How late what is due is.", self._late_s()),
        ]
