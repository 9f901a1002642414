"""A world of voters and proposers on a network that loses, repeats and reorders.

The voters are the real ones (`workrs.domain.voter`), the counting is the real one
(`workrs.domain.quorum`). The proposers follow the agents' rules and nothing else: a majority
first, adoption, one value per epoch. No clock means anything: at every claim the lease is
over or not as the schedule pleases, for safety must not depend on it.

`Rules` holds each safety rule as a function, so that a canary can switch one off.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from workrs.domain import quorum, voter
from workrs.domain.ids import ClientId, Digest, Epoch, Instant, JobId
from workrs.domain.job import Outcome, Verdict, digest_of
from workrs.domain.quorum import Tally
from workrs.domain.record import Accepted, Holder, Incarnation, Record, Version
from workrs.domain.voter import ClaimRequest, Vote

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Mapping

JOB = JobId("pump_j1")
SPEC = digest_of(b"spec")
RIVAL_SPEC = digest_of(b"rival")
CANCELLED = Outcome(verdict=Verdict.CANCELLED)


def choose_value(world: World, proposer: Proposer, granted: Mapping[ClientId, Record]) -> Outcome:
    """Return the value to propose at the proposer's epoch: adopted, cancelled or its own."""
    adopted = world.rules.adopt(granted, proposer.epoch)
    if adopted is not None:
        return adopted.outcome
    if proposer.home is not None or quorum.is_cancelled(granted):
        return CANCELLED
    return proposer.own_value()


@dataclass
class Rules:
    """The safety rules, each of which a canary may replace."""

    claim: Callable[..., Vote | None] = voter.claim
    outcome: Callable[..., Vote | None] = voter.outcome
    adopt: Callable[[Mapping[ClientId, Record], Epoch], Accepted | None] = quorum.must_adopt
    holds: Callable[..., bool] = quorum.holds
    tally: Callable[[], Tally] = Tally
    one_value_per_epoch: bool = True
    forgetful_disks: bool = False
    """Canary: what was published last may be lost in a crash."""
    nonces: bool = True
    """Whether two programs on copies of one disk are told apart."""


@dataclass
class Proposer:
    """An agent, or the node that cancels."""

    name: ClientId
    incarnation: Incarnation
    digest: Digest
    home: ClientId | None = None
    """The node whose record is this proposer's claim."""
    records: dict[ClientId, Record] = field(default_factory=dict)
    epoch: Epoch = Epoch(0)  # noqa: RUF009
    value: Outcome | None = None
    """What was proposed at `epoch`."""
    is_open: bool = False
    """The epoch was neither released nor given up."""
    starts: int = 0

    @property
    def holder(self) -> Holder:
        return Holder(client=self.name, incarnation=self.incarnation)

    def own_value(self) -> Outcome:
        self.starts += 1
        text = f"{self.name} {self.incarnation} {self.epoch} {self.starts}"
        return Outcome(verdict=Verdict.SUCCEEDED, result=text, reason=self.digest)


class Mood(NamedTuple):
    """Probabilities that make one mistake or another likely."""

    value_speed: float
    """That a proposed value arrives when it might: takeovers need those long under way."""
    loss: float
    haste: float
    """That a claim is given up for a higher one."""
    insight: float
    """That a node looks whether the job is decided: late ones see more takeovers."""


@dataclass
class Packet:
    """A message on its way: what `act` does with it on arrival."""

    to: ClientId
    kind: str
    act: Callable[[ClientId], None]


