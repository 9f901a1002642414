"""The device's front: from what a device sent to a spec, and from records to what it sees.

1. Device and job id come from the topic, never from the payload.
2. A refusal has a reason that tells its reader what to change.
3. What a device is told is computed from records alone, so every node says the same.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Final

from workrs.domain import quorum
from workrs.domain.errors import SpecError, WireError
from workrs.domain.function import Function
from workrs.domain.ids import ClientId, Digest, JobId, LocalJobId, job_id
from workrs.domain.image import is_allowed
from workrs.domain.job import (
    INLINE_MAX_BYTES,
    REASON_MAX,
    SPEC_MAX_BYTES,
    JobSpec,
    Outcome,
    StoredSpec,
    run_request_digest,
    submit_request_digest,
)
from workrs.domain.record import Record
from workrs.wire import codec
from workrs.wire.message import CheckpointState, JobState, State

Functions = Mapping[str, Function]
REUSED = (
    "this job id was used before for another spec; its job goes on unchanged. "
    "Use a new id for a new job"
)


def _function(functions: Functions, name: str, device: ClientId) -> Function:
    found = functions.get(name)
    if found is None:
        known = ", ".join(sorted(functions)[:10]) or "none is registered"
        raise SpecError(f"function {name!r} is not known here; known: {known}")
    if not found.may_be_called_by(device):
        raise SpecError(
            f"function {name!r} may not be called by {device}: an operator has to add it, or its "
            "tenant, to the function's callers"
        )
    return found


def check_image(image: str | None, allowed: Sequence[str]) -> None:
    """Raise SpecError when *image* is on none of the operator's list; an empty list allows all."""
    if not is_allowed(image, allowed):
        raise SpecError(
            f"image {(image or '')[:120]!r} is not allowed here. Allowed: {', '.join(allowed)}; an "
            "operator adds to it with workrs node --allow-image"
        )


def request_of(function: str, payload: bytes) -> Digest:
    """Return the identity of what a device sent; WireError when it is too long or no JSON."""
    if function:
        return run_request_digest(function, payload)
    if len(payload) > SPEC_MAX_BYTES:
        raise SpecError(
            f"the spec has {len(payload)} bytes, at most {SPEC_MAX_BYTES} are taken: "
            "upload large input to a node's blob store and send input_url"
        )
    return submit_request_digest(codec.parse_json(payload))


def take_run(
    device: ClientId, local: LocalJobId, function: str, data: bytes, functions: Functions
) -> StoredSpec:
    """Return the job that a raw `run` stands for, or raise WireError."""
    definition = _function(functions, function, device)
    if len(data) > INLINE_MAX_BYTES:
        raise SpecError(
            f"input has {len(data)} bytes, run/ takes at most {INLINE_MAX_BYTES}: "
            "upload it to a node's blob store and submit a JSON spec with input_url"
        )
    fields = definition.job_fields()
    fields["input_b64"] = base64.b64encode(data).decode()
    return StoredSpec(
        job=job_id(device, local),
        request=run_request_digest(function, data),
        plain=True,
        function=function,
        spec=_spec_of(fields),
    )


def take_submit(
    device: ClientId, local: LocalJobId, payload: bytes, functions: Functions
) -> StoredSpec:
    """Return the job that a JSON spec describes, or raise WireError."""
    spec = codec.decode(JobSpec, payload)
    document = codec.parse_json(payload)
    request = submit_request_digest(document)
    name = spec.function
    if name is not None:
        base = _function(functions, name, device).job_fields()
        own = {k: v for k, v in document.items() if k != "function" and v is not None}
        for part in ("env", "files"):
            inherited = base[part]
            assert isinstance(inherited, Mapping)
            own[part] = {**inherited, **own.get(part, {})}
        spec = _spec_of({**base, **own})
    return StoredSpec(job=job_id(device, local), request=request, function=name, spec=spec)


def _spec_of(fields: Mapping[str, object]) -> JobSpec:
    return codec.from_plain(JobSpec, fields)


