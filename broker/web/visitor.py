"""Somebody who is signed in: a connection to this node's broker under their own name.

1. There is one connection a name, however many browsers it is signed in at. A node lets a member
   with a password be connected once, and its broker ends the older connection without a word. One
   that ends sooner than SHORT_S was therefore contested by another program of that name: the page
   leaves it CONTESTED_S, then twice as long, or the two would end each other's for ever.
2. What the visitor asks for is repeated until the node answers it, as every device does.
3. A credential that is refused ends the visit: `ended` says why.

Cancel-safety: what was asked for and not answered is lost with the visit, and the page says that it
was not answered.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Final

from broker.web.job_board import BoardJob, JobBoard
from broker.web.page_error import PageError, WrongPasswordError
from workrs.domain.errors import BusError
from workrs.domain.ids import ClientId, Instant, LocalJobId
from workrs.ports.bus import Bus, BusDeniedError, Message, Subscription
from workrs.wire import topics

OpenBus = Callable[[ClientId, str | None], AbstractAsyncContextManager[Bus]]
"""Connects to this node's broker as a device, with its password if it has one."""
REPEAT_S: Final = 3.0
RETRY_S: Final = 1.0
SHORT_S: Final = 10.0
CONTESTED_S: Final = 20.0
CONTESTED_MAX_S: Final = 160.0
ANSWER_S: Final = 2.0
"""How long the answer to a request is waited for before a page says that there is none yet."""
WISHES_MAX: Final = 64
_SETTLED_S: Final = 1.0
_READ_S: Final = 5.0
_PIECE: Final = 50
"""Messages that are taken in before others have a turn: a device may have thousands of jobs."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Something to be repeated until it is answered."""

    message: Message
    is_met: Callable[[BoardJob | None], bool]


