"""Whole brains with their ledgers, honest agents, and links that delay, lose, repeat and break.

What `tests/unit/broker/cluster.py` checks after every batch is checked here too: nothing is
said before it is on disk, *accepted* only with a majority, one outcome, no busy loop. Links
keep their order, as bridges and connections do; a link that was cut resends what is retained.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.event import Event, Ticked
from broker.inbox import Dropped, parse
from tests.unit.broker.cluster import TIMING, Agent, Cluster, message_of
from workrs.domain import quorum
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.domain.job import Outcome, Verdict
from workrs.domain.quorum import Tally
from workrs.domain.record import Record
from workrs.ports.bus import Message
from workrs.ports.ledger import Rejoin
from workrs.wire import codec, message, topics
from workrs.wire.message import JobState, Offer, State

if TYPE_CHECKING:
    import random

CANCELLED = Outcome(verdict=Verdict.CANCELLED, reason="by its agent")


@dataclass
class Work:
    """What an honest agent knows of a job it bids for or runs."""

    digest: Digest
    epoch: Epoch
    began: float
    done_at: float
    records: dict[ClientId, Record] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    held: bool = False
    value: Outcome | None = None


@dataclass
class HonestAgent(Agent):
    """An agent that follows the rules of votes; deadlines are left out, safety needs none."""

    jobs: dict[JobId, Work] = field(default_factory=dict)
    used: dict[JobId, int] = field(default_factory=dict)
    next_beat: float = 0.0
    dead: bool = False

    def hear(self, origin: str, heard: Message) -> None:
        if self.dead:
            return
        shown = topics.parse_node(heard.topic)
        if shown is None or not heard.payload:
            return
        if shown.kind == "offer" and shown.name == self.name:
            self.on_offer(codec.decode(Offer, heard.payload))
        elif shown.kind == "job" and JobId(shown.name) in self.jobs:
            self.on_record(ClientId(origin), codec.decode(Record, heard.payload))

    def on_offer(self, offer: Offer) -> None:
        if offer.job in self.jobs or len(self.jobs) >= self.profile.slots:
            return
        now, epoch = self.cluster.now, Epoch(max(offer.epoch, self.used.get(offer.job, 0) + 1))
        self.used[offer.job] = epoch
        runs_s = self.world.rng.choice([0.0, 1.0, 6.0])
        self.jobs[offer.job] = Work(offer.digest, epoch, began=now, done_at=now + runs_s)
        self.act(offer.job)

    @property
    def world(self) -> BrainWorld:
        assert isinstance(self.cluster, BrainWorld)
        return self.cluster

    def on_record(self, node: ClientId, record: Record) -> None:
        work = self.jobs[record.job]
        known = work.records.get(node)
        if known is not None and record.version <= known.version:
            return
        work.records[node] = record
        work.tally.add(node, record)
        size = self.cluster.size
        decided = quorum.decision(work.records, work.tally, size)
        if decided is not None or quorum.is_fenced(work.records, work.epoch, size):
            del self.jobs[record.job]
            return
        self.act(record.job)

    def act(self, job: JobId) -> None:
        """Say what the rules allow next, again if need be."""
        work, size = self.jobs[job], self.cluster.size
        me = message.Claim(incarnation=self.incarnation, epoch=work.epoch, digest=work.digest)
        if not work.held:
            holder = self.holder
            work.held = quorum.holds(work.records, holder, work.epoch, work.digest, size)
            if not work.held:
                self.say("claim", job, me)
                return
            granted = {
                n: r
                for n, r in work.records.items()
                if r.epoch == work.epoch and r.holder == holder
            }
            adopted = quorum.must_adopt(granted, work.epoch)
            if adopted is not None:
                work.value = adopted.outcome
            elif quorum.is_cancelled(granted):
                work.value = CANCELLED
        if work.value is None and self.cluster.now >= work.done_at:
            result = f"{self.name} {self.number} {work.epoch}"
            work.value = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result=result)
        if work.value is not None:
            self.outcome(job, work.epoch, work.value)

    def tick(self) -> None:
        """Let time do its part: heartbeats, repetitions, giving up."""
        if self.dead:
            return
        now = self.cluster.now
        if now < self.next_beat:
            return
        self.next_beat = now + self.world.beat_s
        self.beat(*((job, work.epoch, int(work.held)) for job, work in self.jobs.items()))
        for job, work in list(self.jobs.items()):
            if not work.held and now > work.began + 3.0:
                self.release(job, work.epoch)
                del self.jobs[job]
            else:
                self.act(job)

    def die(self) -> None:
        """Be killed: the will is sent, all is forgotten."""
        if not self.dead:
            self.dead = True
            self.will()

    def revive(self) -> None:
        """Start anew, as a later incarnation, maybe elsewhere."""
        if self.dead:
            self.dead, self.number, self.counter = False, self.number + 1, 0
            self.jobs, self.used = {}, {}
            self.at = self.world.rng.choice(self.cluster.names)


class BrainWorld(Cluster):
    """A cluster whose links are queues, moved by one random generator."""

    def __init__(self, rng: random.Random, size: int = 3, agents: int = 2) -> None:
        """Start *size* nodes and *agents* agents."""
        self.rng = rng
        self.beat_s = 1.0
        self.links: dict[tuple[str, str], deque[Message]] = {}
        self.agents: list[HonestAgent] = []
        super().__init__(size)
        self.agents = [
            HonestAgent(self, name=f"edge-{n}", at=f"n{n % size + 1}") for n in range(agents)
        ]
        self.submitted: set[JobId] = set()

    # Links.

    def feed(self, name: str, *events: Event) -> None:
        if name in self.down:
            return
        effects = self.handle(name, list(events))
        for publish in effects.publishes:
            if publish.topic.startswith(f"{topics.ROOT}/node/"):
                self._spread(name, message_of(publish))
        for wanted in effects.reads:
            self.feed(name, *self._read(name, wanted))

    def _spread(self, origin: str, sent: Message) -> None:
        readers = [*self.names, *(agent.name for agent in self.agents)]
        for reader in readers:
            if reader != origin and self._joined(origin, reader):
                self.links.setdefault((origin, reader), deque()).append(sent)

    def _joined(self, one: str, other: str) -> bool:
        home = next((a.at for a in self.agents if a.name == other), other)
        return not {one, home} & self.down and frozenset((one, home)) not in self.cut

    def client(self, at: str, topic: str, body: object, *, relays: bool = True) -> None:
        """Publish at a node that is up, else nowhere."""
        if at in self.down:
            return
        payload = body if isinstance(body, bytes) else codec.encode(body)
        self.links.setdefault(("clients", at), deque()).append(Message(topic, payload))
        relayed = topic.replace(f"{topics.ROOT}/up/", f"{topics.ROOT}/relay/{at}/")
        for peer in self.names:
            if relays and peer != at and self._joined(at, peer):
                self.links.setdefault((at, peer), deque()).append(Message(relayed, payload))

    def deliver(self) -> bool:
        """Deliver the first message of some link; return whether there was one."""
        full = sorted(link for link, queue in self.links.items() if queue)
        if not full:
            return False
        origin, to = link = self.rng.choice(full)
        heard = self.links[link][0]
        if self.rng.random() < 0.95:
            self.links[link].popleft()
        for agent in self.agents:
            if agent.name == to:
                agent.hear(origin, heard)
                return True
        event = parse(ClientId(to), heard)
        if event is not None and not isinstance(event, Dropped):
            self.feed(to, event)
        return True

    def settle(self) -> None:
        """Deliver all that is under way."""
        for _ in range(100_000):
            if not self.deliver():
                return
        raise AssertionError("messages without end")

    def _reconnect(self, one: str, other: str) -> None:
        for origin, peer in ((one, other), (other, one)):
            readers = [peer, *(agent.name for agent in self.agents if agent.at == peer)]
            for reader in readers:
                if reader != origin and self._joined(origin, reader):
                    for publish in list(self.retained[origin].values()):
                        if publish.topic.startswith(f"{topics.ROOT}/node/"):
                            queue = self.links.setdefault((origin, reader), deque())
                            queue.append(message_of(publish))

    # Faults.

    def crash(self, name: str) -> None:
        """Kill a node; what was under way to and from it is lost."""
        self.stop(name)
        for link, queue in self.links.items():
            if name in link:
                queue.clear()

    def sever(self, one: str, other: str) -> None:
        """Break the bridges between two nodes, with what was in them."""
        self.part(one, other)
        for link in ((one, other), (other, one)):
            self.links.pop(link, None)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for name in self.names:
            if name not in self.down and self.nodes[name].wake_at() <= self.now:
                self.feed(name, Ticked())
        for agent in self.agents:
            agent.tick()

    def tick(self, seconds: float = 0.0, step: float = 0.5) -> None:
        """Let time pass with everything delivered in between."""
        end = self.now + seconds
        while True:
            self.pass_time(0.0)
            self.settle()
            if self.now >= end:
                return
            self.now = min(end, self.now + step)

    # Schedules.

    def run(self, steps: int) -> None:
        """Let *steps* things happen."""
        rng, names = self.rng, self.names
        for _ in range(steps):
            dice = rng.random()
            if dice < 0.80:
                self.deliver()
            elif dice < 0.92:
                self.pass_time(rng.choice([0.01, 0.2, 1.0]))
            elif dice < 0.935:
                self._submit()
            elif dice < 0.94:
                local = f"j{rng.randrange(4)}"
                self.client(rng.choice(names), topics.up("pump-7", "cancel", local), b"")
            elif dice < 0.96:
                rng.choice(self.agents).die()
            elif dice < 0.98:
                rng.choice(self.agents).revive()
            else:
                self._break_or_mend()

    def _submit(self) -> None:
        at = self.rng.choice(self.names)
        if at not in self.down:
            command = [self.rng.choice(["one", "one", "two"])]
            job = f"j{self.rng.randrange(4)}"
            self.submitted.add(self.submit(at, job, command=command))

    def _break_or_mend(self) -> None:
        rng, names = self.rng, self.names
        match rng.randrange(5):
            case 0:
                self.crash(rng.choice(names))
            case 4:
                self._lose_a_disk()
            case 1:
                for name in sorted(self.down):
                    self.start(name)
            case 2:
                self.sever(*rng.sample(names, 2)) if len(names) > 1 else None
            case _:
                self.heal()

    def _lose_a_disk(self) -> None:
        """Empty a disk, while all others are sound: no more than that is promised."""
        sound = [d for d in self.disks.values() if d.standing.rejoin is not Rejoin.UNDER_WAY]
        if len(sound) == self.size > 1:
            name = self.rng.choice(self.names)
            self.crash(name)
            self.lose_disk(name)
            self.start(name)

    def calm(self, seconds: float) -> None:
        """Mend everything and let the agents live."""
        self.heal()
        self.start(*sorted(self.down))
        for agent in self.agents:
            agent.revive()
        self.tick(seconds)

    # What must hold.

    def undecided(self) -> list[tuple[str, JobId]]:
        """Return jobs that some disk has and that some node does not know to be decided."""
        return [
            (name, job)
            for name in self.names
            for job in sorted(self.submitted)
            if any(job in disk.jobs for disk in self.disks.values())
            and (
                job not in self.nodes[name].entries
                or self.nodes[name].entries[job].record.decided is None
            )
        ]

    def accepted(self) -> set[JobId]:
        """Return the jobs that some device was told are accepted."""
        return {
            JobId(f"{publish.topic.split('/')[3]}_{publish.body.job}")
            for _, publish in self.heard
            if isinstance(publish.body, JobState) and publish.body.state is State.ACCEPTED
        }

    def outcomes(self, job: JobId) -> set[Digest]:
        """Return the digests of the outcomes that nodes show."""
        records = [n.entries[job].record for n in self.nodes.values() if job in n.entries]
        return {r.decided_digest for r in records if r.decided_digest is not None}


LONG_S = 12 * TIMING.ttl_s
