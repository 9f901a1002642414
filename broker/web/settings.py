"""What the page of a node is told at its start."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workrs.domain.function import Function
from workrs.domain.ids import ClientId
from workrs.ports.bus import Address

UPLOAD_MAX_BYTES = 256 << 20
SCRIPT_MAX_BYTES = 64 * 1024
"""It travels in the job's spec."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """One node's page."""

    listen: Address
    folder: Path
    """For uploads on their way."""
    scripts: Mapping[str, str] = field(default_factory=dict)
    """Functions that take a script, and the file in the job's folder that it is put in the place
    of: an operator's choice."""
    upload_max_bytes: int = UPLOAD_MAX_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What the page may know of its node, as of the moment it asks."""

    node: ClientId
    cluster: str
    """Name of the cluster, empty where it has none."""
    has_passwords: bool
    """False: nobody is asked for anything but a name."""
    filed: Callable[[str], str | None]
    """Under what a name's password is filed, which changes whenever the password does; None: the
    name is let in no more. Where nobody is asked for one, it is always the same."""
    functions: Callable[[], Mapping[str, Function]]
    stores: Callable[[], Sequence[str]]
    """Base URLs of the nodes' blob stores that can be reached, this node's first."""
    trouble: Callable[[], str]
    """What visitors should know of the node's state, or empty."""
