"""What a job is: its spec as a device sends it, and the one outcome it can have.

1. A spec that violates a limit cannot exist: the constructor raises SpecError with a
   sentence for the spec's author.
2. A stored spec is immutable. Its digest is taken over the bytes that travel, so two
   nodes that name the same digest hold the same job.
3. Two outcomes are the same only if their digests are.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from workrs.domain.errors import OutcomeError, SpecError
from workrs.domain.ids import NUMBER_MAX, ClientId, Digest, JobId

INLINE_MAX_BYTES = 32 * 1024
"""Inputs and results above this travel as blobs, so that any MQTT broker will carry the rest."""
SPEC_MAX_BYTES = 96 * 1024
"""A whole spec as JSON: inline input in base64, files, and room for the rest."""
FILES_MAX = 32
COMMAND_MAX = 64
ENV_MAX = 64
PRIORITY_MAX = 9
TEXT_MAX = 4096

REASON_MAX = 4 * 1024
"""Characters of a reason, whoever gives it: a sentence and the end of a program's stderr."""
SHORT_REASON_MAX = 200
"""Characters of it that are kept when its job is retired."""
RESULT_GONE = "this job has ended and its result is no longer kept"

BLOB_URL_PREFIX = "workrs:sha256/"
"""Scheme of a blob in the cluster's own store: any node that has it serves it."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_URL = re.compile(r"(https?://|workrs:sha256/)[!-~]{1,1000}")


class Takeover(StrEnum):
    """How soon a job may be claimed from an agent whose connection broke."""

    FAST = "fast"
    """After reconnect_grace: the will of a dead agent is believed."""
    STRICT = "strict"
    """Only after the lease's ttl: never two containers of one job at a time."""


class CheckpointMode(StrEnum):
    """What a checkpoint of this job may consist of."""

    AUTO = "auto"
    MEMORY = "memory"
    FILES = "files"
    OFF = "off"


