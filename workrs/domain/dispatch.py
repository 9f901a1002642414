"""Which node offers a job, and to which agent.

1. Dispatch may be wrong or doubled without harm: the votes decide who runs a job.
2. Every node computes the same ranks from the same names; the first live one offers first.
3. A job is offered only to an agent that meets all of its constraints.
4. One that has a checkpoint is offered for RESTORE_WAIT_S only to agents that can restore it;
   then to any, which falls to a lower rung.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

from workrs.domain import ladder
from workrs.domain.host import HostFacts
from workrs.domain.ids import ClientId, JobId
from workrs.domain.job import CheckpointMode, JobSpec
from workrs.domain.record import CheckpointRef

OFFER_S = 1.0
"""How long one offer stands before the job goes to the next agent, jitter not included."""
RESTORE_WAIT_S = 30.0
"""How long a free job waits for an agent that can restore its newest checkpoint: an agent that
restarts is back by then, and a job of half an hour loses less by waiting than by falling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentProfile:
    """What an agent can do, as its heartbeat says."""

    slots: int
    """Jobs it runs at once."""
    arch: str
    memory_mb: int
    cpus: float
    labels: tuple[str, ...] = ()
    rung: str = "none"
    """The best checkpoint it can make and restore: memory, files or none."""
    images: tuple[str, ...] = ()
    """Images already present; empty when it cannot tell."""
    runtime: str = "process"
    blobs: str = ""
    load: float = 0.0
    draining: bool = False
    host: HostFacts | None = None
    """What restoring memory depends on; None where nothing can be restored."""
    keys: tuple[str, ...] | None = None
    """Ids of the cluster's keys with which it opens checkpoints; None: it does not tell."""
    stores: tuple[str, ...] | None = None
    """Stores of no node that it may open; None: it does not tell."""

    @property
    def able(self) -> ladder.Able:
        """Return what decides which checkpoints it can restore."""
        return ladder.Able(self.rung, self.host, self.keys, self.stores)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An agent as the dispatcher sees it now."""

    client: ClientId
    profile: AgentProfile
    busy: int
    """Leases it holds plus offers that stand."""
    lapsed: bool = False
    """It let an offer lapse since it was last heard: it may be dead already."""


def rank_nodes(job: JobId, nodes: Iterable[ClientId]) -> list[ClientId]:
    """Return *nodes* by descending rendezvous hash for *job*."""
    return sorted(
        nodes, key=lambda n: hashlib.blake2b(f"{n}\0{job}".encode()).digest(), reverse=True
    )


class Need(NamedTuple):
    """What an agent must have to get a job. Jobs with the same need fit the same agents."""

    arch: str | None
    labels: frozenset[str]
    memory_mb: int
    memory_rung: bool
    restores: ladder.Saved | None = None
    """What its newest checkpoint needs, while the job waits for an agent that can restore it."""


def need_of(spec: JobSpec, newest: CheckpointRef | None = None) -> Need:
    """Return what the job needs of its agent, one that can restore *newest* if that is given."""
    wanted = spec.constraints
    is_memory = spec.checkpoint.mode is CheckpointMode.MEMORY
    restores = None if newest is None else ladder.saved_as(newest)
    return Need(wanted.arch, frozenset(wanted.labels), spec.memory_mb, is_memory, restores)


def refusal(need: Need, profile: AgentProfile) -> str | None:
    """Return why the agent may not get jobs with this need at all, or None."""
    if profile.draining:
        return "told to drain"
    if need.arch not in (None, profile.arch):
        return f"{profile.arch}, not {need.arch}"
    missing = sorted(need.labels.difference(profile.labels))
    if missing:
        return f"no label {', '.join(missing)}"
    if need.memory_mb > profile.memory_mb:
        return f"{profile.memory_mb} MiB of memory, not {need.memory_mb}"
    if need.memory_rung and profile.rung != ladder.MEMORY:
        return f"rung {profile.rung}, not {ladder.MEMORY}"
    if need.restores is None:
        return None
    why = ladder.refusal(need.restores, profile.able)
    return None if why is None else f"cannot restore its checkpoint: {why}"


def meets(need: Need, profile: AgentProfile) -> bool:
    """Return whether the agent may get jobs with this need at all."""
    return refusal(need, profile) is None


def fits(spec: JobSpec, profile: AgentProfile) -> bool:
    """Return whether the agent may get the job at all."""
    return meets(need_of(spec), profile)


def choose(
    job: JobId,
    spec: JobSpec,
    candidates: Iterable[Candidate],
    avoid: frozenset[ClientId],
    *,
    newest: CheckpointRef | None = None,
    expecting: ClientId | None = None,
) -> ClientId | None:
    """Return the best agent with a free slot, or None.

    The one that is *expecting* the job, having fetched for it, comes before all that fit as well.
    With *newest* only one that can restore this checkpoint. *avoid* are agents that let an offer
    of this job lapse; they come last, as do those that let any lapse since they were heard. Not
    never, since they may be the only ones. Image present, then share of free slots, then load.
    Ties are broken by the job: three nodes that all offered to the first name of a thousand would
    fill one slot three times and leave the others empty.
    """
    need = need_of(spec, newest)
    image = spec.image
    best: tuple[bool, bool, bool, float, float] | None = None
    equal: list[ClientId] = []
    for c in candidates:
        profile = c.profile
        if c.busy >= profile.slots or not meets(need, profile):
            continue
        worth = (
            c.lapsed or c.client in avoid,
            c.client != expecting,
            image not in profile.images,
            c.busy / profile.slots,
            profile.load,
        )
        if best is None or worth < best:
            best, equal = worth, [c.client]
        elif worth == best:
            equal.append(c.client)
    if not equal:
        return None
    equal.sort()
    return equal[crc32(job.encode()) % len(equal)]
