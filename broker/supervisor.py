"""The shell around the node's brain: bus in, ledger, bus out. Decides nothing.

1. A batch's changes are committed before anything of the batch is published.
2. While the ledger cannot be written nothing is voted, published or acknowledged; the
   node says why and tries again. Its peers carry on without it.
3. A message that no broker would carry is left out and logged. Reconnecting would only meet
   it again, and so would the next start.
4. PUBACK for a batch is sent only after the batch was handled: `receive` acknowledges
   the one before.
5. Between two turns of this shell lie a second and what one batch costs, whether the broker or the
   disk is there or not: `turned_at` shows that it goes on.
6. Requests of devices come over a connection of their own (`intake_line`) and are handled after
   whatever votes and leases need, a bounded number in each batch.

Cancel-safety: a cancelled step loses only what was neither committed nor published, and
whoever asked for it asks again.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace

from broker import brain, inbox, reader
from broker.effect import Effects, Publish, ReadPeerLedger
from broker.event import BrokerEmptied, Event, Ticked
from broker.intake_line import IntakeLine
from broker.ledger_copy import read_peer_ledger
from broker.node import Node
from broker.retry import CONNECT_S, KEEPALIVE_S, RETRY_S, SETTLED_S, pause_s
from broker.unread import Unread
from workrs.adapters import log
from workrs.domain.errors import BusError, LedgerError, OlderDiskError
from workrs.domain.ids import Instant, JobId
from workrs.ports.bus import (
    Address,
    Bus,
    BusClosedError,
    BusFullError,
    BusMessageError,
    Connect,
    Message,
)
from workrs.ports.ledger import Ledger
from workrs.wire import codec, topics

LOG = log.get("node")
FLUSH_EVERY = 1000
"""Publishes of one batch between two waits for acknowledgement: a refill may be long."""
PARTS_MAX = 4
"""Of peers' ledgers that wait for the brain; the reading of the next waits too."""
STUCK_S = 10.0
"""Without a turn for so long, the shell has come to a stand."""
READING_S = 0.05
"""How soon after its arrival a part is looked at."""
ReadLedger = Callable[[ReadPeerLedger], AsyncIterator[Event]]


