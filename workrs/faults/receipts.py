"""Which heartbeats renewed which leases: those that a majority of nodes acknowledged.

A node's view of an agent is its receipt for that agent's heartbeats up to a counter, but for
the leases that it refuses. The rule is the agents' own, and written down here once more: an
agent that is alone with a minority of nodes renews nothing, however often it says its leases.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

BEATS_MAX: Final = 512
"""Heartbeats remembered of one incarnation: 25 s of the fastest pace."""

Lease = tuple[str, int]
"""Job and epoch."""


class Renewal(NamedTuple):
    """A grant, or a heartbeat that renewed a lease."""

    known_s: float
    """When it was heard that a majority had acknowledged it."""
    sent_s: float
    """When it was heard first itself: what it gives ends at most `holding_s` later."""


@dataclass(frozen=True, slots=True)
class _Beat:
    at_s: float
    held: frozenset[Lease]


@dataclass(frozen=True, slots=True)
class _Receipt:
    counter: int
    refused: frozenset[Lease]


@dataclass(slots=True)
class Receipts:
    """The heartbeats of one incarnation of an agent, and what nodes said to them."""

    majority: int
    _beats: dict[int, _Beat] = field(default_factory=dict)
    _newest: dict[str, _Receipt] = field(default_factory=dict)
    _renewed: dict[Lease, int] = field(default_factory=dict)
    """By which heartbeat at last."""

    def take_beat(self, body: Any, at_s: float) -> Iterator[tuple[Lease, Renewal]]:
        """Take a heartbeat in; yield what is renewed now. Only its first copy counts."""
        counter = int(body.get("counter", 0))
        if body.get("gone") or counter in self._beats:
            return
        held = frozenset((str(job), int(epoch)) for job, epoch, _attempt in body.get("held", ()))
        self._beats[counter] = _Beat(at_s, held)
        if len(self._beats) > BEATS_MAX:
            del self._beats[min(self._beats)]
        yield from self._fresh(at_s)

    def take_view(self, node: str, body: Any, at_s: float) -> Iterator[tuple[Lease, Renewal]]:
        """Take a node's view in; yield what is renewed now."""
        counter = int(body["counter"])
        known = self._newest.get(node)
        if known is not None and counter <= known.counter:
            return  # a copy, or one that another broker kept longer
        refused = frozenset((str(job), int(epoch)) for job, epoch in body.get("refused", ()))
        self._newest[node] = _Receipt(counter, refused)
        yield from self._fresh(at_s)

    def _fresh(self, now_s: float) -> Iterator[tuple[Lease, Renewal]]:
        disputed = {lease for receipt in self._newest.values() for lease in receipt.refused}
        reached = self._reached(list(self._newest.values()))
        beat = self._beats.get(reached)
        found = [(lease, reached) for lease in (beat.held if beat else ()) if lease not in disputed]
        for lease in disputed:
            extending = [r for r in self._newest.values() if lease not in r.refused]
            found += [(lease, self._reached(extending))]
        for lease, counter in found:
            renewing = self._beats.get(counter)
            if renewing is None or lease not in renewing.held:
                continue
            if counter > self._renewed.get(lease, -1):
                self._renewed[lease] = counter
                yield lease, Renewal(now_s, renewing.at_s)

    def _reached(self, receipts: Sequence[_Receipt]) -> int:
        """Return the highest counter that a majority acknowledged; -1: none."""
        counters = sorted((receipt.counter for receipt in receipts), reverse=True)
        return counters[self.majority - 1] if len(counters) >= self.majority else -1
