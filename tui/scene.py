"""A cluster that is made up: real messages of nodes that are not there.

Tests, pictures and the bench play it to the very model that reads a bus. `begin` is what the nodes
retain; each `step` is what they say in the next second, faults of the script included.
"""

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from workrs.domain.dispatch import AgentProfile
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.domain.job import Outcome, Verdict, outcome_with_result
from workrs.domain.record import CheckpointRef, Holder, Incarnation, Record, Version
from workrs.domain.rollback import Seen
from workrs.wire import codec, topics
from workrs.wire.message import AgentView, NodeState

_DEVICES: Final = ("pump-7", "cam-2", "well-12", "roof-1")
_WORK: Final = ("sum", "trend", "matrix", "fit", "scan")
_NOTES: Final = ("product 42 of 100", "rows 1200 to 1300", "fold 3 of 10", "")
_LABELS: Final = (("field", "battery=81%"), ("gpu",), ("field",), ("attic", "slow"), ())


class Said(NamedTuple):
    """One retained message of a node."""

    topic: str
    payload: bytes


@dataclass(slots=True)
class _Agent:
    name: ClientId
    profile: AgentProfile
    number: int = 1
    counter: int = 0
    gone: bool = False
    jobs: list[JobId] = field(default_factory=list)

    @property
    def incarnation(self) -> Incarnation:
        return Incarnation(self.number, "9f2c4be1a0d35c77")


