"""The bus, as the dashboard uses it: watch one node, move on when it is lost, ask things of it.

1. One node is watched at a time; when it is lost the next of the list is tried at once, and after
   a whole round in vain once a second.
2. Orders and submits are repeated until a node answers, whichever it is: they are idempotent.
3. Messages are folded as they come, some tens at a time, so that keys are answered meanwhile;
   while one is being answered they wait, each piece of them for PATIENCE_S at most. What a slow
   reader lets wait is bounded by the bus.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from tui.model.cluster import Model
from tui.model.opened import Opened
from workrs.domain.errors import BusError, WireError, WorkrsError
from workrs.domain.ids import ClientId, Instant, JobId
from workrs.domain.job_state import State
from workrs.ports.bus import (
    Address,
    Bus,
    BusClosedError,
    BusMessageError,
    Message,
    Subscription,
)
from workrs.wire import codec, topics
from workrs.wire.message import JobState, Order, OrderReply

FOLD_MAX: Final = 40
"""Messages between two looks at what else is to be done: half a millisecond. A key passes through
some turns of the event loop before it is known as one, and each meets one such piece."""
PATIENCE_S: Final = 0.03
"""A key passes through a dozen turns of the event loop until what it does is painted."""
SNAPSHOT_S: Final = 10.0
"""A node that says nothing for so long, and has not shown all it has, is given up."""
_RETRY_S: Final = 1.0
_REPEAT_S: Final = 1.0
_ANSWER_S: Final = 15.0
_UNDECIDED: Final = (State.WAITING,)


class Opener(Protocol):
    """How a connection to one node is opened."""

    def __call__(self, address: Address) -> AbstractAsyncContextManager[Bus]:
        """Connect, or raise an error of ours."""


Fetch = Callable[[str, JobId, Sequence[str]], Awaitable[bytes]]
"""Gets a large result: its URL, its job, and the nodes' blob stores."""


def _why(address: Address, error: WorkrsError, *, was_watched: bool) -> str:
    """Return in one line what became of a node."""
    failures = getattr(error, "failures", None)
    text = str(getattr(error, "reason", failures[0] if failures else error))
    reason = text.removeprefix(f"no broker at {address}: ")
    return f"{address} {'was lost' if was_watched else 'does not answer'}: {reason}"


