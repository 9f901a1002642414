"""Brains, their ledgers and a bus that delivers everything at once, for tests of the node's rules.

Not a simulator: no faults but those a test asks for. Messages go through the codec, so a
field that does not survive JSON fails here. After every batch the promises are checked that
hold whatever happens:

1. No vote and no function is published that is not on the disk by then (progress is no vote).
2. *accepted* is said only while a majority of disks has the spec.
3. No two nodes ever decide a job differently.
4. What wakes a brain next lies in the future: no busy loop.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from broker import brain, ledger_copy
from broker.agents import AgentTable
from broker.effect import Effects, Fact, Publish, ReadPeerLedger
from broker.event import (
    BrokerEmptied,
    CopiedAgent,
    Event,
    PeerLedgerFailed,
    PeerLedgerRead,
    Ticked,
)
from broker.inbox import Dropped, parse
from broker.node import Node, NodeSettings
from workrs.domain.dispatch import AgentProfile
from workrs.domain.function import Function, FunctionRecord
from workrs.domain.ids import ClientId, Digest, Epoch, Instant, JobId
from workrs.domain.job import Outcome, Verdict, digest_of
from workrs.domain.lease import LeaseTiming
from workrs.domain.quorum import majority
from workrs.domain.record import CheckpointRef, Holder, Incarnation, Record
from workrs.ports.bus import Message
from workrs.ports.ledger import Rejoin, Standing
from workrs.testing.ledger import MemoryDisk, MemoryLedger
from workrs.wire import codec, message, topics
from workrs.wire.message import Held, JobState, Offer, State

FUNCTIONS = {
    "echo": Function(image="base", command=("cat", "/job/in/input")),
    "private": Function(image="base", command=("true",), callers=("pump-1",)),
}
TIMING = LeaseTiming()


@dataclass
class Cluster:
    """Brains by name; what they publish reaches the live ones."""

    size: int = 3
    now: float = 1000.0
    functions: Mapping[str, Function] = field(default_factory=lambda: FUNCTIONS)
    nodes: dict[str, Node] = field(default_factory=dict)
    disks: dict[str, MemoryDisk] = field(default_factory=dict)
    ledgers: dict[str, MemoryLedger] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    """Nodes that neither hear nor say anything."""
    cut: set[frozenset[str]] = field(default_factory=set)
    """Pairs of nodes whose bridges are down."""
    heard: list[tuple[str, Publish]] = field(default_factory=list)
    """Everything published, by whom."""
    facts: list[tuple[str, Fact]] = field(default_factory=list)
    """Everything logged, by whom."""
    unreadable: set[str] = field(default_factory=set)
    """Nodes whose ledgers cannot be read by others."""
    lost_disks: list[tuple[str, MemoryDisk]] = field(default_factory=list)
    halted: dict[str, str] = field(default_factory=dict)
    """Nodes that ended by themselves, and why."""
    retained: dict[str, dict[str, Publish]] = field(default_factory=dict)
    """By node: what it retains on its own broker."""
    lists: dict[str, tuple[ClientId, ...]] = field(default_factory=dict)
    """By node: the nodes it is started with, where those are not `names`."""

    def __post_init__(self) -> None:
        """Start every node on an empty disk."""
        for name in self.names:
            self.disks[name] = MemoryDisk()
            self.retained[name] = {}
            self._boot(name)
        for name in self.names:
            self.feed(name, BrokerEmptied())
        self.tick()

    @property
    def names(self) -> tuple[ClientId, ...]:
        return tuple(ClientId(f"n{i + 1}") for i in range(self.size))

    def listed(self, name: str) -> tuple[ClientId, ...]:
        """Return the nodes that a node is started with."""
        return self.lists.get(name, self.names)

    def start_with(self, name: str, *nodes: str) -> None:
        """Start a node with another list; on an empty disk, if it has none yet."""
        self.lists[name] = tuple(map(ClientId, sorted(nodes)))
        self.disks.setdefault(name, MemoryDisk())
        self.stop(name)
        self.start(name)

    def _boot(self, name: ClientId) -> None:
        ledger = MemoryLedger(self.disks[name], wall=lambda: self.now)
        settings = NodeSettings(
            name=name,
            nodes=self.listed(name),
            timing=TIMING,
            incarnation=Incarnation(ledger.boot, f"{name}-{len(self.facts)}"),
        )
        node = Node(settings, ledger.retired, AgentTable(TIMING.ttl_s))
        # As if from always: what changes them is in test_functions.py.
        node.functions.definitions.update(self.functions)
        brain.start(node, ledger, Instant(self.now), self.now)
        self.halted.pop(name, None)
        self.ledgers[name] = ledger
        self.nodes[name] = node

    # What happens to nodes.

    def stop(self, *names: str) -> None:
        """Take nodes away without a word."""
        self.down |= set(names)

    def start(self, *names: str, keep_memory: bool = False) -> None:
        """Bring nodes back with their disks; bridges resend what is retained."""
        self.down -= set(names)
        for name in names:
            if not keep_memory:
                self._boot(ClientId(name))
                self.retained[name] = {}
                self.feed(name, BrokerEmptied())
        for name in names:
            for peer in list(self.nodes):
                self._reconnect(name, peer)

    def lose_disk(self, name: str) -> None:
        """Take a node away, and its disk for good; make an empty one for its re-admission."""
        self.stop(name)
        self.lost_disks.append((name, self.disks[name]))
        self.disks[name] = MemoryDisk(standing=Standing(rejoin=Rejoin.UNDER_WAY))

    def part(self, name: str, *peers: str) -> None:
        """Cut the bridges between a node and some others, both ways."""
        self.cut |= {frozenset((name, peer)) for peer in peers}

    def heal(self) -> None:
        """Mend every bridge; each resends what is retained."""
        parted, self.cut = self.cut, set()
        for pair in sorted(sorted(pair) for pair in parted):
            self._reconnect(*pair)

    def _reconnect(self, one: str, other: str) -> None:
        for origin, peer in ((one, other), (other, one)):
            is_cut = origin == peer or frozenset((origin, peer)) in self.cut
            is_cut |= peer not in self.listed(origin)
            if not is_cut and not {origin, peer} & self.down:
                self.resend(origin, peer)

    def resend(self, origin: str, peer: str) -> None:
        """Let a node hear again what another retains, as over a bridge that is made anew."""
        for publish in list(self.retained[origin].values()):
            if publish.topic.startswith(topics.node(origin, "")):
                self._deliver(peer, publish)

    def _keep(self, name: str, publish: Publish) -> None:
        """Let the broker of a node retain what it or its peer's bridge published."""
        if publish.retain:
            self.retained[name][publish.topic] = publish
            if publish.body == b"":
                del self.retained[name][publish.topic]

    def _deliver(self, peer: str, publish: Publish) -> None:
        self._keep(peer, publish)
        event = parse(ClientId(peer), message_of(publish))
        assert not isinstance(event, Dropped), event
        if event is not None:
            self.feed(peer, event)

    # What nodes do.

    def feed(self, name: str, *events: Event) -> None:
        """Let events happen at one node, and all that follows everywhere."""
        todo: deque[tuple[str, list[Event]]] = deque([(name, list(events))])
        while todo:
            at, batch = todo.popleft()
            if at in self.down:
                continue
            effects = self.handle(at, batch)
            for publish in effects.publishes:
                todo.extend(self._bridge(at, publish))
            todo.extend((at, self._read(at, wanted)) for wanted in effects.reads)

    def _read(self, name: str, wanted: ReadPeerLedger) -> list[Event]:
        """Read a peer's ledger as over HTTP."""
        peer = wanted.node
        if peer in self.down | self.unreadable or frozenset((name, peer)) in self.cut:
            return [PeerLedgerFailed(peer, wanted.generation, "no answer")]
        agents = [
            CopiedAgent(a.client, a.incarnation) for a in self.nodes[peer].agents.entries.values()
        ]
        try:
            found = list(ledger_copy.lines(self.ledgers[peer], agents, wanted.generation))
        except ledger_copy.StaleGenerationError as error:
            return [PeerLedgerFailed(peer, wanted.generation, str(error))]
        read = [codec.decode(ledger_copy.Line, line) for line in found]
        parts = [ledger_copy.part_of(wanted, [line]) for line in read[:-1]]
        return [*parts, PeerLedgerRead(peer, wanted.generation)]

    def handle(self, name: str, batch: list[Event]) -> Effects:
        """Let one node handle a batch, commit it, and check what it may say."""
        if name in self.halted:
            return Effects()
        node = self.nodes[name]
        effects = brain.handle(node, batch, Instant(self.now))
        self.facts.extend((name, fact) for fact in effects.facts)
        if effects.halt:
            self.halted[name] = effects.halt
            self.down.add(name)
            return Effects()
        self.ledgers[name].commit(effects.changes)
        assert self.ledgers[name].standing.serial == node.admission.serial
        assert self.ledgers[name].standing.generation == node.generation
        assert node.wake_at() > self.now, f"{name} would spin"
        for publish in effects.publishes:
            self.heard.append((name, publish))
            self._keep(name, publish)
            self._check(name, publish)
        return effects

    def _check(self, name: str, publish: Publish) -> None:
        body = publish.body
        if isinstance(body, Record) and body.retired:
            # Retired on disk, and never retained: it would stay for ever.
            assert self.disks[name].retired[body.job].outcome == body.decided_digest
            assert not publish.retain
        elif isinstance(body, Record):
            saved = self.disks[name].jobs.get(body.job)
            nothing = Record(job=body.job, generation=body.generation)
            assert _vote(body) == _vote(saved.record if saved else nothing)
        if isinstance(body, FunctionRecord):
            assert self.disks[name].functions[body.function].record == body
        if isinstance(body, JobState) and body.state is State.ACCEPTED:
            device = publish.topic.split("/")[3]
            job = JobId(f"{device}_{body.job}")
            # A node that counts the vote of a disk cannot know that it was lost a moment ago.
            had = [(n, d.jobs[job].digest) for n, d in self.lost_disks if job in d.jobs]
            has = [(n, d.jobs[job].digest) for n, d in self.disks.items() if job in d.jobs]
            listed = self.listed(name)
            on_disk = [digest for n, digest in {*had, *has} if n in listed]
            most = max((on_disk.count(digest) for digest in set(on_disk)), default=0)
            # Who has not heard that it was retired may still say so.
            was_there = any(job in disk.retired for disk in self.disks.values())
            assert was_there or most >= majority(len(listed)), (
                "accepted before a majority had it on disk"
            )
        if isinstance(body, Record) and body.decided is not None:
            decided = {
                d.jobs[body.job].record.decided_digest
                for d in self.disks.values()
                if body.job in d.jobs
            } - {None}
            decided |= {
                d.retired[body.job].outcome for d in self.disks.values() if body.job in d.retired
            }
            assert len(decided) == 1, "two outcomes"

    def _bridge(self, origin: str, publish: Publish) -> list[tuple[str, list[Event]]]:
        found: list[tuple[str, list[Event]]] = []
        if not publish.topic.startswith(f"{topics.ROOT}/node/"):
            return found
        for peer in self.nodes:
            is_linked = peer != origin and peer in self.listed(origin)
            if is_linked and frozenset((peer, origin)) not in self.cut:
                self._keep(peer, publish)
                event = parse(ClientId(peer), message_of(publish))
                assert not isinstance(event, Dropped), event
                if event is not None:
                    found.append((peer, [event]))
        return found

    def client(self, at: str, topic: str, body: object, *, relays: bool = True) -> None:
        """Publish as a client at one node; bridges relay it to the others."""
        payload = body if isinstance(body, bytes) else codec.encode(body)
        relayed = topic.replace(f"{topics.ROOT}/up/", f"{topics.ROOT}/relay/{at}/")
        for name in sorted(self.nodes, key=lambda n: n != at):
            parted = frozenset((name, at)) in self.cut or name not in self.listed(at)
            if name != at and (not relays or at in self.down or parted):
                continue
            event = parse(ClientId(name), Message(topic if name == at else relayed, payload))
            if event is not None and not isinstance(event, Dropped):
                self.feed(name, event)

    def tick(self, seconds: float = 0.0, step: float = 0.5) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            for name in self.nodes:
                self.feed(name, Ticked())
            if self.now >= end:
                return
            self.now = min(end, self.now + step)

    # What clients do and see.

    def submit(self, at: str, job: str = "j1", *, device: str = "pump-7", **spec: object) -> JobId:
        """Submit a small job; return its id on the bus."""
        fields = {"image": "base", "command": ["true"], **spec}
        self.client(at, topics.up(device, "submit", job), codec.encode(fields))
        return JobId(f"{device}_{job}")

    def down_states(self, device: str, job: str, rest: str = "", at: str = "") -> list[str]:
        """Return the states a device was told, in order, by whichever node or by *at*."""
        topic = topics.down(device, job, *([rest] if rest else []))
        found = []
        for name, publish in self.heard:
            if publish.topic == topic and publish.body != b"" and at in ("", name):
                body = publish.body
                found.append(
                    body.decode() if isinstance(body, bytes) else str(getattr(body, "state", ""))
                )
        return found

    def offers(self) -> list[Offer]:
        """Return every offer made."""
        return [p.body for _, p in self.heard if isinstance(p.body, Offer)]

    def offered(self) -> list[tuple[str, str, str]]:
        """Return (node, agent, job) of every offer made."""
        return [
            (name, p.topic.rsplit("/", 1)[1], p.body.job)
            for name, p in self.heard
            if isinstance(p.body, Offer)
        ]

    def record(self, name: str, job: str) -> Record:
        """Return a node's vote."""
        return self.nodes[name].entries[JobId(job)].record

    def lease_left_s(self, name: str, job: str) -> float:
        """Return how long a node keeps the job for its holder."""
        return self.nodes[name].entries[JobId(job)].vote.lease_until - self.now


