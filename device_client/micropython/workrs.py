"""Workrs for MicroPython: publish jobs over MQTT 3.1.1 and get each result, on a stock board.

    device = Device("pump-7", ["10.0.0.1", "10.0.0.2"], outbox="jobs", feed=wdt.feed)
    print(device.result(device.run("mean", b"1 2 3 4"), 60))

1. No call waits without a limit of its own, and every wait feeds the watchdog, four times a
   second or more often. Looking up a host's name is the exception: the port's own
   `getaddrinfo` has no timeout, so give addresses.
2. A job is sent, with one id and the same bytes, on every connection and every
   `answer_timeout_s` until a node accepts or refuses it; the nodes take that as one job.
3. What one message may take is bounded by `packet_max_bytes`: a longer one is read past.
4. A broker that breaks MQTT's rules loses its connection; nothing it sends raises here.
5. With an outbox file, a job whose `submit` returned is sent after a loss of power, too.

The bus is only looked at within calls: a program with other work calls `poll` now and then.
See docs/micropython.md.
"""

import os
import select
import socket
from binascii import a2b_base64, hexlify
from errno import EINPROGRESS, ETIMEDOUT
from time import sleep_ms, ticks_add, ticks_diff, ticks_ms

from micropython import const

_SLICE_MS = const(200)
_PONG_MS = const(1500)
_GRACE_MS = const(2000)
_REASK_MS = const(10000)
_PAUSE_MAX_MS = const(30000)
_LENGTH_MAX = const(300000)
_HEAD_MAX = const(384)
_SPEC_MAX = const(98304)
_TOO_LONG = "the result is longer than packet_max_bytes"
_FINAL = ("succeeded", "failed", "cancelled", "expired", "rejected")
_OPEN = ("waiting", "accepted", "queued", "running")


class WorkrsError(Exception):
    """The request cannot be kept: the text says why."""


class JobError(WorkrsError):
    """The job has no result. Its arguments are the job, its state and the reason."""


class _Job:
    def __init__(self, name, topic=None, payload=None):
        self.name = name
        self.topic = topic
        self.payload = payload
        """None for a job of another life: only what the broker retains is heard of it."""
        self.state = "kept"
        self.note = ""
        self.value = None
        self.progress = None
        self.accepted = self.cancel = self.wanted = self.asked = self.ended = self.done = False
        self.heard_on = self.cancels = 0
        self.due = None


