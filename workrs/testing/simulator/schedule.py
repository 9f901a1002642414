"""A schedule: all that is planned of one run, as a value that can be edited and pasted.

What is not planned here (delays, targets and lengths of faults, jitter) is drawn while it
runs, each from a generator of its own named after the schedule's seed and what it is for. So
leaving a fault or a job out disturbs the rest as little as possible.
"""

from dataclasses import dataclass, fields
from random import Random
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentPlan:
    """An agent and its machine."""

    name: str
    home: int = 0
    """Place in the list of nodes of the one it tries first."""
    slots: int = 2
    rung: str = "files"
    """The best it can save and restore: memory, files or none."""
    machine: str = "m1"
    """What memory is saved on one is not restored on another."""
    refuses: bool = False
    """It says that it restores memory, and when it comes to it cannot."""
    twin_of: str | None = None
    """The agent on a copy of whose disk it runs: under that one's name, beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlan:
    """A device."""

    name: str
    home: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlan:
    """A job, what its program does, and what its device does with it. Times from the start."""

    name: str
    device: str
    at_s: float
    work_s: float = 1.0
    """How long its program needs."""
    exits: tuple[int, ...] = (0,)
    """Exit code by attempt; the last one goes on for those after."""
    resumes: bool = False
    """Half way it exits with 85, to be started again from its own files."""
    is_large: bool = False
    """Its result goes into the stores."""
    is_raw: bool = False
    """Its device knows no JSON: it calls a function, and only once."""
    strict: bool = False
    checkpoint_s: float | None = None
    """Interval between checkpoints; None: none are taken."""
    mode: str = "files"
    """Of its checkpoints: files, memory, or auto, as good as its agent can."""
    attempts_max: int = 3
    retention_s: float = 86400.0
    copies: tuple[tuple[float, int], ...] = ()
    """When, and at which node, the same submit is published once more."""
    rivals: tuple[tuple[float, int], ...] = ()
    """The same for another spec under the same id."""
    cancel_at_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultPlan:
    """A fault. What it hits and for how long is drawn from its salt."""

    at_s: float
    name: str
    salt: int = 0
    on: str = ""
    """Wait for an agent that says this from then on: claim, outcome, release … The fault then
    strikes while it is under way, and rather there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One run."""

    seed: int
    nodes: int = 3
    ttl_s: float = 3.0
    """3, or longer: other waits then count for less."""
    drift: bool = True
    """Whether the machines' clocks run at different rates, within bounds."""
    repeats: float = 0.0
    """Chance that the end of what arrives together arrives once more."""
    storm_s: float = 15.0
    """From here on nothing breaks any more, and what was broken is mended."""
    agents: tuple[AgentPlan, ...] = ()
    devices: tuple[DevicePlan, ...] = ()
    jobs: tuple[JobPlan, ...] = ()
    faults: tuple[FaultPlan, ...] = ()

    def rng(self, purpose: str) -> Random:
        """Return the generator for one purpose."""
        return Random(f"{self.seed}/{purpose}")  # noqa: S311 (reproducible on purpose)


def to_source(value: Any, indent: str = "") -> str:
    """Return a schedule as Python source that leaves defaults out."""
    if isinstance(value, tuple):
        if not value or not hasattr(value[0], "__dataclass_fields__"):
            return repr(value)
        inner = "".join(f"{indent}    {to_source(item, indent + '    ')},\n" for item in value)
        return f"(\n{inner}{indent})"
    if not hasattr(value, "__dataclass_fields__"):
        return repr(value)
    told = [
        f"{field.name}={to_source(getattr(value, field.name), indent + '    ')}"
        for field in fields(value)
        if getattr(value, field.name) != field.default
    ]
    name = type(value).__name__
    if not isinstance(value, Schedule):
        return f"{name}({', '.join(told)})"
    body = "".join(f"{indent}    {part},\n" for part in told)
    return f"{name}(\n{body}{indent})"