@dataclass
class Agent:
    """What an agent says, said when a test wants it. It decides nothing."""

    cluster: Cluster
    name: str = "edge-1"
    at: str = "n1"
    number: int = 1
    connection: int = 1
    counter: int = 0
    profile: AgentProfile = field(
        default_factory=lambda: AgentProfile(slots=2, arch="amd64", memory_mb=1024, cpus=2.0)
    )

    @property
    def incarnation(self) -> Incarnation:
        return Incarnation(self.number, f"{self.name}-{self.number}")

    @property
    def holder(self) -> Holder:
        return Holder(client=ClientId(self.name), incarnation=self.incarnation)

    def say(self, verb: str, job: str, body: object) -> None:
        self.cluster.client(self.at, topics.up(self.name, verb, job), body)

    def beat(self, *held: tuple[str, int] | tuple[str, int, int], **changes: object) -> None:
        """Send the next heartbeat, listing (job, epoch[, attempt])."""
        self.counter += 1
        listed = tuple(Held(JobId(h[0]), Epoch(h[1]), h[2] if len(h) == 3 else 0) for h in held)
        beat = message.Beat(
            incarnation=self.incarnation,
            connection=self.connection,
            counter=self.counter,
            held=listed,
            profile=self.profile,
        )
        self.cluster.client(self.at, topics.beat(self.name), replace(beat, **changes))

    def will(self, **changes: object) -> None:
        """Let the broker say that the connection broke."""
        will = message.Beat(incarnation=self.incarnation, connection=self.connection, gone=True)
        self.cluster.client(self.at, topics.beat(self.name), replace(will, **changes))

    def claim(self, job: str, epoch: int, digest: Digest | None = None) -> None:
        records = [
            n.entries[JobId(job)].record
            for n in self.cluster.nodes.values()
            if JobId(job) in n.entries
        ]
        shown = digest or next(r.digest for r in records if r.digest)
        body = message.Claim(incarnation=self.incarnation, epoch=Epoch(epoch), digest=shown)
        self.say("claim", job, body)

    def outcome(self, job: str, epoch: int, value: Outcome | None = None) -> None:
        value = value or Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result="42\n")
        body = message.OutcomeProposal(
            incarnation=self.incarnation, epoch=Epoch(epoch), outcome=value
        )
        self.say("outcome", job, body)

    def checkpoint(self, job: str, epoch: int, seq: int) -> CheckpointRef:
        ref = CheckpointRef(
            epoch=Epoch(epoch),
            seq=seq,
            manifest=digest_of(f"{epoch}/{seq}".encode()),
            location=("http://n1",),
            rung="files",
            bytes=100,
        )
        self.say(
            "checkpoint",
            job,
            message.CheckpointReport(incarnation=self.incarnation, checkpoint=ref),
        )
        return ref

    def release(self, job: str, epoch: int, retry_after_s: float = 0.0, reason: str = "") -> None:
        body = message.Release(
            incarnation=self.incarnation,
            epoch=Epoch(epoch),
            retry_after_s=retry_after_s,
            reason=reason,
        )
        self.say("release", job, body)

    def progress(self, job: str, epoch: int, done: float, note: str = "", *, seq: int = 0) -> None:
        body = message.Progress(
            incarnation=self.incarnation, epoch=Epoch(epoch), progress=done, note=note, seq=seq
        )
        self.say("progress", job, body)


def _vote(record: Record) -> Record:
    """Return what of a record must be on disk before it is said."""
    return replace(record, version=Record(job=record.job).version, progress=None, note="")


def message_of(publish: Publish) -> Message:
    """Return what the bus carries of it."""
    body = publish.body if isinstance(publish.body, bytes) else codec.encode(publish.body)
    return Message(publish.topic, body, publish.qos, publish.retain, publish.expiry_s)
