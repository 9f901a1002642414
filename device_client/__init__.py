"""Workrs for devices: publish jobs over MQTT, get each result exactly once.

    with Device("pump-7", ["10.0.0.1", "10.0.0.2"], outbox="jobs.db") as device:
        job = device.run("mean", b"1 2 3")
        print(device.result(job, timeout=60).text)

It needs paho-mqtt and nothing else. Promised, with an outbox file: once `submit` or `run`
has returned, the job is sent until a node accepts it, through crashes of this process and
losses of nodes, and runs as one job however often it was sent. See docs/device.md.
"""

from typing import TYPE_CHECKING

from device_client.device import Device
from device_client.error import (
    CredentialRefusedError,
    DeviceClosedError,
    DeviceError,
    JobCancelledError,
    JobError,
    JobExpiredError,
    JobFailedError,
    JobIdReusedError,
    JobLostError,
    JobRejectedError,
    NoNodeError,
    OutboxError,
    OutboxFullError,
    ResultGoneError,
    ResultTimeoutError,
    ResultTooLargeError,
    ResultUnavailableError,
    UnknownJobError,
)
from device_client.report import Report, Result, State
from device_client.route import Timing
from workrs.domain.errors import ConfigError, IdError, SpecError, WorkrsError

if TYPE_CHECKING:
    from device_client.async_device import AsyncDevice

__all__ = [
    "AsyncDevice",
    "ConfigError",
    "CredentialRefusedError",
    "Device",
    "DeviceClosedError",
    "DeviceError",
    "IdError",
    "JobCancelledError",
    "JobError",
    "JobExpiredError",
    "JobFailedError",
    "JobIdReusedError",
    "JobLostError",
    "JobRejectedError",
    "NoNodeError",
    "OutboxError",
    "OutboxFullError",
    "Report",
    "Result",
    "ResultGoneError",
    "ResultTimeoutError",
    "ResultTooLargeError",
    "ResultUnavailableError",
    "SpecError",
    "State",
    "Timing",
    "UnknownJobError",
    "WorkrsError",
]


def __getattr__(name: str) -> object:
    """Import AsyncDevice when it is first asked for: asyncio costs 15 ms."""
    if name == "AsyncDevice":
        from device_client.async_device import AsyncDevice  # noqa: PLC0415 (as said)

        return AsyncDevice
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
