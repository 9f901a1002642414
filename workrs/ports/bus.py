"""The bus port: one connection to one MQTT broker, and what may be relied on.

1. One `Bus` is one connection. It never reconnects: when the connection is lost every
   call raises `BusClosedError`, and the owner decides which node to try next.
2. `publish` never waits and never loses order: QoS 1 messages leave in the order of the
   calls. What the broker's receive maximum does not let out yet waits in a bounded queue;
   at the bound `publish` raises `BusFullError` and the message is not sent.
3. `receive` hands out everything that has arrived. The QoS 1 messages of a batch are
   acknowledged when the *next* batch is asked for, so a caller that commits a batch to
   disk before it asks again never acknowledges what it could still lose.
4. What waits for a slow caller is bounded: beyond `LAGGING_MAX_BYTES` QoS 0 messages are
   dropped and counted, and beyond twice that the socket is not read any more, unless
   somebody waits for an answer of the broker in `subscribe`, `unsubscribe` or `flush`.
5. Messages of one topic from one broker arrive in the order that broker took them.

Not promised: that an acknowledged publish survives the broker (a PUBACK is no durability),
that a message arrives once (QoS 1 may repeat), order across topics or QoS levels, or that
a batch holds at most `RECEIVE_MAX` messages: Mosquitto 2.0.11 sends all it has queued at the
first acknowledgement (measured: 3,158 at once), which is why 4 does not rely on it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Protocol

from workrs.domain.errors import BusError

if TYPE_CHECKING:
    import ssl
    from contextlib import AbstractAsyncContextManager

PORT_MAX: Final = 65_535
"""Of TCP."""
PAYLOAD_MAX_BYTES: Final = 256 * 1024
"""Largest payload this port carries, either way. A larger one is refused by `publish`."""
RECEIVE_MAX: Final = 1_000
"""QoS 1 messages the broker is asked to send at most before one is acknowledged."""
LAGGING_MAX_BYTES: Final = 32 * 1024 * 1024
"""Payloads and topics that may wait for the reader before QoS 0 messages are dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a broker listens."""

    host: str
    """Name or address; a path, beginning with ``/``, is that of a socket file."""
    port: int

    def __str__(self) -> str:
        """Return ``host:port`` or ``[v6]:port``, as URLs have it, or the path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.host if self.is_file else f"{host}:{self.port}"

    @property
    def is_file(self) -> bool:
        """Whether it is a socket file, which has no port."""
        return self.host.startswith("/")

    @property
    def is_possible(self) -> bool:
        """Whether a resolver can be asked for it: it raises UnicodeError for some that cannot be.

        An empty label of a name is one (``a..b``), or one of more than 63 bytes.
        """
        try:
            self.host.encode("idna")
        except UnicodeError:
            return self.is_file
        return True

    @property
    def is_loopback(self) -> bool:
        """Whether no other machine can be there. A name says nothing, but for ``localhost``."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.is_file

    @property
    def is_wildcard(self) -> bool:
        """Whether it is no place, but all addresses of a machine that listens."""
        try:
            return ip_address(self.host).is_unspecified
        except ValueError:
            return False


@dataclass(frozen=True, slots=True)
class Message:
    """One publication, going out or coming in."""

    # Positional on purpose, against the house rule: it is built some thousand times a
    # second, and topic-then-payload is an order nobody mixes up (the types differ).
    topic: str
    payload: bytes
    qos: int = 1
    """0 or 1. QoS 2 is not used: every request of ours is idempotent."""
    retain: bool = False
    """As its publisher set it; so a *live* copy of a retained message has it, too."""
    expiry_s: int | None = None
    """Going out: dropped by the broker after that long. Coming in: what is left of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """Which topics to receive, and how."""

    pattern: str
    """An MQTT topic filter: ``+`` is one level, a trailing ``#`` all that follow."""
    qos: int = 1
    """Upper bound of the QoS at which messages are delivered."""
    no_local: bool = False
    """Whether to leave out what this very connection published."""


class BusClosedError(BusError):
    """The connection to the broker is gone; connect again, here or elsewhere."""

    def __init__(self, reason: str) -> None:
        """Name the reason, as far as this side can know it."""
        super().__init__(f"the bus connection is gone: {reason}")
        self.reason = reason


class BusUnreachableError(BusError):
    """No broker could be talked to at this address."""

    def __init__(self, address: Address, reason: str) -> None:
        """Name the address and why nobody answered there."""
        super().__init__(f"no broker at {address}: {reason}")
        self.address = address
        self.reason = reason


class BusDeniedError(BusError):
    """The broker understood the request and refuses it: credentials, ACL or quota."""

    def __init__(self, request: str, reason: str) -> None:
        """Name the request (``connect``, ``subscribe PATTERN``, ``publish TOPIC``)."""
        super().__init__(f"the broker refused {request}: {reason}")
        self.request = request
        self.reason = reason


class BusFullError(BusError):
    """More is waiting to be sent than the bus keeps; await `Bus.flush` and go on."""

    def __init__(self, *, messages: int, size_bytes: int) -> None:
        """Tell what is waiting already."""
        super().__init__(f"{messages} messages ({size_bytes} bytes) wait to be sent already")
        self.messages = messages
        self.size_bytes = size_bytes


