"""Offers that wait for a free slot, and the epochs this incarnation has used up."""

from collections import OrderedDict
from collections.abc import Container

from workrs.domain.dispatch import OFFER_S
from workrs.domain.ids import Epoch, Instant, JobId
from workrs.domain.record import NEVER
from workrs.wire.message import Offer

PARKED_MAX = 1000
"""Offers kept waiting; beyond that the oldest is forgotten, and its node offers elsewhere."""
USED_MAX = 50_000


class Parking:
    """Offers that came when all slots were taken, oldest first."""

    def __init__(self) -> None:
        """Begin empty."""
        self._offers: OrderedDict[JobId, tuple[Instant, Offer]] = OrderedDict()

    def park(self, offer: Offer, now: Instant) -> None:
        """Keep *offer* for as long as it stands; a newer one for the same job replaces it."""
        self._offers.pop(offer.job, None)
        self._offers[offer.job] = (Instant(now + OFFER_S), offer)
        if len(self._offers) > PARKED_MAX:
            self._offers.popitem(last=False)

    def pop(self, now: Instant, passed_over: Container[JobId]) -> Offer | None:
        """Return the oldest offer that still stands and is not for one of *passed_over*."""
        found: Offer | None = None
        done: list[JobId] = []
        for job, (until, offer) in self._offers.items():
            if now >= until:
                done.append(job)
            elif job not in passed_over:
                done.append(job)
                found = offer
                break
        for job in done:
            del self._offers[job]
        return found

    def clear(self) -> None:
        """Forget all."""
        self._offers.clear()


class UsedEpochs:
    """Epochs of undecided jobs that were given up, so that none is claimed twice.

    Memory is bounded: of the jobs longest ago only the highest epoch of them all is kept, and
    every unknown job is claimed above it. Epochs are plenty.
    """

    def __init__(self, most: int = USED_MAX) -> None:
        """Begin with nothing used; a new incarnation is a new holder."""
        self._most = most
        self._used: OrderedDict[JobId, Epoch] = OrderedDict()
        self._floor = NEVER

    def note(self, job: JobId, epoch: Epoch) -> None:
        """Remember that *epoch* is used up for *job*."""
        self._used[job] = max(self._used.pop(job, NEVER), epoch)
        if len(self._used) > self._most:
            _, dropped = self._used.popitem(last=False)
            self._floor = max(self._floor, dropped)

    def forget(self, job: JobId) -> None:
        """Forget a job that is decided: nobody will claim it again."""
        self._used.pop(job, None)

    def next(self, job: JobId) -> Epoch:
        """Return the lowest epoch that may be claimed for *job*."""
        return Epoch(self._used.get(job, self._floor) + 1)
