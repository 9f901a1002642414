"""Goal: an operator who waits for a drain is told of every job once, and why one stays.

Method: records and views of three nodes folded by hand, one change at a time.
"""

from dataclasses import replace

from workrs.cli.move_watch import End, MoveWatch
from workrs.domain.dispatch import AgentProfile
from workrs.domain.host import HostFacts
from workrs.domain.ids import ClientId, Digest, Epoch, JobId
from workrs.domain.job import (
    CheckpointMode,
    CheckpointPolicy,
    JobSpec,
    Outcome,
    StoredSpec,
    Verdict,
)
from workrs.domain.record import CheckpointRef, Holder, Incarnation, Record, Version
from workrs.wire import codec, topics
from workrs.wire.message import AgentView
from workrs.wire.view import ClusterView

NODES = ("n1", "n2", "n3")
JOB = JobId("pump-7_sum")
HERE = HostFacts(arch="amd64", cpu="c1", kernel="6.1", criu="4.1")
PROFILE = AgentProfile(
    slots=2, arch="amd64", memory_mb=1024, cpus=1.0, rung="memory", runtime="docker", host=HERE
)
ONE = Incarnation(1, "00")


class Shown:
    """What the nodes retain."""

    def __init__(self) -> None:
        self.view = ClusterView()
        self.step = 0
        self.spec(JobSpec(image="i", command=("true",)))

    def spec(self, spec: JobSpec) -> None:
        stored = StoredSpec(job=JOB, request=Digest("0" * 64), spec=spec)
        self._all("spec", JOB, stored)

    def record(self, **fields: object) -> None:
        self.step += 1
        record = Record(job=JOB, version=Version(1, self.step), digest=Digest("d" * 64))
        self._all("job", JOB, replace(record, **fields))  # type: ignore[arg-type]

    def held_by(self, agent: str, epoch: int, **fields: object) -> None:
        holder = Holder(client=ClientId(agent), incarnation=ONE)
        self.record(epoch=Epoch(epoch), holder=holder, **fields)

    def agent(self, name: str, *, gone: bool = False, number: int = 1, **profile: object) -> None:
        self.step += 1
        seen = AgentView(
            incarnation=Incarnation(number, ONE.nonce),
            connection=1,
            counter=self.step,
            profile=replace(PROFILE, **profile),  # type: ignore[arg-type]
            gone=gone,
        )
        self._all("agent", name, seen)

    def forget(self, name: str) -> None:
        for node in NODES:
            self.view.apply(topics.node(node, "agent", name), b"")

    def _all(self, kind: str, name: str, body: object) -> None:
        for node in NODES:
            self.view.apply(topics.node(node, kind, name), codec.encode(body))


def drained(**profile: object) -> tuple[Shown, MoveWatch]:
    shown = Shown()
    shown.agent("a1", draining=True, **profile)
    shown.agent("a2")
    shown.held_by("a1", 1)
    return shown, MoveWatch(ClientId("a1"))


def test_a_job_is_followed_to_its_new_agent() -> None:
    shown, watch = drained()
    assert watch.look(shown.view) == ["pump-7/sum is being moved"]
    assert watch.look(shown.view) == []
    assert watch.end(shown.view) is None
    shown.record(epoch=Epoch(1), reason="its agent was told to drain")
    assert watch.look(shown.view) == ["pump-7/sum waits for an agent: its agent was told to drain"]
    assert watch.end(shown.view) is End.DRAINED
    assert not watch.is_settled()
    shown.held_by("a2", 2)
    assert watch.look(shown.view) == ["pump-7/sum moved to a2"]
    assert watch.is_settled()
    assert watch.as_json() == [
        {"job": "pump-7/sum", "state": "running", "agent": "a2", "fate": "moved to a2"}
    ]


def test_a_job_that_ends_on_the_way_is_settled() -> None:
    shown, watch = drained()
    watch.look(shown.view)
    outcome = Outcome(verdict=Verdict.SUCCEEDED, exit_code=0)
    shown.record(epoch=Epoch(1), decided=outcome, decided_digest=outcome.digest())
    assert watch.look(shown.view) == ["pump-7/sum has ended: succeeded"]
    assert watch.is_settled()


