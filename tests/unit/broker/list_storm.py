"""A cluster whose list of nodes changes again and again, in a storm, as an operator does it.

Brains on memory disks, joined by bridges that deliver in order, late, and break in the middle:
what was under way is lost, and what is retained is sent again in any order once they are back.
Nodes are killed between commit and publishing, too. Agents are honest proposers and no more.
"""

from collections import deque
from dataclasses import dataclass, field
from random import Random

from broker.effect import Effects, Publish, ReadPeerLedger
from broker.event import Event, PeerLedgerFailed
from broker.inbox import Dropped, parse
from edge_agent.cluster import Cluster as Belief
from tests.unit.broker.cluster import TIMING, Agent, Cluster, message_of
from workrs.domain import quorum
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.domain.job import Outcome, Verdict
from workrs.domain.node_list import Stage, distance
from workrs.domain.record import Record
from workrs.ports.bus import Message
from workrs.ports.ledger import Rejoin, Standing
from workrs.wire import codec, message, topics
from workrs.wire.message import NodeTerms

SIZE_MAX = 5


@dataclass
class StormCluster(Cluster):
    """Bridges with queues, deaths between commit and publishing, and every outcome ever decided."""

    rng: Random = field(default_factory=lambda: Random(0))
    links: dict[tuple[str, str], deque[Message]] = field(default_factory=dict)
    doomed: set[str] = field(default_factory=set)
    """Nodes that die after their next commit, before they publish."""
    outcomes: dict[JobId, Digest] = field(default_factory=dict)

    def handle(self, name: str, batch: list[Event]) -> Effects:
        effects = super().handle(name, batch)
        self._look_at(name)
        if name in self.doomed and effects.changes:
            self.kill(name)
            return Effects()
        return effects

    def _look_at(self, name: str) -> None:
        disk = self.disks[name]
        found = {job: kept.outcome for job, kept in disk.retired.items()}
        found |= {
            job: saved.record.decided_digest
            for job, saved in disk.jobs.items()
            if saved.record.decided_digest is not None
        }
        for job, digest in found.items():
            assert self.outcomes.setdefault(job, digest) == digest, f"{job}: a second outcome"

    def kill(self, *names: str) -> None:
        """Let nodes die: what is under way to and from them is lost."""
        self.stop(*names)
        self.doomed -= set(names)
        for link in [link for link in self.links if set(names) & set(link)]:
            del self.links[link]

    def is_linked(self, origin: str, peer: str) -> bool:
        gone = self.down | (set() if peer in self.nodes else {peer})
        is_listed = peer != origin and peer in self.listed(origin)
        return is_listed and not {origin, peer} & gone and frozenset((origin, peer)) not in self.cut

    def _bridge(self, origin: str, publish: Publish) -> list[tuple[str, list[Event]]]:
        if publish.topic.startswith(topics.node(origin, "")):
            self._carry(origin, message_of(publish))
        return []

    def _carry(self, origin: str, carried: Message) -> None:
        for peer in self.nodes:
            if self.is_linked(origin, peer):
                self.links.setdefault((origin, peer), deque()).append(carried)

    def resend(self, origin: str, peer: str) -> None:
        own = [p for t, p in self.retained[origin].items() if t.startswith(topics.node(origin, ""))]
        self.rng.shuffle(own)
        self.links[origin, peer] = deque(map(message_of, own))

    def sever(self, one: str, other: str) -> None:
        """Cut the bridges between two nodes, both ways, in the middle of what they carry."""
        self.part(one, other)
        for link in ((one, other), (other, one)):
            self.links.pop(link, None)

    def pump(self, most: int | None = None) -> None:
        """Deliver what is under way, or so many messages of it, each bridge in its order."""
        while most is None or most > 0:
            ready = [link for link, queue in self.links.items() if queue]
            if not ready:
                return
            link = self.rng.choice(ready)
            carried = self.links[link].popleft()
            peer = link[1]
            if carried.retain:
                self._keep(peer, Publish(carried.topic, carried.payload, retain=True))
            event = parse(ClientId(peer), carried)
            if event is not None and not isinstance(event, Dropped):
                self.feed(peer, event)
            most = None if most is None else most - 1

    def client(self, at: str, topic: str, body: object, *, relays: bool = True) -> None:
        payload = body if isinstance(body, bytes) else codec.encode(body)
        if at in self.down:
            return
        event = parse(ClientId(at), Message(topic, payload))
        if event is not None and not isinstance(event, Dropped):
            self.feed(at, event)
        if relays and at not in self.down and "/submit/" not in topic:
            relayed = topic.replace(f"{topics.ROOT}/up/", f"{topics.ROOT}/relay/{at}/")
            self._carry(at, Message(relayed, payload))

    def _read(self, name: str, wanted: ReadPeerLedger) -> list[Event]:
        if self.rng.random() < 0.1:
            return [PeerLedgerFailed(wanted.node, wanted.generation, "broken")]
        return super()._read(name, wanted)


