"""Retained messages among requests: nobody may want them, and no broker is to keep them.

A retained request that a node listens to is refused and cleared where it is read
(`broker/reader.py`). Under other topics of `up/` nobody listens, and brokers that prove no names
take whatever is published. So a node looks there once in a while, with a connection of its own.

1. Whatever is retained below `up/` and `relay/` is taken off the node's own broker.
2. Nothing that is read here is a request to anybody.

Not promised: when. At the node's start, and every LOOK_S.
"""

import asyncio
from contextlib import AbstractAsyncContextManager

from broker.node import Node
from broker.retry import CONNECT_S
from workrs.adapters import log
from workrs.domain.errors import BusError
from workrs.ports.bus import Address, Bus, Connect, Message, Subscription, read_retained
from workrs.wire import topics

LOOK_S = 60.0
READ_S = 10.0
"""How long a look may take. In a flood, the next finds what this one did not."""
_PATTERNS = tuple(Subscription(pattern=f"{topics.ROOT}/{head}/#") for head in ("up", "relay"))


class RetainedRequests:
    """Looks for them at one node's broker."""

    def __init__(self, node: Node, *, connect: Connect, address: Address) -> None:
        self._node = node
        self._connect = connect
        self._address = address
        self._log = log.get(f"node[{node.name}]")

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                async with asyncio.timeout(READ_S), self._open() as bus:
                    await self._clear(bus)
            except (BusError, TimeoutError) as error:
                self._log.debug("retained_not_read", why=str(error))
            await asyncio.sleep(LOOK_S)

    def _open(self) -> AbstractAsyncContextManager[Bus]:
        return self._connect(
            address=self._address, client_id=f"{self._node.name}_retained", timeout_s=CONNECT_S
        )

    async def _clear(self, bus: Bus) -> None:
        echo_topic = f"{topics.ROOT}/echo/{bus.client_id}"
        for found in await read_retained(bus, *_PATTERNS, echo_topic=echo_topic):
            if not found.retain or not found.payload:
                continue
            self._node.dropped += 1
            if self._node.lines.take("dropped"):
                self._log.warning("dropped", topic=found.topic[:200], why="it is retained")
            bus.publish(Message(found.topic, b"", retain=True))
        await bus.flush()
