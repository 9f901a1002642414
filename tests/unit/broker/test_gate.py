"""Goal: who sends too much is refused, then barred; who listens never is, and nobody else notices.

Method: the gate and its queue, on a clock of the test's; quotas in a cluster in memory.
"""

from collections import Counter

import pytest

from broker import gate as gates
from broker import intake
from broker.event import CancelHeard, Event, Refused, SubmitHeard
from broker.front import plain_word, rejected
from broker.gate import GRACE_S, IGNORED_MAX, KICK_PAUSE_S, TOLD_MAX, WAIT_S, Gate
from broker.intake_queue import IntakeQueue
from broker.limits import RETRY_AFTER_S, WAITING_MIN
from tests.unit.broker.cluster import Agent, Cluster
from workrs.domain.ids import ClientId, Instant, LocalJobId
from workrs.domain.quota import Quota, Quotas
from workrs.ports.bus import PAYLOAD_MAX_BYTES
from workrs.wire import codec, topics
from workrs.wire.message import Barred, JobState, State

SMALL = Quota(rate_per_s=2.0, burst=4, open_max=3, open_max_bytes=1_000)
WIDE = Quota(rate_per_s=1e6, burst=10**6, open_max=10**6, open_max_bytes=1 << 40)
PUMP = ClientId("farm.pump")


def submit(device: str = PUMP, function: str = "") -> SubmitHeard:
    return SubmitHeard(ClientId(device), LocalJobId("j1"), b"", function)


def judge(gate: Gate, now: float, event: Event | None = None) -> Refused | bool:
    return gate.judge(event or submit(), IntakeQueue(), Instant(now))


def flood(gate: Gate, start: float, seconds: float, period_s: float = 0.01) -> list[Refused | bool]:
    return [judge(gate, start + turn * period_s) for turn in range(int(seconds / period_s))]


@pytest.fixture
def gate() -> Gate:
    return Gate(quotas=Quotas(device=SMALL, tenant=WIDE, bar_s=30.0))


def test_a_burst_passes_and_the_next_is_told_when_to_come_again(gate: Gate) -> None:
    assert [judge(gate, 0.0) for _ in range(4)] == [True] * 4
    refused = judge(gate, 0.0)
    assert isinstance(refused, Refused)
    assert refused.retry_after_s == WAIT_S
    assert "more than 2 requests a second" in refused.reason
    assert judge(gate, 0.0, submit("farm.other")) is True
    assert judge(gate, 0.5) is True


@pytest.mark.parametrize(
    ("event", "plain"),
    [
        (submit(function="echo"), True),
        (submit(), False),
        (CancelHeard(PUMP, LocalJobId("j1"), ""), False),
        (Refused(PUMP, "j1", "malformed", plain=True), True),
    ],
)
def test_every_request_counts_and_is_refused_in_its_own_form(
    gate: Gate, event: Event, *, plain: bool
) -> None:
    for _ in range(4):
        judge(gate, 0.0, event)
    refused = judge(gate, 0.0, event)
    assert isinstance(refused, Refused)
    assert (refused.name, refused.plain) == ("j1", plain)


def test_what_other_nodes_relay_is_not_counted_twice(gate: Gate) -> None:
    relayed = CancelHeard(PUMP, LocalJobId("j1"), "n2")
    assert all(judge(gate, 0.0, relayed) is True for _ in range(100))


def test_devices_of_a_tenant_share_its_rate() -> None:
    gate = Gate(quotas=Quotas(device=WIDE, tenant=SMALL))
    for number in range(4):
        assert judge(gate, 0.0, submit(f"farm.d{number}")) is True
    refused = judge(gate, 0.0, submit("farm.d9"))
    assert isinstance(refused, Refused)
    assert "devices of farm" in refused.reason
    assert refused.retry_after_s == WAIT_S
    assert judge(gate, 0.0, submit("mill.d9")) is True


def test_who_goes_on_is_barred_disconnected_and_not_heard_until_that_is_over(gate: Gate) -> None:
    said = flood(gate, 0.0, GRACE_S + 10)
    (end,) = [v for v in said if isinstance(v, Refused) and v.retry_after_s == 30.0]
    assert "barred for 30 s" in end.reason
    assert said[-1] is False
    assert gate.take_kicks() == [PUMP]
    assert gate.take_barred() == {PUMP: True}
    assert gate.ignored > 0
    since = GRACE_S + 10
    assert judge(gate, since + KICK_PAUSE_S) is False
    assert gate.take_kicks() == [PUMP], "it is back, and goes again"
    assert judge(gate, since + KICK_PAUSE_S) is False
    assert gate.take_kicks() == [], "its last words from before arrive"
    assert judge(gate, since + KICK_PAUSE_S + 31) is True


