"""The network thread: one connection at a time, and what the brain decides, done.

All of paho, the brain and the route belong to this thread alone; others `post` wishes and
read the board. It sleeps in one `select` until the socket, a wish or a deadline wakes it.
"""

import logging
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias, assert_never

from device_client.board import Board
from device_client.brain import Brain
from device_client.effect import (
    AskRetained,
    Effect,
    ForgetJob,
    LeaveNode,
    MarkAccepted,
    SendCancel,
    SendJob,
    Tell,
    TellUnknown,
    UnwatchNodes,
    UploadInput,
    WatchNodes,
)
from device_client.error import DeviceClosedError, OutboxError
from device_client.link import (
    Connected,
    Link,
    LinkEvent,
    LinkRefusedError,
    Login,
    Lost,
    Received,
    Subscribed,
)
from device_client.outbox import Outbox
from device_client.pulse import Pulse
from device_client.rival import Rival
from device_client.route import NodeAddress, Route, Timing
from workrs.domain.errors import BusError
from workrs.wire import topics

Wish: TypeAlias = Callable[[Brain, float], Iterable[Effect]]
"""Run in the network thread with the brain and the time."""

_LOG = logging.getLogger("device_client")
_PACKET_TOO_LARGE = 0x95
_OVERHEAD_BYTES = 32
"""More than MQTT puts around topic and payload."""
_STATES = topics.node("+", "state")


