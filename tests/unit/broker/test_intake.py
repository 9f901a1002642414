"""Goal: one job per id, told only what is true, whoever submits what where and when.

Method: a cluster in memory with real ledgers; devices at different nodes, nodes cut off.
"""

from __future__ import annotations

import json

import pytest

from broker.front import plain_word
from tests.unit.broker.cluster import Agent, Cluster
from workrs.domain.errors import LedgerError
from workrs.wire import topics
from workrs.wire.message import JobState, State

JOB = "pump-7_j1"


def told(cluster: Cluster, at: str = "") -> list[JobState]:
    return [
        p.body
        for name, p in cluster.heard
        if isinstance(p.body, JobState) and at in ("", name) and "/pump-7/" in p.topic
    ]


def digests(cluster: Cluster, job: str = JOB) -> list[str | None]:
    return [cluster.record(name, job).digest for name in cluster.names]


@pytest.mark.parametrize("size", [1, 3, 5])
def test_a_job_is_on_every_disk_before_its_device_is_told(size: int) -> None:
    cluster = Cluster(size)
    cluster.submit("n1")
    assert cluster.down_states("pump-7", "j1") == ["accepted", "queued"]
    assert len({disk.jobs[JOB].digest for disk in cluster.disks.values()}) == 1  # type: ignore[index]
    assert {p.topic for _, p in cluster.heard if "/spec/" in p.topic} == {
        topics.node("n1", "spec", JOB)
    }


def test_without_a_majority_nothing_is_accepted_until_it_is_back() -> None:
    cluster = Cluster(3)
    cluster.part("n1", "n2", "n3")
    cluster.submit("n1")
    assert cluster.down_states("pump-7", "j1") == []
    cluster.tick(20)
    cluster.submit("n1")
    assert set(cluster.down_states("pump-7", "j1")) == {"waiting"}
    cluster.heal()
    states = cluster.down_states("pump-7", "j1")
    assert set(states[states.index("accepted") + 1 :]) == {"queued"}


def test_a_majority_is_enough() -> None:
    cluster = Cluster(5)
    cluster.stop("n4", "n5")
    cluster.submit("n1")
    assert cluster.down_states("pump-7", "j1") == ["accepted", "queued"]
    cluster.stop("n3")
    cluster.submit("n1", "j2")
    assert cluster.down_states("pump-7", "j2") == []


def test_submitting_the_same_again_anywhere_is_the_same_job() -> None:
    cluster = Cluster(3)
    for at in ("n1", "n2", "n3") * 5:
        cluster.submit(at)
    assert [len(node.entries) for node in cluster.nodes.values()] == [1, 1, 1]
    assert len(set(digests(cluster))) == 1
    assert "rejected" not in cluster.down_states("pump-7", "j1")
    assert cluster.down_states("pump-7", "j1", at="n3")[-1] == "queued"


def test_a_resubmit_before_the_majority_shows_spec_and_vote_again() -> None:
    cluster = Cluster(3)
    cluster.stop("n2", "n3")
    cluster.submit("n1")
    before = len(cluster.heard)
    cluster.submit("n1")
    again = [p.topic for _, p in cluster.heard[before:]]
    assert again == [topics.record("n1", JOB), topics.node("n1", "spec", JOB)]


def test_another_spec_under_a_used_id_changes_nothing_and_is_told_why() -> None:
    cluster = Cluster(3)
    cluster.submit("n1")
    before = digests(cluster)
    for at in cluster.names:
        cluster.submit(at, command=["false"])
        answer = told(cluster, at)[-1]
        assert answer.state is State.REJECTED
        assert "this job id was used before for another spec" in (answer.reason or "")
    assert digests(cluster) == before
    assert not [p for _, p in cluster.heard if p.retain and "rejected" in str(p.body)]


def test_of_two_specs_at_once_the_majoritys_wins_and_the_loser_is_told() -> None:
    cluster = Cluster(3)
    cluster.part("n1", "n2", "n3")
    cluster.submit("n1", command=["loser"])
    cluster.submit("n2", command=["winner"])
    cluster.heal()
    assert len(set(digests(cluster))) == 1
    assert cluster.nodes["n1"].entries[JOB].stored.spec.command == ("winner",)  # type: ignore[index,union-attr]
    lost = [s for s in told(cluster, "n1") if s.state is State.REJECTED]
    assert [s.reason for s in lost] == [
        "another spec of this id, submitted at the same time, was taken"
    ]
    shown = cluster.retained["n1"][topics.node("n1", "spec", JOB)].body
    assert b"winner" in shown, "the losing spec must not stay on the bus"  # type: ignore[operator]


def test_a_pair_of_specs_waits_for_the_third_node() -> None:
    cluster = Cluster(3)
    cluster.stop("n3")
    cluster.part("n1", "n2")
    cluster.submit("n1", command=["one"])
    cluster.submit("n2", command=["two"])
    cluster.heal()
    cluster.tick(30)
    assert "accepted" not in cluster.down_states("pump-7", "j1")
    cluster.start("n3")
    assert len(set(digests(cluster))) == 1
    assert "accepted" in cluster.down_states("pump-7", "j1")


