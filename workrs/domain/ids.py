"""Names of things, and what they are allowed to look like.

1. A *client* name (device, agent, node, operator) has no `_`, so `{device}_{id}` can
   always be taken apart again and jobs of two devices never meet.
2. Nothing here contains `/ + # %` or begins with a dot, so every id is safe inside a
   topic, a path and a URL.
"""

import re
from typing import NewType

from workrs.domain.errors import IdError

ClientId = NewType("ClientId", str)
"""Name of any MQTT user: device, agent, node or operator."""
LocalJobId = NewType("LocalJobId", str)
"""A job's id as its device knows it. Not unique between devices."""
JobId = NewType("JobId", str)
"""A job's id on the bus: `{device}_{local id}`. Unique in the cluster."""
Digest = NewType("Digest", str)
"""64 lower-case hex digits of a SHA-256."""
Epoch = NewType("Epoch", int)
"""Fencing token of a claim. Grows by one, never reused. 0: never claimed."""
Instant = NewType("Instant", float)
"""Seconds on the clock of the one process that reads it. Never travels."""

NUMBER_MAX = 2**53
"""Largest whole number that is taken: every JSON reader and every ledger holds it exactly."""
EPOCH_MAX = Epoch(NUMBER_MAX)
"""Largest epoch that is granted."""
ID_LENGTH_MAX = 63
_CLIENT = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_LOCAL_JOB = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def client_id(text: str) -> ClientId:
    """Return *text* as a client name, or raise IdError saying what is wrong with it."""
    if not _CLIENT.fullmatch(text):
        raise IdError(
            f"name {text[:80]!r} is not allowed: 1 to 63 of a-z 0-9 . - , first a letter or digit"
        )
    return ClientId(text)


def local_job_id(text: str) -> LocalJobId:
    """Return *text* as a device's own job id, or raise IdError saying what is wrong."""
    if not _LOCAL_JOB.fullmatch(text):
        raise IdError(
            f"job id {text[:80]!r} is not allowed: "
            "1 to 63 of a-z 0-9 . _ - , first a letter or digit"
        )
    return LocalJobId(text)


def job_id(device: ClientId, local: LocalJobId) -> JobId:
    """Return the id of a job on the bus."""
    return JobId(f"{device}_{local}")


def split_job_id(text: str) -> tuple[ClientId, LocalJobId]:
    """Take a bus id apart, or raise IdError. The first `_` ends the device's name."""
    device, mark, local = text.partition("_")
    if not mark:
        raise IdError(f"job {text[:130]!r} does not name its device: write DEVICE_ID")
    return client_id(device), local_job_id(local)


def tenant_of(client: ClientId) -> str:
    """Return the tenant a client belongs to: its name up to the first dot, else all of it."""
    return client.partition(".")[0]


def is_digest(text: str) -> bool:
    """Return whether *text* is the hex form of a SHA-256."""
    return _DIGEST.fullmatch(text) is not None
