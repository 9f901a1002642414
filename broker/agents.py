"""What a node knows of the agents: who lives, what each can do, how much each has to do.

1. A heartbeat counts only if (incarnation, counter) is newer than the last one seen,
   through whichever node it came.
2. A will is void once a heartbeat of a later connection or incarnation was seen.
3. `busy` counts what this node granted and what it has on offer; other nodes' offers are
   unknown here, and dispatch may be wrong without harm.
4. An agent is known from the first lease it is granted, before it is heard: the leases on
   this node's disk after a restart end with its will like any other.
"""

from collections import deque
from dataclasses import dataclass, field
from math import inf

from broker.limits import AGENTS_MAX
from workrs.domain.dispatch import AgentProfile, Candidate
from workrs.domain.ids import ClientId, Epoch, Instant, JobId, LocalJobId
from workrs.domain.record import Incarnation
from workrs.wire.message import AgentView, Beat

LOOK_S = 1.0
"""Least time between two looks through a full table for agents to forget. Beats of unknown names
may come by the thousand a second, and each look takes 1 ms and more."""


@dataclass(slots=True, kw_only=True)
class Wish:
    """An order to drain or undrain, of this node's operator or another node's: see `wish`."""

    number: int
    was_draining: bool
    until: Instant
    """Until when it is said again; over for those of other nodes and those that were answered."""


@dataclass(slots=True)
class AgentEntry:
    """One agent as this node sees it."""

    client: ClientId
    incarnation: Incarnation
    connection: int = 0
    counter: int = 0
    profile: AgentProfile | None = None
    seen_at: Instant = Instant(0.0)  # noqa: RUF009 (a NewType of an immutable float)
    gone: bool = False
    local: bool = False
    """Connected to this node's own broker when last heard."""
    refused: tuple[tuple[JobId, Epoch], ...] = ()
    heard: bool = True
    """It spoke itself. Else only a lease tells of it, and no view was published."""
    holding: set[JobId] = field(default_factory=set)
    offered: set[JobId] = field(default_factory=set)
    ordered: int = 0
    """Number of the newest order to drain or undrain that it knows: see `wish`."""
    wished: int = 0
    """Of the newest that this node has heard."""
    wishes: dict[tuple[ClientId, LocalJobId], Wish] = field(default_factory=dict)
    """Those orders, by who gave them under which name, oldest first."""
    lapsed: bool = False
    """It let an offer lapse and was not heard since."""

    @property
    def busy(self) -> int:
        """Return the slots that are taken or promised."""
        return len(self.holding) + len(self.offered)

    def view(self) -> AgentView:
        """Return what this node says of the agent, which is also its receipt."""
        return AgentView(
            incarnation=self.incarnation,
            connection=self.connection,
            counter=self.counter,
            refused=self.refused,
            profile=self.profile,
            held=len(self.holding),
            gone=self.gone,
        )

    def is_forgettable(self, now: Instant, gone_s: float) -> bool:
        """Return whether it holds nothing, and is gone for so long or was never heard."""
        return not self.busy and (not self.heard or (self.gone and now - self.seen_at >= gone_s))


def ability(profile: AgentProfile) -> tuple[object, ...]:
    """Return what of a profile decides which jobs fit."""
    return (profile.arch, profile.labels, profile.memory_mb, profile.able)