class Feed:
    """Keeps a model fed, and carries what its operator wants to the nodes."""

    def __init__(
        self, model: Model, *, nodes: Sequence[Address], user: ClientId, opener: Opener
    ) -> None:
        self.model = model
        self.user = user
        self._nodes = tuple(nodes)
        self._open = opener
        self.urgent = asyncio.Event()
        """Set when something came that is to be shown at once."""
        self._key_at: float | None = None
        self._bus: Bus | None = None
        self._answers: dict[str, asyncio.Queue[bytes]] = {}

    async def run(self) -> None:
        """Watch one node after the other, until cancelled."""
        clock = asyncio.get_running_loop().time
        failures = 0
        while True:
            for address in self._nodes:
                try:
                    async with self._open(address) as bus:
                        failures = 0
                        await self._watch(bus, address)
                except WorkrsError as error:
                    failures += 1
                    why = _why(address, error, was_watched=self._bus is not None)
                    self.model.lose(why, Instant(clock()), at=str(address))
                    self.urgent.set()
                finally:
                    self._bus = None
                if failures >= len(self._nodes):
                    await asyncio.sleep(_RETRY_S)

    async def _watch(self, bus: Bus, address: Address) -> None:
        clock = asyncio.get_running_loop().time
        model = self.model
        model.begin(str(address), Instant(clock()))
        echo = f"{topics.ROOT}/echo/{bus.client_id}"
        nonce = secrets.token_bytes(8)
        await bus.subscribe(Subscription(pattern=topics.node("+", "state")))
        await bus.subscribe(
            # Heartbeats come by the hundred: one that is lost is followed by another.
            Subscription(pattern=topics.node("+", "agent", "+"), qos=0),
            Subscription(pattern=topics.down(self.user, "+")),
            Subscription(pattern=topics.node("+", "job", "+")),
            Subscription(pattern=echo),
        )
        bus.publish(Message(echo, nonce))
        self._bus = bus
        await self._read_opened()
        while True:
            try:
                async with asyncio.timeout(None if model.is_complete else SNAPSHOT_S):
                    batch = await bus.receive()
            except TimeoutError:
                raise BusClosedError(f"{address} connected and then was silent") from None
            for place, message in enumerate(batch, start=1):
                now = Instant(clock())
                if message.topic == echo:
                    if message.payload == nonce:
                        model.complete(now)
                        self.urgent.set()
                elif (waiting := self._answers.get(message.topic)) is not None:
                    waiting.put_nowait(message.payload)
                else:
                    model.apply(message.topic, message.payload, now)
                if place % FOLD_MAX == 0:
                    await self.give_way()

    def key_pressed(self) -> None:
        """Let a key be answered before anything else."""
        self._key_at = asyncio.get_running_loop().time()

    def quiet_s(self) -> float:
        """Return how long ago the last key was pressed; inf before the first."""
        if self._key_at is None:
            return float("inf")
        return asyncio.get_running_loop().time() - self._key_at

    async def give_way(self) -> None:
        """Let others run; while a key is being answered, let them finish that."""
        pressed_at, now = self._key_at, asyncio.get_running_loop().time()
        is_answered = pressed_at is None or now - pressed_at > PATIENCE_S
        await asyncio.sleep(0 if is_answered else PATIENCE_S)

    async def look_closely(self, job: JobId | None) -> None:
        """Read spec, log and result of *job* from now on; of none, when it is None."""
        before, self.model.opened = self.model.opened, None if job is None else Opened(job=job)
        if before is not None and self._bus is not None:
            try:
                # Its records go on to come, by the subscription to all.
                await self._bus.unsubscribe(*before.patterns)
            except BusError:
                return
        await self._read_opened()

    async def _read_opened(self) -> None:
        opened = self.model.opened
        if opened is None or self._bus is None:
            return
        try:
            await self._bus.subscribe(*(Subscription(pattern=each) for each in opened.patterns))
        except BusError:
            return  # the watch meets the same error, and moves on

    async def order(self, order: Order) -> OrderReply:
        """Repeat *order* until a node answers it, for 15 s at most."""
        name = secrets.token_hex(8)
        body = codec.encode(order)
        async for payload in self._ask(topics.up(self.user, "order", name), name, body):
            try:
                return codec.decode(OrderReply, payload)
            except WireError:
                continue
        return OrderReply(
            ok=False, text=f"no node answered within {_ANSWER_S:g} s; it may still be carried out"
        )

    async def submit(self, spec: bytes, job: str) -> OrderReply:
        """Publish a job as a device, until a majority has it on disk or refuses it."""
        said = ""
        try:
            async for payload in self._ask(topics.up(self.user, "submit", job), job, spec):
                try:
                    told = codec.decode(JobState, payload)
                except WireError:
                    continue
                if told.state is State.REJECTED:
                    return OrderReply(ok=False, text=f"rejected: {told.reason}")
                if told.state not in _UNDECIDED:
                    return OrderReply(ok=True, text=f"{self.user}/{job} {told.state.value}")
                said = f": {told.note}" if told.note else ""
        except BusMessageError as error:
            return OrderReply(ok=False, text=str(error))
        return OrderReply(ok=False, text=f"not accepted within {_ANSWER_S:g} s{said}")

    async def _ask(self, topic: str, name: str, body: bytes) -> AsyncIterator[bytes]:
        answer = topics.down(self.user, name)
        waiting = self._answers[answer] = asyncio.Queue(maxsize=100)
        clock = asyncio.get_running_loop().time
        until = clock() + _ANSWER_S
        try:
            while clock() < until:
                self._say(topic, body)
                try:
                    async with asyncio.timeout(_REPEAT_S):
                        payload = await waiting.get()
                except TimeoutError:
                    continue
                yield payload
        finally:
            del self._answers[answer]

    def _say(self, topic: str, body: bytes) -> None:
        if self._bus is None:
            return  # said again in a second, perhaps to another node
        try:
            self._bus.publish(Message(topic, body))
        except BusMessageError:
            raise  # no node would take it, however often it is said
        except BusError:
            return
