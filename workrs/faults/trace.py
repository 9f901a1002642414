"""The recorder: what every broker delivered, and what the harness did, in one file of lines.

One connection to each broker subscribes to everything and comes back whenever that broker
does. A line is a JSON object with `t` (seconds since the site began, CLOCK_MONOTONIC of this
machine, which all members share) and `kind`:

- `message`: `broker`, `topic`, `retain`, `text` (or `b64` when the payload is no UTF-8)
- `process`: `name`, `what` (start, kill, stop, resume, end), `pid`
- `link`: `broker`, `what` (up, down): between down and up messages of that broker are missed
- `mark`: `lane`, `what`, `text`

Besides, it keeps the newest record of every (node, job), and when each came first, because
rows wait for these.
"""

import asyncio
import base64
import contextlib
import json
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TextIO

from workrs.adapters.mqtt import connect
from workrs.domain.errors import BusError, WireError
from workrs.domain.quorum import majority
from workrs.domain.record import CheckpointRef, Record
from workrs.faults.row import Mark
from workrs.ports.bus import Address, Message, Subscription
from workrs.wire import codec, topics
from workrs.wire.message import Beat

_AGAIN_S = 0.05
EVENTS_MAX = 2_000
_UP = f"{topics.ROOT}/up/"


class Shown(NamedTuple):
    """A record as it came first from any broker."""

    at_s: float
    node: str
    record: Record


class Heard(NamedTuple):
    """The newest message of a topic at one broker."""

    at_s: float
    payload: bytes


class Home(NamedTuple):
    """The node to which an agent said its newest heartbeat."""

    at_s: float
    node: str
    order: tuple[int, int, int]
    """Incarnation, connection and counter of that heartbeat."""


class Lease(NamedTuple):
    """A lease that a majority of records showed."""

    at_s: float
    """When the last record that was needed for it came."""
    agent: str
    epoch: int


class Takeover(NamedTuple):
    """A lease that went to another agent without having been given back."""

    job: str
    loser: str
    lease: Lease


