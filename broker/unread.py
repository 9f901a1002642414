"""Devices that leave what they are told unread, and how much of it the broker keeps for them.

A broker keeps what a client does not acknowledge, and what was said since it went if its session
was to outlast that. One device that asks for its result again and again, at the rate it may, and
reads none of the answers fills a broker's memory in minutes; then nobody is served.

1. What a node says to each device is counted from the last time that the device's session ended
   here. How much of it was read the broker knows alone, and does not tell.
2. While the broker's heap is above HEAP_HIGH_BYTES, sessions of those that were told most are
   ended, until what they were told makes up for the excess. Who was told less than UNREAD_MIN_BYTES
   stays.

A device that reads loses its connection by that and nothing else: it comes back, and what it was
told last is retained. Not promised: anything of members that only listen, and of agents.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from broker.limits import HEAP_HIGH_BYTES, METERS_MAX, UNREAD_MIN_BYTES
from broker.retry import CONNECT_S, KEEPALIVE_S, RETRY_S
from workrs.adapters import log
from workrs.domain.errors import BusError
from workrs.domain.ids import ClientId
from workrs.ports.bus import Address, Connect, Subscription
from workrs.wire import topics

HEAP_TOPIC: Final = "$SYS/broker/heap/current"
MESSAGE_BYTES: Final = 300
"""Counted for a message beside its payload, about what Mosquitto takes for it."""
_DOWN: Final = f"{topics.ROOT}/down/"


@dataclass(slots=True)
class Unread:
    """What each device was told since its session was ended last, the one told last behind."""

    told_bytes: dict[ClientId, int] = field(default_factory=dict)

    def note(self, topic: str, payload_bytes: int) -> None:
        """Count a message, if it is one to a device."""
        if not topic.startswith(_DOWN):
            return
        device = ClientId(topic[len(_DOWN) :].partition("/")[0])
        before = self.told_bytes.pop(device, 0)
        self.told_bytes[device] = before + payload_bytes + MESSAGE_BYTES
        if len(self.told_bytes) > METERS_MAX:
            del self.told_bytes[next(iter(self.told_bytes))]

    def to_end(self, heap_bytes: int) -> dict[ClientId, int]:
        """Return whose sessions are to be ended, with what each was told; it counts anew."""
        excess_bytes = heap_bytes - HEAP_HIGH_BYTES
        found: dict[ClientId, int] = {}
        if excess_bytes <= 0:
            return found
        much = [device for device, told in self.told_bytes.items() if told >= UNREAD_MIN_BYTES]
        for device in sorted(much, key=self.told_bytes.__getitem__, reverse=True):
            found[device] = self.told_bytes.pop(device)
            excess_bytes -= found[device]
            if excess_bytes <= 0:
                break
        return found


class UnreadLine:
    """Hears how much the broker of one node keeps, and has sessions ended."""

    def __init__(
        self,
        unread: Unread,
        *,
        node: str,
        connect: Connect,
        address: Address,
        end: Callable[[Iterable[ClientId]], None],
    ) -> None:
        """Prepare it; *end* has the sessions of devices ended."""
        self._unread = unread
        self._node = node
        self._connect = connect
        self._address = address
        self._end = end
        self._log = log.get(f"node[{node}]")

    async def run(self) -> None:
        """Hear for ever."""
        while True:
            try:
                await self._hear()
            except BusError as error:
                self._log.debug("heap_not_heard", why=str(error))
            await asyncio.sleep(RETRY_S)

    async def _hear(self) -> None:
        async with self._connect(
            address=self._address,
            client_id=f"{self._node}_unread",
            keepalive_s=KEEPALIVE_S,
            timeout_s=CONNECT_S,
        ) as bus:
            await bus.subscribe(Subscription(pattern=HEAP_TOPIC))
            while True:
                for message in await bus.receive():
                    if message.payload.isdigit():
                        self._look(int(message.payload))

    def _look(self, heap_bytes: int) -> None:
        found = self._unread.to_end(heap_bytes)
        if found:
            most = max(found, key=found.__getitem__)
            self._log.warning(
                "sessions_ended",
                devices=len(found),
                most=most,
                told_bytes=found[most],
                heap_bytes=heap_bytes,
            )
            self._end(found)
