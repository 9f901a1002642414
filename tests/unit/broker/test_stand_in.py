"""Goal: a message that no broker would carry ends no stand-in, however full its queue is.

Method: a connection in memory that is full until it is flushed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from broker.stand_in import _hand_on
from workrs.ports.bus import BusFullError, BusMessageError, Message

if TYPE_CHECKING:
    from workrs.ports.bus import Bus


@dataclass(slots=True)
class FullBus:
    """As the adapter: it looks for room first, and at the message afterwards."""

    is_full: bool = True
    sent: list[Message] = field(default_factory=list)

    def publish(self, message: Message) -> None:
        if self.is_full:
            raise BusFullError(messages=1, size_bytes=1)
        if not message.topic:
            raise BusMessageError(message.topic, "not a topic name")
        self.sent.append(message)

    async def flush(self) -> None:
        self.is_full = False


def test_what_cannot_be_sent_is_left_out_though_the_queue_was_full() -> None:
    there = FullBus()
    sent = Message("workrs/1/node/n1/job/a", b"record")

    async def scene() -> None:
        for message in (Message("", b"junk"), sent):
            await _hand_on(cast("Bus", there), message)

    asyncio.run(scene())
    assert there.sent == [sent]
