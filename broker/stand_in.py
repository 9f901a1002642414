"""A stand-in for a bridge to a peer, while Mosquitto waits for its own next try.

Mosquitto tries a bridge again 2 to 4 s after a refusal, however soon the peer is back; when all
nodes start together, most first tries are refused. The stand-in tries every 0.1 s.

1. It carries what the bridge carries (`mosquitto/bridge.conf`), by the same rules.
2. It has the bridge's name at the peer. So the bridge's return ends it, and the peer reads
   nothing of it after the bridge's first word. What the bridge had queued while it connected
   may be a repetition then: the end of what was said, whole and in order, so the newest is last.
3. It begins only while the own broker says that the bridge is down. If the bridge comes back at
   that very moment, it may lose its name to the stand-in, which then carries until its next try.
4. A loss that Mosquitto notices only by its keepalive is not reported as `0` (eclipse-mosquitto
   issue 2467, mended in 2.0.15). There nothing stands in, and the bridge returns by itself,
   1 to 2 s later.

As with a bridge, what was on its way when the connection broke is lost unless it is retained.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from broker.mosquitto_config import RELAYED, bridge_client_id, bridge_state_topic
from workrs.adapters import log
from workrs.domain.errors import BusError
from workrs.ports.bus import (
    Address,
    BusFullError,
    BusMessageError,
    BusUnreachableError,
    Message,
    Subscription,
)
from workrs.trust.kind import PORT_OFFSETS, Kind
from workrs.wire import topics

if TYPE_CHECKING:
    import ssl

    from broker.mosquitto_config import Peer
    from workrs.ports.bus import Bus, Connect

_PAUSE_S: Final = 0.1
_PAUSE_MAX_S: Final = 0.5
"""Between two tries, longer when many have failed."""
_CONNECT_S: Final = 2.0
_KEEPALIVE_S: Final = 5
_UP: Final = b"1"
_DOWN: Final = b"0"
"""What Mosquitto says of a bridge."""


class StandIn:
    """The stand-in for one bridge of a node."""

    def __init__(
        self,
        *,
        node: str,
        own: Address,
        peer: Peer,
        connect: Connect,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Prepare it.

        Args:
            node: this node.
            own: where its daemon reaches its broker.
            peer: where the bridge leads.
            connect: how to get a connection.
            tls: what proves this node there; None: nothing has to.
        """
        self._node = node
        self._own = own
        self._peer = peer
        self._connect = connect
        self._there, self._tls = peer.address, tls
        if tls is not None:
            port = peer.address.port + PORT_OFFSETS[Kind.NODE]
            self._there = Address(host=peer.address.host, port=port)
        self._name = bridge_client_id(node, secure=tls is not None)
        self._state_topic = bridge_state_topic(node, peer.name)
        self._up, self._relayed = f"{topics.ROOT}/up/", f"{topics.ROOT}/relay/{node}/"
        self._log = log.get(f"node[{node}]")

    async def run(self) -> None:
        """Stand in whenever the bridge is down; runs until cancelled."""
        while True:
            try:
                async with self._connect(
                    address=self._own,
                    client_id=f"stand_in_{self._peer.name}",
                    keepalive_s=_KEEPALIVE_S,
                    timeout_s=_CONNECT_S,
                ) as own:
                    await own.subscribe(Subscription(pattern=self._state_topic))
                    await self._watch(own)
            except BusError as error:
                self._log.debug("stand_in_ended", peer=self._peer.name, why=str(error))
            await asyncio.sleep(_PAUSE_S)

    async def _watch(self, own: Bus) -> None:
        """Wait until the bridge is down, then stand in; return when that is over."""
        while self._said(await own.receive()) != _DOWN:
            pass
        tries = 0
        while True:
            tries += 1
            if await self._is_back(own, within_s=min(_PAUSE_S * (1 + tries // 10), _PAUSE_MAX_S)):
                return
            try:
                async with self._connect(
                    address=self._there,
                    client_id=self._name,
                    tls=self._tls,
                    keepalive_s=_KEEPALIVE_S,
                    timeout_s=_CONNECT_S,
                ) as there:
                    await self._carry(own, there)
                    return
            except BusUnreachableError:
                continue

    async def _is_back(self, own: Bus, *, within_s: float) -> bool:
        """Wait for a moment; return whether the bridge is up by then."""
        try:
            async with asyncio.timeout(within_s):
                return self._said(await own.receive()) == _UP
        except TimeoutError:
            return False

    def _said(self, batch: list[Message]) -> bytes:
        """Return the broker's last word on the bridge, if there is one."""
        words = [message.payload for message in batch if message.topic == self._state_topic]
        return words[-1] if words else b""

    async def _carry(self, own: Bus, there: Bus) -> None:
        """Stand in until the bridge is up, or one of the connections is gone."""
        name = f"node[{self._node}].stand_in[{self._peer.name}].peer"
        self._log.event("stands_in", peer=self._peer.name)
        try:
            async with asyncio.TaskGroup() as both:
                # Nothing is subscribed there: it tells only that the connection is gone.
                ended = both.create_task(there.receive(), name=name)
                await self._hand_all_on(own, there)
                ended.cancel()
        except* BusError as lost:
            self._log.debug("stand_in_ended", peer=self._peer.name, why=str(lost.exceptions[0]))

    async def _hand_all_on(self, own: Bus, there: Bus) -> None:
        """Hand on what the bridge would, until it is up."""
        await own.subscribe(
            *(Subscription(pattern=self._up + pattern) for pattern in RELAYED),
            Subscription(pattern=topics.node(self._node, "#")),
        )
        while True:
            batch = await own.receive()
            for message in batch:
                if message.topic != self._state_topic:
                    await _hand_on(there, self._remapped(message))
            if self._said(batch) == _UP:
                return

    def _remapped(self, message: Message) -> Message:
        """Return a message of a client under the topic of a relayed one; any other as it is."""
        if not message.topic.startswith(self._up):
            return message
        return replace(message, topic=self._relayed + message.topic.removeprefix(self._up))


async def _hand_on(there: Bus, message: Message) -> None:
    # A bridge drops what the peer does not take, too.
    with suppress(BusMessageError):
        try:
            there.publish(message)
        except BusFullError:
            await there.flush()
            # Only now it shows whether the message can be sent at all.
            there.publish(message)
