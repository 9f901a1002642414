"""One MQTT 5 connection to one node, driven by the one thread that opened it.

paho's own network thread is not used: it reconnects to the same broker by itself, it
calls back in a thread that may not block, and its timeouts cannot be told apart. Here the
caller selects on the socket, calls `turn`, and takes the events; nothing runs in between.

MQTT 5 and not 3.1.1, because its reason codes tell a refusal from a silence: a publish
that the ACL forbids, or that is too big, is acknowledged by 3.1.1 as if all were well.
"""

import contextlib
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from device_client.route import NodeAddress, Timing
from workrs.domain.errors import BusError

_UNACKNOWLEDGED_MAX = 64
"""Messages sent and not acknowledged, where the broker allows as many; Mosquitto: 20."""
_REFUSALS = {0x85, 0x86, 0x87, 0x8A}
"""Client id not valid, bad user name or password, not authorized, banned."""
_READS_MAX = 64
"""Packets taken in a turn, so that a flood cannot keep the thread from its deadlines."""


class Connected(NamedTuple):
    """The broker took the connection."""


class Subscribed(NamedTuple):
    """The broker answered a subscription."""

    token: int
    refusal: str
    """Empty when it was granted."""


class Received(NamedTuple):
    """A message."""

    topic: str
    payload: bytes
    retained: bool


class PublishRefused(NamedTuple):
    """The broker acknowledged a message by refusing it."""

    job: str
    code: int
    reason: str


class Lost(NamedTuple):
    """The connection is over. The last event."""

    reason: str
    is_refusal: bool = False
    """The node, or this device, does not take what the other has shown."""


class LinkRefusedError(BusError):
    """The node, or this device, does not take what the other has shown."""


LinkEvent = Connected | Subscribed | Received | PublishRefused | Lost


class Login(NamedTuple):
    """Who the device is to the broker."""

    client_id: str
    username: str
    password: str | None
    tls: ssl.SSLContext | None


