"""A node's second connection to its broker: requests of devices, apart from votes and leases.

1. What comes here waits in a queue of its own, from which each batch of the node takes a few:
   heartbeats, claims and records, on the first connection, are never behind submits.
2. While the queue is full the connection is not read, and what devices send waits in the broker.
3. It is made again by itself. What devices send while it is away is lost, and they repeat it.
"""

import asyncio
from collections.abc import Callable

from broker import inbox, intake, reader
from broker.event import Event
from broker.intake_queue import IntakeQueue
from broker.limits import STALLED_S, STALLED_TURN
from broker.node import Node
from broker.retry import CONNECT_S, KEEPALIVE_S, SETTLED_S, pause_s
from workrs.adapters import log
from workrs.domain.errors import BusError
from workrs.ports.bus import Address, Connect


def client_id(node: str) -> str:
    """Return the name of this connection at the broker."""
    return f"{node}.intake"


class IntakeLine:
    """Reads requests of devices, and hands them out as there is room."""

    def __init__(
        self,
        node: Node,
        *,
        connect: Connect,
        address: Address,
        clock: Callable[[], float],
        arrived: Callable[[], None],
    ) -> None:
        """Prepare it; *arrived* is called when there is something to take after a pause."""
        self._node = node
        self._connect = connect
        self._address = address
        self._clock = clock
        self._arrived = arrived
        self._queue = IntakeQueue()
        self._taken = asyncio.Event()
        self._taken_at = clock()
        self._log = log.get(f"node[{node.name}].intake")

    async def run(self) -> None:
        """Read for ever; a lost connection is made again."""
        refused = 0
        while True:
            began = self._clock()
            try:
                await self._read()
            except BusError as error:
                refused = 1 if self._clock() - began > SETTLED_S else refused + 1
                self._log.debug("intake_lost", address=self._address, why=str(error))
                await asyncio.sleep(pause_s(refused))

    async def _read(self) -> None:
        async with self._connect(
            address=self._address,
            client_id=client_id(self._node.name),
            keepalive_s=KEEPALIVE_S,
            timeout_s=CONNECT_S,
        ) as bus:
            await bus.subscribe(*inbox.intake_subscriptions())
            while True:
                batch = await bus.receive()
                was_empty = not self._queue
                for event in reader.read(self._node, bus, batch, self._log):
                    self._queue.put(event)
                if was_empty and self._queue:
                    self._arrived()
                while not self._queue.has_room:
                    self._taken.clear()
                    await self._taken.wait()

    @property
    def room(self) -> int:
        """Return how many requests may be taken now."""
        if not self._queue:
            return 0
        room = intake.room(self._node)
        is_stalled = self._clock() >= self._taken_at + STALLED_S
        return max(room, STALLED_TURN) if is_stalled else room

    def take(self) -> list[Event]:
        """Return the requests whose turn it is, as many as there is room for."""
        taken = self._queue.take(self.room)
        if taken or not self._queue:
            self._taken_at = self._clock()
            self._taken.set()
        return taken

    def wake_at(self, at: float) -> float:
        """Return when to look here, at the latest at *at*."""
        if not self._queue:
            return at
        return self._clock() if self.room else min(at, self._taken_at + STALLED_S)
