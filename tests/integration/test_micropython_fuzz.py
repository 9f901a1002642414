"""Goal: nothing that a broker sends stops the client for boards, fills its heap or holds it up.

Method: junk from real sockets, broken off or left open; then thousands of damaged packets on a
connection that the program itself plays, under the real MicroPython, from fixed seeds.
"""

from __future__ import annotations

import itertools
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.integration.device_peer import Broker, ScriptedNode
from tests.micropython_fixture import Board
from tests.mosquitto_fixture import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONNACK = b"\x20\x02\x00\x00"
TOPIC = b"workrs/1/down/pump-7/job/state"
PUBLISH = b"\x32" + bytes([len(TOPIC) + 13]) + b"\x00" + bytes([len(TOPIC)]) + TOPIC + b"\x00\x01"
JUNK = {
    "nothing": b"",
    "a web server": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "zeros": b"\x00" * 5_000,
    "ones": b"\xff" * 5_000,
    "a refusal": b"\x20\x02\x00\x05",
    "half an answer": CONNACK[:3],
    "a huge length": CONNACK + b"\x32\xff\xff\xff\x7f" + b"x" * 5_000,
    "a length without end": CONNACK + b"\x32\xff\xff\xff\xff\xff\xff",
    "a topic beyond its packet": CONNACK + b"\x32\x05\xff\xff\x00\x00\x00",
    "a packet cut short": CONNACK + PUBLISH + b"succ",
    "QoS 2": CONNACK + b"\x34\x07\x00\x03a/b\x00\x01",
    "a refused subscription": CONNACK + b"\x90\x03\x00\x01\x80",
    "a second greeting": CONNACK * 3,
    "a client's packet": CONNACK + b"\x82\x08\x00\x01\x00\x03a/b\x00",
}
TROUBLES = {
    "a refusal": "refused 5",
    "a huge length": "too long",
    "a length without end": "too long",
    "a topic beyond its packet": "not MQTT",
    "QoS 2": "not MQTT",
    "a refused subscription": "denied",
    "a client's packet": "not MQTT",
}


@contextmanager
def junk_server(*, hang: bool) -> Iterator[str]:
    """Answer each connection with the next kind of junk, and hang up or fall silent."""
    kept: list[socket.socket] = []
    with socket.create_server((HOST, 0)) as server:

        def serve() -> None:
            for junk in itertools.cycle(JUNK.values()):
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.settimeout(60)
                try:
                    connection.recv(100)
                    connection.sendall(junk)
                except OSError:
                    pass
                if hang:
                    kept.append(connection)
                else:
                    connection.close()

        thread = threading.Thread(target=serve, name="junk")
        thread.start()
        try:
            yield f"{HOST}:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(60)
            for connection in kept:
                connection.close()


@pytest.mark.parametrize("hang", [False, True], ids=["hangs up", "stays silent"])
def test_junk_on_the_socket_costs_a_step_to_the_next_node(tmp_path: Path, *, hang: bool) -> None:
    """The junk server is asked once for each kind before the real node may be found."""
    broker = Broker(tmp_path)
    program = f"""
import gc, sys, time, workrs
junk, real = sys.argv[1:3]
device = workrs.Device("pump-7", [junk], answer_timeout_s=1.5)
job = device.run("reverse", b"123")
gc.collect()
before = gc.mem_alloc()
troubles = []
while len(troubles) < {len(JUNK)}:
    since = time.ticks_ms()
    while not device.trouble:
        device.poll(0.05)
        assert time.ticks_diff(time.ticks_ms(), since) < 30000
    device.due = time.ticks_ms()
    troubles.append(device.trouble.partition(" ")[2])
    device.trouble = ""
gc.collect()
print(gc.mem_alloc() - before < 2000, *troubles, sep=";")
device.nodes = [real]
device.index = 0
print(device.result(job, 50))
"""
    try:
        with (
            junk_server(hang=hang) as junk,
            ScriptedNode(broker),
            Board(program, junk, broker.address, folder=tmp_path) as run,
        ):
            lines = run.output()
    finally:
        broker.kill()
    is_bounded, *troubles = lines[0].split(";")
    assert is_bounded == "True", "the heap grew"
    told = dict(zip(JUNK, troubles, strict=True))
    for kind, word in TROUBLES.items():
        assert told[kind] == word, kind
    assert lines[1] == "b'321'"


