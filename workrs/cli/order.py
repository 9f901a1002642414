"""Orders of an operator: said again every second until a node answers."""

import asyncio
import secrets
import sys
from argparse import Namespace
from typing import Final

from workrs.cli.connection import Caller, connected
from workrs.cli.error import FAILED, OK
from workrs.cli.harmless import harmless
from workrs.cli.number import seconds
from workrs.cli.options import Options
from workrs.cli.table import print_json
from workrs.domain.errors import BusError, TimedOutError, WireError
from workrs.domain.ids import ClientId
from workrs.ports.bus import Bus, Message, Subscription
from workrs.wire import codec, topics
from workrs.wire.message import Order, OrderReply

_REPEAT_S: Final = 1.0
_TIMEOUT_S: Final = 10.0


def add_order_options(options: Options) -> None:
    """Add what every order can be told."""
    options.value(
        "--timeout",
        convert=seconds,
        default=_TIMEOUT_S,
        metavar="SECONDS",
        help="how long to repeat the order while it is not answered",
    )
    options.flag("--json", help="print the answer as JSON")


async def send(order: Order, who: Caller, *, timeout_s: float) -> OrderReply:
    """Repeat *order* until a node answers it, going on to the next node when one is lost.

    Raises:
        NoNodeError: no node could be reached.
        TimedOutError: nodes were reached and none answered in time.
    """
    name = secrets.token_hex(8)
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                try:
                    async with connected(who) as bus:
                        return await _ask(bus, order, who.user, name)
                except BusError:
                    # Lost while waiting. The order is idempotent: say it again elsewhere.
                    who = await who.next_first()
    except TimeoutError:
        raise TimedOutError(
            f"the order was not answered within {timeout_s:g} s; it may still be carried out"
        ) from None


async def _ask(bus: Bus, order: Order, user: ClientId, name: str) -> OrderReply:
    answer = topics.down(user, name)
    await bus.subscribe(Subscription(pattern=answer))
    while True:
        bus.publish(Message(topics.up(user, "order", name), codec.encode(order)))
        try:
            async with asyncio.timeout(_REPEAT_S):
                while True:
                    for message in await bus.receive():
                        if message.topic == answer and (reply := _reply(message)):
                            return reply
        except TimeoutError:
            continue


def _reply(message: Message) -> OrderReply | None:
    try:
        return codec.decode(OrderReply, message.payload)
    except WireError:
        return None


def report(reply: OrderReply, asked: Namespace) -> int:
    """Print what became of an order; return the exit code."""
    if asked.json:
        print_json({"ok": reply.ok, "text": reply.text})
    elif reply.ok:
        print(harmless(reply.text))
    else:
        print(f"workrs: {harmless(reply.text)}", file=sys.stderr)
    return OK if reply.ok else FAILED
