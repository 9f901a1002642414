"""What of a device's requests is let in to wait, what is refused, and who is barred.

1. Each device, and each tenant, has a bucket of requests (`workrs.domain.quota`); and a device
   may have as many waiting as are free, and WAITING_MIN however few that are.
2. What is refused is told with a time to wait: once at least, and TOLD_MAX times at most until the
   device has waited. A device that goes on GRACE_S after it was told, and IGNORED_MAX times more,
   does not listen: it is barred for `bar_s` and disconnected, what waits of it is forgotten, and
   nothing of it is heard or answered. If it comes back meanwhile it is disconnected again, and if
   it goes on there the bar begins anew.
3. At most METERS_MAX devices and tenants are remembered; the one silent longest is forgotten, and
   a new bucket is a full one.
"""

from dataclasses import dataclass, field
from typing import TypeVar

from broker.event import CancelHeard, Event, Refused, SubmitHeard
from broker.intake_queue import IntakeQueue
from broker.limits import INTAKE_MAX, METERS_MAX, REFUSALS_MAX, REFUSALS_PER_S, WAITING_MIN
from workrs.domain.ids import ClientId, Instant, tenant_of
from workrs.domain.quota import Bucket, Quotas, share, spend

_Name = TypeVar("_Name", bound=str)
GRACE_S = 1.0
"""What a device had sent before it could read that it was refused."""
IGNORED_MAX = 64
"""As many as the device clients leave unanswered at a time."""
IGNORED_PER_S = 1.0
TOLD_MAX = 64
"""Likewise: of each of those its sender wants to hear."""
WAIT_S = 10.0
"""What a device is told to wait at least: its jobs come again all at once."""
KICK_PAUSE_S = 0.25
"""Between two times that one device is disconnected: so long, what it had sent before arrives."""


@dataclass(slots=True)
class Meter:
    """What is remembered of one device or tenant."""

    bucket: Bucket | None = None
    refused_at: float = float("-inf")
    """When it was refused last."""
    told: int = 0
    """How often it was told since it was silent last, as it was told to be."""
    told_at: float = 0.0
    """When it was told first."""
    ignored: Bucket | None = None
    barred_until: float = float("-inf")
    kicked_at: float = float("-inf")