class Link:
    """See the module. After `Lost`, and after `close`, it is of no further use."""

    def __init__(
        self,
        node: NodeAddress,
        login: Login,
        *,
        timing: Timing,
        closing: Callable[[socket.socket], None],
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            node: Where to.
            login: As whom.
            timing: How long to wait.
            closing: Called before an open socket is closed, which any method may do: the
                last moment at which its descriptor is not another file's.
        """
        self.node = node
        self.max_packet_bytes: int | None = None
        """What the broker said it takes; None: it set no limit."""
        self._window = _UNACKNOWLEDGED_MAX
        self._unacknowledged: dict[int, str] = {}
        """Jobs by message token."""
        self._unsent: deque[tuple[str, bytes, str]] = deque()
        self._events: list[LinkEvent] = []
        self._lost = False
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=login.client_id,
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        client.connect_timeout = timing.connect_timeout_s
        client.max_inflight_messages_set(0)  # No limit: paho ignores the broker's, see _send.
        client.username_pw_set(login.username, login.password)
        if login.tls is not None:
            client.tls_set_context(login.tls)
        client.on_socket_open = _set_nodelay
        client.on_socket_close = self._on_socket_close
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        self._client = client
        self._closing = closing
        self._has_tls = login.tls is not None
        self._was_answered = False
        self._keepalive_s = timing.keepalive_s

    def open(self) -> socket.socket:
        """Connect TCP and TLS and send CONNECT; blocks for the connect timeout, each.

        Raises:
            BusError: Nobody answered; LinkRefusedError if TLS failed.
        """
        try:
            self._client.connect(self.node.host, self.node.port, self._keepalive_s)
        except (OSError, ValueError) as error:
            why = _explained(error) if self._has_tls else str(error)
            _close_half_open(error)
            kind = LinkRefusedError if isinstance(error, ssl.SSLError) else BusError
            raise kind(f"{self.node}: {why}") from error
        opened = self._client.socket()
        if not isinstance(opened, socket.socket):
            # With TLS 1.3 a refused certificate shows as this: its reason comes too late.
            if self._has_tls:
                raise LinkRefusedError(f"{self.node}: {_explained(None)}")
            raise BusError(f"{self.node}: the connection ended at once")
        return opened

    @property
    def is_open(self) -> bool:
        """Return whether there is a socket. Without one, `turn` tells of the loss."""
        return self._client.socket() is not None

    @property
    def wants_write(self) -> bool:
        """Return whether bytes wait for the socket to take them."""
        return self._client.want_write()

    def turn(self, *, readable: bool, writable: bool) -> list[LinkEvent]:
        """Do what the socket allows and the keepalive demands; return what happened."""
        if readable:
            for _ in range(_READS_MAX):
                self._client.loop_read()
                # TLS may hold decoded bytes for which the socket will never wake us.
                held = self._client.socket()
                if not isinstance(held, ssl.SSLSocket) or not held.pending():
                    break
        if writable:
            self._client.loop_write()
        self._send()
        self._client.loop_misc()
        if self._client.socket() is None:
            self._note_lost("connection lost")
        events, self._events = self._events, []
        return events

    def subscribe(self, topic: str) -> int:
        """Ask for *topic* at QoS 1, retained messages included; return its token."""
        _, token = self._client.subscribe(topic, qos=1)
        return token or 0

    def unsubscribe(self, topic: str) -> None:
        """Ask for no more of *topic*."""
        self._client.unsubscribe(topic)

    def publish(self, topic: str, payload: bytes, job: str) -> None:
        """Send at QoS 1, not retained; a refusal will name *job*."""
        self._unsent.append((topic, payload, job))
        self._send()

    def _send(self) -> None:
        """Send what the broker's window allows: it ends a connection that sends more."""
        while self._unsent and len(self._unacknowledged) < self._window:
            topic, payload, job = self._unsent.popleft()
            info = self._client.publish(topic, payload, qos=1)
            self._unacknowledged[info.mid] = job

    def close(self) -> None:
        """Say goodbye if the broker listens; never blocks."""
        self._lost = True
        if self.is_open:
            self._client.disconnect()
        held = self._client.socket()
        if isinstance(held, socket.socket):
            # Its buffer is full, so the goodbye was not sent and paho keeps it open.
            self._closing(held)
            with contextlib.suppress(OSError):
                held.close()

    def _note_lost(self, reason: str, *, is_refusal: bool = False) -> None:
        if not self._lost:
            self._lost = True
            self._events.append(Lost(reason, is_refusal))

    def _on_socket_close(self, _client: mqtt.Client, _data: object, closing: object) -> None:
        if isinstance(closing, socket.socket):
            self._closing(closing)

    def _on_connect(
        self,
        _client: mqtt.Client,
        _data: object,
        _flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._was_answered = True
        if reason.is_failure:
            self._note_lost(f"refused: {reason}", is_refusal=reason.value in _REFUSALS)
            return
        self.max_packet_bytes = getattr(properties, "MaximumPacketSize", None)
        window = getattr(properties, "ReceiveMaximum", None)
        if window is not None:
            self._window = min(_UNACKNOWLEDGED_MAX, window)
        self._events.append(Connected())

    def _on_subscribe(
        self,
        _client: mqtt.Client,
        _data: object,
        token: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        refused = [str(reason) for reason in reasons if reason.is_failure]
        self._events.append(Subscribed(token, ", ".join(refused)))

    def _on_publish(
        self,
        _client: mqtt.Client,
        _data: object,
        token: int,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        job = self._unacknowledged.pop(token, "")
        if reason.is_failure:
            self._events.append(PublishRefused(job, reason.value, str(reason)))

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        self._events.append(Received(message.topic, bytes(message.payload), message.retain))

    def _on_disconnect(
        self,
        _client: mqtt.Client,
        _data: object,
        _flags: mqtt.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        is_unheard = self._has_tls and not self._was_answered
        why = _explained(None) if is_unheard else f"connection lost: {reason}"
        self._note_lost(why, is_refusal=is_unheard)


def _explained(error: Exception | None) -> str:
    """Return why TLS failed, in words that say what to do; None: the node only hung up."""
    from workrs.trust.refusal import SILENT, explain  # noqa: PLC0415 (where something failed)

    return SILENT if error is None else explain(error)


def _close_half_open(error: Exception) -> None:
    """Close the socket of a handshake that failed: paho leaves it to the garbage collector."""
    step = error.__traceback__
    while step is not None:
        held = step.tb_frame.f_locals.get("ssl_sock")
        if isinstance(held, ssl.SSLSocket):
            held.close()
        step = step.tb_next


def _set_nodelay(_client: mqtt.Client, _data: object, opened: object) -> None:
    """Send small packets at once: with Nagle's algorithm a request and its reply take 88 ms."""
    if isinstance(opened, socket.socket):
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
