"""What happened, as lines of a log: facts that a reader of the bus can tell from two states.

Not promised: that each is seen. A job may be claimed and released between two looks.
"""

from dataclasses import dataclass
from enum import StrEnum

from workrs.domain.ids import Instant


class Kind(StrEnum):
    """What happened. The value is the word that is shown and filtered by."""

    ARRIVED = "arrived"
    ACCEPTED = "accepted"
    CLAIMED = "claimed"
    STARTED = "started"
    CHECKPOINTED = "checkpoint"
    TAKEN_OVER = "takeover"
    RELEASED = "released"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    AGENT_CAME = "agent came"
    AGENT_GONE = "agent gone"
    AGENT_DRAINS = "agent drains"
    AGENT_BACK = "agent takes jobs"
    NODE_LIVE = "node live"
    NODE_SILENT = "node silent"
    NODE_GONE = "node gone"
    MAJORITY_LOST = "majority lost"
    MAJORITY_BACK = "majority back"
    WATCHING = "watching"
    NODE_LOST = "node lost"
    ORDERED = "ordered"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log."""

    # Positional, against the house rule: tens of thousands of them may be alive.
    at: Instant
    kind: Kind
    subject: str
    """A job as DEVICE/ID, an agent or a node."""
    text: str
    """The rest of the sentence."""
