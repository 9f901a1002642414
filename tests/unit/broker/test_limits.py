"""Goal: nothing a node keeps grows with names or with time beyond its limit.

Method: limits made small, and more than fits of whatever clients can send.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from broker import agents, beats, dispatcher, intake, limits, line_limit
from broker.event import PeerRecordSeen
from broker.limits import AGENT_FORGET_S, TIDY_BEATS
from broker.node import STALE_TIMERS_MAX
from tests.unit.broker.cluster import TIMING, Agent, Cluster
from workrs.domain.ids import ClientId, Epoch, Instant, JobId
from workrs.domain.record import Record, Version
from workrs.wire import topics
from workrs.wire.message import JobState

ROOT = Path(__file__).parents[3]

if TYPE_CHECKING:
    import pytest

    from broker.agents import AgentEntry


def test_a_submit_beyond_the_open_jobs_is_refused_with_how_long_to_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "OPEN_MAX", 2)
    cluster = Cluster(3)
    first = cluster.submit("n1", "j1")
    cluster.submit("n2", "j2", device="pump-9")
    cluster.submit("n1", "j3", device="pump-8")
    answer = cluster.heard[-1][1]
    assert isinstance(answer.body, JobState)
    assert (answer.body.state, answer.body.retry_after_s) == ("rejected", limits.RETRY_AFTER_S)
    assert "2 open jobs" in str(answer.body.reason)
    assert not answer.retain
    cluster.submit("n1", "j1")
    assert cluster.down_states("pump-7", "j1", at="n1")[-1] == "queued", "a known job is known"
    agent = Agent(cluster)
    agent.claim(first, 1)
    agent.outcome(first, 1)
    cluster.submit("n1", "j3", device="pump-8")
    assert cluster.down_states("pump-8", "j3")[-1] == "queued", "there is room again"


def test_specs_of_open_jobs_count_by_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "OPEN_MAX_BYTES", 60_000)
    cluster = Cluster(3)
    large = cluster.submit("n1", "j1", input="x" * 20_000)
    cluster.submit("n1", "j2")
    assert cluster.down_states("pump-7", "j2") == ["rejected"]
    cluster.stop("n1")
    cluster.start("n1")
    assert cluster.nodes["n1"].open_bytes > 60_000, "counted after a restart, too"
    agent = Agent(cluster)
    agent.claim(large, 1)
    agent.outcome(large, 1)
    assert cluster.nodes["n1"].open_bytes == 0
    cluster.stop("n1")
    cluster.start("n1")
    assert cluster.nodes["n1"].open_bytes == 0, "decided ones take off what they never added"
    cluster.submit("n1", "j2")
    assert cluster.down_states("pump-7", "j2")[-1] == "queued"


def test_an_agent_that_is_gone_for_long_is_forgotten_with_its_view() -> None:
    cluster = Cluster(3)
    gone, stays = Agent(cluster, name="gone"), Agent(cluster, name="stays")
    gone.beat()
    stays.beat()
    gone.will()
    topic = topics.node("n1", "agent", "gone")
    assert cluster.retained["n1"][topic].expiry_s == limits.VIEW_EXPIRY_S
    node = cluster.nodes["n1"]
    beats.forget_gone(node, Instant(cluster.now + AGENT_FORGET_S - 1))
    assert ClientId("gone") in node.agents.entries
    cluster.now += AGENT_FORGET_S
    stays.beat()
    cluster.tick(TIDY_BEATS + 1, step=1.0)
    for name in cluster.names:
        assert list(cluster.nodes[name].agents.entries) == ["stays"]
        assert topics.node(name, "agent", "gone") not in cluster.retained[name]
    gone.beat()
    assert ClientId("gone") in node.agents.entries, "it may come back at any time"


def test_an_agent_that_holds_a_job_is_not_forgotten() -> None:
    cluster = Cluster(1)
    job = cluster.submit("n1", takeover="strict")
    agent = Agent(cluster)
    agent.beat()
    agent.claim(job, 1)
    agent.will()
    node = cluster.nodes["n1"]
    beats.forget_gone(node, Instant(cluster.now + 2 * AGENT_FORGET_S))
    assert ClientId("edge-1") in node.agents.entries


def test_an_agent_known_by_a_lease_alone_goes_with_it() -> None:
    cluster = Cluster(1)
    job = cluster.submit("n1")
    Agent(cluster).claim(job, 1)
    cluster.stop("n1")
    cluster.start("n1")
    assert ClientId("edge-1") in cluster.nodes["n1"].agents.entries
    cluster.tick(11)
    assert not cluster.nodes["n1"].agents.entries


def test_a_new_agent_takes_the_place_of_the_one_gone_longest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agents, "AGENTS_MAX", 3)
    cluster = Cluster(1)
    node = cluster.nodes["n1"]
    for number in range(3):
        Agent(cluster, name=f"a{number}").beat()
        cluster.now += 0.1
    Agent(cluster, name="late").beat()
    assert ClientId("late") not in node.agents.entries, "all others live"
    assert node.dropped == 1
    Agent(cluster, name="a1").will()
    Agent(cluster, name="a0").will()
    cluster.now += agents.LOOK_S
    Agent(cluster, name="late").beat()
    assert sorted(node.agents.entries) == ["a1", "a2", "late"]


def test_a_full_table_is_looked_through_once_a_second_whoever_knocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(agents, "AGENTS_MAX", 50)
    looks: list[float] = []
    look = agents.AgentTable.forgettable

    def counted(table: agents.AgentTable, now: Instant, *, gone_s: float) -> list[AgentEntry]:
        looks.append(now)
        return look(table, now, gone_s=gone_s)

    monkeypatch.setattr(agents.AgentTable, "forgettable", counted)
    cluster = Cluster(1)
    for number in range(50):
        Agent(cluster, name=f"a{number}").beat()
    cluster.tick(2 * TIMING.ttl_s)
    for number in range(20):
        Agent(cluster, name=f"a{number}", counter=1).beat()
    assert not looks
    for number in range(100):
        Agent(cluster, name=f"new{number}").beat()
    known = {f"new{number}" for number in range(30)} | {f"a{number}" for number in range(20)}
    assert set(cluster.nodes["n1"].agents.entries) == known
    assert len(looks) == 1, "one look serves all who find room, and all who do not"
    cluster.now += agents.LOOK_S
    for number in range(100):
        Agent(cluster, name=f"other{number}").beat()
    assert len(looks) == 2


def test_agents_lost_by_the_hundred_are_a_few_lines_of_history_and_a_count() -> None:
    cluster = Cluster(1)
    for number in range(100):
        Agent(cluster, name=f"a{number}").beat()
    cluster.tick(2 * TIMING.ttl_s)
    lost = [fact for _, fact in cluster.facts if fact.event == "agent_lost"]
    assert len(lost) == limits.LINES_PER_BEAT
    rows = [h for h in cluster.disks["n1"].history if h.event == "agent_lost"]
    assert len(rows) == limits.LINES_PER_BEAT
    assert all(entry.gone for entry in cluster.nodes["n1"].agents.entries.values())
    left_out = [fact.fields for _, fact in cluster.facts if fact.event == "lines_left_out"]
    assert {"of": "agent_lost", "count": 80} in left_out


def test_a_will_through_no_nodes_bridge_is_not_heard() -> None:
    cluster = Cluster(1)
    agent = Agent(cluster)
    agent.beat()
    event_topic = f"{topics.ROOT}/relay/stranger/edge-1/beat"
    node = cluster.nodes["n1"]
    cluster.client(
        "n1", event_topic, b'{"incarnation": [1, "edge-1-1"], "connection": 1, "gone": true}'
    )
    assert not node.agents.entries[ClientId("edge-1")].gone
    assert node.dropped == 1


def test_of_too_many_devices_the_one_silent_longest_is_told_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intake, "DEVICES_MAX", 2)
    cluster = Cluster(1)
    for device in ("pump-1", "pump-2", "pump-1", "pump-3"):
        cluster.submit("n1", device=device)
    assert list(cluster.nodes["n1"].local_devices) == ["pump-1", "pump-3"]
    agent = Agent(cluster)
    agent.claim("pump-2_j1", 1)
    agent.outcome("pump-2_j1", 1)
    assert cluster.down_states("pump-2", "j1")[-1] == "succeeded", "its end it hears all the same"


def test_a_flood_of_refusals_is_a_few_lines_and_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_limit, "LINES_PER_BEAT", 5)
    cluster = Cluster(1)
    facts: list[tuple[str, object]] = []
    handle = cluster.handle

    def listen(name: str, batch: list[object]) -> object:
        effects = handle(name, batch)  # type: ignore[arg-type]
        facts.extend((fact.event, fact.fields) for fact in effects.facts)
        return effects

    monkeypatch.setattr(cluster, "handle", listen)
    for number in range(100):
        cluster.client("n1", topics.up("pump-7", "submit", f"j{number}"), b"junk")
    cluster.tick(1.0)
    assert [event for event, _ in facts].count("request_rejected") == 5
    assert ("lines_left_out", {"of": "request_rejected", "count": 95}) in facts
    assert cluster.nodes["n1"].dropped == 100


def test_jobs_that_ended_leave_the_queue_of_those_that_no_agent_can_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher, "QUEUE_SLACK", 10)
    cluster = Cluster(1)
    Agent(cluster).beat()
    node = cluster.nodes["n1"]
    for number in range(40):
        cluster.submit("n1", f"j{number}", constraints={"labels": [f"label-{number}"]})
    for number in range(35):
        cluster.client("n1", topics.up("pump-7", "cancel", f"j{number}"), b"")
    assert len(node.queue) == 40
    cluster.tick(TIDY_BEATS + 1, step=1.0)
    assert len(node.queue) == 5
    fits = replace(Agent(cluster).profile, labels=tuple(f"label-{n}" for n in range(40)))
    Agent(cluster, name="all", profile=fits).beat()
    assert cluster.offered()[-1][1] == "all"


def test_agents_that_let_an_offer_lapse_are_remembered_up_to_a_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dispatcher, "AVOIDED_MAX", 2)
    cluster = Cluster(1)
    for number in range(3):
        Agent(cluster, name=f"a{number}").beat()
    job = cluster.submit("n1")
    sizes = []
    for _ in range(8):
        cluster.tick(1.5)
        for number in range(3):
            Agent(cluster, name=f"a{number}", counter=int(cluster.now)).beat()
        sizes.append(len(cluster.nodes["n1"].entries[job].avoid))
    assert max(sizes) == 2
    assert {client for _, client, _ in cluster.offered()} == {"a0", "a1", "a2"}


def test_timers_that_were_replaced_do_not_pile_up() -> None:
    cluster = Cluster(1)
    node = cluster.nodes["n1"]
    job = cluster.submit("n1")
    for number in range(10 * STALE_TIMERS_MAX):
        node.poke(job, Instant(cluster.now + 1e6 - number))
    assert len(node._timers) <= STALE_TIMERS_MAX + 2 * len(node._due) + 1
    assert node._due[job] == cluster.now + 1e6 - 10 * STALE_TIMERS_MAX + 1


def test_a_record_that_says_nothing_makes_no_job() -> None:
    cluster = Cluster(3)
    for number in range(50):
        job = JobId(f"pump-7_k{number}")
        for blank in (Record(job=job), Record(job=job, retired=True, epoch=Epoch(3))):
            shown = replace(blank, version=Version(1, 99))
            cluster.feed("n1", PeerRecordSeen(ClientId("n2"), shown))
        Agent(cluster).release(job, 1)
    assert not any(node.entries for node in cluster.nodes.values())


def test_texts_in_history_are_cut() -> None:
    cluster = Cluster(1)
    job = cluster.submit("n1")
    agent = Agent(cluster)
    agent.claim(job, 1)
    agent.release(job, 1, reason="x" * 4000)
    notes = [note for note in cluster.disks["n1"].history if note.event == "released"]
    assert [note.facts["reason"] for note in notes] == ["x" * limits.HISTORY_TEXT_MAX]


def _stated() -> dict[str, float]:
    """Return the values in the table of docs/architecture.md, in bytes and seconds."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    table = text.partition("<!-- limits:")[2].partition("<!-- end of limits -->")[0]
    found = {}
    for name, value, unit in re.findall(r"\| `(\w+)` \| ([\d,.]+) ?(MiB|s|) \|", table):
        found[name] = float(value.replace(",", "")) * (1 << 20 if unit == "MiB" else 1)
    return found


def test_the_document_states_every_limit_with_its_value() -> None:
    assert _stated() == {
        name: value for name, value in vars(limits).items() if name.isupper() and name != "Final"
    }
