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
_RETAINED_MS = const(300)
_LENGTH_MAX = const(300000)
_HEAD_MAX = const(384)
_SPEC_MAX = const(98304)
_TOO_LONG = "longer than packet_max_bytes"
_FINAL = ("succeeded", "failed", "cancelled", "expired", "rejected")
_OPEN = ("waiting", "accepted", "queued", "running")


class JobError(Exception):
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
        self.accepted = self.wanted = self.done = False
        self.cancel = 0
        """1 when it is asked for, and 1 more for each time that it was sent."""
        self.asked = None
        """Since when a submission has had no answer on this connection."""
        self.due = ticks_ms()
        """When something is to be said; None: not by itself."""


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
        packet_max_bytes=512,
        jobs_max=8,
        keepalive_s=10,
        answer_timeout_s=3,
    ):
        _check(name, "")
        if packet_max_bytes < 512:
            raise ValueError("packet_max_bytes")
        self.name = name
        self.trouble = ""
        self._nodes = nodes
        hello = bytearray(b"\x00\x04MQTT\x04\x02") + keepalive_s.to_bytes(2, "big") + _text(name)
        for flag, word in ((0x80, user or (password and name)), (0x40, password)):
            if word:
                hello[7] |= flag
                hello += _text(word)
        self._hello = hello
        self._ssl = ssl_context
        self._feed = feed
        self._jobs_max = jobs_max
        self._keepalive_ms = keepalive_s * 1000
        self._answer_ms = int(answer_timeout_s * 1000)
        self._buffer = memoryview(bytearray(packet_max_bytes))
        self._poller = select.poll()
        self._sock = None
        self._phase = self._at = self._failures = self._hops = 0
        self._packet_id = 0
        self._retry_at = ticks_ms()
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
        return self._until(self._jobs[job], False, timeout_s)

    def result(self, job, timeout_s=60):
        """Wait for the job's end; return its result's bytes and forget it.

        A strange id is waited for, too: the nodes keep what ended for a while. Not in time is
        an OSError with ETIMEDOUT; the job goes on.
        """
        entry = self._jobs.get(job) or self._begin(job)
        entry.wanted = True
        if entry.due is None:
            entry.due = ticks_add(ticks_ms(), _REASK_MS)
        if not self._until(entry, True, timeout_s):
            entry.wanted = False
            if entry.payload is None:
                self._jobs.pop(job)
            raise OSError(ETIMEDOUT, job + " " + entry.state + "; " + self.trouble)
        self._jobs.pop(job)
        if entry.state != "succeeded" or entry.value is None:
            raise JobError(job, entry.state, entry.note)
        return entry.value

    def state(self, job):
        """Return the newest state, progress or None, and note of a job."""
        job = self._jobs[job]
        return job.state, job.progress, job.note

    def cancel(self, job):
        """Ask for the job's end, until it is heard. It may still succeed if that came first."""
        entry = self._jobs.get(job) or self._begin(job)
        if not entry.done and not entry.cancel:
            entry.cancel = 1
            self._mark(entry, b"C")
            if entry.accepted or entry.payload is None:
                # Not before: a cancel that overtakes its job names an unknown one.
                entry.due = ticks_ms()
            self.poll()

    def poll(self, timeout_s=0):
        """Do what is due, and wait so long for more; return whether a connection stands."""
        self._until(None, True, timeout_s)
        return self._phase == 2

    def jobs(self):
        """Return the ids of all jobs that are kept, those that ended included."""
        return list(self._jobs)

    def close(self):
        """Disconnect. Jobs stay in the outbox file."""
        try:
            if self._phase == 2:
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
                raise ValueError(name + " is another job")
            return name
        if len(data) > bytes_max:
            raise ValueError("above %d bytes" % bytes_max)
        if len(self._jobs) - (known is not None) >= self._jobs_max:
            raise RuntimeError("jobs_max")
        data = bytes(data)
        if self._outbox:
            self._outbox.append(b"S", topic, data)
        self._begin(name, topic, data)
        self.poll()
        return name

    def _begin(self, name, topic=None, payload=None):
        job = self._jobs[_check(name, "_")] = _Job(name, topic, payload)
        if self._phase == 2:
            try:
                self._subscribe(job)
            except OSError as error:
                self._lost(error)
        return job

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
        period = self._answer_ms
        if job.state == "succeeded":
            self._finish(job, b"")
            return
        if job.accepted or job.payload is None:
            if job.cancel:
                self._publish("cancel/" + job.name, b"")
                period <<= min(job.cancel - 1, 3)
                job.cancel += 1
            elif not job.wanted:
                job.due = None
                return
        job.due = ticks_add(now, period)
        if job.payload is not None:
            self._publish(job.topic, job.payload)
            if job.asked is None:
                job.asked = now

    def _finish(self, job, value):
        job.done = True
        job.due = None
        if job.value is None:
            job.value = value
        self._mark(job, None)
        self._subscribe(job, 0xA2, b"")

    # Waiting.

    def _until(self, job, done, timeout_s):
        """Serve the bus until *job* is done, or accepted; False if not in time (None: no limit)."""
        since = ticks_ms()
        left = _SLICE_MS
        while True:
            if job and (job.done or (job.accepted and not done)):
                return True
            if left <= 0:
                return False
            if timeout_s is not None:
                left = int(timeout_s * 1000) - ticks_diff(ticks_ms(), since)
            try:
                self._serve(max(0, min(left, _SLICE_MS)))
            except (OSError, MemoryError) as error:
                self._lost(error)

    def _serve(self, wait_ms):
        if self._sock is None:
            if self._feed:
                self._feed()
            pause = ticks_diff(self._retry_at, ticks_ms())
            if 0 < pause < _REASK_MS:  # no pause is longer: this was long ago
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
                if self._feed:
                    self._feed()
        self._tend()

    def _ready(self, flags, wait_ms):
        if self._feed:
            self._feed()
        self._poller.modify(self._sock, flags)
        return self._poller.poll(wait_ms)

    def _tend(self):
        """Leave a node that is silent; repeat what is due."""
        now = ticks_ms()
        quiet = ticks_diff(now, self._heard)
        if self._phase < 2:
            if ticks_diff(now, self._since) > self._answer_ms:
                raise OSError("no connect")
            return
        if self._asked is not None:
            if ticks_diff(now, self._asked) > _PONG_MS and quiet > _PONG_MS:
                raise OSError("no pong")
        elif quiet > self._keepalive_ms:
            self._asked = now
            self._send(0xC0, b"")
        for job in list(self._jobs.values()):
            if job.asked is not None and ticks_diff(now, job.asked) > self._answer_ms:
                raise OSError("no answer")
            if job.due is not None and ticks_diff(now, job.due) >= 0:
                self._say(job)

    # The connection.

    def _dial(self):
        host, _, port = self._nodes[self._at].partition(":")
        self._heard = self._since = ticks_ms()
        self._asked = None
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
        self._send(0x10, self._hello)

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
            sock.close()

    def _send(self, kind, head, body=b""):
        length = len(head) + len(body)
        frame = bytearray((kind,))
        while length > 127:
            frame.append(length & 127 | 128)
            length >>= 7
        frame.append(length)
        for data in (frame + head, body):
            limit = self._answer_ms + len(data)  # a slow line has a kilobyte a second
            since = ticks_ms()
            while data:
                sent = self._sock.write(data)
                if sent:
                    data = memoryview(data)[sent:]
                elif ticks_diff(ticks_ms(), since) > limit:
                    raise OSError("stuck")
                else:
                    self._ready(select.POLLOUT, 50)

    def _next_id(self):
        self._packet_id = self._packet_id % 65535 + 1
        return self._packet_id.to_bytes(2, "big")

    def _subscribe(self, job, kind=0x82, qos=b"\x01"):
        pattern = _text("workrs/1/down/" + self.name + "/" + job.name + "/#")
        self._send(kind, self._next_id() + pattern + qos)

    def _publish(self, tail, payload):
        topic = _text("workrs/1/up/" + self.name + "/" + tail)
        self._send(0x32, topic + self._next_id(), payload)

    # What comes.

    def _receive(self):
        """Read on at the current packet; return whether there may be more."""
        sock = self._sock
        while not self._got:
            byte = sock.read(1)
            if byte is None:
                return False
            if not byte:
                raise OSError("closed")
            byte = byte[0]
            if not self._kind:
                self._kind, self._left, self._shift = byte or 1, 0, 0
                continue
            self._left |= (byte & 127) << self._shift
            self._shift += 7
            if byte < 128:
                self._got = 1
            if self._left > _LENGTH_MAX or (self._shift > 21 and byte > 127):
                raise OSError("too long")
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
                raise OSError("closed")
            self._got += count
            self._left -= count
            self._heard = ticks_ms()
        kind, length = self._kind, self._got - 1
        self._kind = self._got = 0
        self._heard = ticks_ms()
        self._asked = None
        self._take(kind, length)
        return self._sock is not None

    def _take(self, kind, length):
        buffer = self._buffer
        if self._phase == 1:
            if kind != 0x20 or length != 2 or buffer[1]:
                raise OSError("refused %d" % buffer[1])
            self._phase = 2
            self._since = self._heard
            for job in self._jobs.values():
                if not job.done:
                    job.asked = None
                    # What is accepted is told by what the broker retains; only then is asked.
                    wait_ms = _RETAINED_MS if job.accepted else 0
                    # A connection that was lost is no proof that there is no output.
                    wait_ms = _GRACE_MS if job.state == "succeeded" else wait_ms
                    job.due = ticks_add(self._heard, wait_ms)
                    self._subscribe(job)
        elif kind >> 4 == 3:
            if kind & 4 or length < 4:
                raise OSError("not MQTT")
            end = (buffer[0] << 8 | buffer[1]) + 2
            start = end + (2 if kind & 2 else 0)
            if start > min(length, _HEAD_MAX):
                raise OSError("not MQTT")
            self._hear(bytes(buffer[2:end]), start, length, kind & 1)
            if kind & 2:
                self._send(0x40, buffer[end:start])
        elif kind == 0x90:
            if length != 3 or buffer[2] > 2:
                raise OSError("denied")
        elif kind not in (0x40, 0xB0, 0xD0) or length > 2:
            raise OSError("not MQTT")

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
        long = length > len(self._buffer)
        payload = bytes(self._buffer[start : _HEAD_MAX if long else length])
        value, progress, minority, retry_s = None, None, False, 0
        try:
            if tail == "out":
                job.note = _TOO_LONG if long else ""
                job.value = None if long else payload
                if job.state == "succeeded":
                    self._finish(job, None)
                return
            if tail:
                word, _, note = payload.decode().partition(" ")
                if word == "running" and note:
                    progress = float(note.split()[0])
                    note = ""
                elif note[:14] == "retry_after_s=":
                    retry_s, _, note = note[14:].partition(" ")
            elif long:
                # The reader of the end of a job needs its word, which nodes write early.
                word, note = payload.split(b'"state"')[1].split(b'"')[1].decode(), _TOO_LONG
            else:
                import json

                get = json.loads(payload).get
                word, value = get("state"), get("result")
                note = get("reason") or get("note") or get("result_url") or ""
                progress, minority = get("progress"), get("quorum") is False
                retry_s = get("retry_after_s") or 0
                if value is not None:
                    value = value.encode()
                elif get("result_b64"):
                    value = a2b_base64(get("result_b64"))
                elif not note:
                    value = b""
            retry_ms = int(max(0, min(float(retry_s), 3600)) * 1000)
        except (ValueError, TypeError, AttributeError, IndexError):  # junk; UnicodeError, too
            return
        if word in _FINAL or word in _OPEN:
            self._told(job, word, note, progress, value, retained, retry_ms, minority)

    def _told(self, job, word, note, progress, value, retained, retry_ms, minority):
        now = ticks_ms()
        if not retained:
            self._failures = 0
            job.asked = None
        elif word in ("waiting", "rejected"):
            return
        if word == "waiting":
            minority = True
            if not job.accepted:
                job.state, job.note = word, note
            job.due = ticks_add(now, _REASK_MS)
        elif word == "rejected" and job.payload is not None and (job.accepted or retry_ms):
            # It answers a question, and is not this job's end: that was accepted, or has no room.
            job.note = note
            if not job.accepted:
                job.due = ticks_add(now, retry_ms)
            return
        else:
            if not job.accepted and word != "rejected":
                job.accepted = True
                self._mark(job, b"A")
            if word in _FINAL:
                job.state = word
                job.note = job.note if job.note is _TOO_LONG else note
                if word == "succeeded" and value is None and job.value is None and not job.note:
                    # Output and word are two topics: what a broker repeats has no order.
                    job.due = ticks_add(now, _GRACE_MS)
                    self._subscribe(job)
                else:
                    self._finish(job, value)
                return
            if not retained or job.state in ("kept", "waiting"):
                if word != "accepted" or job.state not in ("queued", "running"):
                    job.state, job.note, job.progress = word, note, progress
                if job.cancel == 1:
                    job.due = now
                elif not job.cancel:
                    job.due = ticks_add(now, _REASK_MS) if job.wanted else None
        if not minority:
            self._hops = self._hops if retained else 0
        elif len(self._nodes) > 1 and not retained:
            # The others are tried at once; when all have said so, each is given a while.
            is_round_over = self._hops + 1 >= len(self._nodes)
            if not is_round_over or ticks_diff(now, self._since) > _REASK_MS:
                self._hops += 1
                raise OSError("minority")


def _check(name, more):
    """Return *name* if it may be a part of a topic."""
    ok = 0 < len(name) < 64 and name[0] not in ".-_"
    for letter in name:
        ok = ok and ("a" <= letter <= "z" or "0" <= letter <= "9" or letter in ".-" + more)
    if not ok:
        raise ValueError("name " + name)
    return name


def _text(text):
    data = text.encode()
    return len(data).to_bytes(2, "big") + data
