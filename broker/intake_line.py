"""A node's second connection to its broker: requests of devices, apart from votes and leases.

1. What comes here waits in a queue of its own, from which each batch of the node takes a few:
   heartbeats, claims and records, on the first connection, are never behind submits.
2. The gate refuses what is too much. The rest is read at once, so that the broker, which has one
   queue for all devices, keeps none of it back; only a queue that is full of bytes is waited for.
3. It is made again by itself. What devices send while it is away is lost, and they repeat it.
4. A barred device is disconnected by a connection under its own name, which MQTT allows once
   (session takeover), and so is one that reads nothing when the broker keeps too much (`unread`).
   That name must be the device's, as brokers that prove names see to.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

from broker import inbox, intake, reader, teller
from broker.event import Event, Refused
from broker.intake_queue import IntakeQueue
from broker.limits import KICKS_AT_ONCE, READ_AT_ONCE, STALLED_S, STALLED_TURN
from broker.node import Node
from broker.retained_requests import RetainedRequests
from broker.retry import CONNECT_S, KEEPALIVE_S, SETTLED_S, pause_s
from broker.unread import Unread, UnreadLine
from workrs.adapters import log
from workrs.domain.errors import BusError
from workrs.domain.ids import ClientId, Instant
from workrs.ports.bus import Address, Bus, BusClosedError, BusFullError, Connect, Message


def client_id(node: str) -> str:
    """Return the name of this connection at the broker. No member has an underscore in its name."""
    return f"{node}_intake"


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
        unread: Unread,
    ) -> None:
        """Prepare it; *arrived* is called when there is something to take after a pause."""
        self._node = node
        self._connect = connect
        self._address = address
        self._clock = clock
        self._arrived = arrived
        self._queue = IntakeQueue()
        self._kicking = asyncio.Event()
        self._taken = asyncio.Event()
        self._taken_at = clock()
        self._retained = RetainedRequests(node, connect=connect, address=address)
        self._unread = UnreadLine(
            unread, node=node.name, connect=connect, address=address, end=self._end
        )
        self._log = log.get(f"node[{node.name}].intake")

    async def run(self) -> None:
        """Read, and disconnect who is barred, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_out(), name=f"node[{self._node.name}].gate")
            tasks.create_task(self._retained.run(), name=f"node[{self._node.name}].retained")
            tasks.create_task(self._unread.run(), name=f"node[{self._node.name}].unread")
            await self._keep_reading()

    async def _keep_reading(self) -> None:
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
                batch = self._without_barred(await bus.receive())
                for begin in range(0, len(batch), READ_AT_ONCE):
                    if begin:
                        await asyncio.sleep(0)  # votes and heartbeats have arrived meanwhile
                    self._take_in(bus, batch[begin : begin + READ_AT_ONCE])
                while not self._queue.has_room:
                    self._taken.clear()
                    await self._taken.wait()

    def _take_in(self, bus: Bus, batch: list[Message]) -> None:
        was_empty = not self._queue
        self._judge(bus, reader.read(self._node, bus, batch, self._log))
        if was_empty and self._queue:
            self._arrived()

    def _without_barred(self, batch: list[Message]) -> list[Message]:
        """Leave out what barred devices say, before it costs anything; see that they go again."""
        gate, now = self._node.gate, Instant(self._clock())
        if not gate.has_barred(now):
            return batch
        # The fourth level of a device's topic is its name. One that is relayed passes.
        return [m for m in batch if m.retain or not gate.is_barred(m.topic.split("/", 4)[3], now)]

    def _judge(self, bus: Bus, events: Iterable[Event]) -> None:
        gate, now = self._node.gate, Instant(self._clock())
        for event in events:
            verdict = gate.judge(event, self._queue, now)
            if isinstance(verdict, Refused):
                self._say(bus, verdict)
            elif verdict:
                self._queue.put(event)
            else:
                self._node.dropped += 1
        self._shut_out()

    def _shut_out(self) -> None:
        """Forget what waits of devices that are barred, and have them disconnected."""
        gate = self._node.gate
        for device, is_ours in gate.take_barred().items():
            self._node.dropped += self._queue.forget(device)
            if is_ours:
                self._log.warning("device_barred", device=device, seconds=gate.quotas.bar_s)
        if gate.kicks:
            self._kicking.set()

    def _end(self, devices: Iterable[ClientId]) -> None:
        """Have sessions ended, with what the broker keeps for them."""
        self._node.gate.kicks |= dict.fromkeys(devices)
        self._kicking.set()

    def _say(self, bus: Bus, refusal: Refused) -> None:
        """Answer on this connection: on the other, votes would wait behind it.

        One that is lost is not missed for long: the device says its request again.
        """
        topic, body = teller.refusal(self._node, refusal)
        with suppress(BusClosedError, BusFullError):
            bus.publish(Message(topic, body, qos=0))

    async def _keep_out(self) -> None:
        """Disconnect devices, many at a time: each has to wait for the broker it burdens."""
        slots = asyncio.Semaphore(KICKS_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._kicking.wait()
                self._kicking.clear()
                for device in self._node.gate.take_kicks():
                    if not self._is_ours(device):
                        await slots.acquire()
                        name = f"node[{self._node.name}].gate[{device}]"
                        going = tasks.create_task(self._disconnect(device), name=name)
                        going.add_done_callback(lambda _: slots.release())

    async def _disconnect(self, device: ClientId) -> None:
        try:
            async with self._connect(address=self._address, client_id=device, timeout_s=CONNECT_S):
                pass
        except BusError as error:
            # Whoever is still there is heard again, and is taken again.
            self._log.debug("not_disconnected", device=device, why=str(error))

    def _is_ours(self, device: ClientId) -> bool:
        """Return whether a node or an agent may be known to the broker by this name.

        Where names are not proved (on loopback) anybody can speak under any.
        """
        known = self._node.agents.get(device)
        return device in self._node.settings.nodes or known is not None

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
        self._shut_out()  # peers may have barred somebody
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