class Proposer:
    """An agent that claims what it sees, and proposes by the rules: it counts as agents do."""

    def __init__(self, cluster: StormCluster, name: str) -> None:
        self.cluster = cluster
        self.voice = Agent(cluster, name=name)
        self.belief = Belief(TIMING)
        self.connected_to: tuple[str, int] | None = None
        self.claimed: dict[JobId, Epoch] = {}
        self.proposed: dict[tuple[JobId, Epoch], Outcome] = {}

    def seen(self) -> dict[JobId, dict[ClientId, Record]]:
        """Return the records at its broker, of the nodes that it believes in."""
        found: dict[JobId, dict[ClientId, Record]] = {}
        for topic, publish in self.cluster.retained[self.voice.at].items():
            _, _, _, node, kind, *_ = [*topic.split("/"), ""]
            if kind not in ("job", "terms"):
                continue
            body = message_of(publish).payload
            if kind == "terms":
                self.belief.see(ClientId(node), codec.decode(NodeTerms, body))
            elif body:
                record = codec.decode(Record, body)
                found.setdefault(record.job, {})[ClientId(node)] = record
        names = self.belief.names
        return {j: {n: r for n, r in votes.items() if n in names} for j, votes in found.items()}

    def act(self) -> None:
        """Take the next step for every job."""
        cluster = self.cluster
        living = [name for name in cluster.nodes if name not in cluster.down]
        if self.voice.at not in living or cluster.rng.random() < 0.1:
            if not living:
                return
            self.voice.at = cluster.rng.choice(living)
            self.connected_to = None
        boot = cluster.ledgers[self.voice.at].boot
        if (self.voice.at, boot) != self.connected_to:
            self.belief.reconnect()
            self.connected_to = (self.voice.at, boot)
        for job, votes in self.seen().items():
            if any(record.decided for record in votes.values()) or not self.belief.known:
                continue
            self._act(job, votes)

    def _act(self, job: JobId, votes: dict[ClientId, Record]) -> None:
        digest = next((r.digest for r in votes.values() if r.digest), None)
        if digest is None:
            return
        epoch, size = self.claimed.get(job), self.belief.size
        highest, holder = quorum.highest_epoch(votes), self.voice.holder
        if epoch is not None and quorum.holds(votes, holder, epoch, digest, size):
            self._propose(job, epoch, votes)
            return
        # A claim may have split the votes for ever: now and then it bids again.
        if epoch is None or highest > epoch or self.cluster.rng.random() < 0.2:
            self.claimed[job] = epoch = Epoch(1 + max(highest, epoch or Epoch(0)))
        claim = message.Claim(incarnation=self.voice.incarnation, epoch=epoch, digest=digest)
        self.voice.say("claim", job, claim)

    def _propose(self, job: JobId, epoch: Epoch, votes: dict[ClientId, Record]) -> None:
        mine = {n: r for n, r in votes.items() if (r.epoch, r.holder) == (epoch, self.voice.holder)}
        adopted = quorum.must_adopt(mine, epoch)
        own = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0, result=f"{self.voice.name}/{epoch}\n")
        value = self.proposed.setdefault((job, epoch), adopted.outcome if adopted else own)
        self.voice.outcome(job, epoch, value)