class Device:
    """One device on the bus; for one thread. All its methods that wait take seconds."""

    def __init__(
        self,
        name,
        nodes,
        user=None,
        password=None,
        ssl_context=None,
        outbox=None,
        feed=None,
        packet_max_bytes=1024,
        jobs_max=8,
        keepalive_s=10,
        connect_timeout_s=2,
        answer_timeout_s=3,
    ):
        _check(name, "")
        if packet_max_bytes < 512 or not nodes:
            raise WorkrsError("packet_max_bytes must be 512 or more, and nodes not empty")
        self.name = name
        self.trouble = ""
        self._nodes = nodes
        self._login = (user or (name if password else None), password)
        self._ssl = ssl_context
        self._feed = feed
        self._jobs_max = jobs_max
        self._keepalive_s = keepalive_s
        self._connect_ms = int(connect_timeout_s * 1000)
        self._answer_ms = int(answer_timeout_s * 1000)
        self._buffer = memoryview(bytearray(packet_max_bytes))
        self._poller = select.poll()
        self._sock = None
        self._phase = self._at = self._failures = self._hops = 0
        self._connection = self._packet_id = 0
        self._retry_at = ticks_ms()
        self._silent = None
        self._outbox = None
        self._jobs = {}
        if outbox:
            import workrs_outbox

            self._outbox = workrs_outbox.Outbox(outbox)
            self._outbox.load(self._jobs, _Job)

    # What the device's program calls.

    def run(self, function, data, job=None):
        """Keep bytes for a registered function; return the job's id. No JSON on the way."""
        _check(function, "")
        return self._keep("run/" + function + "/", data, job, 32768)

    def submit(self, spec, job=None):
        """Keep a job, a dict or the JSON of one; return its id."""
        if isinstance(spec, dict):
            import json

            spec = json.dumps(spec)
        return self._keep("submit/", spec, job, _SPEC_MAX)

    def accepted(self, job, timeout_s=10):
        """Wait until the job is on the disks of a majority, or over; False if not in time."""
        job = self._job(job)
        return self._until(lambda: job.accepted or job.done, timeout_s)

    def result(self, job, timeout_s=60):
        """Wait for the job's end; return its result's bytes and forget it.

        A strange id is waited for, too: the nodes keep what ended for a while. Not in time is
        an OSError with ETIMEDOUT; the job goes on.
        """
        entry = self._jobs.get(job) or self._strange(job)
        entry.wanted = True
        if entry.due is None:
            entry.due = ticks_add(ticks_ms(), _REASK_MS)
        if not self._until(lambda: entry.done, timeout_s):
            entry.wanted = False
            if entry.payload is None:
                self._drop(entry)
            raise OSError(ETIMEDOUT, job + " " + entry.state + "; " + self.trouble)
        self._drop(entry)
        if entry.state != "succeeded" or entry.value is None:
            raise JobError(job, entry.state, entry.note)
        return entry.value

    def state(self, job):
        """Return the newest state, progress or None, and note of a job."""
        job = self._job(job)
        return job.state, job.progress, job.note

    def cancel(self, job):
        """Ask for the job's end, until it is heard. It may still succeed if that came first."""
        entry = self._jobs.get(job) or self._strange(job)
        if not entry.done and not entry.cancel:
            entry.cancel = True
            self._mark(entry, b"C")
            self._quietly(entry)

    def poll(self, timeout_s=0):
        """Do what is due, and wait so long for more; return whether a connection stands."""
        self._until(lambda: False, timeout_s)
        return self._phase == 2

    def jobs(self):
        """Return the ids of all jobs that are kept, those that ended included."""
        return list(self._jobs)

    def close(self):
        """Disconnect. Jobs stay in the outbox file."""
        if self._phase == 2:
            try:
                self._send(0xE0, b"")
            except OSError:
                pass
        self._hang_up()

    # Jobs.

    def _keep(self, head, data, name, bytes_max):
        if isinstance(data, str):
            data = data.encode()
        name = _check(name or hexlify(os.urandom(8)).decode(), "_")
        topic = head + name
        known = self._jobs.get(name)
        if known and known.payload is not None:
            if (known.topic, known.payload) != (topic, data):
                raise WorkrsError("the id " + name + " is another job's")
            return name
        if len(data) > bytes_max:
            raise WorkrsError("%d bytes, at most %d" % (len(data), bytes_max))
        if len(self._jobs) - (known is not None) >= self._jobs_max:
            raise WorkrsError("jobs_max: take results first")
        job = _Job(name, topic, bytes(data))
        if self._outbox:
            self._outbox.append(b"S", topic, job.payload)
        self._jobs[name] = job
        self._quietly(job)
        return name

    def _quietly(self, job):
        """Say it if there is somebody to say it to; `poll` and whoever waits do the rest."""
        if self._phase == 2:
            try:
                self._say(job)
            except OSError as error:
                self._lost(error)

    def _job(self, name):
        try:
            return self._jobs[name]
        except KeyError:
            raise WorkrsError("no job " + name)

    def _strange(self, name):
        _check(name, "_")
        job = self._jobs[name] = _Job(name)
        job.due = ticks_ms()
        return job

    def _drop(self, job):
        self._jobs.pop(job.name, None)

    def _mark(self, job, kind):
        """Note in the outbox what may get lost: without it the node is told the same again."""
        if self._outbox and job.payload is not None:
            try:
                if kind:
                    self._outbox.append(kind, job.name)
                else:
                    self._outbox.rewrite(self._jobs)
            except OSError:
                pass

    def _say(self, job):
        """Say what this job needs said now, and plan when to say it again."""
        now = ticks_ms()
        if job.done:
            return
        if job.ended:
            self._finish(job, b"")
            return
        if job.heard_on != self._connection:
            job.heard_on = self._connection
            self._subscribe(job)
        period = self._answer_ms
        if job.accepted or job.payload is None:
            if job.cancel:
                self._publish("cancel/" + job.name, b"")
                job.cancels = min(job.cancels + 1, 5)
                period <<= job.cancels - 1
            elif not job.wanted:
                job.due = None
                return
        job.due = ticks_add(now, min(period, _PAUSE_MAX_MS))
        if job.payload is None:
            self._subscribe(job)
        elif not job.accepted or job.wanted or job.cancel:
            self._publish(job.topic, job.payload)
            job.asked = True
            if self._silent is None:
                self._silent = now

    def _finish(self, job, value):
        job.done = True
        job.due = None
        if job.value is None:
            job.value = value
        self._mark(job, None)
        self._send(0xA2, self._next_id() + _text(self._down(job)))

    # Waiting.

    def _until(self, condition, timeout_s):
        """Serve the bus until *condition* holds; False if not in time, which None never is."""
        since = ticks_ms()
        limit = None if timeout_s is None else int(timeout_s * 1000)
        while True:
            left = _SLICE_MS if limit is None else limit - ticks_diff(ticks_ms(), since)
            if condition():
                return True
            try:
                self._serve(max(0, min(left, _SLICE_MS)))
            except (OSError, MemoryError) as error:
                self._lost(error)
            if left <= 0:
                return condition()

    def _serve(self, wait_ms):
        if self._sock is None:
            self._tell_watchdog()
            pause = ticks_diff(self._retry_at, ticks_ms())
            if pause > 0:
                sleep_ms(min(pause, wait_ms))
                return
            self._dial()
        if self._phase == 0:
            if self._ready(select.POLLOUT, wait_ms):
                self._greet()
        elif self._ready(select.POLLIN, wait_ms) or self._ssl:
            for _ in range(16):  # a flood must not keep the caller here
                if not self._receive():
                    break
        self._tend()

    def _tell_watchdog(self):
        if self._feed:
            self._feed()

    def _ready(self, flags, wait_ms):
        self._tell_watchdog()
        self._poller.modify(self._sock, flags)
        return self._poller.poll(wait_ms)

    def _tend(self):
        """Leave a node that is silent; repeat what is due."""
        now = ticks_ms()
        quiet = ticks_diff(now, self._heard)
        if self._phase < 2:
            if quiet > self._connect_ms:
                raise OSError("no connection in time")
            return
        if self._asked is not None:
            if ticks_diff(now, self._asked) > _PONG_MS:
                raise OSError("no sign of life")
        elif quiet > self._keepalive_s * 1000:
            self._asked = now
            self._send(0xC0, b"")
        if self._silent is not None and ticks_diff(now, self._silent) > self._answer_ms:
            raise OSError("no answer to a submit")
        for job in list(self._jobs.values()):
            if job.due is not None and ticks_diff(now, job.due) >= 0:
                self._say(job)

    # The connection.

    def _dial(self):
        host, _, port = self._nodes[self._at].partition(":")
        self._heard = ticks_ms()
        self._asked = self._silent = None
        self._phase = self._got = self._kind = 0
        address = socket.getaddrinfo(
            host, int(port or (8883 if self._ssl else 1883)), 0, socket.SOCK_STREAM
        )[0]
        self._sock = sock = socket.socket(address[0], socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.setsockopt(6, 1, 1)  # TCP_NODELAY: Nagle holds a second packet back for 40 ms
        except (OSError, AttributeError):
            pass
        self._poller.register(sock, select.POLLOUT)
        try:
            sock.connect(address[-1])
        except OSError as error:
            if error.errno != EINPROGRESS:
                raise

    def _greet(self):
        if self._ssl:
            self._poller.unregister(self._sock)
            host = self._nodes[self._at].partition(":")[0]
            self._sock = self._ssl.wrap_socket(
                self._sock, server_hostname=host, do_handshake_on_connect=False
            )
            self._poller.register(self._sock, select.POLLOUT)
        self._phase = 1
        head = bytearray(b"\x00\x04MQTT\x04\x02\x00\x00")
        head[8:10] = self._keepalive_s.to_bytes(2, "big")
        body = _text(self.name)
        for flag, word in zip((0x80, 0x40), self._login):
            if word:
                head[7] |= flag
                body += _text(word)
        self._send(0x10, head + body)

    def _lost(self, why):
        """Go on to the next node; pause, longer each time, when a whole round failed."""
        self._hang_up()
        self.trouble = self._nodes[self._at] + ": " + str(why)
        self._at = (self._at + 1) % len(self._nodes)
        self._failures += 1
        rounds, within = divmod(self._failures, len(self._nodes))
        pause = 0 if within else 100 << min(rounds, 5)
        # Half of it random: devices that lost a node together come back apart.
        self._retry_at = ticks_add(ticks_ms(), pause // 2 + os.urandom(1)[0] * pause // 512)

    def _hang_up(self):
        self._phase = 0
        sock, self._sock = self._sock, None
        if sock is not None:
            self._poller.unregister(sock)
            try:
                sock.close()
            except OSError:
                pass

    def _send(self, kind, head, body=b""):
        length = len(head) + len(body)
        frame = bytearray((kind,))
        while length > 127:
            frame.append(length & 127 | 128)
            length >>= 7
        frame.append(length)
        self._write(frame + head)
        if body:
            self._write(body)

    def _write(self, data):
        limit = self._connect_ms + len(data)  # a slow line has a kilobyte a second
        since = ticks_ms()
        view = memoryview(data)
        while view:
            sent = self._sock.write(view)
            if sent:
                view = view[sent:]
            elif ticks_diff(ticks_ms(), since) > limit:
                raise OSError("it takes nothing")
            else:
                self._ready(select.POLLOUT, 50)

    def _next_id(self):
        self._packet_id = self._packet_id % 65535 + 1
        return self._packet_id.to_bytes(2, "big")

    def _down(self, job):
        return "workrs/1/down/" + self.name + "/" + job.name + "/#"

    def _subscribe(self, job):
        self._send(0x82, self._next_id() + _text(self._down(job)) + b"\x01")

    def _publish(self, tail, payload):
        topic = _text("workrs/1/up/" + self.name + "/" + tail)
        self._send(0x32, topic + self._next_id(), payload)

    # What comes.

    def _receive(self):
        """Read on at the current packet; return whether there may be more."""
        sock = self._sock
        if self._got < 1 and not self._read_head(sock):
            return False
        while self._left:
            # Past the buffer's end only its later part is written to, so the topic stays.
            end = len(self._buffer)
            start = min(self._got - 1, end)
            if start == end:
                start = _HEAD_MAX
            count = sock.readinto(self._buffer[start : min(end, start + self._left)])
            if count is None:
                return False
            if count == 0:
                raise OSError("the connection ended")
            self._got += count
            self._left -= count
        kind, length = self._kind, self._got - 1
        self._kind = self._got = 0
        self._heard = ticks_ms()
        self._asked = None
        self._take(kind, length)
        return self._sock is not None

    def _read_head(self, sock):
        while True:
            byte = sock.read(1)
            if byte is None:
                return False
            if not byte:
                raise OSError("the connection ended")
            byte = byte[0]
            if not self._kind:
                if byte < 16:
                    raise OSError("no MQTT")
                self._kind, self._left, self._shift = byte, 0, 0
                continue
            self._left |= (byte & 127) << self._shift
            self._shift += 7
            if byte > 127 and self._shift < 28:
                continue
            if byte > 127 or self._left > _LENGTH_MAX:
                raise OSError("a packet too long for MQTT here")
            self._got = 1
            return True

    def _take(self, kind, length):
        buffer = self._buffer
        if self._phase == 1:
            if kind != 0x20 or length != 2 or buffer[1]:
                raise OSError("connection refused, code %d" % buffer[1])
            self._phase = 2
            self._connection += 1
            self._since = self._heard
            for job in list(self._jobs.values()):
                self._say(job)
        elif kind >> 4 == 3:
            if kind & 4 or length < 4:
                raise OSError("a publish that MQTT forbids here")
            end = (buffer[0] << 8 | buffer[1]) + 2
            start = end + (2 if kind & 2 else 0)
            if start > min(length, _HEAD_MAX):
                raise OSError("a topic longer than its packet")
            self._hear(bytes(buffer[2:end]), start, length, kind & 1)
            if kind & 2:
                self._send(0x40, buffer[end:start])
        elif kind == 0x90:
            if length != 3 or buffer[2] > 2:
                raise OSError("it refuses the subscription")
        elif kind not in (0x40, 0xB0, 0xD0) or length > 2:
            raise OSError("a packet of kind %d" % kind)

    def _hear(self, topic, start, length, retained):
        try:
            words = topic.decode().split("/")
        except UnicodeError:
            return
        if words[:4] != ["workrs", "1", "down", self.name]:
            return
        job = self._jobs.get(words[4]) if len(words) > 4 else None
        # Retained words may be of an older job of the same id, until this one was answered.
        if job is None or job.done or (retained and job.payload is not None and not job.accepted):
            return
        tail = words[5] if len(words) == 6 else ""
        if length > len(self._buffer):
            job.note = _TOO_LONG
            if tail == "":
                # A state is that long for its result alone.
                self._told(job, "succeeded", _TOO_LONG, None, None, retained)
            return
        payload = bytes(self._buffer[start:length])
        if tail == "out":
            job.value = payload
            if job.ended:
                self._finish(job, None)
        else:
            try:
                (self._hear_line if tail == "state" else self._hear_json)(job, payload, retained)
            except (ValueError, TypeError, AttributeError):  # junk, or UnicodeError
                pass

    def _hear_line(self, job, payload, retained):
        word, _, note = payload.decode().partition(" ")
        progress = None
        if word == "running":
            number, _, note = note.partition(" ")
            progress = float(number) if number else None
        self._told(job, word, note, progress, None, retained)

    def _hear_json(self, job, payload, retained):
        import json

        body = json.loads(payload)
        get = body.get
        value, note = get("result"), get("reason") or get("note") or get("result_url") or ""
        if value is not None:
            value = value.encode()
        elif get("result_b64"):
            value = a2b_base64(body["result_b64"])
        elif get("state") == "succeeded" and not note:
            value = b""
        retry_ms = int(min(get("retry_after_s") or 0, 3600) * 1000)
        minority = get("quorum") is False
        self._told(job, get("state"), note, get("progress"), value, retained, retry_ms, minority)

    def _told(self, job, word, note, progress, value, retained, retry_ms=0, minority=False):
        if word not in _FINAL and word not in _OPEN:
            return
        if not retained:
            self._answered(job)
        elif word in ("waiting", "rejected"):
            return
        now = ticks_ms()
        if word == "waiting":
            if not job.accepted:
                job.state, job.note = word, note
            job.due = ticks_add(now, _REASK_MS)
            self._weigh(False)
            return
        if word == "rejected" and job.payload is not None and (job.accepted or retry_ms):
            # It answers a question, and is not this job's end: that was accepted, or has no room.
            job.note = note
            if retry_ms and not job.accepted:
                job.due = ticks_add(now, retry_ms)
            return
        if not job.accepted and word != "rejected":
            job.accepted = True
            self._mark(job, b"A")
        if word in _FINAL:
            self._ended(job, word, note, value)
        elif not retained or job.state in ("kept", "waiting"):
            if word != "accepted" or job.state not in ("queued", "running"):
                job.state, job.note, job.progress = word, note, progress
            if job.cancel and not job.cancels:
                self._say(job)
            elif not job.cancel:
                job.due = ticks_add(now, _REASK_MS) if job.wanted else None
        if not retained:
            self._weigh(not minority)

    def _answered(self, job):
        """Note that the node does its work; news of other jobs is no answer."""
        self._failures = 0
        job.asked = False
        if not any([other.asked for other in self._jobs.values()]):
            self._silent = None

    def _weigh(self, majority):
        """Leave a node that reaches no majority, but stay a while when all have said so."""
        if majority:
            self._hops = 0
        elif len(self._nodes) > 1 and (
            self._hops + 1 < len(self._nodes) or ticks_diff(ticks_ms(), self._since) > _REASK_MS
        ):
            self._hops += 1
            raise OSError("it reaches no majority of nodes")

    def _ended(self, job, word, note, value):
        job.state = word
        if job.note is not _TOO_LONG:
            job.note = note
            if word == "succeeded" and value is None and job.value is None and not note:
                # Output and word are two topics. What a broker repeats may come in any order.
                job.ended = True
                job.due = ticks_add(ticks_ms(), _GRACE_MS)
                self._subscribe(job)
                return
        self._finish(job, value)


def _check(name, more):
    """Return *name* if it may be a part of a topic."""
    ok = 0 < len(name) < 64 and name[0] not in ".-_"
    for letter in name:
        ok = ok and ("a" <= letter <= "z" or "0" <= letter <= "9" or letter in ".-" + more)
    if not ok:
        raise WorkrsError("not allowed as a name: " + name)
    return name


def _text(text):
    data = text.encode()
    return len(data).to_bytes(2, "big") + data
