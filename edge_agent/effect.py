"""What an agent's brain wants done: imperatives, performed in order by the supervisor.

Performing one never waits for another; what comes of it returns as an event. An effect on
a run that is gone does nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workrs.domain.ids import Epoch, Instant, JobId
from workrs.domain.job import JobSpec
from workrs.domain.record import CheckpointRef
from workrs.wire.message import Beat


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """Leave the present node and connect to another; answered by Connected or ConnectionLost."""

    node: int
    """Place in the configured list."""
    connection: int
    will: Beat


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Send a message. Without a connection it is dropped: what matters is repeated."""

    topic: str
    body: object
    """A wire dataclass for the codec, or bytes as they are."""
    qos: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowJob:
    """Subscribe to the records of a job. What is published after it goes out behind it."""

    job: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfollowJob:
    """End that subscription."""

    job: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareStart:
    """Fetch and verify what a start needs; answered by StartPrepared or StartFailed."""

    job: JobId
    run: int
    spec: JobSpec
    checkpoint: CheckpointRef | None
    stores: tuple[str, ...]
    rung: str = ""
    """Of the start; `files` of a checkpoint of memory takes its files alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchAhead:
    """Fetch a checkpoint whose job may come here; nothing answers, and nothing waits for it."""

    job: JobId
    checkpoint: CheckpointRef
    memory_mb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartContainer:
    """Start the program; answered by ContainerStarted or StartFailed, then ContainerExited."""

    job: JobId
    run: int
    epoch: Epoch
    attempt: int
    spec: JobSpec
    restore: bool
    """From the checkpoint that was prepared for this run."""
    deadline: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveDeadline:
    """Tell the warden until when a program may run on."""

    job: JobId
    epoch: Epoch
    """Of its start."""
    deadline: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeContainer:
    """Stop all processes of the run."""

    job: JobId
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ThawContainer:
    """Let it go on; its deadline was moved before."""

    job: JobId
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLog:
    """Read the end of what the program printed; LogRead answers, if it can be read."""

    job: JobId
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveContainer:
    """Kill the program and remove what it left here; answered by ContainerRemoved.

    It ends whatever is under way for the run, an upload included.
    """

    job: JobId
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeCheckpoint:
    """Save the program's state to the stores; CheckpointSaved or CheckpointFailed answers."""

    job: JobId
    run: int
    epoch: Epoch
    seq: int
    stores: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscardCheckpoint:
    """Delete the blobs of a checkpoint that none of the kept ones needs. May fail silently."""

    job: JobId
    ref: CheckpointRef
    keep: tuple[CheckpointRef, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreResult:
    """Put a large result into the stores; answered by ResultStored or ResultRefused."""

    job: JobId
    run: int
    epoch: Epoch
    stores: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Write a line. The key is stable: tests and dashboards read it."""

    key: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """End the process, after everything before this was performed."""

    code: int
    reason: str
    farewell: Beat | None = None
    """Said before leaving, so that nobody waits for leases of ours."""


ContainerEffect = (
    PrepareStart
    | FetchAhead
    | StartContainer
    | MoveDeadline
    | FreezeContainer
    | ThawContainer
    | ReadLog
    | RemoveContainer
    | TakeCheckpoint
    | DiscardCheckpoint
    | StoreResult
)
"""What hands do; see `edge_agent.hands`."""

Effect = Connect | Publish | FollowJob | UnfollowJob | Log | Exit | ContainerEffect
