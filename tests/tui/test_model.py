"""Goal: the model says what the records say, and what happened between two of them.

Method: real messages of a made-up cluster, folded at instants of the test's choice.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.tui.stage import BEGUN, Stage
from tui.model import cluster
from tui.model import job as jobs_rule
from tui.model.age import Since, duration
from tui.model.cluster import Model
from tui.model.event import Kind
from tui.model.node import hear
from tui.model.opened import Opened, printable_lines
from tui.scene import Said, Scene, play
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.job import Verdict, outcome_with_result
from workrs.domain.record import Incarnation, Record
from workrs.wire import codec, topics
from workrs.wire.message import AgentView


def kinds(stage: Stage) -> list[Kind]:
    return [event.kind for event in stage.model.events]


def test_what_was_there_before_is_no_news() -> None:
    stage = Stage(Scene(agents=2, jobs=5))
    assert kinds(stage) == [Kind.WATCHING]
    assert stage.model.counts["running"] == 4
    assert stage.model.counts["queued"] == 1
    assert all(job.since.before for job in stage.model.jobs.values())


def test_half_a_snapshot_shows_no_job() -> None:
    model = Model()
    model.begin("here", Instant(0))
    play(Scene(agents=1, jobs=2).begin(), lambda t, p: model.apply(t, p, Instant(0)))
    assert not model.settle(Instant(0), limit=100)
    assert model.jobs == {}
    model.complete(Instant(0))
    model.settle(Instant(0), limit=100)
    assert len(model.jobs) == 2


def test_a_killed_agents_job_is_an_orphan_after_the_grace_and_then_taken_over() -> None:
    stage = Stage(Scene(agents=2, jobs=1, slots=1, speed=0.001), quiet_s=2)
    (job,) = stage.model.jobs.values()
    first = job.view.agent
    assert first is not None
    stage.hear(stage.scene.kill(first))
    grace_s = stage.model.timing.reconnect_grace_s
    assert stage.model.lease_left_s(job, stage.now) == pytest.approx(grace_s)
    assert stage.model.lease_left_s(job, Instant(stage.now + grace_s)) == 0.0
    stage.pass_s(1)
    assert job.view.agent not in (None, first)
    assert job.takeovers == 1
    assert [e.kind for e in job.timeline][-3:] == [Kind.TAKEN_OVER, Kind.STARTED] or (
        Kind.TAKEN_OVER in [e.kind for e in job.timeline]
    )
    stage.pass_s(1)
    assert stage.model.history.last("takeovers", 2).count(1) == 1


def released_then_claimed(*, released: bool) -> list[Kind]:
    """Return what is told of a job that a second agent claims."""
    stage = Stage(Scene(agents=2, jobs=1, slots=1, speed=0.0), quiet_s=1)
    ((job, known),) = stage.model.jobs.items()
    record = stage.model.view.records(job)[ClientId("n1")]
    assert record.holder is not None
    other = next(name for name in stage.model.agents if name != known.view.agent)
    steps = [replace(record, holder=None)] if released else []
    holder = replace(record.holder, client=other)
    steps.append(replace(record, holder=holder, epoch=Epoch(record.epoch + 1)))
    for number, step in enumerate(steps, start=1):
        for node in ("n1", "n2", "n3"):
            version = replace(step, version=record.version._replace(step=10_000 + number))
            stage.model.apply(topics.record(node, job), codec.encode(version), stage.now)
    stage.settle()
    return [event.kind for event in known.timeline]


def test_a_claim_after_a_release_is_no_takeover() -> None:
    assert Kind.TAKEN_OVER not in released_then_claimed(released=True)
    assert Kind.CLAIMED in released_then_claimed(released=True)


def test_a_claim_by_another_without_a_release_is_a_takeover() -> None:
    assert Kind.TAKEN_OVER in released_then_claimed(released=False)


def test_progress_alone_is_taken_in_and_none_of_an_older_epoch() -> None:
    stage = Stage(Scene(agents=1, jobs=1, slots=1, speed=0.0), quiet_s=1)
    ((job, known),) = stage.model.jobs.items()
    record = stage.model.view.records(job)[ClientId("n1")]
    at = known.progress
    assert at is not None
    for number, (progress, note) in enumerate([(at + 0.05, "a"), (at + 0.02, "b")], start=1):
        version = record.version._replace(step=10_000 + number)
        shown = replace(record, progress=progress, note=note, version=version)
        stage.hear([Said(topics.record("n1", job), codec.encode(shown))])
    jobs_rule.move_on(known, replace(record, epoch=Epoch(0), progress=0.99))
    assert known.progress == pytest.approx(at + 0.05)
    assert known.note == "a"


def test_what_is_told_bit_by_bit_is_what_all_of_it_says() -> None:
    stage = Stage(Scene(agents=4, jobs=12, speed=0.1, seed=5), quiet_s=25)
    for job, known in stage.model.jobs.items():
        told = replace(known.view, progress=known.progress, note=known.note)
        assert told == stage.model.view.job(job)


def test_a_lease_runs_down_without_heartbeats_and_a_heartbeat_renews_it() -> None:
    stage = Stage(Scene(agents=1, jobs=1, speed=0.0), quiet_s=4)
    (job,) = stage.model.jobs.values()
    ttl_s = stage.model.timing.ttl_s
    stage.silence_s(6)
    left_s = stage.model.lease_left_s(job, stage.now)
    assert left_s is not None
    assert left_s <= ttl_s - 6
    stage.pass_s(2)
    renewed_s = stage.model.lease_left_s(job, stage.now)
    assert renewed_s is not None
    assert renewed_s > ttl_s - 2


def test_the_same_heartbeat_from_a_second_node_renews_nothing() -> None:
    stage = Stage(Scene(agents=1, jobs=0), quiet_s=4)
    (agent,) = stage.model.agents.values()
    at = agent.beat.at
    stage.silence_s(5)
    again = [each for each in stage.scene.begin() if "/agent/" in each.topic]
    stage.hear(again)
    assert agent.beat.at == at


def test_a_node_is_silent_after_three_seconds_and_its_loss_is_told() -> None:
    stage = Stage(Scene(), quiet_s=2)
    stage.scene.cut = frozenset({"n3"})
    stage.pass_s(3)
    assert stage.model.nodes[ClientId("n3")].health(stage.now) == "ok"
    stage.pass_s(1)
    assert stage.model.nodes[ClientId("n3")].health(stage.now) == "silent"
    assert Kind.NODE_SILENT in kinds(stage)
    assert stage.model.minority(stage.now) == ""
    stage.scene.cut = frozenset()
    stage.pass_s(1)
    assert Kind.NODE_LIVE in kinds(stage)


def test_one_node_of_three_is_a_minority_and_two_are_not() -> None:
    stage = Stage(Scene(), quiet_s=2)
    stage.scene.cut = frozenset({"n1", "n2"})
    stage.pass_s(5)
    assert "only n3" in stage.model.minority(stage.now)


def test_rates_are_what_nodes_published_in_a_second() -> None:
    stage = Stage(Scene(agents=4, jobs=0), quiet_s=12)
    # Each agent is heard every other second, by every node.
    assert stage.model.nodes[ClientId("n1")].rate == pytest.approx(2.0, abs=0.7)


def test_states_that_come_in_a_heap_make_no_rate_that_was_never_there() -> None:
    stage = Stage(Scene(agents=4, jobs=0), quiet_s=12)
    node = stage.model.nodes[ClientId("n1")]
    assert node.state is not None
    before = node.rate
    for held_up in range(1, 4):
        later = replace(node.state, sent=node.state.sent + 2)
        hear(node, later, Instant(stage.now + held_up / 1000), retained=False)
    assert node.state.sent == later.sent
    assert node.rate == before
    hear(node, later, Instant(stage.now + 4), retained=False)
    assert node.rate == pytest.approx(1.75, abs=0.35)


def test_another_node_goes_on_where_the_lost_one_was() -> None:
    stage = Stage(Scene(agents=2, jobs=4, refill=False), quiet_s=5)
    events = len(stage.model.events)
    jobs = set(stage.model.jobs)
    stage.model.lose("gone", stage.now)
    stage.model.lose("gone still", stage.now)
    assert kinds(stage)[events:] == [Kind.NODE_LOST]
    stage.model.begin("there", stage.now)
    assert stage.model.trouble == ""
    stage.hear(stage.scene.begin())
    assert set(stage.model.jobs) == jobs
    stage.model.complete(stage.now)
    stage.settle()
    assert set(stage.model.jobs) == jobs
    assert kinds(stage)[events:] == [Kind.NODE_LOST, Kind.WATCHING]


def test_what_left_the_bus_meanwhile_is_not_shown_any_more() -> None:
    stage = Stage(Scene(agents=1, jobs=3))
    stage.model.begin("there", stage.now)
    stage.hear(each for each in stage.scene.begin() if "/job/" not in each.topic)
    stage.model.complete(stage.now)
    stage.settle()
    assert stage.model.jobs == {}
    assert sum(stage.model.counts.values()) == 0
    assert stage.model.held == {}


def test_only_the_longest_ended_jobs_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "JOBS_MAX", 10)
    stage = Stage(Scene(agents=2, jobs=8, speed=0.6), quiet_s=30)
    assert len(stage.model.jobs) <= 10
    assert stage.model.forgotten > 10
    open_jobs = [job for job in stage.model.jobs.values() if job.view.is_open]
    assert len(open_jobs) == 8


def test_of_jobs_that_have_left_the_bus_nothing_is_kept() -> None:
    stage = Stage(Scene(agents=2, jobs=8, speed=0.6), quiet_s=30)
    ended = [job for job, known in stage.model.jobs.items() if not known.view.is_open]
    assert len(ended) > 10
    stage.hear(Said(topics.record(name, job), b"") for job in ended for name in stage.scene.names)
    assert not stage.model.jobs.keys() & set(ended)
    assert stage.model._ended == {}
    assert not stage.model._released.keys() & set(ended)


def test_an_agent_that_only_a_stranger_among_the_nodes_shows_is_shown() -> None:
    stage = Stage(Scene(agents=1, jobs=1))
    view = AgentView(incarnation=Incarnation(1, "9f2c4be1a0d35c77"), connection=1, counter=1)
    shown = Said(topics.node(ClientId("n9"), "agent", "a9"), codec.encode(view))
    stage.hear([shown])
    assert stage.model.agents[ClientId("a9")].state == "live"


def test_counts_and_holdings_are_those_of_the_jobs() -> None:
    stage = Stage(Scene(agents=5, jobs=30, speed=0.2), quiet_s=25)
    states = [job.state for job in stage.model.jobs.values()]
    assert {s: states.count(s) for s in states} == {
        s: n for s, n in stage.model.counts.items() if n
    }
    for name, agent in stage.model.agents.items():
        held = [j for j in stage.model.jobs.values() if j.view.agent == name and j.view.is_open]
        assert agent.held == len(held) == len(stage.model.held.get(name, ()))


def test_throughput_counts_each_end_once() -> None:
    stage = Stage(Scene(agents=2, jobs=4, speed=0.3, refill=False), quiet_s=20)
    ended = sum(not job.view.is_open for job in stage.model.jobs.values())
    assert ended == 4
    assert sum(stage.model.history.last("throughput", 100)) == 4


def test_results_and_specs_are_kept_of_the_opened_job_alone() -> None:
    stage = Stage(Scene(agents=1, jobs=1, refill=False, speed=1.0), quiet_s=2)
    (job,) = stage.model.jobs
    for record in stage.model.view.records(job).values():
        assert record.decided is not None
        assert record.decided.inline_result() is None
    stage.model.opened = Opened(job=job)
    stage.hear(stage.scene.begin())
    assert stage.model.opened.outcome is not None
    assert stage.model.opened.outcome.inline_result() == b"42\n"


def test_a_retired_form_does_not_take_an_opened_result_away() -> None:
    opened = Opened(job=JobId("d_j"))
    full = outcome_with_result(Verdict.SUCCEEDED, b"x", exit_code=0)
    for outcome in (full, replace(full, result=None)):
        record = Record(job=JobId("d_j"), decided=outcome)
        opened.apply(topics.record("n1", "d_j"), codec.encode(record), Instant(0))
    assert opened.outcome == full


def test_a_log_cannot_steer_the_terminal() -> None:
    lines = printable_lines(b"a\x1b[2Jb\r\n\xff\tc\x07")
    assert lines == ("a·[2Jb", "\N{REPLACEMENT CHARACTER}   c·")


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"\xff", b'{"job": "x"}'])
@pytest.mark.parametrize(
    "topic", ["job/a_b", "agent/a1", "state", "spec/a_b", "log/a_b", "nothing"]
)
def test_junk_changes_nothing(topic: str, payload: bytes) -> None:
    stage = Stage(Scene(agents=1, jobs=1), quiet_s=2)
    stage.model.opened = Opened(job=JobId("a_b"))
    before = dict(stage.model.counts)
    stage.hear([Said(f"{topics.ROOT}/node/n9/{topic}", payload)])
    assert {s: n for s, n in stage.model.counts.items() if n} == before


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (3599, "59m"),
        (3600, "1h"),
        (86400, "1d"),
        (9e6, "104d"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_age_says_when_it_may_be_more() -> None:
    assert Since(Instant(BEGUN), before=True).text(Instant(BEGUN + 5)) == ">5s"
    assert Since(Instant(BEGUN)).text(Instant(BEGUN - 1)) == "0s"


def test_a_node_that_was_never_reached_is_named() -> None:
    model = Model()
    model.lose("no broker", Instant(0.0), at="127.0.0.1:1")
    assert [event.subject for event in model.events] == ["127.0.0.1:1"]
