"""The storm guard: when a broker says that many agents died at once, it is the broker.

A broker that was stopped for some seconds fires the wills of live clients as soon as it
runs again. Taking those jobs over would be safe, but every container would be started twice.

1. Wills of more than a fifth of the agents, and of at least five, from one broker within
   five seconds are a storm: they are not believed, and neither is any later one of that
   broker for a ttl.
2. The wills of the same five seconds that were believed already are handed back, for their
   effects to be undone.

Not promised: that a rack of agents which really dies is taken over after the grace. It is
after the ttl, by silence.
"""

from dataclasses import dataclass, field

from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.record import Holder

STORM_S = 5.0
STORM_AGENTS_MIN = 5
STORM_SHARE = 1 / 5


@dataclass(frozen=True, slots=True)
class Shortened:
    """A lease that a will brought forward, and when it would have ended."""

    job: JobId
    epoch: Epoch
    lease_until: Instant


@dataclass(frozen=True, slots=True)
class Will:
    """A will that was believed."""

    at: Instant
    holder: Holder
    shortened: tuple[Shortened, ...]


@dataclass(slots=True)
class StormGuard:
    """Remembers the wills of the last seconds, by the broker that fired them."""

    _believed: dict[ClientId, list[Will]] = field(default_factory=dict)
    _deaf_until: dict[ClientId, Instant] = field(default_factory=dict)

    def is_deaf(self, broker: ClientId, now: Instant) -> bool:
        """Return whether nothing this broker says of dead agents is believed now."""
        return now < self._deaf_until.get(broker, now)

    def believe(self, broker: ClientId, will: Will) -> None:
        """Remember a will that takes effect."""
        self._believed.setdefault(broker, []).append(will)

    def breaks(
        self, broker: ClientId, live_agents: int, now: Instant, ttl_s: float
    ) -> list[Will] | None:
        """Return the wills to undo if one more is a storm, else None.

        Args:
            broker: the node whose broker fired the will.
            live_agents: agents not known to be gone, the one in question included.
            now: the node's clock.
            ttl_s: how long the broker is not believed afterwards.
        """
        recent = [w for w in self._believed.get(broker, []) if now - w.at < STORM_S]
        self._believed[broker] = recent
        dying = len(recent) + 1
        if dying < STORM_AGENTS_MIN or dying <= STORM_SHARE * (live_agents + len(recent)):
            return None
        self._deaf_until[broker] = Instant(now + ttl_s)
        self._believed[broker] = []
        return recent
