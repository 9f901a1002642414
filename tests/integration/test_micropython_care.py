"""Goal: the client for boards stays right on a slow line, in a flood and after odd losses of power.

Method: the real MicroPython against a broker that the test plays, packet by packet.
"""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from zlib import crc32

from tests.micropython_fixture import LONELY, Board
from tests.mosquitto_fixture import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CONNACK = b"\x20\x02\x00\x00"
SUBSCRIBE, PUBLISH, PUBACK = 0x80, 0x30, 0x40
WAIT_S = 60.0
LATE_S = 0.7
FLOOD = 320


class Line:
    """One connection to the board, from the broker's end."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(WAIT_S)
        self._socket = connection

    def read(self) -> tuple[int, bytes]:
        """Return the kind and the body of the next packet."""
        first, length, shift = self._take(1)[0], 0, 0
        while True:
            digit = self._take(1)[0]
            length |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                return first & 0xF0, self._take(length)

    def _take(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            got = self._socket.recv(count - len(data))
            if not got:
                raise ConnectionError
            data += got
        return data

    def read_until(self, kind: int) -> bytes:
        """Return the body of the next packet of this kind."""
        while True:
            found, body = self.read()
            if found == kind:
                return body

    def say(self, data: bytes) -> None:
        self._socket.sendall(data)

    def publish(self, tail: str, payload: bytes, *, retain: bool = False) -> None:
        topic = f"workrs/1/down/pump-7/{tail}".encode()
        body = len(topic).to_bytes(2, "big") + topic + b"\x00\x01" + payload
        length = bytearray()
        left = len(body)
        while left > 127:
            length.append(left & 127 | 128)
            left >>= 7
        length.append(left)
        self.say(bytes([0x32 | retain]) + bytes(length) + body)


@contextmanager
def played(*scenes: Callable[[Line], object], buffer_bytes: int | None = None) -> Iterator[str]:
    """Play a scene on each connection in turn, then hang up."""
    with socket.create_server((HOST, 0)) as server:
        if buffer_bytes is not None:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)

        def serve() -> None:
            with suppress(OSError):  # The test is over, whatever was played.
                for scene in scenes:
                    connection, _ = server.accept()
                    with connection, suppress(ConnectionError):
                        line = Line(connection)
                        line.read()
                        line.say(CONNACK)
                        scene(line)

        thread = threading.Thread(target=serve, name="broker", daemon=True)
        thread.start()
        yield f"{HOST}:{server.getsockname()[1]}"
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        thread.join(WAIT_S)


HEAD = "import sys, time, workrs\nat = sys.argv[1:2]\n"


def test_a_result_that_comes_late_on_a_second_connection_is_waited_for(tmp_path: Path) -> None:
    def word_alone(line: Line) -> None:
        line.read_until(PUBLISH)
        line.publish("j/state", b"accepted")
        line.publish("j/state", b"succeeded")
        line.read_until(SUBSCRIBE)  # the question for the output; then the line breaks

    def output_late(line: Line) -> None:
        line.read_until(SUBSCRIBE)
        threading.Event().wait(LATE_S)
        line.publish("j/out", b"the result", retain=True)
        line.read_until(PUBACK)

    program = HEAD + 'd = workrs.Device("pump-7", at)\nprint(d.result(d.run("f", b"1", "j"), 50))'
    with played(word_alone, output_late) as at, Board(program, at, folder=tmp_path) as run:
        assert run.output() == ["b'the result'"]


def test_the_watchdog_is_fed_between_the_packets_of_a_flood(tmp_path: Path) -> None:
    def flood(line: Line) -> None:
        line.read_until(SUBSCRIBE)
        for _ in range(FLOOD):
            line.publish("other", b"x" * 5_000)
        line.publish("j/state", b"failed at the end")
        for _ in range(FLOOD + 1):
            line.read_until(PUBACK)

    program = """
fed = 0
def feed():
    global fed
    fed += 1
d = workrs.Device("pump-7", at, feed=feed)
job = d.run("f", b"1", "j")
while d.state(job)[0] != "failed":
    d.poll(0.1)
print(fed)
"""
    with played(flood) as at, Board(HEAD + program, at, folder=tmp_path) as run:
        assert int(run.output()[0]) > FLOOD


def test_the_watchdog_is_fed_while_there_is_no_node(tmp_path: Path) -> None:
    """By then the pauses between two rounds are longer than a second."""
    program = f"""
{LONELY}
longest, last = 0, lonely_ms()
def feed():
    global longest, last
    now = lonely_ms()
    longest, last = max(longest, now - last), now
