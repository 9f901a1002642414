"""What all rules of one agent share: who it is, what it sees, and what it has decided to do.

The rules take this and a `Work` and change both; nothing else is theirs to change.
"""

import random
from dataclasses import dataclass, field

from edge_agent.cluster import Cluster
from edge_agent.effect import Effect, Log, Publish
from edge_agent.work import NOT
from workrs.domain import ladder
from workrs.domain.host import HostFacts
from workrs.domain.ids import ClientId, Instant, JobId
from workrs.domain.record import Holder, Incarnation
from workrs.wire import topics

NEVER_YET = Instant(0.0)


@dataclass(slots=True, kw_only=True)
class Agent:
    """One incarnation of an agent, at one instant."""

    holder: Holder
    cluster: Cluster
    rng: random.Random
    rung: str = ladder.NONE
    """The best that it can save and restore."""
    host: HostFacts | None = None
    keys: tuple[str, ...] | None = None
    """Ids of the keys with which it opens checkpoints; None: it does not know."""
    stores: tuple[str, ...] | None = None
    """Stores of no node that it may open; None: it does not know."""
    now: Instant = NEVER_YET
    effects: list[Effect] = field(default_factory=list)
    runs: int = 0
    """Containers numbered so far."""
    until: Instant = NOT
    """When it gives up what it could not hand over, because it was told to stop."""
    beat_due: bool = False
    """Whether the set of leases or attempts changed since the last heartbeat."""

    @property
    def name(self) -> ClientId:
        """Return its name on the bus."""
        return self.holder.client

    @property
    def incarnation(self) -> Incarnation:
        """Return which start of this agent it is."""
        return self.holder.incarnation

    @property
    def able(self) -> ladder.Able:
        """Return what decides which checkpoints it can restore."""
        return ladder.Able(self.rung, self.host, self.keys, self.stores)

    @property
    def can_checkpoint(self) -> bool:
        """Return whether it can save anything."""
        return self.rung != ladder.NONE

    def new_run(self) -> int:
        """Return a number that no container of this incarnation had."""
        self.runs += 1
        return self.runs

    def do(self, effect: Effect) -> None:
        """Decide *effect*."""
        self.effects.append(effect)

    def say(self, verb: str, job: JobId, body: object, *, qos: int = 1) -> None:
        """Publish a request about *job*."""
        self.effects.append(
            Publish(topic=topics.up(self.holder.client, verb, job), body=body, qos=qos)
        )

    def log(self, key: str, **fields: object) -> None:
        """Write a line."""
        self.effects.append(Log(key=key, fields=fields))

    def later(self, delay_s: float) -> Instant:
        """Return the instant *delay_s* from now."""
        return Instant(self.now + delay_s)

    def jittered(self, delay_s: float) -> Instant:
        """Return an instant half to one and a half *delay_s* from now."""
        return Instant(self.now + delay_s * self.rng.uniform(0.5, 1.5))
