"""Lists of the revoked over the bus: operators bring them, nodes show them to each other.

1. Who brings a list does not matter, its authority's signature and its number do
   (`workrs.trust.revocation`). So a node shows what it has, and takes over what is newer.
2. What a node shows is in force there: kept on its disk, and read by its broker.
3. A node that was away hears its peers' lists when their bridges are back, and they hear its.
4. An operator is answered for each list, also for one that is refused.

It has a connection of its own, so that a list is taken while the node does not vote, too.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Final

from workrs.adapters import log
from workrs.domain.errors import BusError
from workrs.ports.bus import BusClosedError, Message, Subscription
from workrs.trust.revocation import ListOlderError, ListRefusedError
from workrs.wire import codec, topics
from workrs.wire.message import OrderReply

if TYPE_CHECKING:
    from broker.trust_keeper import TrustKeeper
    from workrs.ports.bus import Address, Bus, Connect
    from workrs.trust.kind import Kind

_PAUSE_S: Final = 1.0
"""Before the next try to reach the node's own broker."""
_LOG_EVERY: Final = 100
"""Of lists that one sender has refused, the first is logged, and then one in so many."""
_SENDERS_MAX: Final = 1_000


def subscriptions() -> list[Subscription]:
    """Return what a node with a credential listens to on this connection.

    Not to what bridges relay: peers take a list from the node that took it.
    """
    return [
        Subscription(pattern=topics.up("+", "revoke", "+"), qos=1),
        Subscription(pattern=topics.node("+", "revoked", "+"), qos=1, no_local=True),
    ]


class TrustLine:
    """A node's part in it."""

    def __init__(self, keeper: TrustKeeper, *, own: Address, connect: Connect) -> None:
        """Prepare it.

        Args:
            keeper: of the trust in use.
            own: where the daemon reaches its broker.
            connect: how to get a connection.
        """
        self._keeper = keeper
        self._name = keeper.trust.credential.name
        self._own = own
        self._connect = connect
        # Operators choose their ids. One that knew this one could end the connection again and
        # again, and with it the news of its own revocation.
        self._client_id = f"trust_line_{self._name}_{secrets.token_hex(8)}"
        self._shown: dict[Kind, int] = {}
        """Numbers of the lists that this connection has shown."""
        self._bus: Bus | None = None
        self._refused: dict[str, int] = {}
        self._log = log.get(f"node[{self._name}]")
        keeper.when_in_force.append(self._show)

    async def run(self) -> None:
        """Show and listen; runs until cancelled."""
        while True:
            try:
                async with self._connect(address=self._own, client_id=self._client_id) as bus:
                    await bus.subscribe(*subscriptions())
                    self._bus, self._shown = bus, {}
                    self._show()
                    while True:
                        for message in await bus.receive():
                            self._hear(bus, message)
            except BusError as error:
                self._log.debug("trust_line_ended", why=str(error))
            finally:
                self._bus = None
            await asyncio.sleep(_PAUSE_S)

    def _show(self) -> None:
        """Show the lists in force that were not shown yet."""
        for kind, each in self._keeper.in_force.lists.items():
            if self._bus is None or self._shown.get(kind) == each.number:
                continue
            topic = topics.node(self._name, "revoked", kind.value)
            try:
                self._bus.publish(Message(topic, each.text.encode(), qos=1, retain=True))
            except BusError as error:
                self._log.warning("list_not_shown", kind=kind.value, why=str(error))
                continue  # with the next list that comes, or the next connection
            self._shown[kind] = each.number

    def _hear(self, bus: Bus, message: Message) -> None:
        shown = topics.parse_node(message.topic)
        if shown is not None and shown.node != self._name and message.payload:
            self._take(message.payload, by=f"node {shown.node}", is_asked=False)
        asked = topics.parse_up(message.topic)
        if asked is None or asked.verb != "revoke" or asked.via or not message.payload:
            return
        if message.retain:
            # A broker would bring it again for ever.
            bus.publish(Message(message.topic, b"", qos=1, retain=True))
        reply = self._take(message.payload, by=f"operator {asked.client}")
        answer = Message(topics.down(asked.client, asked.name), codec.encode(reply), qos=1)
        try:
            bus.publish(answer)
        except BusClosedError:
            raise
        except BusError as error:
            self._log.warning("unsayable", topic=answer.topic, why=str(error))

    def _take(self, payload: bytes, *, by: str, is_asked: bool = True) -> OrderReply:
        """Put a list in force if it is newer; return what there is to say of that."""
        try:
            is_news = self._keeper.take_list(payload.decode(errors="replace"), by=by)
        except (ListRefusedError, OSError) as error:
            # A peer that was away shows what it had, until it has heard of the newer one.
            if is_asked or not isinstance(error, ListOlderError):
                self._note_refused(by, str(error))
            return OrderReply(ok=False, text=f"{self._name}: {error}; nothing was changed")
        self._refused.pop(by, None)
        return OrderReply(ok=True, text=f"{self._name} {'took it' if is_news else 'had it'}")

    def _note_refused(self, by: str, why: str) -> None:
        if len(self._refused) >= _SENDERS_MAX:
            self._refused.clear()
        count = self._refused[by] = self._refused.get(by, 0) + 1
        if count % _LOG_EVERY == 1:
            self._log.warning("list_refused", by=by, why=why, count=count)