PLAYED = """
import gc, random, sys, time, workrs

class Socket:
    def __init__(self, *_):
        self.left = wire[0]
    def settimeout(self, _): pass
    def setblocking(self, _): pass
    def setsockopt(self, *_): pass
    def connect(self, _): pass
    def close(self): pass
    def write(self, data):
        return random.choice((None, 1, len(data), len(data)))
    def read(self, count):
        if random.getrandbits(3) == 0:
            return None
        found, self.left = self.left[:count], self.left[count:]
        return found
    def readinto(self, view):
        if random.getrandbits(3) == 0:
            return None
        found, self.left = self.left[:len(view)], self.left[len(view):]
        view[:len(found)] = found
        return len(found)

class Module: pass
class Poll:
    def register(self, *_): pass
    def unregister(self, *_): pass
    def modify(self, *_): pass
    def poll(self, _):
        return [1]

wire = [b""]
workrs.socket, workrs.select = Module(), Module()
workrs.socket.socket, workrs.socket.SOCK_STREAM = Socket, 1
workrs.socket.getaddrinfo = lambda *_: [(1, 1, 1, "", ())]
workrs.select.poll, workrs.select.POLLIN, workrs.select.POLLOUT = Poll, 1, 4

def publish(topic, payload, flags):
    body = len(topic).to_bytes(2, "big") + topic + (b"\\0\\1" if flags & 2 else b"") + payload
    return packet(0x30 | flags, body)

def packet(kind, body):
    length, head = len(body), bytearray((kind,))
    while length > 127:
        head.append(length & 127 | 128)
        length >>= 7
    head.append(length)
    return bytes(head) + body

LONG = b"x" * 900
WORDS = (
    b"succeeded", b"succeeded workrs:sha256/ab", b"running 0.5 note", b"running \\xff",
    b"failed " + LONG, b"rejected no", b"waiting", b"accepted", b"[1]", b"nul", b"[" * 700,
    b'{"state": "running", "progress": {}}', b'{"state": [1]}', b"{" * 700,
    b'{"state": "rejected", "retry_after_s": "x"}', b'{"state": "succeeded", "result": 5}',
    b'{"state": "rejected", "retry_after_s": 1e300}', b'{"state": "succeeded", "result": "5"}',
    b'{"state": "succeeded", "result_b64": "*"}', b'{"state": "failed", "reason": "' + LONG,
)
NAMES = (b"job", b"spec", b"none")
TAILS = (b"", b"/state", b"/out", b"/more", b"/a/b", b"/\\xff")
OTHERS = (packet(0x90, b"\\0\\1\\1"), packet(0xD0, b""), packet(0x40, b"\\0\\1"), b"")

def damaged():
    data = b"\\x20\\x02\\x00\\x00"
    for _ in range(random.randrange(6)):
        topic = b"workrs/1/down/pump-7/" + random.choice(NAMES) + random.choice(TAILS)
        data += publish(topic, random.choice(WORDS), random.choice((0, 1, 2, 3, 2, 3)))
        data += random.choice(OTHERS)
    data = bytearray(data)
    for _ in range(random.choice((0, 0, 1, 3))):
        data[random.randrange(len(data))] = random.getrandbits(8)
    whole = len(data)
    return bytes(data[:random.choice((whole, whole, random.randrange(whole)))])

random.seed(int(sys.argv[1]))
ends = cases = 0
until = time.ticks_add(time.ticks_ms(), 6000)
while cases < int(sys.argv[2]) and (cases <= 200 or time.ticks_diff(until, time.ticks_ms()) > 0):
    cases += 1
    wire[0] = damaged()
    device = workrs.Device("pump-7", ["h", "i"])
    device.run("f", b"1", "job")
    device.submit({}, "spec")
    for _ in range(30):
        device.poll()
        for job in device.jobs():
            try:
                device.result(job, 0)
                ends += 1
            except workrs.JobError:
                ends += 1
            except OSError:
                pass
        if device.trouble:
            break
gc.collect()
print(cases > 100, ends > 20, gc.mem_alloc() < 90000)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_damaged_packets_end_a_connection_and_nothing_else(tmp_path: Path, seed: int) -> None:
    with Board(PLAYED, str(seed), "1500", folder=tmp_path) as run:
        assert run.output() == ["True True True"]