def test_a_bar_begins_anew_for_who_goes_on_and_not_for_who_only_comes_back(gate: Gate) -> None:
    flood(gate, 0.0, 60.0)
    assert judge(gate, 60.0 + 29.0) is False, "it went on until now"
    assert judge(gate, 60.0 + 31.0) is True
    flood(gate, 200.0, GRACE_S + 2)
    since = 200.0 + GRACE_S + 2
    said = [judge(gate, since + turn) for turn in range(40)]
    assert said[:20] == [False] * 20
    assert said[-1] is True, "a library that connects again and says its last word is let in"
    assert gate.take_barred() == {PUMP: True}


def test_who_was_not_told_is_not_barred(monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    monkeypatch.setattr(gates, "REFUSALS_PER_S", 1e-9)
    monkeypatch.setattr(gates, "REFUSALS_MAX", 1)
    flood(gate, 0.0, 20.0)
    for _ in range(20):
        said = [judge(gate, 20.0, submit("farm.other")) for _ in range(10)]
    assert not any(isinstance(v, Refused) for v in said)
    flood(gate, 20.0, 20.0)
    assert gate.take_barred() == {PUMP: True}


def test_in_a_flood_everybody_is_told_once_before_anybody_is_told_again(gate: Gate) -> None:
    told = Counter(
        device
        for turn in range(1_000)
        for device in ("a.d", "b.d", "c.d")
        if isinstance(judge(gate, 0.0, submit(device)), Refused)
    )
    assert told == {"a.d": TOLD_MAX, "b.d": TOLD_MAX, "c.d": TOLD_MAX}
    for number in range(1_000):
        for _ in range(10):
            judge(gate, 0.0, submit(f"t{number}.d"))
    assert gate._further_words is not None
    assert gate._further_words.tokens < 1
    last = [judge(gate, 10.0, submit("z.d")) for _ in range(6)]
    assert isinstance(last[4], Refused)


def test_what_was_sent_before_the_refusal_could_be_read_is_no_offence(gate: Gate) -> None:
    said = flood(gate, 0.0, GRACE_S, period_s=0.0001)
    assert len(said) > 10 * IGNORED_MAX
    assert gate.take_barred() == {}


def test_who_waits_as_told_is_never_barred_however_often_it_meets_its_limit(gate: Gate) -> None:
    for turn in range(500):
        flood(gate, turn * (1 + WAIT_S), 1.0)
    assert gate.take_barred() == {}


def test_a_device_may_have_as_many_waiting_as_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "INTAKE_MAX", 100)
    gate, queue = Gate(quotas=Quotas(device=WIDE, tenant=WIDE)), IntakeQueue()
    for _ in range(200):
        if gate.judge(submit("bulk"), queue, Instant(0.0)) is True:
            queue.put(submit("bulk"))
    assert queue.waiting("bulk") == 50
    for number in range(1_000):
        device = f"d{number % 10}"
        if gate.judge(submit(device), queue, Instant(0.0)) is True:
            queue.put(submit(device))
    assert len(queue) <= 100
    for _ in range(3 * WAITING_MIN):
        if gate.judge(submit("pump"), queue, Instant(0.0)) is True:
            queue.put(submit("pump"))
    assert queue.waiting("pump") == WAITING_MIN, "however full it is"


