"""A device that sends thousands of jobs over one connection and hears of each.

Every job's result is its input, which is its own name, so a result that went astray shows.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from workrs.adapters.mqtt import connect
from workrs.domain.errors import BusError
from workrs.faults.row import RowError
from workrs.ports.bus import Address, Bus, Message, Subscription
from workrs.wire import topics

_TURN_S = 0.002


@dataclass(slots=True, kw_only=True)
class Bulk:
    """Jobs of one device, and when what was heard of them. Seconds on CLOCK_MONOTONIC."""

    device: str
    jobs: int
    retention_s: float
    sent: int = 0
    """PUBLISH packets of the device."""
    sent_s: dict[str, float] = field(default_factory=dict)
    accepted_s: dict[str, float] = field(default_factory=dict)
    ended_s: dict[str, float] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    def spec(self, job: str) -> bytes:
        """Return what is sent as *job*."""
        fields = {"image": "none", "command": ["true"], "input": job}
        return json.dumps({**fields, "retention_s": self.retention_s}).encode()

    def hear(self, message: Message) -> None:
        """Take what a node says of a job."""
        job = message.topic.rsplit("/", 1)[1]
        if job not in self.sent_s or not message.payload:
            return
        said = json.loads(message.payload)
        now_s = time.monotonic()
        match said["state"]:
            case "accepted":
                self.accepted_s.setdefault(job, now_s)
            case "succeeded":
                if said.get("result") != job and job not in self.ended_s:
                    self.wrong.append(f"{job} has the result {said.get('result')!r}")
                self.ended_s.setdefault(job, now_s)
            case "failed" | "rejected" | "expired" | "cancelled":
                self.wrong.append(f"{job} is {said['state']}: {said.get('reason')}")
                self.ended_s.setdefault(job, now_s)
            case _:
                pass

    def waits(self) -> tuple[list[float], list[float]]:
        """Return how long jobs waited for *accepted*, and for their end."""
        accepted = [at - self.sent_s[job] for job, at in self.accepted_s.items()]
        return accepted, [at - self.sent_s[job] for job, at in self.ended_s.items()]


async def send(
    address: Address,
    bulk: Bulk,
    *,
    window: int,
    timeout_s: float,
    when_queued: Callable[[], object] | None = None,
) -> None:
    """Send all jobs, at most *window* at a time without an end, and wait for all ends.

    *when_queued* is called, in a thread, once all are accepted.

    Raises:
        RowError: a job did not end in time, ended wrong, or the node was lost.
    """
    try:
        async with (
            asyncio.timeout(timeout_s),
            connect(address=address, client_id=bulk.device) as bus,
        ):
            await bus.subscribe(Subscription(pattern=topics.down(bulk.device, "#")))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_hear(bus, bulk), name="bulk.hear")
                if when_queued is not None:
                    tasks.create_task(_tell(bulk, when_queued), name="bulk.tell")
                tasks.create_task(_send(bus, bulk, window), name="bulk.send")
    except* TimeoutError:
        missing = bulk.jobs - len(bulk.ended_s)
        raise RowError(f"{missing} of {bulk.jobs} jobs had no end after {timeout_s:g} s") from None
    except* BusError as lost:
        raise RowError(f"the device lost its node: {lost.exceptions[0]}") from None
    if bulk.wrong:
        raise RowError(f"{len(bulk.wrong)} of {bulk.jobs} jobs ended wrong: {bulk.wrong[0]}")


async def _hear(bus: Bus, bulk: Bulk) -> None:
    while len(bulk.ended_s) < bulk.jobs:
        for message in await bus.receive():
            bulk.hear(message)


async def _tell(bulk: Bulk, when_queued: Callable[[], object]) -> None:
    while len(bulk.accepted_s) < bulk.jobs:  # noqa: ASYNC110 (a counter)
        await asyncio.sleep(_TURN_S)
    await asyncio.to_thread(when_queued)


async def _send(bus: Bus, bulk: Bulk, window: int) -> None:
    for number in range(bulk.jobs):
        while len(bulk.sent_s) - len(bulk.ended_s) >= window:  # noqa: ASYNC110 (a counter)
            await asyncio.sleep(_TURN_S)
        job = f"j{number}"
        bulk.sent_s[job] = time.monotonic()
        bulk.sent += 1
        bus.publish(Message(topics.up(bulk.device, "submit", job), bulk.spec(job)))
