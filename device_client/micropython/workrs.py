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
6. Each name costs some 15 bytes of heap, and with the 141st of all programs MicroPython's table
   of names takes 1,150 more. So what is private goes by a name that is there anyway, of an option
   or of MicroPython itself; public is what docs/micropython.md lists.

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
_HEAD_MAX = const(384)
_DOWN = "workrs/1/down/"
_TOO_LONG = "longer than packet_max_bytes"
_FINAL = "succeeded failed cancelled expired rejected"
_OPEN = "waiting accepted queued running"


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
        _check(name)
        if packet_max_bytes < 512:
            raise ValueError("packet_max_bytes")
        self.name = name
        self.trouble = ""
        self.nodes = nodes
        data = bytearray(b"\x00\x04MQTT\x04\x02") + keepalive_s.to_bytes(2, "big") + _text(name)
        for flags, text in ((0x80, user or (password and name)), (0x40, password)):
            if text:
                data[7] |= flags
                data += _text(text)
        self._hello = bytes(data)
        self.ssl_context = ssl_context
        self.feed = feed
        self.jobs_max = jobs_max
        self.keepalive_s = keepalive_s
        self._answer_ms = int(answer_timeout_s * 1000)
        self.buffer = memoryview(bytearray(packet_max_bytes))
        self.poller = select.poll()
        self.socket = None
        self.phase = self.index = self._failures = self._hops = self.id = 0
        self.due = ticks_ms()
        self.outbox = None
        self._jobs = {}
        if outbox:
            import workrs_outbox

            self.outbox = workrs_outbox.Outbox(outbox)
            self.outbox.load(self._jobs, _Job)

    # What the device's program calls.

    def run(self, function, data, job=None):
        """Keep bytes for a registered function; return the job's id. No JSON on the way."""
        _check(function)
        return self._keep("run/" + function + "/", data, job, 32768)

    def submit(self, spec, job=None):
        """Keep a job, a dict or the JSON of one; return its id."""
        if isinstance(spec, dict):
            import json

            spec = json.dumps(spec)
        return self._keep("submit/", spec, job, 98304)

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
            raise OSError(ETIMEDOUT, job + " " + entry.state + ": " + self.trouble)
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
            self._mark(entry, 0x43)
            if entry.accepted or entry.payload is None:
                # Not before: a cancel that overtakes its job names an unknown one.
                entry.due = ticks_ms()
            self.poll()

    def poll(self, timeout_s=0):
        """Do what is due, and wait so long for more; return whether a connection stands."""
        self._until(None, True, timeout_s)
        return self.phase == 2

    def jobs(self):
        """Return the ids of all jobs that are kept, those that ended included."""
        return list(self._jobs)

    def close(self):
        """Disconnect. Jobs stay in the outbox file."""
        try:
            if self.phase == 2:
                self._send(0xE0, b"")
        except OSError:
            pass
        self._hang_up()

    # Jobs.

    def _keep(self, head, data, name, limit):
        if isinstance(data, str):
            data = data.encode()
        name = _check(name or hexlify(os.urandom(8)).decode(), 1)
        topic = head + name
        entry = self._jobs.get(name)
        if entry and entry.payload is not None:
            if (entry.topic, entry.payload) != (topic, data):
                raise ValueError(name + " is another job")
            return name
        if len(data) > limit:
            raise ValueError("above %d bytes" % limit)
        if len(self._jobs) - (entry is not None) >= self.jobs_max:
            raise RuntimeError("jobs_max")
        data = bytes(data)
        if self.outbox:
            self.outbox.append(0x53, topic, data)
        self._begin(name, topic, data)
        self.poll()
        return name

    def _begin(self, name, topic=None, payload=None):
        job = self._jobs[_check(name, 1)] = _Job(name, topic, payload)
        if self.phase == 2:
            try:
                self._subscribe(job)
            except OSError as error:
                self._lost(error)
        return job

    def _mark(self, job, kind):
        """Note in the outbox what may get lost: without it the node is told the same again."""
        if self.outbox and job.payload is not None:
            try:
                if kind:
                    self.outbox.append(kind, job.name)
                else:
                    self.outbox.rewrite(self._jobs)
            except OSError:
                pass

    def _say(self, job):
        """Say what this job needs said now, and plan when to say it again."""
        now = ticks_ms()
        wait_ms = self._answer_ms
        if job.state == "succeeded":
            self._finish(job, b"")
            return
        if job.accepted or job.payload is None:
            if job.cancel:
                self._publish("cancel/" + job.name, b"")
                wait_ms <<= min(job.cancel - 1, 3)
                job.cancel += 1
            elif not job.wanted:
                job.due = None
                return
        job.due = ticks_add(now, wait_ms)
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
        self._subscribe(job, 0xA2)

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
            except (OSError, MemoryError, ValueError) as error:  # the last: a certificate's
                self._lost(error)

    def _serve(self, wait_ms):
        if self.socket is None:
            if self.feed:
                self.feed()
            left = ticks_diff(self.due, ticks_ms())
            if 0 < left < _REASK_MS:  # no pause is longer: this was long ago
                sleep_ms(min(left, wait_ms))
                return
            self._dial()
        if self.phase == 0:
            if self._ready(select.POLLOUT, wait_ms):
                if self.ssl_context:
                    self.poller.unregister(self.socket)
                    host = self.nodes[self.index].partition(":")[0]
                    self.socket = self.ssl_context.wrap_socket(
                        self.socket, server_hostname=host, do_handshake_on_connect=False
                    )
                    self.poller.register(self.socket, select.POLLOUT)
                self.phase = 1
                self._send(0x10, self._hello)
        elif self._ready(select.POLLIN, wait_ms) or self.ssl_context:
            for _ in range(16):  # a flood must not keep the caller here
                if not self._receive():
                    break
                if self.feed:
                    self.feed()
        self._tend()

    def _ready(self, flags, wait_ms):
        if self.feed:
            self.feed()
        self.poller.modify(self.socket, flags)
        return self.poller.poll(wait_ms)

    def _tend(self):
        """Leave a node that is silent; repeat what is due."""
        now = ticks_ms()
        if self.phase < 2:
            if ticks_diff(now, self.since) > self._answer_ms:
                raise OSError("no connect")
            return
        if self.asked is not None:
            if min(ticks_diff(now, self.asked), ticks_diff(now, self._heard)) > _PONG_MS:
                raise OSError("no pong")
        elif ticks_diff(now, self._heard) > self.keepalive_s * 1000:
            self.asked = now
            self._send(0xC0, b"")
        for job in list(self._jobs.values()):
            if job.asked is not None and ticks_diff(now, job.asked) > self._answer_ms:
                raise OSError("no answer")
            if job.due is not None and ticks_diff(now, job.due) >= 0:
                self._say(job)

    # The connection.

    def _dial(self):
        host, _, port = self.nodes[self.index].partition(":")
        self._heard = self.since = ticks_ms()
        self.asked = None
        self.phase = self._got = self.kind = 0
        address = socket.getaddrinfo(
            host, int(port or (8883 if self.ssl_context else 1883)), 0, socket.SOCK_STREAM
        )[0]
        self.socket = socket.socket(address[0], socket.SOCK_STREAM)
        self.socket.setblocking(False)
        try:
            self.socket.setsockopt(
                6, 1, 1
            )  # TCP_NODELAY: Nagle holds a second packet back for 40 ms
        except (OSError, AttributeError):
            pass
        self.poller.register(self.socket, select.POLLOUT)
        try:
            self.socket.connect(address[-1])
        except OSError as error:
            if error.errno != EINPROGRESS:
                raise

    def _lost(self, error):
        """Go on to the next node; pause, longer each time, when a whole round failed."""
        self._hang_up()
        self.trouble = self.nodes[self.index] + ": " + str(error).strip()
        self.index = (self.index + 1) % len(self.nodes)
        self._failures += 1
        count, value = divmod(self._failures, len(self.nodes))
        wait_ms = 0 if value else 100 << min(count, 5)
        # Half of it random: devices that lost a node together come back apart.
        self.due = ticks_add(ticks_ms(), wait_ms // 2 + os.urandom(1)[0] * wait_ms // 512)

    def _hang_up(self):
        self.phase = 0
        if self.socket is not None:
            self.poller.unregister(self.socket)
            self.socket.close()
            self.socket = None

    def _send(self, kind, head, payload=b""):
        length = len(head) + len(payload)
        data = bytearray((kind,))
        while length > 127:
            data.append(length & 127 | 128)
            length >>= 7
        data.append(length)
        data.extend(head)
        for value in (data, payload):
            wait_ms = self._answer_ms + len(value)  # a slow line has a kilobyte a second
            since = ticks_ms()
            while value:
                count = self.socket.write(value)
                if count:
                    value = memoryview(value)[count:]
                elif ticks_diff(ticks_ms(), since) > wait_ms:
                    raise OSError("stuck")
                else:
                    self._ready(select.POLLOUT, 50)

    def _next_id(self):
        self.id = self.id % 65535 + 1
        return self.id.to_bytes(2, "big")

    def _subscribe(self, job, kind=0x82):
        """Subscribe to what is said of a job, at QoS 1; with the other *kind* no longer."""
        topic = _text(_DOWN + self.name + "/" + job.name + "/#")
        self._send(kind, self._next_id() + topic + (b"\x01" if kind == 0x82 else b""))

    def _publish(self, tail, payload):
        topic = _text("workrs/1/up/" + self.name + "/" + tail)
        self._send(0x32, topic + self._next_id(), payload)

    # What comes.

    def _receive(self):
        """Read on at the current packet; return whether there may be more."""
        while not self._got:
            data = self.socket.read(1)
            if data is None:
                return False
            if not data:
                raise OSError("closed")
            value = data[0]
            if not self.kind:
                self.kind, self.left, self._shift = value or 1, 0, 0
                continue
            self.left |= (value & 127) << self._shift
            self._shift += 7
            if value < 128:
                self._got = 1
            if self.left > 300000 or (self._shift > 21 and value > 127):
                raise OSError("too long")
        while self.left:
            # Past the buffer's end only its later part is written to, so the topic stays.
            end = len(self.buffer)
            start = min(self._got - 1, end)
            if start == end:
                start = _HEAD_MAX
            count = self.socket.readinto(self.buffer[start : min(end, start + self.left)])
            if count is None:
                return False
            if count == 0:
                raise OSError("closed")
            self._got += count
            self.left -= count
            self._heard = ticks_ms()
        kind, length = self.kind, self._got - 1
        self.kind = self._got = 0
        self._heard = ticks_ms()
        self.asked = None
        self._take(kind, length)
        return self.socket is not None

    def _take(self, kind, length):
        buffer = self.buffer
        if self.phase == 1:
            if kind != 0x20 or length != 2 or buffer[1]:
                raise OSError("refused %d" % buffer[1])
            self.phase = 2
            self.since = self._heard
            for job in self._jobs.values():
                if not job.done:
                    job.asked = None
                    # What is accepted is told by what the broker retains; only then is asked.
                    wait_ms = 300 if job.accepted else 0
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
        data = (_DOWN + self.name + "/").encode()
        if not topic.startswith(data):
            return
        try:
            name, _, tail = topic[len(data) :].decode().partition("/")
        except UnicodeError:
            return
        job = self._jobs.get(name)
        # Retained words may be of an older job of the same id, until this one was answered.
        if job is None or job.done or (retained and job.payload is not None and not job.accepted):
            return
        end = len(self.buffer)
        payload = bytes(self.buffer[start : _HEAD_MAX if length > end else length])
        value, progress, minority, left = None, None, False, 0
        try:
            if tail == "out":
                job.note = _TOO_LONG if length > end else ""
                job.value = None if length > end else payload
                if job.state == "succeeded":
                    self._finish(job, None)
                return
            if tail:
                word, _, note = payload.decode().partition(" ")
                if word == "running" and note:
                    progress = float(note.split()[0])
                    note = ""
                elif note[:14] == "retry_after_s=":
                    left, _, note = note[14:].partition(" ")
            elif length > end:
                # The reader of the end of a job needs its word, which nodes write early.
                word, note = payload.split(b'"state"')[1].split(b'"')[1].decode(), _TOO_LONG
            else:
                import json

                get = json.loads(payload).get
                word, value = get("state"), get("result")
                note = get("reason") or get("note") or get("result_url") or ""
                progress, minority = get("progress"), get("quorum") is False
                left = get("retry_after_s") or 0
                if value is not None:
                    value = value.encode()
                elif get("result_b64"):
                    value = a2b_base64(get("result_b64"))
                elif not note:
                    value = b""
            retry_ms = int(max(0, min(float(left), 3600)) * 1000)
        except (ValueError, TypeError, AttributeError, IndexError):  # junk; UnicodeError, too
            return
        if word in (_FINAL + " " + _OPEN).split():
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
                self._mark(job, 0x41)
            if word in _FINAL.split():
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
        elif (
            len(self.nodes) > 1
            and not retained
            # The others are tried at once; when all have said so, each is given a while.
            and (self._hops + 1 < len(self.nodes) or ticks_diff(now, self.since) > _REASK_MS)
        ):
            self._hops += 1
            raise OSError("minority")


def _check(name, more=0):
    """Return *name* if it may be a part of a topic; with *more*, an underscore may be in it."""
    end = 36  # it begins with none of the marks
    for text in name:
        if "abcdefghijklmnopqrstuvwxyz0123456789.-_".find(text, 0, end) < 0:
            break
        end = 38 + more
    else:
        if 0 < len(name) < 64:
            return name
    raise ValueError("name " + name)


def _text(text):
    data = text.encode()
    return len(data).to_bytes(2, "big") + data