@dataclass(slots=True)
class AgentTable:
    """All agents this node has heard of."""

    ttl_s: float
    entries: dict[ClientId, AgentEntry] = field(default_factory=dict)
    _free: dict[ClientId, Candidate] = field(default_factory=dict)
    """Agents with a free slot. Kept, because making 1,000 of them for an offer takes 0.7 ms."""
    _fresh: dict[ClientId, None] = field(default_factory=dict)
    """Agents whose slot, or its use, came since the dispatcher last looked."""
    _leaving: deque[AgentEntry] = field(default_factory=deque)
    """Those that were gone at the last look, longest first."""
    _look_at: Instant = Instant(0.0)  # noqa: RUF009

    def get(self, client: ClientId) -> AgentEntry | None:
        """Return the agent's entry, if it was ever heard."""
        return self.entries.get(client)

    def know(self, client: ClientId, incarnation: Incarnation) -> AgentEntry:
        """Return the agent's entry, made for one that was granted a lease but never heard."""
        entry = self.entries.get(client)
        if entry is None:
            # Not heard yet, so not silent yet: its leases end by themselves.
            entry = AgentEntry(client, incarnation, counter=-1, seen_at=Instant(inf), heard=False)
            self.entries[client] = entry
        return entry

    def is_full(self, client: ClientId) -> bool:
        """Return whether there is no room for an agent of this name."""
        return client not in self.entries and len(self.entries) >= AGENTS_MAX

    def forgettable(self, now: Instant, *, gone_s: float) -> list[AgentEntry]:
        """Return agents that hold nothing and are gone for so long, longest first.

        Those that never were heard of themselves come last.
        """
        found = [e for e in self.entries.values() if e.is_forgettable(now, gone_s)]
        return sorted(found, key=lambda e: e.seen_at)

    def gone_longest(self, now: Instant) -> AgentEntry | None:
        """Return an agent to make room with, one that is gone; those of the last second not yet."""
        if not self._leaving and now >= self._look_at:
            self._look_at = Instant(now + LOOK_S)
            self._leaving.extend(self.forgettable(now, gone_s=0.0))
        while self._leaving:
            entry = self._leaving.popleft()
            if self.entries.get(entry.client) is entry and entry.is_forgettable(now, 0.0):
                return entry
        return None

    def forget(self, entry: AgentEntry) -> None:
        """Know the agent no more."""
        self.entries.pop(entry.client, None)
        self._free.pop(entry.client, None)
        self._fresh.pop(entry.client, None)

    def admit(self, client: ClientId, beat: Beat) -> AgentEntry | None:
        """Return the entry to update with *beat*, or None when the beat is stale."""
        entry = self.entries.get(client)
        if entry is None:
            entry = AgentEntry(client, beat.incarnation)
            self.entries[client] = entry
            return entry
        if beat.incarnation.number < entry.incarnation.number:
            return None
        same = beat.incarnation == entry.incarnation
        if beat.incarnation.number == entry.incarnation.number and not same:
            return None
        if same and beat.gone:
            return None if beat.connection < entry.connection or entry.gone else entry
        if same and beat.counter <= entry.counter:
            return None
        return entry

    def refresh(self, entry: AgentEntry) -> None:
        """Note whether the agent has a free slot now."""
        profile = entry.profile
        if (
            profile is not None
            and not entry.gone
            and not profile.draining
            and entry.busy < profile.slots
        ):
            known = self._free.get(entry.client)
            if known is None or ability(known.profile) != ability(profile):
                self._fresh[entry.client] = None
            self._free[entry.client] = Candidate(
                client=entry.client, profile=profile, busy=entry.busy, lapsed=entry.lapsed
            )
        else:
            self._free.pop(entry.client, None)
            self._fresh.pop(entry.client, None)

    def candidates(self) -> list[Candidate]:
        """Return the agents with a free slot."""
        return list(self._free.values())

    def take_fresh(self) -> list[AgentProfile]:
        """Return the profiles of agents that have come to take jobs since the last call."""
        fresh, self._fresh = self._fresh, {}
        found = [self.entries[client].profile for client in fresh]
        return [profile for profile in found if profile is not None]

    def has_free(self) -> bool:
        """Return whether any agent has a free slot."""
        return bool(self._free)

    def silent(self, now: Instant) -> list[AgentEntry]:
        """Return agents not heard for a ttl and not yet known to be gone."""
        return [e for e in self.entries.values() if not e.gone and now - e.seen_at > self.ttl_s]

    def count_live(self) -> int:
        """Return how many agents are there."""
        return sum(1 for e in self.entries.values() if e.profile is not None and not e.gone)
