"""Errors of the device client, by what the caller does next.

All derive from `WorkrsError`. Each says in `advice`, which ends its text, what to do about it.
"""

from typing import TYPE_CHECKING, ClassVar

from workrs.domain.errors import BusError, ConfigError, SpecError, StoreError, WorkrsError

if TYPE_CHECKING:
    from device_client.report import Report

_ANEW = "To have it run again, submit it under a new id."


class DeviceError(WorkrsError):
    """What the device client raises of its own. Never raised itself."""

    advice: ClassVar[str]
    """What to do, as one sentence or two."""

    def __str__(self) -> str:
        """Return what happened, and what to do about it."""
        return f"{self.sentence().rstrip('. ')}. {self.advice}"

    def sentence(self) -> str:
        """Return what happened."""
        return " ".join(map(str, self.args))


class JobError(DeviceError):
    """A job ended without success. `.report` has all that is known of it."""

    def __init__(self, report: "Report") -> None:
        super().__init__(report)
        self.report = report

    def sentence(self) -> str:
        """Return how the job ended, and why."""
        reason = f": {self.reason}" if self.reason else ""
        return f"job {self.job} {self.report.state}{reason}"

    @property
    def job(self) -> str:
        """The job's id."""
        return self.report.job

    @property
    def reason(self) -> str:
        """Why, in a sentence for a human. May be empty."""
        return self.report.reason


class JobFailedError(JobError):
    """The job ran, and failed as often as it may."""

    advice = f"Nothing tries it any more. {_ANEW}"

    @property
    def exit_code(self) -> int | None:
        """The last attempt's exit code; None when it never got that far."""
        return self.report.exit_code


class JobCancelledError(JobError):
    """The job was cancelled before it ended."""

    advice = _ANEW


class JobExpiredError(JobError):
    """The cluster closed the job without running it to an end."""

    advice = _ANEW


class JobRejectedError(JobError):
    """No node takes the job as it is; the reason says what to change."""

    advice = "Change what it names and submit it again."


class ResultTimeoutError(DeviceError, BusError, TimeoutError):
    """Nothing final was heard in time. The job goes on: ask again."""

    advice = "The job goes on: ask again, or cancel it."

    def __init__(self, job: str, waited_s: float, last: str, trouble: str) -> None:
        super().__init__(job)
        self.job = job
        self.waited_s = waited_s
        self.last = last
        """The state that was heard last."""
        self.trouble = trouble
        """What last went wrong with the connection, or what a node said. May be empty."""

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        """Return how to copy it: an OSError, which this is too, goes by other arguments."""
        return type(self), (self.job, self.waited_s, self.last, self.trouble)

    def sentence(self) -> str:
        """Return how long was waited, and what is known."""
        since = f"; last trouble: {self.trouble}" if self.trouble else ""
        return f"job {self.job}: no end within {self.waited_s:g} s, last state {self.last}{since}"


class NoNodeError(ResultTimeoutError):
    """Nothing final was heard in time, and no node could be reached at the end of it."""

    advice = (
        "Check that nodes run at these addresses. The job stays in the outbox: it is sent, or "
        "asked about, as soon as a node is there."
    )


class CredentialRefusedError(ResultTimeoutError):
    """Nothing final was heard in time: the nodes refuse who the device says it is, or it theirs.

    The password or certificate is wrong, has expired or was revoked, or is of another cluster.
    """

    advice = (
        "Look at the credential with `workrs doctor --credential FILE`, or enrol the device anew. "
        "The job stays in the outbox: it is sent, or asked about, once a node lets the device in."
    )


class ResultUnavailableError(DeviceError, StoreError):
    """The job succeeded, but its result cannot be fetched now: ask again."""

    advice = "It is kept for the job's retention_s: ask again."


class ResultTooLargeError(ResultUnavailableError):
    """The job succeeded, and its result has more bytes than this device takes."""

    advice = "Give the device a larger result_max_bytes and ask again."


class ResultGoneError(DeviceError, StoreError):
    """The job succeeded, and no node keeps its result any more."""

    advice = f"A result is kept for the spec's retention_s. {_ANEW}"


class UnknownJobError(DeviceError):
    """Neither this device's outbox nor the nodes know a job of this id."""

    advice = (
        "Check the id and the device's name. A job that ended longer ago than its retention_s is "
        "only known to the outbox that sent it."
    )


class JobLostError(UnknownJobError):
    """The job was accepted, and the nodes refuse to know it when they are asked."""

    advice = f"Ask once more later, in case a node is behind the others. {_ANEW}"


class JobIdReusedError(DeviceError, SpecError):
    """The id already belongs to another job of this device: choose a new one."""

    advice = "Choose a new id, or leave it out to get one."


class OutboxError(DeviceError, ConfigError):
    """The outbox file cannot be used: it is damaged, not writable, or another device's."""

    advice = "Give the device a file of its own, on a disk with room. What it keeps stays kept."


class OutboxFullError(DeviceError):
    """As many jobs wait in the outbox as may: wait for the nodes, then submit again."""

    advice = "Wait until some are accepted, for example with drain, and submit it again."


class DeviceClosedError(DeviceError):
    """The device was closed, or its network thread failed, or the process was forked."""

    advice = "Make a new one; jobs in an outbox file are found there."
