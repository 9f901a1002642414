"""The fold over the bus: states by majority, order without meaning, junk without effect."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from workrs.domain.dispatch import AgentProfile
from workrs.domain.ids import ClientId, Epoch, JobId
from workrs.domain.job import JobSpec, Outcome, StoredSpec, Verdict, digest_of
from workrs.domain.record import Accepted, CheckpointRef, Holder, Incarnation, Record, Version
from workrs.wire import codec, topics
from workrs.wire.message import AgentView, NodeState
from workrs.wire.view import ClusterView, JobView

NODES = ("n1", "n2", "n3")
JOB = JobId("pump-7_sum")
STORED = StoredSpec(
    job=JOB, request=digest_of(b"r"), spec=JobSpec(image="busybox", command=("true",))
)
DIGEST = digest_of(codec.encode(STORED))
HOLDER = Holder(client=ClientId("agent-1"), incarnation=Incarnation(2, "00" * 8))
DONE = Outcome(verdict=Verdict.FAILED, exit_code=3, reason="exit 3")
STORED_RECORD = Record(job=JOB, version=Version(1, 1), digest=DIGEST)
HELD = replace(
    STORED_RECORD, version=Version(1, 2), epoch=Epoch(1), holder=HOLDER, attempt=1, progress=0.25
)


def view_of(records: dict[str, Record], *, nodes: tuple[str, ...] = NODES) -> ClusterView:
    view = ClusterView()
    for node in nodes:
        state = NodeState(boot=1, nonce="x", nodes=NODES)
        view.apply(topics.node(node, "state"), codec.encode(state))
    for node, record in records.items():
        view.apply(topics.record(node, JOB), codec.encode(record))
    return view


def job_of(records: dict[str, Record]) -> JobView:
    found = view_of(records).job(JOB)
    assert found is not None
    return found


def test_a_job_on_one_disk_of_three_is_still_arriving() -> None:
    assert job_of({"n1": STORED_RECORD}).state == "arriving"


def test_a_job_on_the_disks_of_a_majority_is_queued() -> None:
    found = job_of({"n1": STORED_RECORD, "n2": STORED_RECORD})
    assert (found.state, found.agent, found.device, found.id) == ("queued", None, "pump-7", "sum")


def test_a_lease_needs_a_majority_to_show() -> None:
    assert job_of({"n1": HELD, "n2": STORED_RECORD, "n3": STORED_RECORD}).state == "queued"
    found = job_of({"n1": HELD, "n2": replace(HELD, progress=0.5), "n3": STORED_RECORD})
    assert (found.state, found.agent, found.epoch, found.attempt) == ("running", "agent-1", 1, 1)
    assert found.progress == 0.5


def test_progress_of_an_older_epoch_is_not_shown() -> None:
    late = replace(HELD, epoch=Epoch(2), progress=0.1)
    old = replace(HELD, progress=0.9)
    assert job_of({"n1": late, "n2": late, "n3": old}).progress == 0.1


def test_the_newest_checkpoint_of_any_node_is_shown() -> None:
    refs = [
        CheckpointRef(
            epoch=Epoch(1),
            seq=seq,
            manifest=digest_of(b"m"),
            location=("x",),
            rung="files",
            bytes=1,
        )
        for seq in (1, 2)
    ]
    found = job_of(
        {"n1": replace(HELD, checkpoints=(refs[0],)), "n2": replace(HELD, checkpoints=(refs[1],))}
    )
    assert found.checkpoint == refs[1]


def test_a_wish_to_cancel_is_shown_until_there_is_an_outcome() -> None:
    records = {"n1": replace(HELD, cancel=True), "n2": HELD}
    assert job_of(records).state == "cancelling"
    done = replace(HELD, decided=DONE, decided_digest=DONE.digest())
    assert job_of({**records, "n3": done}).state == "failed"


def test_a_decision_seen_anywhere_is_final_and_so_is_a_majority_of_acceptances() -> None:
    accepted = replace(HELD, accepted=Accepted(epoch=Epoch(1), outcome=DONE, digest=DONE.digest()))
    assert job_of({"n1": accepted, "n2": HELD, "n3": HELD}).state == "running"
    found = job_of({"n1": accepted, "n2": accepted})
    assert (found.state, found.outcome, found.reason, found.agent) == (
        "failed",
        DONE,
        "exit 3",
        None,
    )
    assert not found.is_open


def test_the_reason_of_the_last_attempt_is_shown_while_queued() -> None:
    released = replace(HELD, holder=None, reason="exit 1")
    assert job_of({"n1": released, "n2": released}).reason == "exit 1"


def test_a_spec_is_shown_with_its_job_and_goes_with_its_topic() -> None:
    view = view_of({"n1": STORED_RECORD})
    topic = topics.node("n1", "spec", JOB)
    view.apply(topic, codec.encode(STORED))
    found = view.job(JOB)
    assert found is not None
    assert found.spec == STORED
    view.apply(topic, b"junk")
    found = view.job(JOB)
    assert found is not None
    assert found.spec is None
    view.apply(topics.node("n2", "spec", JOB), codec.encode(STORED))
    view.apply(topic, b"")
    view.apply(topic, b"")
    found = view.job(JOB)
    assert found is not None
    assert found.spec == STORED


def test_emptied_records_take_the_job_away() -> None:
    view = view_of({"n1": HELD, "n2": HELD})
    view.apply(topics.record("n1", JOB), b"")
    assert view.job_ids() == [JOB]
    view.apply(topics.record("n2", JOB), b"")
    view.apply(topics.record("n2", JOB), b"")
    assert view.job_ids() == []
    assert view.job(JOB) is None


@given(
    st.permutations(
        [
            ("n1", STORED_RECORD),
            ("n1", HELD),
            ("n1", replace(HELD, version=Version(2, 1), epoch=Epoch(3))),
            ("n2", HELD),
            ("n2", replace(HELD, version=Version(1, 9), epoch=Epoch(3))),
        ]
    )
)
def test_the_order_of_messages_does_not_matter(messages: list[tuple[str, Record]]) -> None:
    view = view_of({})
    for node, record in [*messages, messages[0]]:
        view.apply(topics.record(node, JOB), codec.encode(record))
    found = view.job(JOB)
    assert found is not None
    assert (found.state, found.epoch, found.nodes) == ("running", 3, 2)


@given(st.text(max_size=60), st.binary(max_size=60))
def test_junk_is_counted_and_changes_nothing(topic: str, payload: bytes) -> None:
    view = view_of({"n1": HELD})
    before = view.jobs()
    view.apply(topic, payload)
    view.apply(topics.record("n1", JOB), b"x" + payload)
    view.apply(topics.record("n2", "pump-8_sum"), codec.encode(HELD))
    view.apply(topics.node("n1", "state"), b"{}")
    view.apply(topics.node("n1", "offer", "agent-1"), payload)
    assert view.jobs() == before
    assert view.junk >= 3


def agent_view(number: int, connection: int, counter: int, **more: bool) -> AgentView:
    profile = AgentProfile(
        slots=2, arch="amd64", memory_mb=1, cpus=1.0, draining=more.get("draining", False)
    )
    return AgentView(
        incarnation=Incarnation(number, "00" * 8),
        connection=connection,
        counter=counter,
        profile=None if more.get("gone") else profile,
        gone=more.get("gone", False),
    )


def agents_of(views: dict[str, AgentView]) -> ClusterView:
    view = view_of({"n1": HELD, "n2": HELD})
    for node, one in views.items():
        view.apply(topics.node(node, "agent", "agent-1"), codec.encode(one))
    return view


def test_an_agent_is_as_the_node_that_heard_it_last_sees_it() -> None:
    view = agents_of({"n1": agent_view(2, 1, 9), "n2": agent_view(1, 7, 99, gone=True)})
    (agent,) = view.agents()
    assert (agent.state, agent.incarnation, agent.nodes) == ("live", 2, 1)
    assert agent.jobs == (JOB,)


def test_a_will_counts_when_nothing_newer_was_heard() -> None:
    gone = agents_of({"n1": agent_view(2, 1, 9), "n2": agent_view(2, 1, 9, gone=True)})
    assert gone.agents()[0].state == "gone"
    assert gone.agents()[0].profile is not None, "what it could do is still known"
    back = agents_of({"n1": agent_view(2, 2, 10), "n2": agent_view(2, 1, 9, gone=True)})
    assert back.agents()[0].state == "live"


def test_a_draining_agent_says_so() -> None:
    assert agents_of({"n1": agent_view(2, 1, 9, draining=True)}).agents()[0].state == "draining"


def test_an_emptied_agent_topic_takes_it_away() -> None:
    view = agents_of({"n1": agent_view(2, 1, 9)})
    view.apply(topics.node("n1", "agent", "agent-1"), b"")
    assert view.agents() == []


def test_nodes_that_never_spoke_are_listed_when_others_name_them() -> None:
    view = view_of({}, nodes=("n1",))
    assert [(node.node, node.state is None) for node in view.nodes()] == [
        ("n1", False),
        ("n2", True),
        ("n3", True),
    ]
    view.apply(topics.node("n1", "state"), b"")
    assert view.nodes() == []


def test_without_any_node_state_the_nodes_seen_in_records_count() -> None:
    view = view_of({"n1": HELD}, nodes=())
    assert view.size == 1
    assert ClusterView().size == 1


def test_without_any_node_state_what_few_show_is_no_decision() -> None:
    """Two show it as accepted; there may be five nodes."""
    accepted = replace(HELD, accepted=Accepted(epoch=Epoch(1), outcome=DONE, digest=DONE.digest()))
    records = {"n1": accepted, "n2": accepted}
    view = view_of(records, nodes=())
    found = view.job(JOB)
    assert found is not None
    assert found.outcome is None
    view.apply(topics.node("n1", "state"), codec.encode(NodeState(boot=1, nonce="x", nodes=NODES)))
    found = view.job(JOB)
    assert found is not None
    assert found.outcome == DONE
    decided = replace(HELD, decided=DONE, decided_digest=DONE.digest())
    found = view_of({"n1": decided}, nodes=()).job(JOB)
    assert found is not None
    assert found.outcome == DONE


def test_the_short_record_of_a_retired_job_is_no_job_on_the_bus() -> None:
    short = replace(HELD, decided=DONE, decided_digest=DONE.digest(), retired=True)
    assert view_of({"n1": short, "n2": short}).jobs() == []
    found = view_of({"n1": HELD, "n2": HELD}).job(JOB)
    assert found is not None
    assert found.nodes == 2
    view = view_of({"n1": HELD, "n2": HELD})
    view.apply(topics.record("n1", JOB), codec.encode(short))
    left = view.job(JOB)
    assert left is not None
    assert left.nodes == 1