def test_a_flood_of_names_is_forgotten(monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    monkeypatch.setattr(gates, "METERS_MAX", 10)
    for number in range(100):
        judge(gate, 0.0, submit(f"t{number}.d"))
    assert len(gate._devices) == len(gate._tenants) == 10


def test_a_bar_of_one_node_is_one_of_its_peers_and_goes_no_further() -> None:
    cluster = Cluster()
    gates_of = {name: cluster.nodes[name].gate for name in cluster.names}
    for turn in range(IGNORED_MAX + 200):
        gates_of["n1"].note_refusal(PUMP, Instant(cluster.now + turn * 0.01))
    cluster.tick(1.0)
    assert {name: gate.take_barred() for name, gate in gates_of.items()} == {
        "n1": {PUMP: True},
        "n2": {PUMP: False},
        "n3": {PUMP: False},
    }
    now = Instant(cluster.now)
    assert all(gate.is_barred(PUMP, now) for gate in gates_of.values())
    told = [publish for _, publish in cluster.heard if publish.topic.endswith("/barred")]
    assert [publish.topic for publish in told] == [topics.node("n1", "barred")]
    assert not told[0].retain


def test_who_is_no_peer_bars_nobody() -> None:
    cluster = Cluster()
    cluster.client("n1", topics.node("n9", "barred"), Barred(devices=(PUMP,)), relays=False)
    assert not cluster.nodes["n1"].gate.is_barred(PUMP, Instant(cluster.now))
    assert cluster.nodes["n1"].dropped == 1


def test_bars_are_told_in_messages_that_fit() -> None:
    cluster = Cluster()
    node = cluster.nodes["n1"]
    node.gate.untold = [ClientId(f"{'d' * 57}{number:06d}") for number in range(2_500)]
    cluster.tick(1.0)
    told = [publish for _, publish in cluster.heard if publish.topic.endswith("/barred")]
    assert len(told) == 3
    for publish in told:
        assert not isinstance(publish.body, bytes)
        assert len(codec.encode(publish.body)) < PAYLOAD_MAX_BYTES
    assert len(cluster.nodes["n2"].gate.barred) == 2_500


def cluster_with(device: Quota = WIDE, tenant: Quota = WIDE) -> Cluster:
    cluster = Cluster(1)
    cluster.nodes["n1"].gate.quotas = Quotas(device=device, tenant=tenant)
    return cluster


def finish(cluster: Cluster, *jobs: str) -> None:
    agent = Agent(cluster)
    for job in jobs:
        agent.claim(job, 1)
        agent.outcome(job, 1)


def last_word(cluster: Cluster, device: str, job: str) -> JobState:
    topic = topics.down(device, job)
    said = [publish.body for _, publish in cluster.heard if publish.topic == topic][-1]
    assert isinstance(said, JobState)
    return said


def test_open_jobs_of_a_device_are_counted_until_they_end() -> None:
    cluster = cluster_with(device=SMALL)
    for number in range(4):
        cluster.submit("n1", f"j{number}", device="farm.pump")
    said = last_word(cluster, "farm.pump", "j3")
    assert said.state is State.REJECTED
    assert said.retry_after_s == 30.0
    assert "farm.pump has 3 open jobs" in str(said.reason)
    cluster.submit("n1", "j1", device="farm.pump")
    assert cluster.down_states("farm.pump", "j1")[-1] == "queued", "a known one is answered"
    cluster.submit("n1", "j9", device="farm.other")
    assert cluster.down_states("farm.other", "j9")[-1] == "queued"
    finish(cluster, "farm.pump_j0")
    cluster.submit("n1", "j3", device="farm.pump")
    assert cluster.down_states("farm.pump", "j3")[-1] == "queued"


def test_bytes_of_open_jobs_of_a_device_are_counted() -> None:
    cluster = cluster_with(device=SMALL)
    cluster.submit("n1", "j1", device="pump", input="x" * 500)
    cluster.submit("n1", "j2", device="pump", input="x" * 500)
    said = last_word(cluster, "pump", "j2")
    assert "bytes of specs" in str(said.reason)
    assert said.retry_after_s == RETRY_AFTER_S


def test_bytes_of_open_jobs_of_a_tenant_are_counted_over_its_devices() -> None:
    cluster = cluster_with(tenant=SMALL)
    for number in range(2):
        cluster.submit("n1", device=f"farm.d{number}", input="x" * 500)
    said = last_word(cluster, "farm.d1", "j1")
    assert said.state is State.REJECTED
    assert said.retry_after_s == RETRY_AFTER_S
    assert "farm has 1 open jobs with" in str(said.reason)
    cluster.submit("n1", device="mill.d1", input="x" * 500)
    assert cluster.down_states("mill.d1", "j1")[-1] == "queued"


def test_a_first_job_is_taken_however_large_it_is() -> None:
    cluster = cluster_with(device=SMALL)
    cluster.submit("n1", "j1", device="pump", input="x" * 5_000)
    assert cluster.down_states("pump", "j1")[-1] == "queued"


def test_open_jobs_of_a_tenant_are_counted_over_its_devices() -> None:
    cluster = cluster_with(tenant=SMALL)
    for number in range(4):
        cluster.submit("n1", device=f"farm.d{number}")
    said = last_word(cluster, "farm.d3", "j1")
    assert "farm has 3 open jobs" in str(said.reason)
    assert said.retry_after_s == RETRY_AFTER_S
    cluster.submit("n1", device="mill.d1")
    assert cluster.down_states("mill.d1", "j1")[-1] == "queued"


def test_whoever_fills_a_node_leaves_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "OPEN_MAX", 50)
    cluster = cluster_with()
    for number in range(30):
        cluster.submit("n1", f"j{number}", device="bulk")
    own, _ = cluster.nodes["n1"].usage.of(ClientId("bulk"))
    assert own.jobs == 10
    cluster.submit("n1", device="pump")
    assert cluster.down_states("pump", "j1")[-1] == "queued"


def test_use_is_counted_again_after_a_restart_and_nothing_of_it_stays() -> None:
    cluster = cluster_with()
    job = cluster.submit("n1", device="farm.pump")
    cluster.submit("n1", "j2", device="farm.pump")
    before = cluster.nodes["n1"].usage
    cluster.stop("n1")
    cluster.start("n1")
    after = cluster.nodes["n1"].usage
    assert after == before
    finish(cluster, job, "farm.pump_j2")
    assert not after.devices
    assert not after.tenants


@pytest.mark.parametrize(
    ("retry_after_s", "line"),
    [
        (None, b"rejected too much of it"),
        (30.0, b"rejected retry_after_s=30 too much of it"),
        (0.2, b"rejected retry_after_s=1 too much of it"),
    ],
)
def test_the_plain_word_of_a_refusal_says_when_to_come_again(
    retry_after_s: float | None, line: bytes
) -> None:
    assert plain_word(rejected("j1", "too much\n of it", retry_after_s)) == line
