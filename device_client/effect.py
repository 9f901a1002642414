"""What the brain wants done. The session does it; nothing here does anything."""

from typing import NamedTuple

from device_client.report import Report


class SendJob(NamedTuple):
    """Publish the kept bytes of the job."""

    job: str


class SendCancel(NamedTuple):
    """Publish the wish to cancel the job."""

    job: str


class AskRetained(NamedTuple):
    """Subscribe to the job's own topics: the broker then repeats what it retains of it."""

    job: str


class UploadInput(NamedTuple):
    """Bring the job's input into the blob stores, then tell the brain."""

    job: str


class MarkAccepted(NamedTuple):
    """Write into the outbox that the nodes have the job."""

    job: str


class ForgetJob(NamedTuple):
    """Delete the job from the outbox: it has ended."""

    job: str


class Tell(NamedTuple):
    """Give the report to whoever wants to know."""

    report: Report


class TellUnknown(NamedTuple):
    """Tell whoever waits for the job that the nodes do not know it."""

    job: str
    reason: str
    """What a node said, if it said anything."""


class LeaveNode(NamedTuple):
    """Break the connection and go on to the next node."""

    reason: str


class WatchNodes(NamedTuple):
    """Subscribe to the nodes' states, to learn where their blob stores are."""


class UnwatchNodes(NamedTuple):
    """Undo one WatchNodes: the states are repeated every second, at the device's expense."""


Effect = (
    SendJob
    | SendCancel
    | AskRetained
    | UploadInput
    | MarkAccepted
    | ForgetJob
    | Tell
    | TellUnknown
    | LeaveNode
    | WatchNodes
    | UnwatchNodes
)
