"""S2 as devices see it: what they are told of an end is what was decided, in JSON and in words.

Nothing is asked of the code that makes these messages: they are held against the first outcome
of the job that was on a disk. Of a retired job only the short form is left, without its result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workrs.testing.simulator.broken import broken
from workrs.wire.message import JobState, State

if TYPE_CHECKING:
    from workrs.domain.ids import ClientId, JobId
    from workrs.domain.job import Outcome
    from workrs.domain.record import Record

FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED})


def word_of(line: bytes) -> State:
    """Return the state that a plain line begins with."""
    return State(line.split()[0].decode())


class TellLog:
    """How each job ended, and whether a message says so."""

    def __init__(self) -> None:
        """Know of no end."""
        self._outcomes: dict[JobId, Outcome] = {}

    def save(self, record: Record) -> None:
        """Take a record that is on a disk now."""
        if record.decided is not None:
            self._outcomes.setdefault(record.job, record.decided)

    def check_verdict(self, node: ClientId, job: JobId, told: State) -> None:
        """Check a final state."""
        outcome = self._outcomes.get(job)
        if outcome is None:
            broken("S2", f"{job}: {node} tells {told} undecided")
        elif outcome.verdict.value != told.value:
            broken("S2", f"{job}: {node} tells {told}, decided was {outcome.verdict.value}")

    def check_state(self, node: ClientId, job: JobId, told: JobState) -> None:
        """Check a final state in JSON."""
        self.check_verdict(node, job, told.state)
        outcome = self._outcomes[job]
        if told.exit_code != outcome.exit_code:
            broken("S2", f"{job}: {node} tells exit code {told.exit_code}, not the decided one")
        for name in ("result", "result_b64", "result_url"):
            if getattr(told, name) not in (None, getattr(outcome, name)):
                broken("S2", f"{job}: {node} tells a {name} that was not decided")

    def check_result(self, node: ClientId, job: JobId, told: bytes) -> None:
        """Check the bytes of a result."""
        outcome = self._outcomes.get(job)
        if outcome is None or outcome.inline_result() != told:
            broken("S2", f"{job}: {node} tells a result that was not decided")