@dataclass(slots=True)
class Gate:
    """Of one node."""

    quotas: Quotas = field(default_factory=Quotas)
    kicks: dict[ClientId, None] = field(default_factory=dict)
    """Devices to be disconnected."""
    ignored: int = 0
    """Requests of barred devices."""
    barred: dict[ClientId, bool] = field(default_factory=dict)
    """Devices barred since `take_barred`, and whether by this node, not a peer."""
    untold: list[ClientId] = field(default_factory=list)
    """Devices barred by this node since `take_untold`."""
    _barred_until: float = float("-inf")
    """When the bar of the last of them ends."""
    _first_words: Bucket | None = None
    _further_words: Bucket | None = None
    _devices: dict[ClientId, Meter] = field(default_factory=dict)
    """By name, the one silent longest first."""
    _tenants: dict[str, Meter] = field(default_factory=dict)

    def judge(self, event: Event, queue: IntakeQueue, now: Instant) -> Refused | bool:
        """Return True for a request that may wait, False for one to be forgotten, or a refusal."""
        if not isinstance(event, SubmitHeard | CancelHeard | Refused) or (
            isinstance(event, CancelHeard) and event.via
        ):
            return True  # what is relayed was judged at its own node
        device = event.device
        if self.is_barred(device, now):
            return False
        meter = _meter(self._devices, device)
        why = self._too_fast(device, meter, now)
        waiting_max = max(WAITING_MIN, share(len(queue), INTAKE_MAX, 1.0))
        if not why and queue.waiting(device) >= waiting_max:
            why = "this node is busy, and too many requests of this device wait already"
        if not why:
            return True
        return self._refuse(event, f"{why}: send it again in {WAIT_S:g} s", now)

    def has_barred(self, now: Instant) -> bool:
        """Return whether there may be anybody who is barred."""
        return now < self._barred_until

    def is_barred(self, device: str, now: Instant) -> bool:
        """Return whether a device is barred; one that speaks nevertheless goes again."""
        meter = self._devices.get(ClientId(device))
        if meter is None or now >= meter.barred_until:
            return False
        self.ignored += 1
        if _goes_on(meter, now):
            meter.barred_until = self._barred_until = now + self.quotas.bar_s
        self._kick(ClientId(device), meter, now)
        return True

    def note_refusal(self, device: ClientId, now: Instant) -> bool:
        """Count a refusal that the device is told of; return whether it is barred by it."""
        meter = _meter(self._devices, device)
        _note_silence(meter, now)
        _note_told(meter, now)
        return self._is_enough(device, meter, now)

    def bar(self, device: ClientId, now: Instant) -> None:
        """Shut a device out from now on."""
        meter = _meter(self._devices, device)
        meter.barred_until = self._barred_until = now + self.quotas.bar_s
        self.barred.setdefault(device, False)
        self._kick(device, meter, now)

    def take_kicks(self) -> list[ClientId]:
        """Return the devices to be disconnected now."""
        taken = list(self.kicks)
        self.kicks.clear()
        return taken

    def take_barred(self) -> dict[ClientId, bool]:
        """Return the devices barred since this was asked last, and whether by this node."""
        taken, self.barred = self.barred, {}
        return taken

    def take_untold(self) -> list[ClientId]:
        """Return those of them that peers do not know of."""
        taken, self.untold = self.untold, []
        return taken

    def _too_fast(self, device: ClientId, meter: Meter, now: Instant) -> str:
        quota = self.quotas.device
        bucket, wait_s = spend(
            meter.bucket, rate_per_s=quota.rate_per_s, burst=quota.burst, now=now
        )
        if wait_s:
            return f"this device sends more than {quota.rate_per_s:g} requests a second"
        name, quota = tenant_of(device), self.quotas.tenant
        whole = _meter(self._tenants, name)
        whole.bucket, wait_s = spend(
            whole.bucket, rate_per_s=quota.rate_per_s, burst=quota.burst, now=now
        )
        if wait_s:
            return f"devices of {name} send more than {quota.rate_per_s:g} requests a second"
        meter.bucket = bucket
        return ""

    def _is_enough(self, device: ClientId, meter: Meter, now: Instant) -> bool:
        """Return whether a refused device, which is told or was, goes on and is barred."""
        if not meter.told or now < meter.told_at + GRACE_S or not _goes_on(meter, now):
            return False
        self.untold.append(device)
        self.barred[device] = True
        self.bar(device, now)
        return True

    def _may_tell(self, meter: Meter, now: Instant) -> bool:
        """Return whether there is time for one more answer: who has had none goes first."""
        if meter.told >= TOLD_MAX:
            return False
        words = self._further_words if meter.told else self._first_words
        words, wait_s = spend(words, rate_per_s=REFUSALS_PER_S, burst=REFUSALS_MAX, now=now)
        if meter.told:
            self._further_words = words
        else:
            self._first_words = words
        return not wait_s

    def _refuse(
        self, event: SubmitHeard | CancelHeard | Refused, reason: str, now: Instant
    ) -> Refused | bool:
        """Return what a device is told of a refusal; False if that is nothing."""
        wait_s, meter = WAIT_S, _meter(self._devices, event.device)
        _note_silence(meter, now)
        if self._is_enough(event.device, meter, now):
            wait_s = self.quotas.bar_s
            reason = f"{reason.partition(':')[0]}, and goes on: it is barred for {wait_s:g} s"
        elif self._may_tell(meter, now):
            _note_told(meter, now)
        else:
            return False
        match event:
            case SubmitHeard(device=device, local=local, function=function):
                return Refused(device, local, reason, bool(function), wait_s)
            case CancelHeard(device=device, local=local):
                return Refused(device, local, reason, plain=False, retry_after_s=wait_s)
            case Refused(device=device, name=name, plain=plain):
                return Refused(device, name, reason, plain, wait_s)

    def _kick(self, device: ClientId, meter: Meter, now: Instant) -> None:
        if now >= meter.kicked_at + KICK_PAUSE_S:
            meter.kicked_at = now
            self.kicks[device] = None


def _note_silence(meter: Meter, now: Instant) -> None:
    """Note a refusal. A device that was silent before begins anew."""
    if now >= meter.refused_at + WAIT_S / 2:
        meter.told = 0
    meter.refused_at = now


def _note_told(meter: Meter, now: Instant) -> None:
    if not meter.told:
        meter.told_at = now
    meter.told += 1


def _goes_on(meter: Meter, now: Instant) -> bool:
    """Count a request that should not have come; return whether there were too many."""
    meter.ignored, wait_s = spend(
        meter.ignored, rate_per_s=IGNORED_PER_S, burst=IGNORED_MAX, now=now
    )
    return wait_s > 0


def _meter(meters: dict[_Name, Meter], name: _Name) -> Meter:
    """Return the meter under a name, as the one used last."""
    meter = meters.pop(name, None) or Meter()
    meters[name] = meter
    if len(meters) > METERS_MAX:
        del meters[next(iter(meters))]
    return meter
