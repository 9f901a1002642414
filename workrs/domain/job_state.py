"""Where a job stands, as its device sees it: one table for the nodes, the tests and the diagram.

1. A node says of a job only what the table has, from the moment it begins to speak of it. A
   node that starts again begins anew, at any of the states that `None` leads to.
2. Nothing follows a final state, at any node, ever.
3. *rejected* is no state of a job but the answer to a request that became none.

A device hears several nodes, and one of them may be behind: what it sees in all is a mixture of
such rows, until the first final state.
"""

from collections.abc import Mapping
from enum import Enum, StrEnum

from workrs.domain.job import Verdict


class State(StrEnum):
    """Where a job stands, as its device sees it."""

    WAITING = "waiting"
    """Kept by the node that says so, which reaches no majority: not accepted yet."""
    ACCEPTED = "accepted"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"


class Cause(Enum):
    """What records and disks have come to show."""

    KEPT = "one node has it"
    STORED = "a majority has it"
    LEASED = "an agent holds its lease"
    FREE = "no agent holds its lease"


_BEGINNINGS: Mapping[tuple[State | None, Cause | Verdict], State] = {
    (None, Cause.KEPT): State.WAITING,
    (None, Cause.STORED): State.ACCEPTED,
    (State.WAITING, Cause.STORED): State.ACCEPTED,
    (State.ACCEPTED, Cause.FREE): State.QUEUED,
    (State.ACCEPTED, Cause.LEASED): State.RUNNING,
    (State.QUEUED, Cause.LEASED): State.RUNNING,
    (State.RUNNING, Cause.FREE): State.QUEUED,
}
_OPEN = (None, State.WAITING, State.ACCEPTED, State.QUEUED, State.RUNNING)

TRANSITIONS: Mapping[tuple[State | None, Cause | Verdict], State] = {
    **_BEGINNINGS,
    **{(before, verdict): State(verdict.value) for verdict in Verdict for before in _OPEN},
}
"""Every move there is. None: the node has said nothing yet."""

FINAL = frozenset(State(verdict.value) for verdict in Verdict)


def may_follow(before: State | None, after: State) -> bool:
    """Return whether a node that has said *before* may say *after* next; the same is no move."""
    return any(a is before and then is after for (a, _), then in TRANSITIONS.items())
