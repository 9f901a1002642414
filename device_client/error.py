"""Errors of the device client, by what the caller does next."""

from typing import TYPE_CHECKING

from workrs.domain.errors import BusError, ConfigError, SpecError, StoreError, WorkrsError

if TYPE_CHECKING:
    from device_client.report import Report


class JobError(WorkrsError):
    """A job ended without success. `.report` has all that is known of it."""

    def __init__(self, report: "Report") -> None:
        reason = f": {report.reason}" if report.reason else ""
        super().__init__(f"job {report.job} {report.state}{reason}")
        self.report = report

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

    @property
    def exit_code(self) -> int | None:
        """The last attempt's exit code; None when it never got that far."""
        return self.report.exit_code


class JobCancelledError(JobError):
    """The job was cancelled before it ended."""


class JobExpiredError(JobError):
    """The cluster closed the job without running it to an end."""


class JobRejectedError(JobError):
    """No node takes the job as it is; the reason says what to change."""


class ResultTimeoutError(BusError, TimeoutError):
    """Nothing final was heard in time. The job goes on: ask again."""

    def __init__(self, job: str, waited_s: float, last: str, trouble: str) -> None:
        since = f"; last trouble: {trouble}" if trouble else ""
        super().__init__(f"job {job}: no result within {waited_s:g} s, last state {last}{since}")
        self.job = job
        self.trouble = trouble


class ResultUnavailableError(StoreError):
    """The job succeeded, but its result cannot be fetched now: ask again."""


class UnknownJobError(WorkrsError):
    """Neither this device's outbox nor the node knows a job of this id."""


class JobIdReusedError(SpecError):
    """The id already belongs to another job of this device: choose a new one."""


class OutboxError(ConfigError):
    """The outbox file cannot be used: it is damaged, not writable, or another device's."""


class OutboxFullError(WorkrsError):
    """As many jobs wait in the outbox as may: wait for the nodes, then submit again."""


class DeviceClosedError(WorkrsError):
    """The device was closed, or its network thread failed: make a new one."""
