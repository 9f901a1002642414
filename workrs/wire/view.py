"""The cluster as a reader of the bus sees it: a fold over what the nodes retain.

1. Order does not matter and repeating is harmless: records by version, agents by
   heartbeat; the rest is the writer's last word.
2. A job's state is what a majority of the nodes shows; one node alone decides nothing,
   except that a decision is final wherever it is seen.
3. Junk changes nothing and is counted.
4. A reader that follows 10,000 jobs keeps it `slim`: no specs and no results.

Not promised: that the view is of one instant. Nodes speak one after the other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TypeVar

from workrs.domain import quorum
from workrs.domain.dispatch import AgentProfile
from workrs.domain.errors import WireError
from workrs.domain.ids import ClientId, Epoch, JobId, LocalJobId, split_job_id
from workrs.domain.job import Outcome, StoredSpec
from workrs.domain.record import CheckpointRef, Record
from workrs.wire import codec, topics
from workrs.wire.message import AgentView, NodeState

K = TypeVar("K")
V = TypeVar("V")

ARRIVING = "arriving"
"""Not yet on the disks of a majority: its device has not been told *accepted*."""
QUEUED = "queued"
RUNNING = "running"
CANCELLING = "cancelling"
"""Somebody wants it cancelled and no outcome is decided yet."""

PATTERNS = ("node/+/job/#", "node/+/spec/#", "node/+/agent/#", "node/+/state")
"""What a reader subscribes to, below the root, to see everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """One job."""

    job: JobId
    device: ClientId
    id: LocalJobId
    """As its device knows it."""
    state: str
    """One of the words above, or the verdict of a decided job."""
    epoch: Epoch
    attempt: int
    agent: ClientId | None
    """Who holds it; a node's name while that cancels or expires it."""
    progress: float | None
    note: str
    checkpoint: CheckpointRef | None
    """The newest that any node knows."""
    reason: str
    """Why it ended as it did, or why its last attempt did."""
    outcome: Outcome | None
    nodes: int
    """How many nodes show a record of it."""
    spec: StoredSpec | None
    """None when no node shows it (any more)."""

    @property
    def is_open(self) -> bool:
        """Return whether its outcome is still undecided."""
        return self.outcome is None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSummary:
    """One agent, as the node that heard it last sees it."""

    agent: ClientId
    state: str
    """`live`, `draining` or `gone`."""
    incarnation: int
    profile: AgentProfile | None
    jobs: tuple[JobId, ...]
    """What it holds by the records of a majority, sorted."""
    nodes: int
    """How many nodes have heard of this incarnation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """One node, as it describes itself."""

    node: ClientId
    state: NodeState | None
    """None when only others name it: it never spoke since the broker that was asked started."""


@dataclass(slots=True)
class ClusterView:
    """Folds messages; the views are computed when asked for."""

    slim: bool = False
    """Whether to leave out what is large: specs, and results, whose sizes stay."""
    replaced: Record | None = None
    """What the record that was applied last took the place of; None if it was the first."""
    junk: int = 0
    """Messages that could not be understood."""
    _records: dict[JobId, dict[ClientId, Record]] = field(default_factory=dict)
    _specs: dict[JobId, dict[ClientId, bytes]] = field(default_factory=dict)
    _agents: dict[ClientId, dict[ClientId, AgentView]] = field(default_factory=dict)
    _beats: dict[str, tuple[bytes, AgentView]] = field(default_factory=dict)
    """What was said last of each agent, by whichever node, and what that means."""
    _nodes: dict[ClientId, NodeState] = field(default_factory=dict)

    def apply(self, topic: str, payload: bytes) -> topics.Node | None:
        """Take in one message, live or retained; an empty payload empties its topic.

        Returns:
            What it was about, or None when it could not be understood.
        """
        parsed = topics.parse_node(topic)
        if parsed is None:
            self.junk += 1
            return None
        node, kind, name = parsed
        try:
            match kind:
                case "job":
                    self._apply_record(node, JobId(name), payload)
                case "spec" if not self.slim:
                    _put(self._specs, JobId(name), node, payload or None)
                case "agent":
                    _put(self._agents, ClientId(name), node, self._read_agent(name, payload))
                case "state" if payload:
                    self._nodes[node] = codec.decode(NodeState, payload)
                case "state":
                    self._nodes.pop(node, None)
                case _:
                    pass
        except WireError:
            self.junk += 1
            return None
        return parsed

    def _read_agent(self, agent: str, payload: bytes) -> AgentView | None:
        """Nodes mostly say the same of a heartbeat: what came word for word is not read twice."""
        known = self._beats.get(agent)
        if known is not None and known[0] == payload:
            return known[1]
        if not payload:
            self._beats.pop(agent, None)
            return None
        seen = codec.decode(AgentView, payload)
        self._beats[agent] = (payload, seen)
        return seen

    def _apply_record(self, node: ClientId, job: JobId, payload: bytes) -> None:
        self.replaced = None
        if not payload:
            _put(self._records, job, node, None)
            return
        record = codec.decode(Record, payload)
        if record.job != job:
            raise WireError(f"record of {record.job} shown as {job}")
        if record.retired:
            # An answer to whoever did not know: the job has left the bus there.
            _put(self._records, job, node, None)
            return
        known = self.replaced = self._records.get(job, {}).get(node)
        if known is None or record.version >= known.version:
            _put(self._records, job, node, _slimmed(record) if self.slim else record)

    @property
    def size(self) -> int:
        """How many nodes the cluster has: what most nodes say, else who was seen."""
        said = [len(state.nodes) for state in self._nodes.values()]
        if said:
            return max(sorted(set(said)), key=said.count)
        seen = {node for records in self._records.values() for node in records}
        return max(1, len(seen))

    def records(self, job: JobId) -> Mapping[ClientId, Record]:
        """Return what each node shows of the job."""
        return MappingProxyType(self._records.get(job, {}))

    def state(self, node: ClientId) -> NodeState | None:
        """Return what the node said last of itself, or None."""
        return self._nodes.get(node)

    def receipt(self, node: ClientId, agent: ClientId) -> AgentView | None:
        """Return what the node shows of the agent, or None."""
        return self._agents.get(agent, {}).get(node)

    def forget(self, job: JobId) -> None:
        """Drop what is known of a job, until a node shows it again."""
        self._records.pop(job, None)
        self._specs.pop(job, None)

    def job_ids(self) -> list[JobId]:
        """Return the jobs that some node shows a record of, sorted."""
        return sorted(self._records)

    def job(self, job: JobId) -> JobView | None:
        """Return the job, or None when no node shows it."""
        records = self._records.get(job)
        return None if records is None else self._view(job, records, self.size)

    def jobs(self) -> list[JobView]:
        """Return all jobs, sorted by id."""
        # Counted once: where no node has spoken it takes a look at all records.
        nodes = self.size
        return [self._view(job, self._records[job], nodes) for job in self.job_ids()]

    def _view(self, job: JobId, records: dict[ClientId, Record], nodes: int) -> JobView:
        # A broker that was started again may have nodes' records before a word of how many they
        # are. What those few show may be running; that it is over needs more.
        outcome = _decided(records, nodes if self._nodes else 2 * nodes)
        led = quorum.leader(records, nodes) if outcome is None else None
        at = [r for r in records.values() if led and r.epoch == led[0]]
        furthest = max(at, key=lambda r: r.progress or 0.0, default=None)
        checkpoints = quorum.newest_checkpoints(records)
        newest = max(records.values(), key=lambda r: (r.epoch, r.attempt, r.reason))
        device, local = split_job_id(job)
        return JobView(
            job=job,
            device=device,
            id=local,
            state=_state(records, outcome, nodes, is_led=led is not None),
            epoch=quorum.highest_epoch(records),
            attempt=quorum.next_attempt(records) - 1,
            agent=led[1].client if led else None,
            progress=furthest.progress if furthest else None,
            note=furthest.note if furthest else "",
            checkpoint=checkpoints[0] if checkpoints else None,
            reason=newest.reason if outcome is None else outcome.reason,
            outcome=outcome,
            nodes=len(records),
            spec=self._spec(job),
        )

    def _spec(self, job: JobId) -> StoredSpec | None:
        shown = (_read_spec(payload) for payload in self._specs.get(job, {}).values())
        return next((spec for spec in shown if spec is not None), None)

    def agent(self, agent: ClientId, jobs: tuple[JobId, ...]) -> AgentSummary | None:
        """Return the agent, with *jobs* as what it holds, or None when no node shows it."""
        views = self._agents.get(agent)
        return None if views is None else _summary(agent, views.values(), jobs)

    def agents(self) -> list[AgentSummary]:
        """Return all agents, sorted by name."""
        held: dict[ClientId, list[JobId]] = {}
        for view in self.jobs():
            if view.agent is not None:
                held.setdefault(view.agent, []).append(view.job)
        return [
            _summary(agent, views.values(), tuple(held.get(agent, ())))
            for agent, views in sorted(self._agents.items())
        ]

    def nodes(self) -> list[NodeView]:
        """Return all nodes that spoke or are named by one that did, sorted by name."""
        named = {ClientId(name) for state in self._nodes.values() for name in state.nodes}
        return [
            NodeView(node=node, state=self._nodes.get(node))
            for node in sorted(named | set(self._nodes))
        ]


def _put(table: dict[K, dict[ClientId, V]], key: K, node: ClientId, value: V | None) -> None:
    """Set what *node* says of *key*; None takes it away, and the key with the last of it."""
    if value is not None:
        table.setdefault(key, {})[node] = value
    elif key in table:
        table[key].pop(node, None)
        if not table[key]:
            del table[key]


def _slimmed(record: Record) -> Record:
    """Return *record* without results."""
    accepted, decided = record.accepted, record.decided
    if accepted is None and decided is None:
        return record
    return replace(
        record,
        accepted=accepted and replace(accepted, outcome=_without_result(accepted.outcome)),
        decided=decided and _without_result(decided),
    )


def _without_result(outcome: Outcome) -> Outcome:
    return replace(outcome, result=None, result_b64=None, result_url=None)


def _read_spec(payload: bytes) -> StoredSpec | None:
    try:
        return codec.decode(StoredSpec, payload)
    except WireError:
        return None


def _state(
    records: dict[ClientId, Record], outcome: Outcome | None, nodes: int, *, is_led: bool
) -> str:
    if outcome is not None:
        return outcome.verdict.value
    if quorum.is_cancelled(records):
        return CANCELLING
    if is_led:
        return RUNNING
    digests = sorted({r.digest for r in records.values() if r.digest is not None})
    stored = any(quorum.is_stored(records, digest, nodes) for digest in digests)
    return QUEUED if stored else ARRIVING


def _decided(records: dict[ClientId, Record], nodes: int) -> Outcome | None:
    tally = quorum.Tally()
    for node, record in records.items():
        tally.add(node, record)
    return quorum.decision(records, tally, nodes)


def _summary(agent: ClientId, views: Iterable[AgentView], jobs: tuple[JobId, ...]) -> AgentSummary:
    newest = max(views, key=lambda v: (v.incarnation, v.connection, v.counter))
    same = [view for view in views if view.incarnation == newest.incarnation]
    profile = newest.profile or next((v.profile for v in same if v.profile), None)
    # A node that was cut off may have missed the farewell or the return: the newest
    # heartbeat decides, and among equals one that knows it gone.
    newest_order = (newest.connection, newest.counter)
    is_gone = any(v.gone for v in same if (v.connection, v.counter) == newest_order)
    state = "draining" if profile and profile.draining else "live"
    return AgentSummary(
        agent=agent,
        state="gone" if is_gone else state,
        incarnation=newest.incarnation.number,
        profile=profile,
        jobs=jobs,
        nodes=len(same),
    )