def test_three_specs_at_once_expire_and_everybody_is_told() -> None:
    cluster = Cluster(3)
    cluster.part("n1", "n2", "n3")
    cluster.part("n2", "n3")
    for at in cluster.names:
        cluster.submit(at, command=[at])
    cluster.heal()
    cluster.tick(12)
    for at in cluster.names:
        assert cluster.down_states("pump-7", "j1", at=at)[-1] == "expired"
        assert cluster.record(at, JOB).decided is not None
    assert "accepted" not in cluster.down_states("pump-7", "j1")
    assert "submit again under a new id" in (told(cluster)[-1].reason or "")


def test_a_device_that_moved_is_answered_where_it_speaks() -> None:
    cluster = Cluster(3)
    cluster.submit("n1", "j1")
    cluster.submit("n2", "j2")
    before = len(cluster.heard)
    agent = Agent(cluster)
    agent.claim(JOB, 1)
    spoken = {name for name, p in cluster.heard[before:] if "/down/pump-7/" in p.topic}
    assert spoken == {"n2"}


def test_a_plain_word_is_one_line_whatever_the_program_wrote() -> None:
    state = JobState(v=1, job="j1", state=State.FAILED, reason="exit code 1\nTraceback:\r\n  x")
    assert plain_word(state) == b"failed exit code 1 Traceback: x"


def test_a_function_gets_its_input_and_answers_in_plain_words() -> None:
    cluster = Cluster(3)
    cluster.client("n1", topics.up("pump-7", "run", "echo", "j1"), b"\x00\xff")
    stored = cluster.nodes["n3"].entries[JOB].stored  # type: ignore[index]
    assert stored is not None
    assert stored.spec.input_bytes() == b"\x00\xff"
    assert cluster.down_states("pump-7", "j1", "state") == ["accepted", "queued"]
    agent = Agent(cluster)
    agent.claim(JOB, 1)
    agent.progress(JOB, 1, 0.25)
    agent.outcome(JOB, 1)
    assert cluster.down_states("pump-7", "j1", "state", at="n1") == [
        "accepted",
        "queued",
        "running",
        "running 0.25",
        "succeeded",
    ]
    assert cluster.down_states("pump-7", "j1", "out", at="n2") == ["42\n"]
    assert cluster.down_states("pump-7", "j1") == []


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("submit/j1", b"junk", "not valid JSON"),
        ("submit/j1", b'{"image":"a","command":["x"],"colour":1}', "unknown field 'colour'"),
        ("submit/j1", b"x" * 100_000, "the spec has 100000 bytes, at most 98304 are taken"),
        ("submit/j1", b'{"function":"nope"}', "function 'nope' is not known here; known: echo"),
        ("submit/J1", b"{}", "job id 'J1' is not allowed"),
        ("submit/a/b", b"{}", "the topic must end in submit/JOB"),
        ("cancel/j9", b"", "there is no job of this id to cancel"),
    ],
)
def test_a_bad_request_is_refused_with_what_to_change(
    topic: str, payload: bytes, reason: str
) -> None:
    cluster = Cluster(1)
    cluster.client("n1", f"{topics.ROOT}/up/pump-7/{topic}", payload)
    [answer] = told(cluster)
    assert answer.state is State.REJECTED
    assert reason in (answer.reason or "")
    assert len(answer.reason or "") <= 1000
    cluster.submit("n1")
    assert cluster.down_states("pump-7", "j1")[-1] == "queued"


@pytest.mark.parametrize(
    ("device", "topic", "payload", "reason"),
    [
        ("pump-7", "run/nope/j1", b"", "function 'nope' is not known here"),
        ("pump-7", "run/private/j1", b"", "function 'private' may not be called by pump-7"),
        ("pump-7", "run/echo/j1", b"x" * 32_769, "run/ takes at most 32768"),
        ("pump-7", "run/echo", b"", "the topic must end in run/FUNCTION/JOB"),
        ("pump-7", "run/Echo/j1", b"", "name 'Echo' is not allowed"),
    ],
)
def test_a_bad_run_is_refused_in_plain_words(
    device: str, topic: str, payload: bytes, reason: str
) -> None:
    cluster = Cluster(1)
    cluster.client("n1", f"{topics.ROOT}/up/{device}/{topic}", payload)
    [word] = [p.body for _, p in cluster.heard if "/down/" in p.topic]
    assert isinstance(word, bytes)
    assert word.startswith(b"rejected ")
    assert reason in word.decode()


def test_an_input_at_the_limit_is_taken() -> None:
    cluster = Cluster(1)
    cluster.client("n1", topics.up("pump-7", "run", "echo", "j1"), b"x" * 32_768)
    assert cluster.down_states("pump-7", "j1", "state")[-1] == "queued"


def test_a_caller_of_its_own_function_may_change_its_limits_and_add_to_it() -> None:
    cluster = Cluster(1)
    body = {"function": "private", "env": {"A": "1"}, "timeout_s": 5, "input": None}
    cluster.client("n1", topics.up("pump-1", "submit", "j1"), json.dumps(body).encode())
    stored = cluster.nodes["n1"].entries["pump-1_j1"].stored  # type: ignore[index]
    assert stored is not None
    assert (stored.function, stored.spec.command) == ("private", ("true",))
    assert (stored.spec.timeout_s, stored.spec.env) == (5, {"A": "1"})


def test_a_full_disk_is_the_shells_trouble_and_nothing_was_said() -> None:
    cluster = Cluster(3)
    cluster.disks["n1"].broken = "disk full"
    with pytest.raises(LedgerError):
        cluster.submit("n1")
    assert cluster.down_states("pump-7", "j1") == []
