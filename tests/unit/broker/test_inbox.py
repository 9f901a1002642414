"""Goal: nothing that can arrive on the bus stops a node, and a device is told what it did wrong.

Method: junk topics and payloads through the inbox and on through a whole brain.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.event import CancelHeard, Refused, SubmitHeard
from broker.inbox import NAME_MAX, Dropped, intake_subscriptions, parse, vote_subscriptions
from tests.unit.broker.cluster import Cluster
from tests.unit.wire.test_topics import LEVEL
from tests.unit.wire.values import REQUESTS, STATES, values
from workrs.domain.ids import ClientId, JobId
from workrs.domain.job import JobSpec, StoredSpec
from workrs.domain.record import Record
from workrs.domain.rollback import Seen
from workrs.ports.bus import PAYLOAD_MAX_BYTES, Message
from workrs.wire import codec, message, topics
from workrs.wire.message import AgentView, NodeState

ME = ClientId("n1")
TOPIC = (
    st.builds(
        lambda head, levels: "/".join((topics.ROOT, head, *levels)),
        st.sampled_from(["up", "relay", "relay/n2", "node", "node/n2", "down", ""]),
        st.lists(LEVEL, max_size=5),
    )
    | st.text()
)
LEGAL = st.sampled_from(
    [
        *(f"up/edge-1/{verb}/pump-7_j1" for verb in sorted(topics.AGENT_VERBS)),
        "up/edge-1/beat",
        "up/ops/order/o1",
        "up/pump-7/submit/j1",
        "up/pump-7/run/echo/j1",
        "up/pump-7/cancel/j1",
        "relay/n2/edge-1/beat",
        "relay/n2/edge-1/claim/pump-7_j1",
        "node/n2/job/pump-7_j1",
        "node/n2/spec/pump-7_j1",
        "node/n2/state",
        "node/n2/agent/edge-1",
    ]
).map(lambda rest: f"{topics.ROOT}/{rest}")
PAYLOAD = st.binary(max_size=40) | st.sampled_from([*REQUESTS, *STATES]).flatmap(
    lambda kind: values(kind).map(codec.encode)
)

JOB = JobId("pump-7_j1")
MATCHING: st.SearchStrategy[tuple[str, bytes]] = st.one_of(
    [
        values(kind).map(lambda body, topic=topic: (topic, codec.encode(body)))
        for topic, kind in (
            (topics.up("edge-1", "claim", JOB), message.Claim),
            (topics.up("edge-1", "outcome", JOB), message.OutcomeProposal),
            (topics.up("edge-1", "checkpoint", JOB), message.CheckpointReport),
            (topics.up("edge-1", "release", JOB), message.Release),
            (topics.up("edge-1", "progress", JOB), message.Progress),
            (topics.beat("edge-1"), message.Beat),
            (topics.up("ops", "order", "o1"), message.Order),
            (topics.node("n2", "state"), message.NodeState),
            (topics.up("pump-7", "submit", "j2"), JobSpec),
        )
    ]
    + [
        values(Record).map(
            lambda body: (topics.record("n2", JOB), codec.encode(replace(body, job=JOB)))
        ),
        values(StoredSpec).map(
            lambda body: (topics.node("n3", "spec", JOB), codec.encode(replace(body, job=JOB)))
        ),
    ]
)
"""Well-formed messages that make no sense together."""


@settings(max_examples=300)
@given(TOPIC | LEGAL, PAYLOAD, st.booleans())
def test_the_inbox_is_total(topic: str, payload: bytes, retain: bool) -> None:  # noqa: FBT001
    event = parse(ME, Message(topic, payload, retain=retain))
    if isinstance(event, Dropped):
        assert event.reason
    if isinstance(event, Refused):
        assert event.reason
        assert not re.search(r"[+#/\0]", event.name)


@settings(max_examples=100)
@given(st.lists(MATCHING | st.tuples(TOPIC | LEGAL, PAYLOAD), max_size=20))
@example(
    # A peer that saw more of this disk than there is, and a generation to raise, in one message:
    # the node ends, and nothing of that batch is on its disk.
    [
        (
            topics.node("n2", "state"),
            codec.encode(
                NodeState(boot=0, nonce="", nodes=(), generation=1, seen={"n1": Seen(0, "", 1)})
            ),
        ),
        (
            topics.up("edge-1", "claim", JOB),
            b'{"incarnation":[0,""],"epoch":0,"digest":"%s"}' % (b"0" * 64),
        ),
    ]
)
def test_a_brain_survives_whatever_arrives(arriving: list[tuple[str, bytes]]) -> None:
    cluster = Cluster(3)
    cluster.submit("n2")
    for topic, payload in arriving:
        event = parse(ME, Message(topic, payload))
        if event is not None and not isinstance(event, Dropped):
            effects = cluster.handle("n1", [event])
            for publish in effects.publishes:
                body = publish.body
                data = body if isinstance(body, bytes) else codec.encode(body)
                assert len(data) <= PAYLOAD_MAX_BYTES
                assert publish.topic.count("/") <= 7
                assert not re.search(r"[+#\0]", publish.topic)
        cluster.now += 0.1
    cluster.tick(5)


@pytest.mark.parametrize("depth", [10, 500, *range(940, 1010, 3), 100_000])
def test_deep_json_is_an_answer_not_a_crash(depth: int) -> None:
    cluster = Cluster(1)
    for before, after in ((b"[", b"]"), (b'{"a":', b"}")):
        payload = before * depth + b"1" + after * depth
        cluster.client("n1", topics.up("pump-7", "submit", "j1"), payload[:90_000])
    assert cluster.down_states("pump-7", "j1") == ["rejected", "rejected"]


@pytest.mark.parametrize(
    ("topic", "reason"),
    [
        ("up/pump-7/submit/J1", "job id 'J1' is not allowed"),
        ("up/pump-7/submit/a/b", "the topic must end in submit/JOB"),
        ("up/pump-7/run/j1", "the topic must end in run/FUNCTION/JOB"),
        ("up/pump-7/run/Echo/j1", "name 'Echo' is not allowed"),
        ("up/pump-7/cancel/-", "job id '-' is not allowed"),
    ],
)
def test_a_device_is_told_which_part_of_its_topic_is_wrong(topic: str, reason: str) -> None:
    event = parse(ME, Message(f"{topics.ROOT}/{topic}", b""))
    assert isinstance(event, Refused)
    assert (event.device, event.name) == ("pump-7", topic.rsplit("/", 1)[1])
    assert reason in event.reason
    assert event.plain == ("/run/" in topic)


@pytest.mark.parametrize(
    "topic",
    [
        "up/Pump/submit/j1",
        "up/pump-7/submit",
        "up/pump-7/submit/",
        "up/pump-7/eat/j1",
        "up/pump-7/submit/a+b",
        "up/pump-7/submit/#",
        "up/pump-7/submit/" + "x" * (NAME_MAX + 1),
        "relay//pump-7/submit/j1",
        "relay/n2/pump-7/submit/J1",
        "else/where",
        "",
    ],
)
def test_what_nobody_could_be_told_about_is_dropped(topic: str) -> None:
    assert isinstance(parse(ME, Message(f"{topics.ROOT}/{topic}", b"{}")), Dropped)


def test_requests_must_not_be_retained() -> None:
    retained = Message(topics.up("pump-7", "submit", "j1"), b"{}", retain=True)
    event = parse(ME, retained)
    assert isinstance(event, Refused)
    assert "must not be retained" in event.reason
    claim = Message(topics.up("edge-1", "claim", "pump-7_j1"), b"{}", retain=True)
    assert isinstance(parse(ME, claim), Dropped)


def test_a_submit_counts_only_where_its_device_speaks() -> None:
    own = Message(topics.up("pump-7", "submit", "j1"), b"x")
    assert parse(ME, own) == SubmitHeard(ClientId("pump-7"), "j1", b"x")  # type: ignore[arg-type]
    relayed = Message(f"{topics.ROOT}/relay/n2/pump-7/submit/j1", b"x")
    assert isinstance(parse(ME, relayed), Dropped)
    cancel = parse(ME, Message(f"{topics.ROOT}/relay/n2/pump-7/cancel/j1", b""))
    assert cancel == CancelHeard(ClientId("pump-7"), "j1", "n2")  # type: ignore[arg-type]


def test_what_a_node_says_of_itself_or_empties_says_nothing_to_it() -> None:
    state = codec.encode(NodeState(boot=1, nonce="x", nodes=("n1",)))
    assert parse(ME, Message(topics.node("n1", "state"), state)) is None
    assert parse(ME, Message(topics.node("n2", "state"), b"")) is None
    view = codec.encode(AgentView(incarnation=(1, "a"), connection=1, counter=1))  # type: ignore[arg-type]
    assert parse(ME, Message(topics.node("n2", "agent", "edge-1"), view)) is None


def test_a_record_under_another_jobs_name_is_dropped() -> None:
    record = codec.encode(Record(job="pump-7_j2"))  # type: ignore[arg-type]
    event = parse(ME, Message(topics.record("n2", "pump-7_j1"), record))
    assert isinstance(event, Dropped)
    assert "shown as pump-7_j1" in event.reason


@pytest.mark.parametrize("change", [{"attempt": 2**53 + 1}, {"version": [2**64, 0]}, {"epoch": -1}])
def test_a_record_with_numbers_that_no_ledger_holds_is_dropped(change: dict[str, object]) -> None:
    record = json.dumps({"job": "pump-7_j1", **change}).encode()
    event = parse(ME, Message(topics.record("n2", "pump-7_j1"), record))
    assert isinstance(event, Dropped)
    assert "0 to 2^53" in event.reason


def test_every_message_a_node_acts_on_is_subscribed_to() -> None:
    patterns = [s.pattern for s in (*vote_subscriptions(), *intake_subscriptions())]

    def is_heard(topic: str) -> bool:
        return any(
            re.fullmatch(p.replace("+", "[^/]+").replace("/#", "(/.*)?"), topic) for p in patterns
        )

    for verb in topics.AGENT_VERBS - {"log"}:
        assert is_heard(topics.up("edge-1", verb, "pump-7_j1"))
        assert is_heard(f"{topics.ROOT}/relay/n2/edge-1/{verb}/pump-7_j1")
    for rest in ("edge-1/beat", "pump-7/cancel/j1", "ops/order/o1"):
        assert is_heard(f"{topics.ROOT}/up/{rest}")
        assert is_heard(f"{topics.ROOT}/relay/n2/{rest}")
    assert is_heard(topics.up("pump-7", "run", "echo", "j1"))
    assert not is_heard(f"{topics.ROOT}/relay/n2/pump-7/submit/j1")
    for kind in ("job/pump-7_j1", "spec/pump-7_j1", "state"):
        assert is_heard(f"{topics.ROOT}/node/n2/{kind}")
    assert not is_heard(topics.node("n2", "agent", "edge-1"))
