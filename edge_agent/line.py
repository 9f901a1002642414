"""One connection to one node: messages in, subscriptions out. Decides nothing.

1. Connected is posted when every subscription of that moment is in force; ConnectionLost
   exactly once at the end, unless the line was told to leave.
2. Told to leave, it says goodbye, so that no will speaks for an agent that only moved. Cut,
   cancelled or crashed, it leaves its will.
3. Publishing never waits; without a connection it drops, and says so. Whoever needs an
   answer asks again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent import inbox
from edge_agent.event import Connected, ConnectionLost, Event
from workrs.adapters import log
from workrs.domain.errors import BusError
from workrs.domain.ids import ClientId, JobId
from workrs.ports.bus import Address, Bus, BusClosedError, Connect, Message, Subscription
from workrs.wire import codec

CONNECT_S = 2.0
"""From the first packet to the last confirmed subscription."""
KEEPALIVE_S = 5
FAREWELL_S = 1.0
FILTERS_MAX = 500
"""Filters in one packet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSettings:
    """What stays the same from one line to the next."""

    name: ClientId
    connect: Connect
    post: Callable[[Event], None]


class Line:
    """One connection, from the attempt to make it to its end."""

    def __init__(self, settings: LineSettings, connection: int, jobs: set[JobId]) -> None:
        """Share *jobs*, those whose records are wanted, with the lines before and after."""
        self._settings = settings
        self._connection = connection
        self._jobs = jobs
        self._bus: Bus | None = None
        self._changes: dict[JobId, bool] = {}
        self._changed = asyncio.Event()
        self._stay = asyncio.timeout(None)
        self._left = False
        self._log = log.get(f"agent[{settings.name}]")

    async def run(self, address: Address, will: Message) -> None:
        """Connect and serve until the connection is lost or `leave` is called."""
        reason = "left"
        until = asyncio.get_running_loop().time() + CONNECT_S
        try:
            async with self._settings.connect(
                address=address,
                client_id=self._settings.name,
                will=will,
                keepalive_s=KEEPALIVE_S,
                timeout_s=CONNECT_S,
            ) as bus:
                await self._serve(bus, until)
        except BusError as error:
            reason = str(error)
        if not self._left:
            self._settings.post(ConnectionLost(connection=self._connection, reason=reason))

    async def _serve(self, bus: Bus, until: float) -> None:
        """Serve one open connection, subscribed at *until*; return when told to leave."""
        if self._left:
            return
        self._bus = bus
        try:
            async with self._stay:
                await self._begin(bus, until)
                await self._talk(bus)
        except TimeoutError:
            if not self._left:
                raise
        finally:
            # What ends this line now is decided: while it says goodbye there is nothing to leave.
            self._bus = None

    async def _begin(self, bus: Bus, until: float) -> None:
        wanted = inbox.subscriptions(self._settings.name)
        wanted += [Subscription(pattern=inbox.job_pattern(j)) for j in sorted(self._jobs)]
        self._changes.clear()
        try:
            async with asyncio.timeout_at(until):
                for start in range(0, len(wanted), FILTERS_MAX):
                    await bus.subscribe(*wanted[start : start + FILTERS_MAX])
        except TimeoutError as error:
            raise BusClosedError(f"not subscribed within {CONNECT_S:g} s") from error
        self._settings.post(Connected(connection=self._connection))

    async def _talk(self, bus: Bus) -> None:
        name = f"agent[{self._settings.name}]"
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._subscribe(bus), name=f"{name}.subscriber")
                await self._receive(bus)
        except BaseExceptionGroup as group:
            lost, others = group.split(BusError)
            if others is not None or lost is None:
                raise
            raise _first(lost) from None

    async def _receive(self, bus: Bus) -> None:
        while True:
            for message in await bus.receive():
                found = inbox.parse(self._settings.name, message, self._jobs)
                if isinstance(found, inbox.Dropped):
                    self._log.warning("dropped", topic=found.topic[:200], why=found.reason[:200])
                elif found is not None:
                    self._settings.post(found)
            # The brain's turn, so that no more than a batch or two ever waits for it.
            await asyncio.sleep(0)

    async def _subscribe(self, bus: Bus) -> None:
        """Bring subscriptions up to date, as many as have gathered at a time."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            changes, self._changes = self._changes, {}
            wanted = [j for j, follow in changes.items() if follow]
            unwanted = [j for j, follow in changes.items() if not follow]
            for start in range(0, len(wanted), FILTERS_MAX):
                batch = wanted[start : start + FILTERS_MAX]
                await bus.subscribe(*(Subscription(pattern=inbox.job_pattern(j)) for j in batch))
            for start in range(0, len(unwanted), FILTERS_MAX):
                batch = unwanted[start : start + FILTERS_MAX]
                await bus.unsubscribe(*(inbox.job_pattern(j) for j in batch))

    def follow(self, job: JobId, *, wanted: bool) -> None:
        """Begin or end to receive the records of a job, soon."""
        self._changes[job] = wanted
        self._changed.set()

    def publish(self, topic: str, body: object, qos: int) -> None:
        """Send a message, or drop it where there is no connection."""
        if self._bus is None:
            return
        try:
            payload = body if isinstance(body, bytes) else codec.encode(body)
            self._bus.publish(Message(topic, payload, qos))
        except BusError as error:
            self._log.warning("unsent", topic=topic[:200], why=str(error))

    async def flush(self) -> None:
        """Wait, but not for long, until the node has what was said."""
        if self._bus is None:
            return
        try:
            async with asyncio.timeout(FAREWELL_S):
                await self._bus.flush()
        except (BusError, TimeoutError) as error:
            self._log.warning("farewell_lost", why=str(error) or "no answer")

    def leave(self) -> None:
        """Say goodbye and end; nothing is posted any more."""
        self._left = True
        if self._bus is not None:
            self._bus = None
            self._stay.reschedule(asyncio.get_running_loop().time())


def _first(group: BaseExceptionGroup[BusError]) -> BusError:
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, BusError)
    return found
