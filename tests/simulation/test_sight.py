"""Goal: the simulator sees a lie to a device, and neglect that breaks no vote.

Method: each is patched into true code, and the schedule that goes wrong with it must go right
without it. The rules of the protocol have canaries instead: docs/canaries.md.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from unittest.mock import patch

import pytest

from broker import dispatcher, front, wish
from broker.agents import AgentEntry
from broker.effect import Publish
from broker.event import OrderHeard
from broker.node import Node
from edge_agent.agent import Agent
from edge_agent.effect import PrepareStart
from edge_agent.uplink import Line, Uplink
from workrs.domain import ladder, voter
from workrs.domain.ids import Epoch, Instant
from workrs.domain.job import CheckpointMode
from workrs.domain.record import CheckpointRef, Holder
from workrs.domain.voter import Vote
from workrs.testing.canaries.worlds import pair, saved_as_it_can, world
from workrs.testing.simulator import Schedule, plan, run_schedule
from workrs.testing.simulator.blob import BlobStore
from workrs.testing.simulator.hands import Hands
from workrs.testing.simulator.schedule import AgentPlan
from workrs.wire.message import JobState, OrderReply, State

pytestmark = pytest.mark.timeout(300)
SCHEDULES_MAX = 20
number_order = wish.on_order


def find_violation(
    schedules: Iterable[Schedule], neglect: Callable[[], AbstractContextManager[object]]
) -> str:
    """Return what is broken first, in the first schedule that something is broken in."""
    for schedule in schedules:
        with neglect():
            violation = run_schedule(schedule).violation
        if violation is not None:
            assert run_schedule(schedule).violation is None
            return violation
    pytest.fail("nobody noticed")


def in_plain_words(seed: int) -> Schedule:
    """Return a schedule whose devices know no JSON, and whose nodes are often alone."""
    planned = plan(seed, nodes=3, only=("majority cut off", "node lost"))
    jobs = tuple(replace(job, is_raw=True, strict=False) for job in planned.jobs)
    return replace(planned, jobs=jobs)


@pytest.mark.parametrize(
    ("truth", "lie", "violation"),
    [
        (State.WAITING, b"accepted", "S1: "),
        (State.SUCCEEDED, b"failed for no reason", "S2: "),
    ],
)
def test_a_plain_word_that_is_not_true_is_seen(truth: State, lie: bytes, violation: str) -> None:
    word = front.plain_word

    def plain_word(state: JobState) -> bytes:
        return lie if state.state is truth else word(state)

    found = find_violation(
        map(in_plain_words, range(SCHEDULES_MAX)),
        lambda: patch.object(front, "plain_word", plain_word),
    )
    assert found.startswith(violation)


@pytest.mark.parametrize(
    "lie",
    [
        {"state": State.FAILED, "result": None, "result_url": None},
        {"exit_code": 7},
        {"result": "made up"},
    ],
    ids=lambda lie: next(iter(lie)),
)
def test_an_end_that_was_not_decided_is_seen(lie: dict[str, object]) -> None:
    """All nodes lie the same, so that comparing them would show nothing."""
    true_state = front.final_state

    def final_state(*args: object) -> JobState:
        state = true_state(*args)  # type: ignore[arg-type]
        return replace(state, **lie) if state.state is State.SUCCEEDED else state  # type: ignore[arg-type]

    found = find_violation(
        (plan(seed, nodes=3) for seed in range(SCHEDULES_MAX)),
        lambda: patch.object(front, "final_state", final_state),
    )
    assert found.startswith("S2: ")


def test_a_result_that_was_not_decided_is_seen() -> None:
    say = Node.say

    def say_wrong(node: Node, said: Publish) -> None:
        say(node, replace(said, body=b"made up") if said.topic.endswith("/out") else said)

    found = find_violation(
        map(in_plain_words, range(SCHEDULES_MAX)),
        lambda: patch.object(Node, "say", say_wrong),
    )
    assert found.startswith("S2: ")


def left_without_restorer(seed: int) -> Schedule:
    """Return a schedule in which who can restore checkpoints is busy, and the other agent idle."""
    planned = plan(seed, nodes=3, only=("agent killed", "agent host lost"))
    able = replace(planned.agents[0], slots=1)
    jobs = tuple(
        replace(
            job,
            work_s=60.0 if job.name == "j1" else 6.0,
            checkpoint_s=0.4,
            exits=(0,),
            resumes=False,
            cancel_at_s=None,
            rivals=(),
        )
        for job in planned.jobs
    )
    agents = (replace(able, rung="files"), replace(able, name="z1", rung="none"))
    return replace(planned, agents=agents, jobs=jobs, ttl_s=3.0)


def test_a_job_that_waits_too_long_for_who_can_restore_it_is_seen() -> None:
    found = find_violation(
        map(left_without_restorer, range(4, SCHEDULES_MAX)),
        lambda: patch.object(dispatcher, "RESTORE_WAIT_S", 90.0),
    )
    assert found.startswith("L3: ")


def with_memory(seed: int) -> Schedule:
    """Return a schedule in which jobs move between two machines that restore memory."""
    return world("agent killed", nodes=3, jobs=saved_as_it_can, agents=memory_pair)(seed)


def memory_pair(nodes: int) -> list[AgentPlan]:
    return [replace(agent, rung="memory") for agent in pair(nodes)]


@pytest.mark.parametrize("lost", ["memory", "files"])
def test_a_fall_that_was_not_needed_is_seen(lost: str) -> None:
    """Its memory could be restored, or if not then its files."""

    def ways(
        refs: Iterable[CheckpointRef], *, able: ladder.Able, mode: CheckpointMode
    ) -> list[ladder.Way]:
        assert able.rung == "memory"
        assert mode is CheckpointMode.AUTO
        return [ladder.Way(ref, "files") for ref in refs] if lost == "memory" else []

    def plan_refusal(seed: int) -> Schedule:
        planned = with_memory(seed)
        refusing = tuple(replace(agent, refuses=True) for agent in planned.agents)
        return planned if lost == "memory" else replace(planned, agents=refusing)

    found = find_violation(
        map(plan_refusal, range(SCHEDULES_MAX)), lambda: patch.object(ladder, "ways", ways)
    )
    assert found.startswith("S5: ")


def test_agents_that_are_slow_to_come_back_are_seen() -> None:
    def on_lost(self: Uplink, connection: int, agent: Agent) -> None:
        if connection == self.connection and self.line is not Line.DOWN:
            self.line = Line.DOWN
            self.retry_at = agent.jittered(15.0)

    found = find_violation(
        map(plan, range(SCHEDULES_MAX)), lambda: patch.object(Uplink, "on_lost", on_lost)
    )
    assert found.startswith("L1: ")
    assert "is not connected for" in found


def test_an_order_that_is_answered_before_its_agent_knows_it_is_seen() -> None:
    def on_order(node: Node, agent: AgentEntry, event: OrderHeard, now: Instant) -> OrderReply:
        number_order(node, agent, event, now)
        return OrderReply(ok=True, text="it was told")

    found = find_violation(
        (plan(seed, nodes=3, only=("agent drained", "slow network")) for seed in range(60)),
        lambda: patch.object(wish, "on_order", on_order),
    )
    assert found.startswith("L1: undrained, and take no jobs")


def test_blobs_of_retired_jobs_are_seen() -> None:
    def saving_and_soon_retired(seed: int) -> Schedule:
        planned = plan(seed, nodes=3, only=("agent host lost",))
        jobs = tuple(replace(job, checkpoint_s=0.4, retention_s=2.0) for job in planned.jobs)
        return replace(planned, jobs=jobs)

    found = find_violation(
        map(saving_and_soon_retired, range(SCHEDULES_MAX)),
        lambda: patch.object(BlobStore, "drop", lambda _self, _job: None),
    )
    assert found.startswith("L4: ")
    assert "still stores a blob" in found


def test_progress_from_a_fenced_agent_is_seen() -> None:
    def progress(vote: Vote, _holder: Holder, _epoch: Epoch, done: float, note: str) -> Vote | None:
        if vote.record.decided is not None:
            return None
        return replace(vote, record=replace(vote.record, progress=done, note=note))

    found = find_violation(
        (plan(seed, nodes=3) for seed in range(SCHEDULES_MAX)),
        lambda: patch.object(voter, "progress", progress),
    )
    assert found.startswith("S4: ")
    assert "progress" in found


def test_an_older_checkpoint_while_a_whole_copy_of_the_newest_is_left_is_seen() -> None:
    prepare = Hands._prepare

    def ask_one_store(hands: Hands, effect: PrepareStart) -> None:
        ref = effect.checkpoint
        if ref is not None:
            effect = replace(effect, checkpoint=replace(ref, location=ref.location[:1]))
        prepare(hands, effect)

    def damaged_here_and_there(seed: int) -> Schedule:
        planned = plan(seed, nodes=3, only=("checkpoint damaged", "agent killed"))
        jobs = tuple(replace(job, checkpoint_s=0.4, work_s=6.0) for job in planned.jobs)
        return replace(planned, jobs=jobs)

    found = find_violation(
        map(damaged_here_and_there, range(SCHEDULES_MAX)),
        lambda: patch.object(Hands, "_prepare", ask_one_store),
    )
    assert found.startswith("S5: ")