@dataclass(slots=True)
class Scene:
    """The cluster. Same arguments, same messages."""

    nodes: int = 3
    agents: int = 2
    jobs: int = 3
    slots: int = 2
    seed: int = 1
    speed: float = 0.02
    """Progress of a job in a second."""
    refill: bool = True
    """Whether a new job comes for each that ends."""
    cut: frozenset[str] = frozenset()
    """Nodes that hear nobody and are heard by none."""
    down: frozenset[str] = frozenset()
    """Nodes that are gone."""
    _rng: random.Random = field(init=False)
    _records: dict[JobId, Record] = field(default_factory=dict)
    _agents: dict[str, _Agent] = field(default_factory=dict)
    _orphans: list[JobId] = field(default_factory=list)
    _second: int = 0
    _sent: dict[str, int] = field(default_factory=dict)
    _steps: int = 0
    _names: int = 0

    def __post_init__(self) -> None:
        """Make agents and jobs up."""
        self._rng = random.Random(self.seed)  # noqa: S311 (no secrets here)
        wide = len(str(self.agents))
        for place in range(self.agents):
            name = f"edge-{place + 1:0{wide}}"
            self._agents[name] = _Agent(ClientId(name), self._profile(place))
        for _ in range(self.jobs):
            self._submit()
        self._dispatch()
        for agent in self._agents.values():
            for job in agent.jobs:
                self._change(job, progress=round(self._rng.uniform(0.05, 0.9), 3))
                self._save(job)

    @property
    def names(self) -> list[str]:
        """Return the nodes' names."""
        return [f"n{place + 1}" for place in range(self.nodes)]

    @property
    def heard(self) -> list[str]:
        """Return the nodes that a reader at the majority's side hears."""
        return [name for name in self.names if name not in self.cut | self.down]

    def begin(self) -> Iterator[Said]:
        """Return all that is retained."""
        yield from map(self._state, self.names)
        for agent in self._agents.values():
            yield from self._views(agent)
        for job in self._records:
            yield from self._shown(job)

    def step(self) -> Iterator[Said]:
        """Return what is said in the next second."""
        self._second += 1
        changed: dict[JobId, bool] = {}
        for agent in self._agents.values():
            if not agent.gone:
                self._work(agent, changed)
        changed |= dict.fromkeys(self._dispatch(), True)
        for place, agent in enumerate(self._agents.values()):
            if place % 2 == self._second % 2 and not agent.gone:
                agent.counter += 1
                yield from self._views(agent)
        for job, is_vote in changed.items():
            yield from self._shown(job, is_vote=is_vote)
        yield from map(self._state, self.heard)

    def kill(self, *agents: str) -> Iterator[Said]:
        """Kill agents: their wills are told, their jobs go to others with the next step."""
        for name in agents:
            agent = self._agents[name]
            agent.gone = True
            yield from self._views(agent)

    def revive(self, agent: str) -> Iterator[Said]:
        """Start a killed agent again."""
        known = self._agents[agent]
        known.gone, known.number, known.counter = False, known.number + 1, 1
        yield from self._views(known)

    def drain(self, agent: str) -> Iterator[Said]:
        """Have an agent drain."""
        known = self._agents[agent]
        known.profile = replace(known.profile, draining=True)
        yield from self._views(known)

    def end(self, job: JobId, verdict: Verdict, reason: str = "") -> Iterator[Said]:
        """Decide a job."""
        self._end(job, Outcome(verdict=verdict, exit_code=1, reason=reason))
        yield from self._shown(job)

    def running(self) -> list[JobId]:
        """Return the jobs that agents hold."""
        return [job for agent in self._agents.values() for job in agent.jobs]

    def _profile(self, place: int) -> AgentProfile:
        return AgentProfile(
            slots=self.slots,
            arch=("amd64", "arm64")[place % 3 == 2],
            memory_mb=(4096, 2048, 8192)[place % 3],
            cpus=4.0,
            labels=_LABELS[place % len(_LABELS)],
            rung=("memory", "memory", "files")[place % 3],
            runtime="docker",
            load=round(self._rng.uniform(0.1, 3.0), 2),
        )

    def _submit(self) -> JobId:
        device = _DEVICES[self._names % len(_DEVICES)]
        job = JobId(f"{device}_{_WORK[self._names % len(_WORK)]}-{self._names + 1}")
        self._names += 1
        digest = Digest(hashlib.sha256(job.encode()).hexdigest())
        self._records[job] = Record(job=job, digest=digest)
        return job

    def _change(self, job: JobId, **fields: object) -> None:
        self._records[job] = replace(self._records[job], **fields)  # type: ignore[arg-type]

    def _work(self, agent: _Agent, changed: dict[JobId, bool]) -> None:
        for job in list(agent.jobs):
            record = self._records[job]
            done = (record.progress or 0.0) + self.speed * self._rng.uniform(0.6, 1.4)
            if done >= 1.0:
                result = outcome_with_result(Verdict.SUCCEEDED, b"42\n", exit_code=0)
                self._end(job, result)
                changed[job] = True
                if self.refill:
                    changed[self._submit()] = True
                continue
            note = _NOTES[len(job) % len(_NOTES)]
            self._change(job, progress=round(done, 3), note=note)
            changed[job] = self._rng.random() < 0.1
            if changed[job]:
                self._save(job)

    def _save(self, job: JobId) -> None:
        record = self._records[job]
        newest = record.checkpoints[0] if record.checkpoints else None
        seq = newest.seq + 1 if newest and newest.epoch == record.epoch else 1
        done = record.progress or 0.0
        ref = CheckpointRef(
            epoch=record.epoch,
            seq=seq,
            manifest=Digest(hashlib.sha256(f"{job}{record.epoch}.{seq}".encode()).hexdigest()),
            location=("http://10.0.0.1:7883", "http://10.0.0.2:7883"),
            rung="memory",
            bytes=self._rng.randrange(4 << 20, 90 << 20),
            progress=done,
            work_s=round(done * 120, 1),
            frozen_s=round(self._rng.uniform(0.08, 0.4), 3),
            upload_s=round(self._rng.uniform(0.3, 2.0), 2),
            next_s=round(self._rng.uniform(8, 30), 1),
            next_why="forecast",
        )
        self._change(job, checkpoints=(ref, *record.checkpoints[:1]))

    def _end(self, job: JobId, outcome: Outcome) -> None:
        for agent in self._agents.values():
            if job in agent.jobs:
                agent.jobs.remove(job)
        self._change(job, decided=outcome, decided_digest=outcome.digest(), progress=None, note="")

    def _dispatch(self) -> list[JobId]:
        """Give free jobs, those of dead agents first, to agents with room."""
        for agent in self._agents.values():
            if agent.gone:
                self._orphans += agent.jobs
                agent.jobs.clear()
        orphans = [job for job in self._orphans if self._records[job].decided is None]
        free = [job for job, r in self._records.items() if r.holder is None and r.decided is None]
        waiting = iter([*orphans, *free])
        given: list[JobId] = []
        rounds = max((a.profile.slots for a in self._agents.values()), default=0)
        for load in range(rounds):
            for agent in self._agents.values():
                if agent.gone or agent.profile.draining or len(agent.jobs) > load:
                    continue
                job = next(waiting, None)
                if job is None:
                    return given
                self._claim(job, agent)
                given.append(job)
        return given

    def _claim(self, job: JobId, agent: _Agent) -> None:
        record = self._records[job]
        saved = record.checkpoints[0].progress if record.checkpoints else None
        self._change(
            job,
            epoch=Epoch(record.epoch + 1),
            holder=Holder(client=agent.name, incarnation=agent.incarnation),
            attempt=record.attempt + 1,
            progress=saved or 0.0,
        )
        agent.jobs.append(job)
        if job in self._orphans:
            self._orphans.remove(job)

    def _shown(self, job: JobId, *, is_vote: bool = True) -> Iterator[Said]:
        """Show a record: what is voted on by all nodes, progress by the agent's own alone."""
        self._steps += 1
        whole = self._records[job]
        for place, name in enumerate(self.heard if is_vote else self.heard[:1]):
            self._sent[name] = self._sent.get(name, 0) + 1
            version = Version(3, self._steps)
            shown = whole if place == 0 else replace(whole, progress=None, note="")
            shown = replace(shown, version=version, serial=self._steps)
            yield Said(topics.record(name, job), codec.encode(shown))

    def _views(self, agent: _Agent) -> Iterator[Said]:
        for name in self.heard:
            self._sent[name] = self._sent.get(name, 0) + 1
            view = AgentView(
                incarnation=agent.incarnation,
                connection=1,
                counter=agent.counter,
                profile=agent.profile,
                held=len(agent.jobs),
                gone=agent.gone,
            )
            yield Said(topics.node(name, "agent", agent.name), codec.encode(view))

    def _state(self, name: str) -> Said:
        heard = [] if name in self.cut else [each for each in self.heard if each != name]
        serial = max(0, self._steps - self._rng.randrange(3))
        state = NodeState(
            boot=3,
            nonce="aa",
            nodes=tuple(self.names),
            live=name not in self.down,
            serial=self._steps,
            seen={each: Seen(3, "aa", serial) for each in self.names if each != name},
            beat=self._second,
            jobs_open=sum(record.decided is None for record in self._records.values()),
            jobs_decided=sum(record.decided is not None for record in self._records.values()),
            agents=sum(not agent.gone for agent in self._agents.values()),
            quorum=len(heard) + 1 > self.nodes // 2,
            nodes_heard=len(heard) + 1,
            hears=tuple(heard),
            sent=self._sent.get(name, 0),
        )
        return Said(topics.node(name, "state"), codec.encode(state))


def play(said: Iterable[Said], hear: Callable[[str, bytes], None]) -> None:
    """Give every message to *hear*."""
    for each in said:
        hear(each.topic, each.payload)