class World:
    """Voters, proposers and packets, moved by one random generator."""

    def __init__(
        self,
        rng: random.Random,
        *,
        nodes: int = 3,
        rules: Rules | None = None,
        specs: tuple[Digest, ...] = (SPEC,),
        twins: bool = False,
        mood: Mood | None = None,
    ) -> None:
        """Make *nodes* voters, two agents and a cancelling node.

        Args:
            rng: makes every choice.
            nodes: how many voters.
            rules: the real ones, unless a canary says otherwise.
            specs: what the voters may store first; the majority's is the job's.
            twins: the second agent runs on a copy of the first one's disk.
            mood: how the network and the others behave; drawn unless given.
        """
        self.rng = rng
        self.rules = rules or Rules()
        self.size = nodes
        self.names = [ClientId(f"n{i}") for i in range(nodes)]
        self.votes = {n: Vote(record=Record(job=JOB, digest=rng.choice(specs))) for n in self.names}
        self.saved = dict(self.votes)
        self.boots = dict.fromkeys(self.names, 1)
        self.steps = 0
        self.views: dict[ClientId, dict[ClientId, Record]] = {n: {} for n in self.names}
        self.tallies = {n: self.rules.tally() for n in self.names}
        self.packets: list[Packet] = []
        self.shown: dict[ClientId, list[Record]] = {n: [self.votes[n].record] for n in self.names}
        """Every record a node published. A reader gets any that is newer than what it knows."""
        drawn = Mood(
            value_speed=rng.choice([0.1, 0.3, 1.0]),
            loss=rng.choice([0.05, 0.4]),
            haste=rng.choice([0.05, 0.3]),
            insight=rng.choice([0.05, 1.0]),
        )
        self.mood = mood or drawn
        self.watch = self.rules.tally()
        """Sees every record that was ever published."""
        self.decided: dict[Digest, Outcome] = {}
        second = "agent-a" if twins else "agent-b"
        self.proposers = [
            self._agent("agent-a", "a", specs[0]),
            self._agent(second, "b" if self.rules.nonces else "a", specs[-1]),
        ]
        if rng.random() < 0.5:
            self.proposers.append(self._agent("agent-c", "c", specs[0]))
        if rng.random() < 0.5:
            name = self.names[0]
            self.proposers.append(Proposer(name, Incarnation(1, "n"), SPEC, home=name))

    def _agent(self, name: str, nonce: str, digest: Digest) -> Proposer:
        return Proposer(ClientId(name), Incarnation(1, nonce), digest)

    # The network.

    def send(self, to: ClientId, kind: str, act: Callable[[ClientId], None]) -> None:
        self.packets.append(Packet(to, kind, act))

    def send_all(self, kind: str, act: Callable[[ClientId], None]) -> None:
        for name in self.names:
            self.send(name, kind, act)

    def deliver(self) -> None:
        """Deliver, repeat or lose one packet, whichever."""
        if not self.packets:
            return
        at = self.rng.randrange(len(self.packets))
        packet = self.packets[at]
        if packet.kind == "value" and self.rng.random() > self.mood.value_speed:
            return
        if self.rng.random() < 0.9:
            self.packets[at] = self.packets[-1]
            self.packets.pop()
        if self.rng.random() >= self.mood.loss:
            packet.act(packet.to)

    # Voters.

    def change(self, node: ClientId, vote: Vote | None) -> None:
        """Save a new vote, then publish it; a refusal publishes what stands."""
        if vote is not None and vote.record is not self.votes[node].record:
            self.steps += 1
            version = Version(self.boots[node], self.steps)
            if not self.rules.forgetful_disks or self.rng.random() < 0.5:
                self.saved[node] = self.votes[node]
            self.votes[node] = replace(vote, record=replace(vote.record, version=version))
            if not self.rules.forgetful_disks:
                self.saved[node] = self.votes[node]
            self.shown[node].append(self.votes[node].record)
        record = self.votes[node].record
        self.watch.add(node, record)
        self.hear(node, node, record)

    def read(self) -> None:
        """Let an agent or a node see some record of a node, mostly its last."""
        node = self.rng.choice(self.names)
        record = self.shown[node][-1]
        if self.rng.random() < 0.2:
            record = self.rng.choice(self.shown[node])
        reader = self.rng.choice([*self.proposers, *self.proposers, *self.names])
        if isinstance(reader, str):
            if reader != node:
                self.hear(reader, node, record)
        elif reader.home is None:
            self.inform(reader, node, record)

    def restart(self, node: ClientId) -> None:
        """Kill a node; its disk is what is left."""
        self.votes[node] = self.saved[node]
        self.boots[node] += 1
        self.views[node] = {node: self.votes[node].record}
        self.tallies[node] = self.rules.tally()
        for proposer in self.proposers:
            if proposer.home == node:
                proposer.incarnation = Incarnation(self.boots[node], "n")
                proposer.is_open = False

    def now(self) -> Instant:
        """Any time at all: leases are over, or not."""
        return Instant(self.rng.choice([0.0, 1e9]))

    def ask(self, node: ClientId, request: ClaimRequest) -> None:
        self.change(node, self.rules.claim(self.votes[node], request, now=self.now(), ttl_s=1e6))

    def take(self, node: ClientId, holder: Holder, epoch: Epoch, value: Outcome) -> None:
        self.change(node, self.rules.outcome(self.votes[node], holder, epoch, value))

    def hear(self, node: ClientId, peer: ClientId, record: Record) -> None:
        """Let a node take in a peer's record: follow its claim, adopt its decision."""
        view = self.views[node]
        known = view.get(peer)
        if known is not None and known.version >= record.version and node != peer:
            return
        view[peer] = record
        self.tallies[node].add(peer, record)
        if node != peer and record.holder is not None and record.holder.client == peer:
            request = ClaimRequest(
                epoch=record.epoch, holder=record.holder, digest=None, by_node=True
            )
            granted = self.rules.claim(self.votes[node], request, now=self.now(), ttl_s=1e6)
            if granted is not None:
                self.change(node, granted)
            if record.accepted is not None and record.accepted.epoch == record.epoch:
                self.take(node, record.holder, record.epoch, record.accepted.outcome)
        if self.rng.random() > self.mood.insight:
            return
        value = quorum.decision(view, self.tallies[node], self.size)
        decided = voter.decide(self.votes[node], value) if value is not None else None
        if value is not None and decided is not None:
            self.decided[value.digest()] = value
            self.change(node, decided)

    # Proposers.

    def claim(self, proposer: Proposer) -> None:
        """Bid at an epoch that was never used."""
        records = self.views[proposer.home] if proposer.home else proposer.records
        proposer.epoch = Epoch(1 + max(quorum.highest_epoch(records), proposer.epoch))
        proposer.value, proposer.is_open = None, True
        self.repeat(proposer)

    def repeat(self, proposer: Proposer) -> None:
        """Say again what was said, or propose once the claim is won."""
        if not proposer.is_open:
            return
        request = ClaimRequest(
            epoch=proposer.epoch,
            holder=proposer.holder,
            digest=None if proposer.home else proposer.digest,
            by_node=proposer.home is not None,
        )
        if proposer.home is not None:
            self.ask(proposer.home, request)
            self.propose(proposer, self.views[proposer.home])
        else:
            self.send_all("bid", lambda node: self.ask(node, request))
            self.propose(proposer, proposer.records)

    def inform(self, proposer: Proposer, node: ClientId, record: Record) -> None:
        known = proposer.records.get(node)
        if known is None or record.version > known.version:
            proposer.records[node] = record
            self.propose(proposer, proposer.records)

    def propose(self, proposer: Proposer, records: dict[ClientId, Record]) -> None:
        """Propose at the epoch if a majority granted it."""
        me, epoch = proposer.holder, proposer.epoch
        if not proposer.is_open:
            return
        if proposer.value is None or not self.rules.one_value_per_epoch:
            if proposer.home is not None:
                won = quorum.leader(records, self.size) == (epoch, me)
            else:
                won = self.rules.holds(records, me, epoch, proposer.digest, self.size)
            if not won:
                return
            granted = {n: r for n, r in records.items() if r.epoch == epoch and r.holder == me}
            proposer.value = choose_value(self, proposer, granted)
        value = proposer.value
        if proposer.home is not None:
            self.take(proposer.home, me, epoch, value)
        else:
            self.send_all("value", lambda node: self.take(node, me, epoch, value))

    def release(self, proposer: Proposer) -> None:
        """Give the epoch up: nothing is proposed at it any more."""
        if proposer.home is not None or not proposer.is_open:
            return
        proposer.is_open = False
        holder, epoch = proposer.holder, proposer.epoch
        self.send_all(
            "bid",
            lambda node: self.change(
                node,
                voter.release(
                    self.votes[node], holder, epoch, now=Instant(0), retry_after_s=0, reason=""
                ),
            ),
        )

    def reborn(self, proposer: Proposer) -> None:
        """Start an agent anew: it knows nothing, and is another incarnation."""
        if proposer.home is None and self.rules.nonces:
            number, nonce = proposer.incarnation
            proposer.incarnation = Incarnation(number + 1, nonce)
            proposer.records, proposer.value, proposer.is_open = {}, None, False

    # Schedules.

    def run(self, steps: int) -> None:
        """Let *steps* things happen; stop at the first violation."""
        for _ in range(steps):
            self.step()
            if self.violation() is not None:
                return

    def step(self) -> None:
        """Let one thing happen: mostly something arrives."""
        [act] = self.rng.choices(list(self.acts), list(self.acts.values()))
        act()

    @cached_property
    def acts(self) -> dict[Callable[[], None], int]:
        """What may happen, and how often of 200 times."""
        pick, names = self.rng.choice, self.names

        def claim() -> None:
            proposer = pick(self.proposers)
            if not proposer.is_open or self.rng.random() < self.mood.haste:
                self.claim(proposer)

        def cancel() -> None:
            node = pick(names)
            self.change(node, voter.cancel(self.votes[node]))

        return {
            self.deliver: 90,
            self.read: 80,
            claim: 10,
            lambda: self.repeat(pick(self.proposers)): 14,
            lambda: self.release(pick(self.proposers)): 2,
            lambda: self.reborn(pick(self.proposers)): 1,
            lambda: self.restart(pick(names)): 2,
            cancel: 1,
        }

    def violation(self) -> str | None:
        """Return what went wrong, or None."""
        won = {
            digest
            for (_, _, digest), voters in self.watch.seen.items()
            if len(voters) >= quorum.majority(self.size)
        }
        if len(won | self.decided.keys()) > 1:
            return "two outcomes decided"
        if self.watch.conflict() is not None:
            return "two values accepted at one epoch"
        stored = [vote.record.digest for vote in self.votes.values()]
        for value in self.decided.values():
            if value.verdict is Verdict.SUCCEEDED and stored.count(
                Digest(value.reason)
            ) < quorum.majority(self.size):
                return "the outcome of a spec that lost"
        return None
