"""Heartbeats: what was said when, and which leases a majority has renewed.

1. A lease is renewed from the *send* time of a heartbeat that listed it, once a majority of
   nodes has acknowledged that heartbeat or a later one of this incarnation without naming
   the lease as refused. A heartbeat that did not list the lease renews nothing.
2. A node that refuses a lease in its newest receipt does not count for that lease at all;
   what it said before is forgotten, which only makes the deadline earlier.
3. One heartbeat at once when a lease or an attempt was added, then at most one per
   COALESCE_S: the majority's disks see twenty a second, however many jobs come and go. A
   lease that ended needs none: whoever cares sees it in the records.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from edge_agent.work import PAST
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.wire.message import AgentView, Held

COALESCE_S = 0.05
SENT_MAX = 512
"""Heartbeats remembered: 25 s of the fastest pace, above any ttl of the defaults."""

Lease = tuple[JobId, Epoch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A heartbeat that went out."""

    at: Instant
    held: Mapping[Lease, int]
    """Attempt by lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A lease that a majority has renewed, and the attempt that is now on its disks."""

    job: JobId
    epoch: Epoch
    attempt: int
    sent: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class _Receipt:
    counter: int
    refused: frozenset[Lease]


@dataclass(slots=True)
class Heart:
    """The heartbeats of one incarnation."""

    counter: int = 0
    sent_at: Instant = PAST
    """Of the newest heartbeat."""
    heard_at: Instant = PAST
    """When a majority last acknowledged something new."""
    _confirmed: int = 0
    _sent: dict[int, Sent] = field(default_factory=dict)
    _receipts: dict[ClientId, _Receipt] = field(default_factory=dict)

    def beat(self, held: tuple[Held, ...], now: Instant) -> int:
        """Note a heartbeat that goes out now; return its counter."""
        self.counter += 1
        self.sent_at = now
        self._sent[self.counter] = Sent(at=now, held={(h.job, h.epoch): h.attempt for h in held})
        if len(self._sent) > SENT_MAX:
            del self._sent[next(iter(self._sent))]
        return self.counter

    def hear(
        self, node: ClientId, view: AgentView, majority: int, now: Instant
    ) -> tuple[list[Renewal], list[Lease]]:
        """Take a node's receipt; return what it renews, and the leases the node refuses."""
        known = self._receipts.get(node)
        if view.counter > self.counter or (known is not None and view.counter <= known.counter):
            return [], []
        self._receipts[node] = _Receipt(counter=view.counter, refused=frozenset(view.refused))
        reached = self._reached(majority, None)
        disputed = {lease for r in self._receipts.values() for lease in r.refused}
        renewals = [r for lease in sorted(disputed) for r in self._disputed(lease, majority)]
        if reached > self._confirmed:
            self._confirmed = reached
            self.heard_at = now
            renewals.extend(self._undisputed(reached, disputed))
            for counter in [c for c in self._sent if c < reached and not disputed]:
                del self._sent[counter]
        return renewals, list(view.refused)

    def keep(self, nodes: Collection[ClientId]) -> None:
        """Forget the receipts of all other nodes: they belong to the cluster no more."""
        self._receipts = {node: self._receipts[node] for node in self._receipts if node in nodes}

    def _reached(self, majority: int, lease: Lease | None) -> int:
        """Return the highest counter that a majority acknowledged, for *lease* or at all."""
        counters = [
            0 if lease is not None and lease in r.refused else r.counter
            for r in self._receipts.values()
        ]
        if len(counters) < majority:
            return 0
        counters.sort(reverse=True)
        return counters[majority - 1]

    def _undisputed(self, counter: int, disputed: set[Lease]) -> Iterator[Renewal]:
        sent = self._sent.get(counter)
        if sent is None:
            return
        for (job, epoch), attempt in sent.held.items():
            if (job, epoch) not in disputed:
                yield Renewal(job=job, epoch=epoch, attempt=attempt, sent=sent.at)

    def _disputed(self, lease: Lease, majority: int) -> Iterator[Renewal]:
        sent = self._sent.get(self._reached(majority, lease))
        if sent is not None and lease in sent.held:
            job, epoch = lease
            yield Renewal(job=job, epoch=epoch, attempt=sent.held[lease], sent=sent.at)