class Visitor:
    """See the module. `run` it; `entered` is done once the broker has let it in, or not."""

    def __init__(
        self, name: ClientId, password: str | None, *, open_bus: OpenBus, clock: Callable[[], float]
    ) -> None:
        """Take the credential; nothing is connected yet."""
        self.name = name
        self.password = password
        self.board = JobBoard(name)
        self.trouble = ""
        """Why it is not connected now, or empty."""
        self.contested = 0
        """How many connections in a row ended soon: another program has this name."""
        self.ended = ""
        """Why it will not be connected again, or empty."""
        self.entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._open_bus = open_bus
        self._clock = clock
        self._bus: Bus | None = None
        self._wishes: dict[LocalJobId, Wish] = {}
        self._reads: dict[str, asyncio.Future[bytes]] = {}
        self._changed = asyncio.Condition()
        self._settled_at = 0.0
        self._served_at = 0.0

    @property
    def is_connected(self) -> bool:
        """Return whether it is connected now."""
        return self._bus is not None

    async def run(self) -> None:
        """Be connected until the credential is refused."""
        while not self.ended:
            self._served_at = 0.0
            try:
                async with self._open_bus(self.name, self.password) as bus:
                    await self._serve(bus)
            except BusDeniedError as error:
                self.ended = f"the node does not let {self.name} in: {error.reason}"
                if not self.entered.done():
                    self.entered.set_exception(WrongPasswordError())
                return
            except BusError as error:
                self.trouble = str(error)
                if not self.entered.done():
                    text = "this node's broker does not answer now; try again in a moment"
                    self.entered.set_exception(PageError(503, text))
                    return
            finally:
                self._bus = None
            if self._served_at:
                is_short = self._clock() - self._served_at < SHORT_S
                self.contested = self.contested + 1 if is_short else 0
            await asyncio.sleep(self._pause_s())

    def _pause_s(self) -> float:
        if not self.contested:
            return RETRY_S
        return min(CONTESTED_MAX_S, CONTESTED_S * 2.0 ** (self.contested - 1))

    async def _serve(self, bus: Bus) -> None:
        """Hear what the device of this name is told, until the connection is lost."""
        kinds = (topics.down(self.name, "+", *rest) for rest in ((), ("state",), ("out",)))
        await bus.subscribe(*(Subscription(pattern=pattern) for pattern in kinds))
        self._served_at = self._clock()
        self._settled_at = self._served_at + _SETTLED_S
        self._bus = bus
        self.trouble = ""
        if not self.entered.done():
            self.entered.set_result(None)
        repeat_at = self._clock()
        while True:
            if self._clock() >= repeat_at:
                repeat_at = self._clock() + REPEAT_S
                for wish in self._wishes.values():
                    bus.publish(wish.message)
            batch: list[Message] = []
            with suppress(TimeoutError):
                async with asyncio.timeout_at(repeat_at):
                    batch = await bus.receive()
            await self._take(batch)

    async def _take(self, batch: list[Message]) -> None:
        for count, message in enumerate(batch, start=1):
            waiting = self._reads.get(message.topic)
            if waiting is not None and not waiting.done():
                waiting.set_result(message.payload)
            now = Instant(self._clock())
            self.board.hear(message.topic, message.payload, self._dated(message.topic, now))
            if count % _PIECE == 0:
                await asyncio.sleep(0)
        for job in [job for job, wish in self._wishes.items() if wish.is_met(self.board.find(job))]:
            del self._wishes[job]
        async with self._changed:
            self._changed.notify_all()

    def _dated(self, topic: str, now: Instant) -> Instant | None:
        """Return when a message's news is from, if it is known to be news."""
        parsed = topics.parse_down(topic)
        is_known = parsed is not None and self.board.find(parsed[1]) is not None
        return now if is_known or now >= self._settled_at else None

    async def submit(self, job: LocalJobId, payload: bytes, *, function: str, file: str) -> None:
        """Send a job, and wait a moment for the node's answer.

        Args:
            job: its id.
            payload: its spec.
            function: what it calls, to be shown.
            file: name of what was uploaded, to be shown.
        """
        message = Message(topics.up(self.name, "submit", job), payload)
        self._wish(job, Wish(message, lambda found: found is not None and found.state is not None))
        self.board.sent(job, Instant(self._clock()), function=function, file=file)
        await self._answered(lambda: job not in self._wishes)

    async def cancel(self, job: BoardJob) -> None:
        """Ask for the end of a job, and wait a moment for the node's answer."""
        message = Message(topics.up(self.name, "cancel", job.id), b"")
        self._wish(job.id, Wish(message, lambda found: found is None or found.is_over))
        job.is_cancelling = True
        await self._answered(lambda: job.id not in self._wishes)

    def _wish(self, job: LocalJobId, wish: Wish) -> None:
        if len(self._wishes) >= WISHES_MAX and job not in self._wishes:
            text = "too many of your requests wait for this node's answer; try again in a moment"
            raise PageError(503, text, retry_after_s=REPEAT_S)
        self._wishes[job] = wish
        # Without a connection, or with a full one, it is repeated soon.
        with suppress(BusError):
            if self._bus is not None:
                self._bus.publish(wish.message)

    async def _answered(self, is_so: Callable[[], bool]) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_S), self._changed:
                await self._changed.wait_for(is_so)

    async def read(self, job: LocalJobId, *rest: str) -> bytes:
        """Return what the node retains for the visitor on a topic of a job.

        Raises:
            PageError: the node does not say it now.
        """
        topic = topics.down(self.name, job, *rest)
        bus = self._bus
        if bus is None:
            raise PageError(503, "the node cannot be asked now; try again in a moment")
        waiting = self._reads.setdefault(topic, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(_READ_S):
                # The broker sends what it retains again for every subscription.
                await bus.subscribe(Subscription(pattern=topic))
                return await asyncio.shield(waiting)
        except (BusError, TimeoutError) as error:
            text = "the node did not answer in time; try again in a moment"
            raise PageError(503, text) from error
        finally:
            self._reads.pop(topic, None)
            with suppress(BusError):
                await bus.unsubscribe(topic)