def read_stored(job: JobId, payload: bytes) -> StoredSpec:
    """Return the spec a peer shows, or raise WireError when it is not of this job."""
    stored = codec.decode(StoredSpec, payload)
    if stored.job != job:
        raise WireError(f"spec of {stored.job} shown as {job}")
    return stored


def final_state(local: str, record: Record, outcome: Outcome) -> JobState:
    """Return what a device sees of a decided job."""
    return JobState(
        v=1,
        job=local,
        state=State(outcome.verdict.value),
        epoch=record.epoch,
        attempt=record.attempt or None,
        exit_code=outcome.exit_code,
        result=outcome.result,
        result_b64=outcome.result_b64,
        result_url=outcome.result_url,
        reason=outcome.reason or None,
    )


def waiting_state(local: str, node: str, *, reach: str) -> JobState:
    """Return what a device sees of a job that *node* keeps and no majority is known to have."""
    why = reach or f"{node} has not heard yet that a majority of nodes has it"
    note = f"{why}: the job is kept here and not yet accepted"
    return JobState(v=1, job=local, state=State.WAITING, note=note)


ENDING: Final = "it is being ended"
"""Note of a job that no agent has any more: a node has claimed it to decide how it ends."""


def open_state(
    local: str, records: Mapping[ClientId, Record], own: Record, nodes: int, *, held_up: str = ""
) -> JobState:
    """Return what a device sees of an accepted, undecided job; *held_up* is why nobody gets it."""
    led = quorum.leader(records, nodes)
    if led is None:
        return JobState(
            v=1,
            job=local,
            state=State.QUEUED,
            attempt=own.attempt or None,
            note=held_up or own.reason or None,
        )
    epoch, holder = led
    attempts = max(r.attempt for r in records.values()) or None
    if holder.client in records:  # a node, which runs nothing: it decides the job's end
        return JobState(v=1, job=local, state=State.QUEUED, attempt=attempts, note=ENDING)
    refs = quorum.newest_checkpoints(records)
    newest = refs[0] if refs else None
    shown = max((r for r in records.values() if r.epoch == epoch), key=lambda r: r.progress or 0.0)
    progress = shown.progress
    if progress is None and newest is not None:
        progress = newest.progress  # until it says more, it is as far as what it goes on from
    return JobState(
        v=1,
        job=local,
        state=State.RUNNING,
        epoch=epoch,
        attempt=attempts,
        agent=holder.client,
        progress=progress,
        note=shown.note or None,
        checkpoint=None
        if newest is None
        else CheckpointState(
            epoch=newest.epoch,
            seq=newest.seq,
            location=newest.location,
            bytes=newest.bytes,
            progress=newest.progress,
            rung=newest.rung,
        ),
    )


def plain_word(state: JobState) -> bytes:
    """Return the state as the ASCII line that a device without a JSON parser reads."""
    detail: object = None
    match state.state:
        case State.RUNNING:
            detail = state.progress
        case State.WAITING:
            detail = state.note
        case State.SUCCEEDED:
            detail = state.result_url
            if detail is None and state.result is None and state.result_b64 is None:
                detail = state.reason  # nothing is on the topic beside it any more
        case State.REJECTED if state.retry_after_s is not None:
            # Where a reader that knows no more than the word finds it harmless, too.
            detail = f"retry_after_s={math.ceil(state.retry_after_s)} {state.reason or ''}"
        case State.REJECTED | State.FAILED | State.EXPIRED | State.CANCELLED:
            detail = state.reason
        case _:
            pass
    # A reason may end with lines of a program's stderr; the reader wants one line.
    text = " ".join(f"{state.state.value} {'' if detail is None else detail}".split())
    return text.encode("ascii", "replace")


def rejected(name: str, reason: str, retry_after_s: float | None = None) -> JobState:
    """Return the answer to a request that cannot become a job, or not now."""
    return JobState(
        v=1,
        job=name[:80],
        state=State.REJECTED,
        reason=reason[:REASON_MAX],
        retry_after_s=retry_after_s,
    )


def differs(request: Digest, known: StoredSpec) -> str | None:
    """Return why a request may not reuse the id of *known*, or None when it is the same."""
    return None if request == known.request else REUSED
