"""What a device hears of its jobs, as values, and the two ways it is written.

1. Parsing is total: any payload gives a Report or None, never an exception.
2. Unknown fields are ignored and fields of a wrong type are left out, so a newer node
   can say more to an older device.
3. JSON and plain topics give the same Report, as far as the plain ones say it.

The client has named tuples where the daemons have dataclasses: those import `inspect`,
5 ms and 1 MiB that a device would pay at every start.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")


class State(StrEnum):
    """Where a job stands. All but `kept` are the nodes' words."""

    KEPT = "kept"
    """In the outbox only: no node has said anything yet."""
    WAITING = "waiting"
    """A node keeps it, too, but reaches no majority: it is not accepted yet."""
    ACCEPTED = "accepted"
    """On the disks of a majority of nodes: it will not be lost."""
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REJECTED = "rejected"

    @property
    def is_final(self) -> bool:
        """Return whether nothing can follow."""
        return self in _FINAL

    @property
    def is_pending(self) -> bool:
        """Return whether no majority of nodes is known to have the job."""
        return self in (State.KEPT, State.WAITING)


_FINAL = frozenset({"succeeded", "failed", "cancelled", "expired", "rejected"})
_HEARD = {state.value: state for state in State if state is not State.KEPT}

_RETRY_MAX_S = 3600.0
_RETRY_AFTER = "retry_after_s="
_PLACES = ("workrs:", "http:", "https:")


class Report(NamedTuple):
    """One thing a device knew of a job at one time."""

    job: str
    state: State
    progress: float | None = None
    """0 to 1. Falls back after a takeover to the checkpoint the job went on from."""
    attempt: int | None = None
    epoch: int | None = None
    agent: str | None = None
    note: str = ""
    reason: str = ""
    """Why it did not succeed. For humans."""
    exit_code: int | None = None
    checkpoint: Mapping[str, Any] | None = None
    """The newest checkpoint as the node describes it."""
    value: bytes | None = None
    """The result, where it travelled inside the message."""
    result_url: str | None = None
    """Where the result lies, when it did not."""
    quorum: bool | None = None
    """False: the node that says this reaches no majority, so nothing is decided there."""
    retry_after_s: float | None = None
    """With `rejected`: it may be taken after that, and was not for now. To the device's user that
    is `kept`: the client sends it again by itself."""


class Result(NamedTuple):
    """What a job that succeeded left."""

    job: str
    value: bytes
    state: State = State.SUCCEEDED
    exit_code: int | None = None
    """None where the node did not tell, as on the plain topics."""
    reason: str = ""
    attempt: int | None = None
    agent: str | None = None

    @property
    def text(self) -> str:
        """The value as UTF-8 text; raises UnicodeDecodeError when it is none."""
        return self.value.decode()


def parse_json(job: str, payload: bytes) -> Report | None:
    """Return the report in the JSON of `down/{device}/{job}`, or None when it holds none."""
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, dict):
        return None
    word = body.get("state")
    state = _HEARD.get(word) if isinstance(word, str) else None
    if state is None:
        return None
    return Report(
        job=job,
        state=state,
        progress=_progress(body.get("progress")),
        attempt=_typed(body, "attempt", int),
        epoch=_typed(body, "epoch", int),
        agent=_typed(body, "agent", str),
        note=_typed(body, "note", str) or "",
        reason=_typed(body, "reason", str) or "",
        exit_code=_typed(body, "exit_code", int),
        checkpoint=_typed(body, "checkpoint", dict),
        value=_inline(body),
        result_url=_typed(body, "result_url", str),
        quorum=False if body.get("quorum") is False else None,
        retry_after_s=_seconds(body.get("retry_after_s")),
    )


def parse_plain(job: str, payload: bytes) -> Report | None:
    """Return the report in the word of `down/{device}/{job}/state`, or None.

    After the word and a space: the progress while running; after `succeeded` the place of a
    result too big for a message, or why there is none any more; after `rejected`, if the
    same request may be taken later, `retry_after_s=N` and a space; then the reason.
    """
    word, _, rest = payload.decode("utf-8", "replace").strip().partition(" ")
    state = _HEARD.get(word)
    if state is None:
        return None
    rest = rest.strip()
    if state is State.RUNNING:
        number, _, note = rest.partition(" ")
        return Report(job=job, state=state, progress=_progress(number), note=note)
    if state is State.SUCCEEDED:
        if rest.startswith(_PLACES):
            return Report(job=job, state=state, result_url=rest)
        return Report(job=job, state=state, reason=rest)
    if state is State.WAITING:
        return Report(job=job, state=state, note=rest)
    if state is State.REJECTED and rest.startswith(_RETRY_AFTER):
        number, _, rest = rest.removeprefix(_RETRY_AFTER).partition(" ")
        seconds = float(number) if number.isascii() and number.isdigit() else None
        return Report(job=job, state=state, reason=rest, retry_after_s=_seconds(seconds))
    return Report(job=job, state=state, reason=rest)


def _typed(body: dict[str, Any], name: str, kind: type[T]) -> T | None:
    value = body.get(name)
    # True is an int to Python and to nobody else.
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


def _progress(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return min(1.0, max(0.0, number)) if math.isfinite(number) else None


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # In this order: a whole number may be too large for a float.
    return float(min(value, _RETRY_MAX_S)) if 0 < value < math.inf else None


def _inline(body: dict[str, Any]) -> bytes | None:
    text = _typed(body, "result", str)
    if text is not None:
        return text.encode("utf-8", "surrogatepass")
    coded = _typed(body, "result_b64", str)
    if coded is None:
        return None
    try:
        return base64.b64decode(coded, validate=True)
    except (binascii.Error, ValueError):
        return None