class BusMessageError(BusError):
    """This message cannot be sent as it is; sending it again will not help."""

    def __init__(self, topic: str, reason: str) -> None:
        """Name the topic and what is wrong with the message."""
        super().__init__(f"cannot publish to {topic[:100]!r}: {reason}")
        self.topic = topic
        self.reason = reason


class Bus(Protocol):
    """One open connection; see the module's invariants. Leave it by its context manager.

    Leaving the context normally says goodbye, and the broker drops the last will; leaving
    it by an exception, cancellation included, makes the broker publish the will at once.
    Neither waits for what is still unsent: await `flush` first where that matters.
    """

    @property
    def client_id(self) -> str:
        """The name this connection has at its broker."""

    @property
    def dropped(self) -> int:
        """How many QoS 0 messages were thrown away because the reader lagged behind."""

    async def subscribe(self, *subscriptions: Subscription) -> None:
        """Subscribe, and return once the broker has confirmed all of them.

        Retained messages that match arrive through `receive`, also for a subscription
        that was there before. Cancelled, the subscriptions may or may not be in force.

        Raises:
            BusClosedError: the connection is gone.
            BusDeniedError: the broker refuses one; the others may be in force.
            BusMessageError: a pattern is not a topic filter.
        """

    async def unsubscribe(self, *patterns: str) -> None:
        """End subscriptions, and return once the broker has confirmed it.

        Messages the broker sent before are still handed out. An unknown pattern is fine.

        Raises:
            BusClosedError: the connection is gone.
        """

    def publish(self, message: Message) -> None:
        """Send *message* soon, together with all others of this turn of the event loop.

        A retained message with an empty payload deletes the topic's retained message.

        Raises:
            BusClosedError: the connection is gone.
            BusFullError: the queue is at its bound; nothing was sent.
            BusMessageError: the topic is no topic name, or the message is too large.
        """

    async def flush(self) -> None:
        """Wait until the broker has acknowledged every QoS 1 message published so far.

        Cancelling it cancels nothing but the waiting.

        Raises:
            BusClosedError: the connection was lost first; what was sent is unknown.
            BusDeniedError: the broker refused a message since the last call (the first
                such is named; each refusal is logged).
        """

    async def receive(self) -> list[Message]:
        """Wait for at least one message, and return all that arrived since the last call.

        Acknowledges the batch returned before. What had arrived before the connection was
        lost is still handed out. One caller at a time. Cancelling it loses nothing: what
        arrives is in the next call's batch.

        Raises:
            BusClosedError: the connection is gone and everything was handed out.
        """

    def abort(self) -> None:
        """Cut the connection without a goodbye, as a crash would; the will is published."""


class Connect(Protocol):
    """How an owner gets a `Bus`; the adapter and the fake both provide it."""

    def __call__(
        self,
        *,
        address: Address,
        client_id: str,
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
        will: Message | None = None,
        keepalive_s: int = 5,
        timeout_s: float = 5.0,
    ) -> AbstractAsyncContextManager[Bus]:
        """Connect with a session of its own that ends with the connection.

        Args:
            address: where the broker listens.
            client_id: unique at that broker; a second connection ends the first.
            username: user name, if the broker asks for one.
            password: password, likewise.
            tls: context for TLS, or None for a plain connection.
            will: what the broker publishes when this connection ends without a goodbye.
            keepalive_s: a peer that answers no ping is given up 0.4 to 0.8 times that long
                after its last word, and the broker gives us up after 1.5 times; 0: never.
            timeout_s: upper bound of connecting, from the first packet to the answer.

        Raises:
            BusUnreachableError: nobody answers there in time, or it is no MQTT 5 broker.
            BusDeniedError: the broker refuses this client.
        """


async def read_retained(bus: Bus, *subscriptions: Subscription, echo_topic: str) -> list[Message]:
    """Subscribe and return what the broker has retained, complete, in order of arrival.

    A snapshot has no end mark in MQTT. This publishes a nonce to itself after the
    subscriptions are confirmed and reads until it returns. It goes out at QoS 1, the
    highest level of the snapshot: QoS 1 messages leave the broker in one order, and a QoS 0
    nonce overtook the state every time it was tried.

    The subscriptions stay in force, and live messages that come meanwhile are in the list
    at their place. All but the last batch are already acknowledged, so use this for state
    that can be read again, not for requests.

    Args:
        bus: an open connection, with nobody else in `Bus.receive`.
        subscriptions: what to read.
        echo_topic: a topic this client may write and read, used by nobody else.

    Raises:
        BusClosedError: the connection was lost before the snapshot was complete.
        BusDeniedError: the broker refuses a subscription.
    """
    nonce = secrets.token_bytes(8)
    await bus.subscribe(*subscriptions, Subscription(pattern=echo_topic))
    bus.publish(Message(echo_topic, nonce))
    found: list[Message] = []
    complete = False
    while not complete:
        for message in await bus.receive():
            if message.topic != echo_topic:
                found.append(message)
            elif message.payload == nonce:
                complete = True
    await bus.unsubscribe(echo_topic)
    return found