d = workrs.Device("pump-7", at, feed=feed)
print(d.poll(6), longest < 700)
"""
    with Board(HEAD + program, f"{HOST}:{free_port()}", folder=tmp_path) as run:
        assert run.output() == ["False True"]


def test_a_line_that_takes_no_bytes_is_left_in_time(tmp_path: Path) -> None:
    program = """
d = workrs.Device("pump-7", at, answer_timeout_s=2)
while not d.poll(0.1):
    pass
d.socket.setsockopt(1, 7, 2048)  # SO_SNDBUF, as small as a board's
since = time.ticks_ms()
for _ in range(8):
    d.run("f", b"x" * 2000)
print(d.trouble.partition(" ")[2], time.ticks_diff(time.ticks_ms(), since) < 12000)
"""
    over = threading.Event()
    with played(lambda _: over.wait(WAIT_S), buffer_bytes=2048) as at:
        with Board(HEAD + program, at, folder=tmp_path) as run:
            assert run.output() == ["stuck True"]
        over.set()


def test_the_next_node_is_tried_at_once_and_only_a_round_is_followed_by_a_pause(
    tmp_path: Path,
) -> None:
    program = """
d = workrs.Device("pump-7", at * 3)
def fail():
    "Serve until one more try has failed; return the least and the most that it then pauses."
    tries = d._failures
    while d._failures == tries:
        before = time.ticks_ms()
        d.poll(0)
    assert d._failures == tries + 1
    return time.ticks_diff(d.due, time.ticks_ms()), time.ticks_diff(d.due, before)
for _ in range(2):
    print(fail()[0] <= 0, fail()[0] <= 0, fail()[1] >= 100)
d._failures = 299
d.due = time.ticks_ms()
least, most = fail()
print(most > 1500, least <= 3200)
"""
    with Board(HEAD + program, f"{HOST}:{free_port()}", folder=tmp_path) as run:
        assert run.output() == ["True True True"] * 2 + ["True True"]


def test_a_program_that_made_no_call_for_days_connects_at_once(tmp_path: Path) -> None:
    program = """
d = workrs.Device("pump-7", at)
d.due = time.ticks_add(time.ticks_ms(), 1 << 28)  # as ticks that wrapped around look
print(any(d.poll(0.1) for _ in range(300)))
"""
    with (
        played(lambda line: line.read_until(PUBLISH)) as at,
        Board(HEAD + program, at, folder=tmp_path) as run,
    ):
        assert run.output() == ["True"]


def test_raw_bytes_need_no_json(tmp_path: Path) -> None:
    def answer(line: Line) -> None:
        line.read_until(PUBLISH)
        for tail, payload in (
            ("j/out", b"2"),
            ("j/state", b"running 0.5"),
            ("j/state", b"succeeded"),
        ):
            line.publish(tail, payload)
        line.read_until(PUBACK)

    (tmp_path / "json.py").write_text("raise ImportError('a board without json')")
    program = (
        HEAD
        + """
sys.path.insert(0, "")
d = workrs.Device("pump-7", at)
print(d.result(d.run("f", b"1", "j"), 50))
try:
    d.submit({"image": "x"})
except ImportError as error:
    print(error)
"""
    )
    with played(answer) as at, Board(program, at, folder=tmp_path) as run:
        assert run.output() == ["b'2'", "a board without json"]


def record(kind: bytes, topic: bytes, payload: bytes = b"") -> bytes:
    head = kind + bytes([len(topic)]) + len(payload).to_bytes(4, "big")
    return head + crc32(head + topic + payload).to_bytes(4, "big") + topic + payload


def test_a_record_without_its_job_is_passed_over(tmp_path: Path) -> None:
    box = record(b"A", b"gone") + record(b"C", b"gone") + record(b"S", b"run/f/kept", b"1")
    (tmp_path / "jobs").write_bytes(box + record(b"C", b"kept"))
    program = HEAD + 'print(workrs.Device("pump-7", at, outbox="jobs").jobs())'
    with Board(program, "127.0.0.1:9", folder=tmp_path) as run:
        assert run.output() == ["['kept']"]
    assert (tmp_path / "jobs").read_bytes() == record(b"S", b"run/f/kept", b"1") + record(
        b"C", b"kept"
    )