class Storm:
    """One schedule: an operator who changes the list, and faults; then calm."""

    def __init__(self, seed: int) -> None:
        """Begin with a cluster of one to four that has settled."""
        self.rng = Random(f"{seed}/list storm")
        self.cluster = StormCluster(size=self.rng.choice((1, 2, 3, 3, 3, 4)), rng=self.rng)
        self.nodes: tuple[str, ...] = self.cluster.names
        """The list that the operator wants."""
        self.todo: list[str] = []
        """Nodes that are not started with it yet."""
        self.leaving: set[str] = set()
        self.changes = 0
        self.fresh = len(self.nodes)
        self.careful = self.rng.random() < 0.5
        self.step = 1
        """By how many nodes the operator changes the list at a time: only canaries go further."""
        self.jobs: list[str] = []
        self.agents = [Proposer(self.cluster, f"edge-{n}") for n in (1, 2)]
        self.calm(3.0)

    def calm(self, seconds: float) -> None:
        """Let time pass in which everything is delivered."""
        for _ in range(int(seconds / 0.5)):
            self.cluster.tick(0.5)
            self.cluster.pump()

    # What the operator does.

    def is_settled(self) -> bool:
        """Return whether every node says `node_list_settled` of the list that is wanted."""
        return not self.todo and all(
            name not in self.cluster.down
            and self.cluster.disks[name].standing.stage is Stage.OVER
            and set(self.cluster.disks[name].standing.nodes) == set(self.nodes)
            for name in self.nodes
        )

    def operate(self) -> None:
        """Go on with a change, or begin one."""
        if self.todo:
            voting = [self.cluster.nodes[n].admission.votes for n in self.nodes if self._is_done(n)]
            if not self.careful or all(voting):
                self._give(self.todo.pop())
        elif self.is_settled():
            self._begin()

    def _is_done(self, name: str) -> bool:
        return name not in self.todo and name not in self.cluster.down

    def _begin(self) -> None:
        before = set(self.nodes)
        grow = len(before) == 1 or (len(before) < SIZE_MAX and self.rng.random() < 0.5)
        for _ in range(self.step):
            if grow:
                self._add()
            elif len(self.nodes) > 1:
                self._remove()
        self.changes += 1
        old = sorted(before & set(self.nodes))
        self.rng.shuffle(old)
        new = sorted(set(self.nodes) - before)
        # Taken from the end: a careful operator starts a new node last.
        self.todo = [*new, *old]
        if not self.careful:
            self.rng.shuffle(self.todo)

    def _add(self) -> None:
        former = sorted(
            name
            for name, disk in self.cluster.disks.items()
            if name not in self.nodes
            and disk.standing.stage is Stage.OVER
            and distance(disk.standing.nodes, {*self.nodes, name}) <= 1
        )
        if former and self.rng.random() < 0.5:
            name = self.rng.choice(former)
            self.cluster.kill(name)
        else:
            self.fresh += 1
            name = f"n{self.fresh}"
        self.nodes = (*self.nodes, name)

    def _remove(self) -> None:
        name = self.rng.choice(self.nodes)
        self.nodes = tuple(n for n in self.nodes if n != name)
        if self.careful or self.rng.random() < 0.5:
            self.cluster.kill(name)

    def _give(self, name: str) -> None:
        self.cluster.kill(name)
        standing = self.cluster.disks[name].standing if name in self.cluster.disks else Standing()
        if standing.rejoin is not Rejoin.NEVER and standing.stage is Stage.NEW:
            # Re-admitted with the list before, which not all will ever show: so once more.
            self.cluster.lose_disk(name)
        self.cluster.start_with(name, *self.nodes)

    # What breaks.

    def break_something(self) -> None:
        """Let one fault strike, or one be mended."""
        cluster, rng = self.cluster, self.rng
        living = [name for name in self.nodes if name in cluster.nodes and name not in cluster.down]
        match rng.choice(("cut", "cut", "heal", "kill", "doom", "start", "start", "lose")):
            case "cut" if len(living) > 1:
                cluster.sever(*rng.sample(living, 2))
            case "heal":
                cluster.heal()
            case "kill" if len(living) > 1:
                cluster.kill(rng.choice(living))
            case "doom" if living:
                cluster.doomed.add(rng.choice(living))
            case "start":
                self._start_some(1)
            case "lose" if self._may_lose_disk(living):
                name = rng.choice(living)
                cluster.kill(name)
                cluster.lose_disk(name)
                cluster.start(name)
            case _:
                pass

    def _may_lose_disk(self, living: list[str]) -> bool:
        nodes = [self.cluster.nodes[name] for name in living]
        return (
            len(self.nodes) > 2
            and len(living) == len(self.nodes)
            and len({node.generation for node in nodes}) == 1
            and all(node.admission.votes for node in nodes)
            and not any(e.record.abstains and e.is_open for n in nodes for e in n.entries.values())
        )

    def _start_some(self, most: int) -> None:
        dead = sorted(self.cluster.down & set(self.nodes) & set(self.cluster.nodes))
        for name in self.rng.sample(dead, min(most, len(dead))):
            self.cluster.start(name)

    # What happens.

    def submit(self) -> None:
        """Submit a job, a new one or once more one of before, at a node that runs."""
        living = [n for n in self.nodes if n in self.cluster.nodes and n not in self.cluster.down]
        if not living:
            return
        if not self.jobs or (len(self.jobs) < 5 and self.rng.random() < 0.6):
            self.jobs.append(f"j{len(self.jobs) + 1}")
        self._submit(self.rng.choice(living), self.rng.choice(self.jobs))

    def _submit(self, at: str, job: str) -> None:
        retention_s = 1.0 if int(job[1:]) % 2 else 86400.0
        self.cluster.submit(at, job, retention_s=retention_s)

    def run(self, steps: int = 150) -> None:
        """Let the storm pass, mend everything, and check what must come about."""
        for _ in range(steps):
            match self.rng.choice(("agent",) * 4 + ("pump",) * 4 + ("tick",) * 3 + _RARE):
                case "agent":
                    self.rng.choice(self.agents).act()
                case "pump":
                    self.cluster.pump(self.rng.choice((1, 5, 20, 200)))
                case "tick":
                    self.cluster.tick(self.rng.choice((0.5, 0.5, 2.0)))
                case "calm":
                    self.calm(self.rng.choice((3.0, 8.0)))
                case "operate":
                    self.operate()
                case "submit":
                    self.submit()
                case _:
                    self.break_something()
        self.mend()

    def mend(self) -> None:
        """Mend everything; every accepted job ends, and so does the change."""
        cluster = self.cluster
        cluster.doomed.clear()
        for name in set(cluster.nodes) - set(self.nodes):
            cluster.kill(name)
        cluster.heal()
        while self.todo:
            self._give(self.todo.pop())
        self._start_some(len(self.nodes))
        self._go_on(40)
        self._check_ended()
        for job in self.jobs:
            self._submit(self.rng.choice(self.nodes), job)
        self._go_on(20)
        self._check_ended()

    def _go_on(self, rounds: int) -> None:
        for _ in range(rounds):
            self.agents[0].act()
            self.calm(2.0)

    def _check_ended(self) -> None:
        cluster = self.cluster
        assert not {n: cluster.halted[n] for n in self.nodes if n in cluster.halted}
        healths = {name: cluster.nodes[name].state().health for name in self.nodes}
        assert set(healths.values()) == {"ok"}, healths
        for job in self.jobs:
            for at in self.nodes:
                entry = cluster.nodes[at].entries.get(JobId(f"pump-7_{job}"))
                assert entry is None or not entry.is_open, f"{job} is open at {at}"
            told = cluster.down_states("pump-7", job)
            if "accepted" in told:
                assert JobId(f"pump-7_{job}") in cluster.outcomes, f"{job} was lost"
        assert self.is_settled(), {n: cluster.disks[n].standing for n in self.nodes}


_RARE = ("operate", "operate", "calm", "submit", "break", "break")