class NodeSupervisor:
    """Keeps one node connected to its broker and does what the brain says."""

    def __init__(
        self,
        node: Node,
        *,
        ledger: Ledger,
        drop_blobs: Callable[[JobId], None],
        connect: Connect,
        address: Address,
        clock: Callable[[], float],
        read_peer_ledger: ReadLedger = read_peer_ledger,
    ) -> None:
        self._node = node
        self._ledger = ledger
        self._drop_blobs = drop_blobs
        self._connect = connect
        self._address = address
        self._clock = clock
        self._read_peer_ledger = read_peer_ledger
        self._parts: asyncio.Queue[Event] = asyncio.Queue(PARTS_MAX)
        self._reading = 0
        self._unread = Unread()
        self._intake = IntakeLine(
            node,
            connect=connect,
            address=address,
            clock=clock,
            arrived=self._wake,
            unread=self._unread,
        )
        self._wait: asyncio.Timeout | None = None
        self._log = log.get(f"node[{node.name}]")
        self.serves = asyncio.Event()
        """Set when its broker has what the ledger has, and is heard."""
        self.turned_at = clock()
        """When it last took a turn: handled a batch, or tried again what had failed."""

    async def run(self) -> None:
        """Serve for ever. Lost connections are made again; other errors end the daemon."""
        refused = 0
        async with asyncio.TaskGroup() as self._readers:
            self._readers.create_task(self._intake.run(), name=f"node[{self._node.name}].intake")
            while True:
                began = self._clock()
                try:
                    await self._serve()
                except BusError as error:
                    self.turned_at = self._clock()
                    refused = 1 if self._clock() - began > SETTLED_S else refused + 1
                    if refused == 1 or refused % 100 == 0:
                        self._log.warning("broker_lost", address=self._address, why=str(error))
                    await asyncio.sleep(pause_s(refused))

    def look(self) -> str:
        """Return what has come to a stand, nothing while this shell takes its turns."""
        idle_s = self._clock() - self.turned_at
        return f"it has taken no turn for {idle_s:.0f} s" if idle_s > STUCK_S else ""

    async def _serve(self) -> None:
        """Serve over one connection, until it is lost."""
        will_state = replace(self._node.state(), live=False)
        will = Message(
            topics.node(self._node.name, "state"), codec.encode(will_state), qos=1, retain=True
        )
        async with self._connect(
            address=self._address,
            client_id=self._node.name,
            will=will,
            keepalive_s=KEEPALIVE_S,
            timeout_s=CONNECT_S,
        ) as bus:
            await bus.subscribe(*inbox.vote_subscriptions())
            self._log.event("broker_joined", address=self._address)
            await self._handle(bus, [BrokerEmptied()])
            self.serves.set()
            while True:
                self.turned_at = self._clock()
                await self._handle(bus, await self._receive(bus))

    async def _receive(self, bus: Bus) -> list[Event]:
        """Return the next events, or a tick when something is due first.

        Votes and leases first, whatever waits of them; then some requests of devices.
        """
        wake_at: float = self._intake.wake_at(self._node.wake_at())
        if self._reading:
            wake_at = min(wake_at, self._clock() + READING_S)
        batch: list[Message] = []
        try:
            async with asyncio.timeout_at(wake_at) as self._wait:
                batch = await bus.receive()
        except TimeoutError:
            pass
        finally:
            self._wait = None
        events = self._read_parts()
        events += reader.read(self._node, bus, batch, self._log)
        events += self._intake.take()
        return events if events or batch else [Ticked()]

    def _wake(self) -> None:
        """End the waiting for the first connection: the second has brought something."""
        if self._wait is not None and not self._wait.expired():
            self._wait.reschedule(self._clock())

    def _read_parts(self) -> list[Event]:
        """Return what has come of peers' ledgers."""
        events: list[Event] = []
        while not self._parts.empty():
            events.append(self._parts.get_nowait())
        return events

    async def _read_ledger(self, wanted: ReadPeerLedger) -> None:
        """Have a peer's ledger read, beside everything else. A slow brain slows the reading."""
        self._reading += 1
        try:
            async for part in self._read_peer_ledger(wanted):
                await self._parts.put(part)
        finally:
            self._reading -= 1

    async def _handle(self, bus: Bus, events: list[Event]) -> None:
        effects = brain.handle(self._node, events, Instant(self._clock()))
        if effects.halt:
            for fact in effects.facts:
                self._log.facts(fact.event, fact.fields)
            raise OlderDiskError(effects.halt)
        if effects.changes:
            await self._commit(bus, effects)
        try:
            await self._publish(bus, effects.publishes)
        except BusError:
            # What is shown is shown again on the next connection. The rest is asked for once: the
            # brain takes a ledger for being read, and waits.
            self._do_rest(effects)
            raise
        self._do_rest(effects)

    def _do_rest(self, effects: Effects) -> None:
        """Do what hangs on the disk alone, whatever became of the connection."""
        for fact in effects.facts:
            self._log.facts(fact.event, fact.fields)
        for job in effects.dropped_blobs:
            self._drop_blobs(job)
        for wanted in effects.reads:
            name = f"node[{self._node.name}].reads[{wanted.node}]"
            self._readers.create_task(self._read_ledger(wanted), name=name)

    async def _commit(self, bus: Bus, effects: Effects) -> None:
        """Put the batch on disk, however long that takes: until then nothing is said."""
        failed = False
        while True:
            try:
                self._ledger.commit(effects.changes)
            except LedgerError as error:
                self._log.warning("ledger_refused", why=str(error), changes=len(effects.changes))
                failed = True
                self.turned_at = self._clock()
                self._say_state(bus, health=str(error))
                await asyncio.sleep(RETRY_S)
            else:
                if failed:
                    self._log.event("ledger_recovered", changes=len(effects.changes))
                return

    def _say_state(self, bus: Bus, *, health: str) -> None:
        """Say that this node does not vote at present, and why."""
        # Without what the disk does not have yet: peers would take it for said.
        state = replace(
            self._node.state(), live=False, ready=False, health=health, serial=0, generation=0
        )
        topic = topics.node(self._node.name, "state")
        # Without a connection the batch still has to reach the disk: the brain has moved on,
        # and what it says on the next connection must not be ahead of the disk.
        with suppress(BusClosedError, BusFullError):
            bus.publish(Message(topic, codec.encode(state), retain=True))

    async def _publish(self, bus: Bus, publishes: list[Publish]) -> None:
        for count, item in enumerate(publishes, start=1):
            body = item.body if isinstance(item.body, bytes) else codec.encode(item.body)
            message = Message(item.topic, body, item.qos, item.retain, item.expiry_s)
            self._unread.note(item.topic, len(body))
            try:
                bus.publish(message)
            except BusFullError:
                await bus.flush()
                bus.publish(message)
            except BusMessageError as error:
                self._log.warning("unsayable", topic=item.topic[:200], why=str(error))
            if count % FLUSH_EVERY == 0:
                await bus.flush()