def test_what_is_left_and_what_became_of_all_is_said_in_a_few_words() -> None:
    shown, watch = drained()
    assert (watch.left(), watch.summed_up()) == ([], "it had no jobs")
    watch.look(shown.view)
    assert (watch.left(), watch.summed_up()) == (["pump-7/sum is being moved"], "1 left")
    shown.record(epoch=Epoch(1), reason="its agent\nwas told")
    watch.look(shown.view)
    assert (watch.left(), watch.summed_up()) == ([], "1 waiting for an agent")
    assert watch.fates[JOB] == "waits for an agent: its agent was told"
    shown.held_by("a2", 2)
    watch.look(shown.view)
    assert watch.summed_up() == "1 moved"


def test_nothing_is_over_before_the_agent_says_that_it_drains() -> None:
    shown = Shown()
    shown.agent("a1")
    watch = MoveWatch(ClientId("a1"))
    assert watch.look(shown.view) == []
    assert watch.end(shown.view) is None
    shown.agent("a1", draining=True)
    watch.look(shown.view)
    assert watch.end(shown.view) is End.DRAINED


def test_an_agent_that_is_gone_has_nothing_left_and_is_not_called_drained() -> None:
    shown, watch = drained()
    watch.look(shown.view)
    shown.agent("a1", gone=True)
    watch.look(shown.view)
    assert watch.end(shown.view) is End.GONE
    shown.agent("a1", draining=True)
    watch.look(shown.view)
    assert watch.end(shown.view) is None, "it had only lost its connection"


def test_an_agent_that_was_undrained_is_watched_no_more() -> None:
    shown, watch = drained()
    watch.look(shown.view)
    shown.agent("a1")
    watch.look(shown.view)
    assert watch.end(shown.view) is End.UNDRAINED


def test_an_agent_that_was_started_again_is_watched_no_more() -> None:
    shown, watch = drained()
    watch.look(shown.view)
    shown.agent("a1", gone=True)
    watch.look(shown.view)
    shown.agent("a1", number=2)
    watch.look(shown.view)
    assert watch.end(shown.view) is End.RESTARTED


def test_an_agent_that_was_started_again_before_it_was_seen_to_drain_is_watched_no_more() -> None:
    shown = Shown()
    shown.agent("a1")
    watch = MoveWatch(ClientId("a1"))
    watch.look(shown.view)
    shown.agent("a1", number=2)
    watch.look(shown.view)
    assert watch.end(shown.view) is End.RESTARTED


def test_an_agent_that_every_node_has_forgotten_is_watched_no_more() -> None:
    shown, watch = drained()
    assert watch.end(ClusterView()) is None, "nothing was shown yet"
    watch.look(shown.view)
    shown.forget("a1")
    watch.look(shown.view)
    assert watch.end(shown.view) is End.FORGOTTEN


def why(shown: Shown, watch: MoveWatch) -> str:
    [line] = watch.look(shown.view)
    return line.partition("but ")[2]


def test_a_job_that_cannot_be_saved_says_so() -> None:
    shown, watch = drained()
    off = CheckpointPolicy(mode=CheckpointMode.OFF)
    shown.spec(JobSpec(image="i", command=("true",), checkpoint=off))
    assert why(shown, watch) == "its checkpoints are off: it runs to its end where it is"


def test_an_agent_that_saves_nothing_says_so() -> None:
    assert why(*drained(rung="none")) == "its agent saves nothing: it runs to its end where it is"


def test_without_another_agent_that_fits_it_will_wait() -> None:
    shown, watch = drained()
    shown.agent("a2", memory_mb=8)
    assert why(shown, watch) == "no other agent meets its needs: it will wait for one"


def test_without_another_agent_that_can_restore_it_it_will_fall() -> None:
    shown, watch = drained()
    shown.agent("a2", host=replace(HERE, cpu="c2"))
    ref = CheckpointRef(
        epoch=Epoch(1),
        seq=1,
        manifest=Digest("1" * 64),
        location=("u",),
        rung="memory",
        bytes=1,
        host=HERE,
    )
    shown.held_by("a1", 1, checkpoints=(ref,))
    said = "no other agent can restore its memory: it will wait for one, and then fall"
    assert why(shown, watch) == said
    shown.record(epoch=Epoch(1), reason="its agent was told to drain", checkpoints=(ref,))
    waits = "pump-7/sum waits for an agent: its agent was told to drain; "
    assert watch.look(shown.view) == [waits + said], "also where it had left between two looks"
