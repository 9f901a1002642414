"""A job as it will be sent: the topic and bytes that never change once it has an id.

1. The same spec gives the same bytes, whatever the order of its keys, so repeating a
   submit after a crash is idempotent.
2. An input too big for a message is named by its hash in those bytes and travels apart.
"""

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from typing import NamedTuple

from workrs.domain.errors import SpecError
from workrs.domain.ids import client_id, local_job_id
from workrs.wire import topics


class Submission(NamedTuple):
    """What is kept in the outbox of one job."""

    job: str
    topic: str
    payload: bytes
    blob: bytes | None = None
    """An input that must lie in the nodes' blob stores before the payload is sent."""

    def digest(self) -> bytes:
        """Return the identity of what is asked; the blob's hash is part of the payload."""
        return hashlib.sha256(self.topic.encode() + b"\0" + self.payload).digest()


def new_job_id() -> str:
    """Return an id of 80 random bits: unique without a counter that a crash could turn back."""
    return os.urandom(10).hex()


def from_spec(device: str, job: str | None, spec: Mapping[str, object]) -> Submission:
    """Return the submission of a full job spec.

    Bytes are allowed where the format has text or base64: `input` and the values of `files`.

    Raises:
        SpecError: It cannot be written as JSON, or is too big. Everything else is the
            nodes' to judge, so that an older client does not refuse what a newer node takes.
    """
    from workrs.domain.job import SPEC_MAX_BYTES  # noqa: PLC0415 (2 ms that most imports never need)

    name = local_job_id(new_job_id() if job is None else job)
    body: dict[str, object] = {"v": 1, **spec}
    blob = _take_input(body)
    files = body.get("files")
    if isinstance(files, Mapping):
        body["files"] = {file: _text_or_b64(content) for file, content in files.items()}
    payload = _to_json(body)
    if len(payload) > SPEC_MAX_BYTES:
        raise SpecError(
            f"the spec has {len(payload)} bytes, at most {SPEC_MAX_BYTES} can be sent: "
            "move the big part into input, which may be of any size"
        )
    return Submission(job=name, topic=topics.up(device, "submit", name), payload=payload, blob=blob)


def from_run(device: str, job: str | None, function: str, data: bytes) -> Submission:
    """Return the submission of *data* to a registered function.

    Small data is the message. Data too big for that becomes a spec that names its blob, and
    the job is then told about in JSON.
    """
    from workrs.domain.job import INLINE_MAX_BYTES  # noqa: PLC0415 (as above)

    client_id(function)
    if len(data) > INLINE_MAX_BYTES:
        return from_spec(device, job, {"function": function, "input": data})
    name = local_job_id(new_job_id() if job is None else job)
    return Submission(job=name, topic=topics.up(device, "run", function, name), payload=data)


def _take_input(body: dict[str, object]) -> bytes | None:
    """Move an input that is too big out of *body*; write a small one as the wire wants it."""
    from workrs.domain.job import BLOB_URL_PREFIX, INLINE_MAX_BYTES  # noqa: PLC0415 (as above)

    data = _input_bytes(body)
    if data is None:
        return None
    if len(data) <= INLINE_MAX_BYTES:
        if isinstance(body.get("input"), bytes | bytearray | memoryview):
            del body["input"]
            try:
                body["input"] = data.decode()
            except UnicodeDecodeError:
                body["input_b64"] = base64.b64encode(data).decode()
        return None
    body.pop("input", None)
    body.pop("input_b64", None)
    body["input_url"] = BLOB_URL_PREFIX + hashlib.sha256(data).hexdigest()
    return data


def _input_bytes(body: Mapping[str, object]) -> bytes | None:
    given = body.get("input")
    if isinstance(given, str):
        return given.encode()
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    coded = body.get("input_b64")
    if isinstance(coded, str):
        try:
            return base64.b64decode(coded, validate=True)
        except ValueError as error:
            raise SpecError(f"input_b64 is not valid base64: {error}") from None
    return None


def _text_or_b64(content: object) -> object:
    if not isinstance(content, bytes | bytearray | memoryview):
        return content
    data = bytes(content)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(data).decode()}


def _to_json(body: Mapping[str, object]) -> bytes:
    try:
        text = json.dumps(
            body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
        )
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError(f"the spec cannot be written as JSON: {error}") from None