class Recorder:
    """Writes the trace and answers what it shows so far. Safe to ask from any thread."""

    def __init__(self, addresses: Mapping[str, Address], path: Path) -> None:
        """Take the brokers' addresses by node; the file is opened by `running`."""
        self.path = path
        self._addresses = dict(addresses)
        self._zero_s = time.monotonic()
        self._file: TextIO | None = None
        self._lock = threading.Lock()
        self._seen: dict[str, bytes] = {}
        self._shown: dict[str, list[Shown]] = {}
        self._heard: dict[tuple[str, str], Heard] = {}
        self._homes: dict[str, Home] = {}
        self._up: set[str] = set()
        self._events: deque[Mark] = deque(maxlen=EVENTS_MAX)

    @property
    def zero_s(self) -> float:
        """CLOCK_MONOTONIC when the trace's clock was 0."""
        return self._zero_s

    @property
    def now_s(self) -> float:
        """Seconds since the site began."""
        return time.monotonic() - self._zero_s

    @property
    def linked(self) -> frozenset[str]:
        """Nodes whose brokers it is connected to."""
        return frozenset(self._up)

    @contextmanager
    def running(self) -> Iterator["Recorder"]:
        """Record while the context lasts."""
        loop = asyncio.new_event_loop()
        with self.path.open("w") as self._file:
            thread = threading.Thread(target=self._run, args=(loop,), name="trace")
            thread.start()
            try:
                yield self
            finally:
                loop.call_soon_threadsafe(lambda: [t.cancel() for t in asyncio.all_tasks(loop)])
                thread.join()

    def process(self, name: str, what: str, pid: int) -> float:
        """Note that a member was started, killed, stopped or resumed; return when."""
        at_s = self._write("process", name=name, what=what, pid=pid)
        self._note_event(Mark(at_s, name, what))
        return at_s

    def mark(self, lane: str, what: str, text: str = "") -> float:
        """Note something for the timeline; return when."""
        return self._write("mark", lane=lane, what=what, text=text)

    def history(self, job: str) -> Sequence[Shown]:
        """Return every version of every node's record of a job, as they came. Bus id."""
        with self._lock:
            return tuple(self._shown.get(job, ()))

    def jobs(self) -> tuple[str, ...]:
        """Return the bus ids of all jobs seen."""
        with self._lock:
            return tuple(self._shown)

    def records(self, job: str) -> dict[str, Record]:
        """Return the newest record of each node on a job."""
        return {shown.node: shown.record for shown in self.history(job)}

    def leases(self, job: str) -> list[Lease]:
        """Return the leases that a majority of nodes showed, oldest first, each once."""
        nodes = len(self._addresses)
        voters: dict[tuple[int, str, int], set[str]] = {}
        found: list[Lease] = []
        for at_s, node, record in self.history(job):
            if record.holder is None or record.decided is not None:
                continue
            key = (record.epoch, record.holder.client, record.holder.incarnation.number)
            known = voters.setdefault(key, set())
            if node not in known:
                known.add(node)
                if len(known) == majority(nodes):
                    found.append(Lease(at_s, record.holder.client, record.epoch))
        return found

    def holder(self, job: str) -> Lease | None:
        """Return the newest lease that a majority showed, whether or not it lasts."""
        return max(self.leases(job), key=lambda lease: lease.epoch, default=None)

    def takeovers(self, since_s: float) -> list[Takeover]:
        """Return the leases won since then by another agent than the one before, unreleased."""
        found = []
        for job in self.jobs():
            leases = self.leases(job)
            given_back = {
                shown.record.epoch for shown in self.history(job) if shown.record.holder is None
            }
            found += [
                Takeover(job, before.agent, after)
                for before, after in pairwise(leases)
                if after.at_s >= since_s
                and after.agent != before.agent
                and before.epoch not in given_back
            ]
        return found

    def kept_checkpoint(self, job: str) -> CheckpointRef | None:
        """Return the newest checkpoint that the newest records of a majority name."""
        counts = Counter(ref for record in self.records(job).values() for ref in record.checkpoints)
        least = majority(len(self._addresses))
        kept = [ref for ref, count in counts.items() if count >= least]
        return max(kept, key=lambda ref: ref.order, default=None)

    def forget(self, jobs: frozenset[str]) -> None:
        """Drop the history of *jobs*; the file keeps it."""
        with self._lock:
            for job in jobs:
                self._shown.pop(job, None)
            self._seen = {
                topic: payload
                for topic, payload in self._seen.items()
                if topic.rpartition("/")[2] not in jobs
            }

    def heard(self, broker: str, topic: str) -> Heard | None:
        """Return the newest message of a topic at a broker."""
        with self._lock:
            return self._heard.get((broker, topic))

    def home(self, agent: str) -> Home | None:
        """Return where an agent's newest heartbeat was heard first-hand; wills do not count."""
        with self._lock:
            return self._homes.get(agent)

    def _note_beat(self, broker: str, at_s: float, message: Message) -> None:
        up = topics.parse_up(message.topic)
        if up is None or up.verb != "beat":
            return
        with contextlib.suppress(WireError):
            beat = codec.decode(Beat, message.payload)
            if beat.gone and not up.via:
                self._note_event(Mark(at_s, up.client, "will", f"at {broker}"))
            with self._lock:
                known = self._homes.get(up.client)
                order = (beat.incarnation.number, beat.connection, beat.counter)
                if not beat.gone and (known is None or order >= known.order):
                    self._homes[up.client] = Home(at_s, broker, order)

    @property
    def events(self) -> tuple[Mark, ...]:
        """The newest starts and ends of members, links and wills."""
        with self._lock:
            return tuple(self._events)

    def _note_event(self, mark: Mark) -> None:
        with self._lock:
            self._events.append(mark)

    def flush(self) -> None:
        """Have all lines so far in the file."""
        with self._lock:
            if self._file is not None and not self._file.closed:
                self._file.flush()

    def _write(self, kind: str, **fields: object) -> float:
        with self._lock:
            at_s = self.now_s
            if self._file is not None and not self._file.closed:
                line = json.dumps({"t": round(at_s, 6), "kind": kind, **fields})
                self._file.write(line + "\n")
            return at_s

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(self._listen_all())
        loop.close()

    async def _listen_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            for node in self._addresses:
                group.create_task(self._listen(node), name=f"trace[{node}]")

    async def _listen(self, node: str) -> None:
        everything = Subscription(pattern=f"{topics.ROOT}/#")
        while True:
            try:
                address = self._addresses[node]
                async with connect(address=address, client_id="trace", timeout_s=2.0) as bus:
                    await bus.subscribe(everything)
                    self._link(node, up=True)
                    while True:
                        for message in await bus.receive():
                            self._arrived(node, message)
            except BusError:
                self._link(node, up=False)
                await asyncio.sleep(_AGAIN_S)

    def _link(self, node: str, *, up: bool) -> None:
        if up == (node in self._up):
            return
        (self._up.add if up else self._up.discard)(node)
        if not up:
            # What it showed is gone with it, however short a time it was away.
            with self._lock:
                self._heard = {key: heard for key, heard in self._heard.items() if key[0] != node}
        what = "up" if up else "down"
        at_s = self._write("link", broker=node, what=what)
        self._note_event(Mark(at_s, f"broker {node}", what))

    def _arrived(self, broker: str, message: Message) -> None:
        try:
            payload = {"text": message.payload.decode()}
        except UnicodeDecodeError:
            payload = {"b64": base64.b64encode(message.payload).decode()}
        at_s = self._write(
            "message", broker=broker, topic=message.topic, retain=message.retain, **payload
        )
        shown = topics.parse_node(message.topic)
        if message.topic.startswith(_UP):
            self._note_beat(broker, at_s, message)
        if shown is not None and shown.kind in ("state", "agent"):
            with self._lock:
                self._heard[broker, message.topic] = Heard(at_s, message.payload)
        if shown is None or shown.kind != "job" or not message.payload:
            return
        if self._seen.get(message.topic) == message.payload:
            return
        self._seen[message.topic] = message.payload
        with contextlib.suppress(WireError):
            record = codec.decode(Record, message.payload)
            with self._lock:
                known = self._shown.setdefault(shown.name, [])
                newest = [s.record.version for s in known if s.node == shown.node]
                # A copy that a bridge sends again after a newer one came another way is no news.
                if not newest or record.version >= max(newest):
                    known.append(Shown(at_s, shown.node, record))
