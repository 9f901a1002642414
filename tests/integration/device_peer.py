"""Brokers that can be killed or stopped, and a node whose answers the test writes.

The scripted node is a real MQTT peer of the device: it hears what the broker delivers and
answers on the topics of docs, retained where a node retains. It keeps no promise of a node
but one: the same id and bytes again are answered with what is known.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from device_client import ResultTimeoutError, Timing
from tests.mosquitto_fixture import HOST, free_port, wait_for_listener
from workrs.ports.bus import Address
from workrs.wire import topics

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
    from pathlib import Path

WAIT_S = 60.0
"""The longest a test waits for anything. Only failures take that long."""
PATIENT = Timing(
    connect_timeout_s=WAIT_S,
    answer_timeout_s=WAIT_S,
    keepalive_s=int(WAIT_S),
    pong_timeout_s=WAIT_S,
    reask_period_s=WAIT_S,
    out_grace_s=WAIT_S,
)
"""Of a device that neither leaves a slow node nor asks twice: where a test counts what is said."""

_CONFIG = """\
listener {port} {host}
allow_anonymous true
set_tcp_nodelay true
persistence false
log_dest none
user root
{more}
"""


class Broker:
    """One Mosquitto on a port of its own that it keeps through restarts."""

    def __init__(self, folder: Path, *, more: str = "") -> None:
        program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        assert program is not None, "mosquitto is not installed"
        self.port = free_port()
        config = folder / f"mosquitto-{self.port}.conf"
        config.write_text(_CONFIG.format(port=self.port, host=HOST, more=more))
        self._arguments = [program, "-c", str(config)]
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def start(self) -> None:
        self.process = subprocess.Popen(self._arguments, stderr=subprocess.DEVNULL)
        self.wait_for(self.port)

    def wait_for(self, port: int) -> None:
        assert self.process is not None
        wait_for_listener(self.process, Address(host=HOST, port=port))

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, also when it is stopped."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(WAIT_S)
            self.process = None


class ScriptedNode:
    """A node of a cluster of one, beside *broker*. Use as a context manager."""

    def __init__(
        self,
        broker: Broker,
        *,
        port: int | None = None,
        blobs_url: str = "",
        nodes: tuple[str, ...] = ("node-1",),
    ) -> None:
        self.changed = threading.Condition()
        self._turn = threading.RLock()
        """Held from a delivery until its answer is said, so that a test speaks after it."""
        self.jobs: dict[tuple[str, str], bytes] = {}
        """What was asked, by device and job: topic kind, function and payload, first heard."""
        self.heard: list[tuple[str, str]] = []
        """Every delivery of a submission, repeats included."""
        self.conflicts: list[str] = []
        self.cancelled: set[str] = set()
        self.on_job: Callable[[ScriptedNode, str, str, bytes], None] = succeed
        """Called for every delivery. None of its own: say nothing."""
        self._port = port or broker.port
        broker.wait_for(self._port)
        self._name, self._nodes = nodes[0], nodes
        self._blobs_url = blobs_url
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=self._name, protocol=mqtt.MQTTv5
        )
        self._client.max_queued_messages_set(0)
        self._client.on_socket_open = _set_nodelay
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.on_subscribe = self._on_subscribe
        self._client.reconnect_delay_set(1, 1)
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        """Connect and hear what devices say."""
        self._client.connect(HOST, self._port, 60)
        self._client.loop_start()
        assert self._ready.wait(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, device: str, job: str, state: str, *, retain: bool = True, **more: Any) -> None:
        body = {"v": 1, "job": job, "state": state, **more}
        self.publish(topics.down(device, job), json.dumps(body).encode(), retain=retain)

    def say_plain(self, device: str, job: str, tail: str, payload: bytes) -> None:
        self.publish(topics.down(device, job, tail), payload)

    def publish(self, topic: str, payload: bytes, *, retain: bool = True) -> None:
        with self._turn:
            self._client.publish(topic, payload, qos=1, retain=retain)

    def say_surely(self, device: str, job: str, state: str, **more: Any) -> None:
        """As `say`, and return when the broker has it. Not for use within `on_job`."""
        body = json.dumps({"v": 1, "job": job, "state": state, **more}).encode()
        with self._turn:
            said = self._client.publish(topics.down(device, job), body, qos=1, retain=True)
        said.wait_for_publish(WAIT_S)
        assert said.is_published(), "the broker does not take it"

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_S
        with self.changed:
            while not condition():
                assert time.monotonic() < deadline, f"in vain: {what}"
                # Not all that is waited for is heard here.
                self.changed.wait(0.05)

    def _on_connect(self, client: mqtt.Client, *_: Any) -> None:
        client.subscribe("workrs/1/up/#", qos=1)
        state = {
            "boot": 1,
            "nonce": "0",
            "nodes": self._nodes,
            "live": True,
            "blobs_url": self._blobs_url,
        }
        self.publish(topics.node(self._name, "state"), json.dumps(state).encode())

    def _on_subscribe(self, *_: Any) -> None:
        self._ready.set()

    def _on_message(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        with self._turn:
            self._take(message)

    def _take(self, message: mqtt.MQTTMessage) -> None:
        parsed = topics.parse_up(message.topic)
        assert parsed is not None, message.topic
        with self.changed:
            if parsed.verb == "cancel":
                self.cancelled.add(parsed.name)
            else:
                asked = f"{parsed.verb}/{parsed.function}/".encode() + message.payload
                if self.jobs.setdefault((parsed.client, parsed.name), asked) != asked:
                    self.conflicts.append(parsed.name)
                self.heard.append((parsed.client, parsed.name))
            self.changed.notify_all()
        if parsed.verb == "cancel":
            self.say(parsed.client, parsed.name, "cancelled", reason="its device asked for it")
        else:
            self.on_job(self, parsed.client, parsed.name, message.payload)


def succeed(node: ScriptedNode, device: str, job: str, payload: bytes) -> None:
    """Accept and end the job at once; the result tells what was heard."""
    if node.jobs[device, job].startswith(b"run/"):
        node.say_plain(device, job, "state", b"accepted")
        node.say_plain(device, job, "state", b"running 0.5")
        node.say_plain(device, job, "out", payload[::-1])
        node.say_plain(device, job, "state", b"succeeded")
        return
    node.say(device, job, "accepted")
    node.say(device, job, "running", progress=0.5, attempt=1, epoch=1)
    result = json.loads(payload).get("input", "")
    node.say(device, job, "succeeded", exit_code=0, result=result[::-1])


def accept(node: ScriptedNode, device: str, job: str, _payload: bytes) -> None:
    """Accept the job and leave it running."""
    node.say(device, job, "accepted")
    node.say(device, job, "running", progress=0.25)


def ignore(_node: ScriptedNode, _device: str, _job: str, _payload: bytes) -> None:
    """Say nothing: a broker whose daemon is dead."""


def assert_told_in_vain(
    ask: Callable[[], object], kind: type[ResultTimeoutError], text: str = ""
) -> None:
    """Ask until who waits in vain is told so by this *kind* of error, with *text* in it.

    What a device can say of the trouble depends on how far it has come.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        with pytest.raises(ResultTimeoutError) as caught:
            ask()
        if type(caught.value) is kind and re.search(text, str(caught.value)):
            return
        assert time.monotonic() < deadline, repr(caught.value)


def _set_nodelay(_client: mqtt.Client, _data: object, opened: Any) -> None:
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