class Verdict(StrEnum):
    """How a job ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


def _require(*, ok: bool, text: str) -> None:
    if not ok:
        raise SpecError(text)


def _decode_base64(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SpecError(f"{what} is not valid base64: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Base64File:
    """The content of a file that is not text."""

    b64: str

    def __post_init__(self) -> None:
        """Refuse what does not decode."""
        _decode_base64(self.b64, "a file's b64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraints:
    """What an agent must be to get the job."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (read by the codec, never changed)

    arch: str | None = None
    """Machine name as Debian writes it: amd64, arm64, armhf. None: any."""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPolicy:
    """Whether and how often the job is checkpointed."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    mode: CheckpointMode = CheckpointMode.AUTO
    interval_s: float | None = None
    """None: planned from the measured cost of this job's checkpoints and the fault rate."""

    def __post_init__(self) -> None:
        """Refuse intervals that would do nothing but checkpoint."""
        _require(
            ok=self.interval_s is None or 0.1 <= self.interval_s <= 1e6,
            text=f"checkpoint.interval_s is {self.interval_s}: write 0.1 to 1000000 or null",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A unit of work as its device describes it. Field names are the wire's."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012

    v: int = 1
    image: str | None = None
    command: tuple[str, ...] = ()
    """Argument vector. Never given to a shell."""
    function: str | None = None
    """A registered function, instead of image and command."""
    input: str | None = None
    input_b64: str | None = None
    input_url: str | None = None
    files: Mapping[str, str | Base64File] = field(default_factory=dict)
    """Put into /job/in under these names."""
    env: Mapping[str, str] = field(default_factory=dict)
    forecast_s: float | None = None
    """How long the device thinks the job takes; only the checkpoint planner uses it."""
    timeout_s: float = 3600.0
    """Wall-clock limit of one attempt, checkpoint pauses included."""
    attempts_max: int = 3
    memory_mb: int = 256
    cpus: float = 1.0
    constraints: Constraints = field(default_factory=Constraints)
    priority: int = 4
    """0 to 9, higher first."""
    takeover: Takeover = Takeover.FAST
    checkpoint: CheckpointPolicy = field(default_factory=CheckpointPolicy)
    retention_s: float = 86400.0
    """How long the result stays on the bus after the end."""

    def __post_init__(self) -> None:
        """Check every limit; the first one broken is told."""
        _require(ok=self.v == 1, text=f"v is {self.v}: this cluster speaks version 1")
        self._check_program()
        self._check_input()
        self._check_limits()

    def _check_program(self) -> None:
        named = self.function is not None
        _require(
            ok=named != (self.image is not None),
            text="name either a function, or an image with a command",
        )
        _require(
            ok=named or len(self.command) > 0,
            text="command is empty: give the program and its arguments as a list",
        )
        _require(
            ok=not (named and self.command),
            text="a function brings its own command: leave command out",
        )
        _require(
            ok=len(self.command) <= COMMAND_MAX and all(len(a) <= TEXT_MAX for a in self.command),
            text=f"command has at most {COMMAND_MAX} words of at most {TEXT_MAX} characters",
        )
        _require(
            ok=not any("\0" in word for word in self.command),
            text="command contains a NUL character",
        )
        _require(
            ok=self.image is None or 0 < len(self.image) <= 255,
            text="image is 1 to 255 characters long",
        )

    def _check_input(self) -> None:
        given = [n for n in ("input", "input_b64", "input_url") if getattr(self, n) is not None]
        _require(ok=len(given) <= 1, text=f"give only one of {' and '.join(given)}")
        size = len(self.input_bytes() or b"")
        _require(
            ok=size <= INLINE_MAX_BYTES,
            text=f"input has {size} bytes, at most {INLINE_MAX_BYTES} go inline: "
            "upload it to a node's blob store and send input_url",
        )
        _require(
            ok=self.input_url is None or _URL.fullmatch(self.input_url) is not None,
            text=f"input_url must begin with https://, http:// or {BLOB_URL_PREFIX}",
        )
        _require(ok=len(self.files) <= FILES_MAX, text=f"at most {FILES_MAX} files")
        for name in self.files:
            _require(
                ok=_FILE_NAME.fullmatch(name) is not None and name != "input",
                text=f"file name {name[:80]!r} is not allowed: letters, digits, _ . - , no path, "
                "not 'input' (that is where the input lies)",
            )
        _require(ok=len(self.env) <= ENV_MAX, text=f"at most {ENV_MAX} environment variables")
        for name, value in self.env.items():
            _require(
                ok=_ENV_NAME.fullmatch(name) is not None
                and not name.startswith("WORKRS_")
                and len(value) <= TEXT_MAX
                and "\0" not in value,
                text=f"environment variable {name[:80]!r} is not allowed: letters, digits and _, "
                f"not WORKRS_…, value of at most {TEXT_MAX} characters",
            )

    def _check_limits(self) -> None:
        for name, low, high in (
            ("timeout_s", 0.1, 30 * 86400.0),
            ("attempts_max", 1, 100),
            ("memory_mb", 4, 1 << 20),
            ("cpus", 0.01, 1024.0),
            ("priority", 0, PRIORITY_MAX),
            ("retention_s", 1.0, 30 * 86400.0),
        ):
            value = getattr(self, name)
            _require(
                ok=low <= value <= high, text=f"{name} is {value}: write {low:.10g} to {high:.10g}"
            )
        _require(
            ok=self.forecast_s is None or 0 < self.forecast_s <= 365 * 86400.0,
            text=f"forecast_s is {self.forecast_s}: write seconds above 0, or leave it out",
        )

    def input_bytes(self) -> bytes | None:
        """Return the inline input, or None when there is none or it is a blob."""
        if self.input is not None:
            return self.input.encode()
        if self.input_b64 is not None:
            return _decode_base64(self.input_b64, "input_b64")
        return None

    def file_bytes(self) -> dict[str, bytes]:
        """Return the content of each file by name."""
        return {
            name: content.encode()
            if isinstance(content, str)
            else _decode_base64(content.b64, f"files[{name!r}].b64")
            for name, content in self.files.items()
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSpec:
    """A job as a node took it in: complete, immutable, the same bytes on every node."""

    job: JobId
    request: Digest
    """Of what the device sent, so that a repeated submit is known though its function changed."""
    plain: bool = False
    """It came through `run/`: the device reads plain topics instead of JSON."""
    function: str | None = None
    spec: JobSpec
    """With image and command, never with a function to look up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended and what it left. The decided value of its consensus instance."""

    verdict: Verdict
    exit_code: int | None = None
    result: str | None = None
    result_b64: str | None = None
    result_url: str | None = None
    result_bytes: int = 0
    reason: str = ""
    """One or two sentences for a human, and the end of the job's stderr when it failed."""

    def __post_init__(self) -> None:
        """Refuse what every node would fail to show, or to keep, once it is decided."""
        if abs(self.exit_code or 0) > NUMBER_MAX or not 0 <= self.result_bytes <= NUMBER_MAX:
            raise OutcomeError("exit_code is -2^53 to 2^53, result_bytes 0 to 2^53")
        if self.result_b64 is not None:
            try:
                base64.b64decode(self.result_b64, validate=True)
            except ValueError as error:
                raise OutcomeError(f"result_b64 is not valid base64: {error}") from error

    def digest(self) -> Digest:
        """Return the identity of this value."""
        return digest_of(json.dumps(asdict(self), sort_keys=True).encode())

    def inline_result(self) -> bytes | None:
        """Return the result's bytes, or None when there is none or it is a blob."""
        if self.result is not None:
            return self.result.encode()
        if self.result_b64 is not None:
            return base64.b64decode(self.result_b64)
        return None


def shortened(outcome: Outcome) -> Outcome:
    """Return what is kept of an outcome when its job is retired: no result, a short reason.

    Its digest is not that of the outcome that was voted on, which has to be kept beside it.
    """
    gone = RESULT_GONE if outcome.verdict is Verdict.SUCCEEDED else ""
    return Outcome(
        verdict=outcome.verdict,
        exit_code=outcome.exit_code,
        reason=(outcome.reason or gone)[:SHORT_REASON_MAX],
    )


def outcome_with_result(
    verdict: Verdict, data: bytes, *, exit_code: int | None, reason: str = ""
) -> Outcome:
    """Return an outcome carrying *data* inline, as text where it is text."""
    try:
        text, coded = data.decode(), None
    except UnicodeDecodeError:
        text, coded = None, base64.b64encode(data).decode()
    return Outcome(
        verdict=verdict,
        exit_code=exit_code,
        result=text,
        result_b64=coded,
        result_bytes=len(data),
        reason=reason,
    )


def digest_of(data: bytes) -> Digest:
    """Return the SHA-256 of *data* in hex."""
    return Digest(hashlib.sha256(data).hexdigest())


def submit_request_digest(payload: object) -> Digest:
    """Return the digest of a JSON submit: blind to key order and white space."""
    return digest_of(b"submit\0" + json.dumps(payload, sort_keys=True).encode())


def run_request_digest(function: str, data: bytes) -> Digest:
    """Return the digest of a raw `run`."""
    return digest_of(b"run\0" + function.encode() + b"\0" + data)


def owner(job: JobId) -> ClientId:
    """Return the device whose job this is."""
    return ClientId(job.partition("_")[0])
