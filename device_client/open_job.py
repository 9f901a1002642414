"""What the brain notes of one job that has not ended. Mutable, and the brain's own."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from device_client.report import Report


class OpenJob:
    """See the module."""

    __slots__ = (
        "accepted",
        "answered",
        "cancel",
        "cancels_sent",
        "due_at",
        "ended",
        "heap_at",
        "heard_on",
        "kept",
        "name",
        "out",
        "queued",
        "ready",
        "refusals",
        "report",
        "waiters",
    )

    def __init__(self, name: str, *, kept: bool, ready: bool, accepted: bool) -> None:
        self.name = name
        self.kept = kept
        """Its bytes lie in the outbox."""
        self.ready = ready
        """Its input, if it is a blob, was uploaded."""
        self.accepted = accepted
        self.answered = accepted
        """A node spoke of it after it was sent: retained messages about it are its own."""
        self.cancel = False
        self.cancels_sent = 0
        self.waiters = 0
        self.queued = False
        """Due, but the window was full."""
        self.refusals = 0
        """In a row, after it was accepted."""
        self.report: Report | None = None
        self.heard_on = 0
        """Number of the connection on which a node last spoke of it."""
        self.out: bytes | None = None
        """Result bytes of a plain job, heard before or after its word."""
        self.ended: Report | None = None
        """The word `succeeded` of a plain job whose output is still to come."""
        self.due_at: float | None = None
        """When something is to be said again."""
        self.heap_at: float | None = None
        """Its one valid place in the agenda's heap."""
