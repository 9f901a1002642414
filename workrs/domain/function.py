"""Functions: what devices call by name, who may call it, and which definition of it counts.

1. A definition that no job could be made of cannot exist.
2. Of two records of one function the one with the higher (version, digest) counts. So merging
   is idempotent and free of order, and nodes that saw the same records show the same.
3. A removal is a record too, and counts more than a definition of the same version.

Not promised: that the later of two definitions counts which operators give at the same moment
at two nodes. One of them does, on all nodes, and the other's operator is told.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from workrs.domain.errors import SpecError, WireError
from workrs.domain.ids import NUMBER_MAX, ClientId, Digest, client_id, tenant_of
from workrs.domain.job import (
    Base64File,
    CheckpointPolicy,
    Constraints,
    JobSpec,
    Takeover,
    digest_of,
)

CALLERS_MAX: Final = 100
DESCRIPTION_MAX: Final = 500
REMOVED: Final = Digest("removed")
"""In place of the digest of a definition. Above every hexadecimal one: see invariant 3."""
_NOT_OF_A_JOB: Final = frozenset({"description", "callers", "tenants"})
_CALLER = re.compile(r"[a-z0-9*][a-z0-9.*-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A definition: what `run/{function}/…` starts with the message as input."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (read by the codec, never changed)

    image: str
    command: tuple[str, ...]
    description: str = ""
    callers: tuple[str, ...] = ()
    """Names of devices that may call it; `*` in a name stands for any characters."""
    tenants: tuple[str, ...] = ()
    """Tenants whose devices may call it. Neither callers nor tenants: everybody may."""
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str | Base64File] = field(default_factory=dict)
    forecast_s: float | None = None
    timeout_s: float = 3600.0
    attempts_max: int = 3
    memory_mb: int = 256
    cpus: float = 1.0
    constraints: Constraints = field(default_factory=Constraints)
    priority: int = 4
    takeover: Takeover = Takeover.FAST
    checkpoint: CheckpointPolicy = field(default_factory=CheckpointPolicy)
    retention_s: float = 86400.0

    def __post_init__(self) -> None:
        """Refuse what no job could be made of, and callers that nobody can be."""
        of_job = {f.name: getattr(self, f.name) for f in fields(self)}
        JobSpec(**{name: value for name, value in of_job.items() if name not in _NOT_OF_A_JOB})
        if len(self.description) > DESCRIPTION_MAX or not (self.description or " ").isprintable():
            raise SpecError(f"description is one line of at most {DESCRIPTION_MAX} characters")
        if len(self.callers) + len(self.tenants) > CALLERS_MAX:
            raise SpecError(
                f"at most {CALLERS_MAX} callers and tenants: a pattern (press-*) names many devices"
            )
        for caller in self.callers:
            if not _CALLER.fullmatch(caller):
                raise SpecError(
                    f"caller {caller[:80]!r} is no device's name: 1 to 63 of a-z 0-9 . - , and * "
                    "for any characters"
                )
        for tenant in self.tenants:
            if tenant != tenant_of(client_id(tenant)):
                raise SpecError(f"tenant {tenant!r}: a tenant has no dot, its devices do")

    def __hash__(self) -> int:
        """Return the hash of its digest: mappings, which it has, have none."""
        return hash(self.digest())

    def may_be_called_by(self, device: ClientId) -> bool:
        """Return whether *device* may call it."""
        if not self.callers and not self.tenants:
            return True
        return tenant_of(device) in self.tenants or any(
            fnmatchcase(device, caller) for caller in self.callers
        )

    def job_fields(self) -> dict[str, Any]:
        """Return, as plain JSON values, what it says about each of its jobs."""
        found = {name: value for name, value in asdict(self).items() if name not in _NOT_OF_A_JOB}
        return {**found, "command": list(self.command)}

    def digest(self) -> Digest:
        """Return the identity of this definition.

        Fields that have their default are left out, so that it stays the same when a later
        version of the software has more fields.
        """
        empty = Function(image=self.image, command=self.command)
        said = {
            name: value
            for name, value in asdict(self).items()
            if name in ("image", "command") or getattr(self, name) != getattr(empty, name)
        }
        return digest_of(json.dumps(said, sort_keys=True).encode())


class Stamp(NamedTuple):
    """Which of two records of a function counts: the higher one."""

    version: int
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionRecord:
    """What a node knows of a function: its definition in some version, or that it was removed."""

    function: str
    version: int
    """From 1; every change by an operator is one above all that its node knew."""
    digest: Digest
    """Of the definition, or REMOVED."""
    definition: Function | None = None

    def __post_init__(self) -> None:
        """Refuse what is no record of a function."""
        client_id(self.function)
        if not 1 <= self.version <= NUMBER_MAX:
            raise WireError(f"function {self.function}: its version is 1 to 2^53")
        if self.digest != _digest(self.definition):
            raise WireError(f"function {self.function}: the digest is not the definition's")

    @property
    def stamp(self) -> Stamp:
        """Return what it is compared by."""
        return Stamp(self.version, self.digest)


def _digest(definition: Function | None) -> Digest:
    return REMOVED if definition is None else definition.digest()


def next_record(
    function: str, definition: Function | None, known: FunctionRecord | None
) -> FunctionRecord:
    """Return the record by which *definition* (None: a removal) replaces what is known.

    That is the known one if it says the same, so whoever asks twice changes nothing twice.
    """
    digest = _digest(definition)
    if known is not None and known.digest == digest:
        return known
    version = 1 if known is None else known.version + 1
    return FunctionRecord(function=function, version=version, digest=digest, definition=definition)


def counts_more(record: FunctionRecord, known: FunctionRecord | None) -> bool:
    """Return whether *record* takes the place of what is known of the same function."""
    return known is None or record.stamp > known.stamp
