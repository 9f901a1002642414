"""Bringing new lists of the revoked to all nodes, over the bus.

One node takes them from here, and the others from it and from each other; what each has in force
it shows. A node that is away takes them when it is back, whether or not anybody still waits.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from workrs.cli.connection import Caller, connected
from workrs.domain.errors import BusError, WireError
from workrs.ports.bus import Bus, Message, Subscription
from workrs.trust.kind import Kind
from workrs.trust.revocation import ListRefusedError, RevocationList, read_list
from workrs.wire import codec, topics
from workrs.wire.message import OrderReply

_REPEAT_S: Final = 1.0
_TIMEOUT_S: Final = 10.0
_SETTLE_S: Final = 4.0
"""How long the other nodes are waited for, after the first has the lists."""


@dataclass(slots=True, kw_only=True)
class Spread:
    """What has become of the lists so far."""

    nodes: Sequence[str]
    """All of the cluster."""
    lists: Sequence[RevocationList]
    authorities: Mapping[Kind, str]
    """Of the cluster, PEM."""
    shown: dict[tuple[str, Kind], int] = field(default_factory=dict)
    """Numbers of the lists that a node shows."""
    replies: dict[str, OrderReply] = field(default_factory=dict)
    """By the name of what was asked."""

    def having(self) -> list[str]:
        """Return the nodes in which all lists, or newer ones, are in force."""
        return [
            node
            for node in self.nodes
            if all(self.shown.get((node, each.kind), 0) >= each.number for each in self.lists)
        ]

    def refusal(self) -> str:
        """Return why a node does not take a list, or nothing."""
        return next((reply.text for reply in self.replies.values() if not reply.ok), "")


async def bring(spread: Spread, who: Caller, *, timeout_s: float = _TIMEOUT_S) -> None:
    """Have the lists put in force; return when all nodes show them, one refuses, or time is up.

    Args:
        spread: what to bring; what became of it is noted there.
        who: an operator.
        timeout_s: after which no node is waited for any more.

    Raises:
        NoNodeError: none could be reached.
    """
    names = {secrets.token_hex(8): each for each in spread.lists}
    try:
        async with asyncio.timeout(timeout_s) as limit:
            while True:
                try:
                    async with connected(who) as bus:
                        await _bring(bus, spread, who, names, limit)
                        return
                except BusError:
                    # Lost while waiting; what was brought once more changes nothing.
                    who = await who.next_first()
    except TimeoutError:
        return


async def _bring(
    bus: Bus,
    spread: Spread,
    who: Caller,
    names: Mapping[str, RevocationList],
    limit: asyncio.Timeout,
) -> None:
    answers = {topics.down(who.user, name): name for name in names}
    await bus.subscribe(
        Subscription(pattern=topics.node("+", "revoked", "+"), qos=1),
        *(Subscription(pattern=answer, qos=1) for answer in answers),
    )
    is_settling = False
    while True:
        for name in names.keys() - spread.replies.keys():
            body = names[name].text.encode()
            bus.publish(Message(topics.up(who.user, "revoke", name), body, qos=1))
        try:
            async with asyncio.timeout(_REPEAT_S):
                while not spread.refusal() and len(spread.having()) < len(spread.nodes):
                    for message in await bus.receive():
                        _note(spread, message, answers)
                return
        except TimeoutError:
            pass
        if spread.having() and not is_settling:
            is_settling = True
            limit.reschedule(asyncio.get_running_loop().time() + _SETTLE_S)


def _note(spread: Spread, message: Message, answers: Mapping[str, str]) -> None:
    try:
        if name := answers.get(message.topic):
            spread.replies[name] = codec.decode(OrderReply, message.payload)
            return
        shown = topics.parse_node(message.topic)
        if shown is not None:
            text = message.payload.decode(errors="replace")
            found = read_list(text, spread.authorities, where=f"the list of {shown.node}")
            spread.shown[shown.node, found.kind] = found.number
    except (WireError, ListRefusedError):
        return  # what a node shows that is none of the cluster's lists is as good as nothing