class Network:
    """See the module. `start`, `post` and `stop` may be called from any thread."""

    def __init__(
        self,
        device: str,
        *,
        route: Route,
        login: Login,
        timing: Timing,
        outbox: Outbox,
        board: Board,
        clock: Callable[[], float],
        upload: Callable[[str], None],
        heard_node: Callable[[str, bytes], None],
    ) -> None:
        self.trouble = ""
        """The last thing that went wrong, for humans. Empty while all is well."""
        self.is_refused = False
        """Whether the last node that was tried and device do not take each other's proof."""
        self._device = device
        self._route = route
        self._login = login
        self._timing = timing
        self._outbox = outbox
        self._board = board
        self._clock = clock
        self._upload = upload
        self._heard_node = heard_node
        self._brain = Brain(device, timing=timing, nodes=route.length)
        self._mailbox: deque[Wish] = deque()
        self._stopping = False
        self._rival = Rival()
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._link: Link | None = None
        self._socket: socket.socket | None = None
        self._connected_at = 0.0
        self._deadline: float | None = None
        """For the whole of the connection's start; None once it stands."""
        self._pulse = Pulse(timing, 0.0)
        self._down_token = 0
        self._refusal = ""
        """What this connection's broker refused to pass on. It explains a silence."""
        self._watchers = 0
        self._asked: set[str] = set()
        """Jobs with a subscription of their own on this connection."""
        self._thread = threading.Thread(
            target=self._run, name=f"device[{device}].network", daemon=True
        )

    @property
    def node(self) -> str | None:
        """The node at the other end, as `host:port`; None while there is no connection."""
        link = self._link
        return str(link.node) if link is not None and self._deadline is None else None

    def start(self) -> None:
        """Begin to connect, in the background."""
        self._thread.start()

    def post(self, wish: Wish) -> None:
        """Have *wish* done soon. Never blocks."""
        self._mailbox.append(wish)
        try:
            self._waker.send(b"\0")
        except BlockingIOError:
            pass  # So many wake-ups are pending that it will wake.
        except OSError:
            pass  # Closed: nobody is left to wake.

    def stop(self) -> None:
        """Do what was posted, say goodbye and end the thread. Idempotent."""
        self._stopping = True
        self.post(lambda _brain, _now: ())
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            # A connect that is under way cannot be interrupted; TCP and TLS have a timeout each.
            self._thread.join(2 * self._timing.connect_timeout_s + 1.0)

    def _run(self) -> None:
        reason = "was closed"
        try:
            while not self._stopping:
                self._turn()
            self._perform(self._wishes(self._clock()))
        except Exception as error:  # noqa: BLE001 (the thread's top: whoever waits is told)
            reason = f"has failed: {error!r}"
        finally:
            # First of all: whoever waits must not depend on what else may fail here.
            self._board.fail(DeviceClosedError(f"device {self._device} {reason}"))
            self._drop_link()
            self._selector.close()
            self._waker.close()
            self._woken.close()

    def _turn(self) -> None:
        now = self._clock()
        if self._link is None and now >= self._route.not_before:
            self._open_link()
            now = self._clock()
        readable, writable = self._select(now)
        now = self._clock()
        effects = self._wishes(now)
        if self._link is not None:
            for event in self._link.turn(readable=readable, writable=writable):
                effects.extend(self._on_event(event, now))
            if readable:
                # Not before the turn: paho counts its silence from the end of a read.
                self._pulse.heard(self._clock())
        if self._deadline is not None and now >= self._deadline:
            self._lose(f"no answer to the connect in {self._timing.connect_timeout_s:g} s")
        if self._link is not None and self._pulse.is_lost(now):
            self._lose(f"no sign of life in {self._timing.pong_timeout_s:g} s after a ping")
        effects.extend(self._brain.tick(now))
        self._perform(effects)
        if self._brain.take_served():
            self._route.answered()
            self.trouble = ""

    def _wishes(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while self._mailbox:
            effects.extend(self._mailbox.popleft()(self._brain, now))
        return effects

    def _select(self, now: float) -> tuple[bool, bool]:
        """Sleep until something happens or is due; return what the socket is ready for."""
        times = [at for at in (self._brain.wake_at(), self._deadline) if at is not None]
        link = self._link
        if link is None:
            times.append(self._route.not_before)
        elif self._socket is None:
            times.append(now)  # A publish found the connection broken: hear of it at once.
        else:
            # paho pings for a silence of ours, too, so it has to look now and then.
            times.append(min(self._pulse.wake_at(), now + self._timing.keepalive_s / 4))
            wanted = selectors.EVENT_READ | (link.wants_write and selectors.EVENT_WRITE)
            self._selector.modify(self._socket, wanted)
        readable = writable = False
        for key, mask in self._selector.select(max(0.0, min(times) - now)):
            if key.fileobj is self._woken:
                while _drain(self._woken):
                    pass
            else:
                readable = bool(mask & selectors.EVENT_READ)
                writable = bool(mask & selectors.EVENT_WRITE)
        return readable, writable

    # The connection.

    def _open_link(self) -> None:
        began = self._clock()
        link = Link(
            self._route.current, self._login, timing=self._timing, closing=self._forget_socket
        )
        try:
            opened = link.open()
        except BusError as error:
            self._rival.forget()
            self.trouble = str(error)
            self.is_refused = isinstance(error, LinkRefusedError)
            self._route.failed(self._clock())
            return
        self._socket = opened
        self._selector.register(opened, selectors.EVENT_READ)
        self._link = link
        self._connected_at = began
        self._deadline = began + self._timing.connect_timeout_s
        self._pulse = Pulse(self._timing, self._clock())

    def _on_event(self, event: LinkEvent, now: float) -> Iterable[Effect]:
        link = self._link
        if link is None:
            return ()
        match event:
            case Connected():
                self._down_token = link.subscribe(topics.down(self._device, "#"))
                if self._watchers:
                    link.subscribe(_STATES)
            case Subscribed(token, refusal) if token == self._down_token:
                if refusal:
                    self._lose(f"refuses the device its own results: {refusal}", is_refusal=True)
                else:
                    self._deadline = None
                    return list(self._brain.connected(now))
            case Subscribed():
                pass
            case Received(topic, payload, retained):
                if self._watchers:
                    self._heard_node(topic, payload)
                return list(self._brain.heard(topic, payload, now, retained=retained))
            case Lost():
                self._on_lost(event, link.node, now)
            case refused:
                return self._on_refused(refused.job, refused.code, refused.reason)
        return ()

    def _on_refused(self, job: str, code: int, reason: str) -> Iterable[Effect]:
        self._refusal = f"it refuses what concerns job {job}: {reason}"
        self.trouble = f"{self._route.current}: {self._refusal}"
        if code == _PACKET_TOO_LARGE:
            return list(self._brain.refused(job, f"the node's broker says: {reason}"))
        return ()

    def _lose(self, reason: str, *, is_refusal: bool = False) -> None:
        """Give the connection up and go on to the next node."""
        if self._link is None:
            return
        told = f" ({self._refusal})" if self._refusal else ""
        self.trouble = f"{self._link.node}: {reason}{told}"
        self.is_refused = is_refusal
        self._drop_link()
        now = self._clock()
        if now - self._connected_at > self._timing.backoff_max_s:
            # It held for long: this is a new trouble, not the next failure of an old one.
            self._route.answered()
        self._route.failed(now)
        self._brain.disconnected()

    def _on_lost(self, lost: Lost, node: NodeAddress, now: float) -> None:
        """Go on; make no connection for a while if another program seems to have this name."""
        stood = self._deadline is None and not lost.is_refusal
        self._lose(lost.reason, is_refusal=lost.is_refusal)
        pause_s = self._rival.pause_s(now - self._connected_at) if stood else 0.0
        if pause_s:
            self._route.not_before = max(self._route.not_before, now + pause_s)
            self.trouble = (
                f"{node}: it has ended {self._rival.count} connections, each soon after it stood: "
                f"another program seems to be connected as {self._device}; give each a name and "
                "a credential of its own"
            )
            _LOG.warning("%s (the next try is in %g s)", self.trouble, pause_s)

    def _forget_socket(self, closing: socket.socket) -> None:
        if closing is self._socket:
            self._selector.unregister(closing)
            self._socket = None

    def _drop_link(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
        self._deadline = None
        self._refusal = ""
        self._asked.clear()

    # Effects.

    def _perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            match effect:
                case Tell(report):
                    self._board.tell(report)
                    if report.state.is_final:
                        self._unsubscribe(report.job)
                case TellUnknown(job, reason):
                    self._board.tell_unknown(job, reason)
                case MarkAccepted(job):
                    self._mark(self._outbox.mark_accepted, job)
                case ForgetJob(job):
                    self._mark(self._outbox.forget, job)
                case UploadInput(job):
                    self._upload(job)
                case LeaveNode(reason):
                    self._lose(reason)
                case _:
                    self._say(effect)

    def _say(self, effect: SendJob | SendCancel | AskRetained | WatchNodes | UnwatchNodes) -> None:
        """Say something to the node; without a connection only note who wants what."""
        link = self._link
        match effect:
            case SendJob(job):
                self._send(job)
            case SendCancel(job):
                self._publish(job, topics.up(self._device, "cancel", job), b"")
            case AskRetained(job):
                if link is not None:
                    self._asked.add(job)
                    link.subscribe(topics.down(self._device, job, "#"))
            case WatchNodes():
                self._watchers += 1
                if link is not None and self._deadline is None:
                    link.subscribe(_STATES)
            case UnwatchNodes():
                self._watchers -= 1
                if link is not None and not self._watchers:
                    link.unsubscribe(_STATES)
            case _:
                assert_never(effect)

    def _unsubscribe(self, job: str) -> None:
        if job in self._asked and self._link is not None:
            self._asked.discard(job)
            self._link.unsubscribe(topics.down(self._device, job, "#"))

    def _send(self, job: str) -> None:
        try:
            message = self._outbox.message(job)
        except OutboxError as error:
            # As in `_mark`. The brain asks again when no answer has come.
            self.trouble = str(error)
            return
        if message is None:
            self._brain.lost(job)
            return
        topic, payload = message
        limit = None if self._link is None else self._link.max_packet_bytes
        if limit is not None and len(topic) + len(payload) + _OVERHEAD_BYTES > limit:
            reason = f"the message has {len(payload)} bytes, this bus takes {limit} at most"
            self._perform(self._brain.refused(job, reason))
            return
        self._publish(job, topic, payload)

    def _publish(self, job: str, topic: str, payload: bytes) -> None:
        if self._link is not None:
            self._link.publish(topic, payload, job)

    def _mark(self, mark: Callable[[str], None], job: str) -> None:
        try:
            mark(job)
        except OutboxError as error:
            # The disk is full or gone. The job is repeated after a restart, which is
            # idempotent; to stop here would lose the answers of all other jobs too.
            self.trouble = str(error)


def _drain(woken: socket.socket) -> bool:
    try:
        return len(woken.recv(4096)) == 4096
    except BlockingIOError:
        return False
