"""Goal: docs/protocol.md says what the code says, table by table.

Method: its tables are parsed and held against the grammar of topics, against what whole brains
really publish, and against dataclasses, enumerations and constants. Then each check is shown a
page with one planted change, and must notice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from pathlib import Path

import pytest

from broker import gate, inbox, limits, trust_line
from broker.backlog import HELD_BACK_MAX, HELD_BACK_MAX_BYTES
from broker.blob_directory import BlobLimits
from broker.housekeeping import FORGET_AFTER_S
from broker.mosquitto_config import CONNECTIONS_MAX, MEMORY_MAX_BYTES, Peer, render
from broker.node import PEER_BEAT_S, PEER_SILENT_S
from broker.teller import WAITING_S
from device_client.outbox import JOBS_MAX
from device_client.route import Timing
from edge_agent import inbox as agent_inbox
from edge_agent.heart import COALESCE_S
from edge_agent.line import CONNECT_S
from edge_agent.runtimes.docker_options import PIDS_MAX
from edge_agent.runtimes.docker_output import STDOUT_BYTES_MAX
from edge_agent.runtimes.job_folder import JOB_DISK_BYTES
from edge_agent.runtimes.job_mount import INODES_MAX
from tests.unit.wire.protocol_page import PAGE, Page, names, parts
from tests.unit.wire.protocol_traffic import Sent, traffic
from workrs.domain import ids, job, quota, retry, voter
from workrs.domain.dispatch import OFFER_S, AgentProfile
from workrs.domain.fault_history import FaultHistory
from workrs.domain.function import (
    CALLERS_MAX,
    DESCRIPTION_MAX,
    REMOVED,
    Function,
    FunctionRecord,
)
from workrs.domain.job_state import FINAL, State
from workrs.domain.lease import LeaseTiming
from workrs.domain.record import Accepted, CheckpointRef, Record
from workrs.ports.bus import LAGGING_MAX_BYTES, PAYLOAD_MAX_BYTES, Address
from workrs.wire import message, topics

ROOT = Path(__file__).parents[3]
SAMPLES = {
    "device": "pump-7",
    "agent": "edge-1",
    "operator": "ann",
    "client": "ann",
    "function": "echo",
    "id": "j1",
    "job": "pump-7_j1",
    "n": "n1",
    "node": "n2",
    "kind": "device",
}
AGENT = ids.client_id(SAMPLES["agent"])
JOB = ids.JobId(SAMPLES["job"])
MESSAGES: dict[str, type] = {
    "claim": message.Claim,
    "outcome": message.OutcomeProposal,
    "checkpoint": message.CheckpointReport,
    "release": message.Release,
    "progress": message.Progress,
    "heartbeat, last will": message.Beat,
    "function": FunctionRecord,
    "agent view (receipt)": message.AgentView,
    "offer": message.Offer,
    "node terms": message.NodeTerms,
    "barred": message.Barred,
    "node state": message.NodeState,
    "answer to an order": message.OrderReply,
    "profile of an agent": AgentProfile,
}
PARTS: dict[str, type] = {
    "outcome": job.Outcome,
    "checkpoint": CheckpointRef,
    "accepted": Accepted,
    "faults": FaultHistory,
}


def field_names(kind: type) -> set[str]:
    assert is_dataclass(kind)
    return {field.name for field in fields(kind)}


def filled(topic: str) -> str:
    """Return an example of a topic in the table."""
    return f"{topics.ROOT}/" + re.sub(r"\{(\w+)\}", lambda m: SAMPLES[m[1]], topic)


def pattern(topic: str) -> re.Pattern[str]:
    """Return what matches every topic of that row."""
    levels = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(topic)).replace("…", ".+")
    return re.compile(f"{topics.ROOT}/{levels}")


def topic_rows(page: Page) -> list[tuple[str, str, str, str, str]]:
    rows = page.table("Topics", "topic")
    return [(topic.strip("`"), *rest) for topic, *rest in rows]  # type: ignore[misc]


def words_matched(function: str) -> set[str]:
    """Return the words that a parser of topics matches, read from its source."""
    source = (ROOT / "workrs/wire/topics.py").read_text(encoding="utf-8")
    body = source.split(f"def {function}(")[1].split("\ndef ")[0]
    cases = [line for line in body.splitlines() if line.strip().startswith("case ")]
    return {word for line in cases for word in re.findall(r'"(\w+)"', line)}


def check_grammar(page: Page) -> None:
    """Every topic of the table is in the grammar, and nothing else is."""
    written = [topic for topic, *_ in topic_rows(page)]
    found = {head: {t for t in written if t.startswith(head + "/")} for head in ("up", "node")}
    for topic in found["up"]:
        assert topics.parse_up(filled(topic)) is not None, topic
    for topic in found["node"]:
        assert topics.parse_node(filled(topic)) is not None, topic
    assert {t.split("/")[2] for t in found["up"]} == words_matched("_parse_up")
    assert {t.split("/")[2] for t in found["node"]} == words_matched("parse_node")
    downs = {topics.parse_down(filled(t)) for t in written if t.startswith("down/{device}")}
    assert {parsed[2] for parsed in downs if parsed} == {"", "state", "out"}
    assert len(written) == len(set(written))
    assert all(filled(t).count("/") <= 7 for t in written)


def check_traffic(page: Page, sent: set[Sent]) -> None:
    """What is published has a row, with this QoS and flag; every row but bridges' is published."""
    rows = [row for row in topic_rows(page) if not row[0].startswith("relay/")]
    for one in sent:
        assert any(pattern(topic).fullmatch(one.topic) for topic, *_ in rows), one.topic
    for topic, writer, retained, qos, content in rows:
        # A device's topics and an operator's look alike; their names tell them apart.
        whose = "/ann/" if "{operator}" in topic else "/pump-7/" if "{device}" in topic else "/"
        mine = {s for s in sent if pattern(topic).fullmatch(s.topic) and whose in s.topic}
        assert mine, f"nobody publishes {topic} ({writer})"
        assert {s.qos for s in mine} == {int(qos)}, topic
        flags = {s.retain for s in mine}
        usual = retained == "yes"
        assert usual in flags, topic
        assert flags <= {usual, "not retained:" not in content and usual}, topic


def check_listening(page: Page) -> None:
    """What daemons hear of what is relayed, and of each other, and what a bridge carries."""
    text = " ".join(page.section("Bridges").split())
    relayed = re.search(r"relayed, daemons listen to (.*?)\. Not to", text)
    shown = re.search(r"Of each other they hear (.*?)\.", text)
    assert relayed is not None
    assert shown is not None
    listening = (*inbox.vote_subscriptions(), *inbox.intake_subscriptions())
    listening += tuple(trust_line.subscriptions())
    wanted = [s.pattern.removeprefix(f"{topics.ROOT}/") for s in listening]
    heard = {p.split("/")[3] for p in wanted if p.startswith("relay/")}
    assert set(names(relayed[1])) == heard
    assert set(names(shown[1])) == {p.split("/")[2] for p in wanted if p.startswith("node/")}
    peer = Peer(name="n2", address=Address(host="node2", port=1883))
    config = render(node="SELF", listener=Address(host="node1", port=1883), peers=[peer])
    carried = [line for line in config.splitlines() if line.startswith("topic ")]
    assert page.blocks("Bridges") == ["\n".join(carried)]
    assert {f"relay/+/{c.split()[1]}" for c in carried[:-1]} == {w for w in wanted if "relay" in w}


def check_agents_listening(page: Page) -> None:
    """What agents hear: always, under their own name, and of a job while they want it."""
    text = " ".join(page.section("Rules of an agent").split())
    said = re.search(
        r"An agent listens to (.*), to (.*) under its own name, and, from a claim until the "
        r"decision, to (.*?)\.(?: |$)",
        text,
    )
    assert said is not None
    shown, own, of_job = (re.findall(r"`([^`]+)`", part) for part in said.groups())
    below = f"{topics.ROOT}/"
    always = [s.pattern.removeprefix(below) for s in agent_inbox.subscriptions(AGENT)]
    assert sorted(always) == sorted([*shown, *(f"node/+/{kind}/{AGENT}" for kind in own)])
    job_topic = agent_inbox.job_pattern(JOB).removeprefix(below)
    assert of_job == [job_topic.replace(JOB, "{job}")]


# Formats


def default_of(field: Field[object]) -> object:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def in_words(value: object) -> str:
    """Return a default as the table of the spec writes it."""
    match value:
        case None:
            return "none"
        case () | {}:
            return "none"
        case str():
            return f"`{value}`"
        case float() if value.is_integer() and value > 1:
            return str(int(value))
        case _ if is_dataclass(value) and not isinstance(value, type):
            return f"`{json.dumps(asdict(value))}`"
        case _:
            return str(value)


def check_spec(page: Page) -> None:
    """Fields of a spec and their defaults."""
    wanted = {field.name: in_words(default_of(field)) for field in fields(job.JobSpec)}
    found = {}
    for cell, defaults, _ in page.table("Job spec", "field"):
        named = names(cell)
        each = defaults.split(", ") if len(named) > 1 and "{" not in defaults else [defaults]
        found |= dict(zip(named, each * (len(named) if len(each) == 1 else 1), strict=True))
    assert found == wanted


def check_states(page: Page) -> None:
    """The states of a job, which of them are final, and the fields that they come with."""
    rows = page.table("Job state", "`state`")
    assert {names(word)[0] for word, *_ in rows} == {state.value for state in State}
    assert {names(w)[0] for w, means, _ in rows if means.startswith("final")} == FINAL
    told = {name for _, _, more in rows for name in names(more)}
    assert told | {"v", "job", "state"} == field_names(message.JobState)
    (example,) = page.blocks("Job state", "json")
    shown = json.loads(example)
    assert set(shown) <= field_names(message.JobState)
    assert set(shown["checkpoint"]) == field_names(message.CheckpointState)


def check_orders(page: Page) -> None:
    """The orders there are."""
    (block,) = page.blocks("Orders", "json")
    orders = [message.Order(**json.loads(line)) for line in block.splitlines()]
    assert {order.order for order in orders} == {kind.value for kind in message.OrderKind}
    assert len(orders) == len(message.OrderKind)


def check_definition(page: Page) -> None:
    """The fields of a function's definition: those of a job that it may have, and its own."""
    section = page.section("Functions")
    listed = re.search(r"A definition has (.*?), with the meaning", section, re.DOTALL)
    assert listed is not None
    own = [name for cell, *_ in page.table("Functions", "field") for name in names(cell)]
    assert {*names(listed[1]), *own} == field_names(Function)
    assert field_names(Function) - field_names(job.JobSpec) == {"description", *own}
    (example,) = page.blocks("Functions", "json")
    assert set(json.loads(example)) == field_names(FunctionRecord)
    assert f"`{REMOVED}` as its digest" in section


def check_messages(page: Page) -> None:
    """The fields of what passes between nodes and agents."""
    rows = page.table("What passes between nodes and agents", "message")
    assert {what for what, _ in rows} == set(MESSAGES)
    for what, text in rows:
        assert set(names(text)) == field_names(MESSAGES[what]), what
        for part, inner in parts(text).items():
            assert set(inner) == field_names(PARTS[part]), f"{part} of {what}"


def check_record(page: Page) -> None:
    """The fields of a record, and of a stored spec."""
    title = "What passes between nodes and agents"
    rows = page.table(title, "field of a record")
    named = [name for cell, _ in rows for name in names(cell)]
    assert sorted(named) == sorted(field_names(Record))
    for _, text in rows:
        for part, inner in re.findall(r"`(\w+)`.*?\{(.*?)\}", f"`accepted` {text}"):
            assert set(names(inner)) == field_names(PARTS[part])
    stored = re.search(r"A stored spec is `\{(.*?)\}`", page.section(title))
    assert stored is not None
    assert set(re.findall(r'"(\w+)"', stored[1])) == field_names(job.StoredSpec)


# Numbers


def check_timing(page: Page) -> None:
    """The defaults of the lease timing, in the configuration's order, and the fixed times."""
    tables = re.split(r"^These are fixed:$", page.section("Timing"), flags=re.MULTILINE)
    assert len(tables) == 2
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", tables[0], re.MULTILINE)
    assert [(n, float(v)) for n, v in rows] == list(asdict(LeaseTiming()).items())
    fixed = re.findall(r"^\| (.+?) \| ([0-9.]+) \|$", tables[1], re.MULTILINE)
    assert [float(seconds) for _, seconds in fixed] == [
        PEER_BEAT_S,
        PEER_SILENT_S,
        WAITING_S,
        OFFER_S,
        COALESCE_S,
        CONNECT_S,
        message.LOG_S,
    ]
    assert Timing().connect_timeout_s == CONNECT_S


def size(number: int) -> str:
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if number >= 1 << shift:
            return f"{number >> shift} {unit}"
    return str(number)


def limit_rows() -> dict[str, str]:
    """Return what the table of limits has to say, from the constants."""
    blobs = BlobLimits()
    sizes = (blobs.blob_max_bytes, blobs.total_max_bytes, blobs.free_min_bytes)
    return {
        "a message's payload": size(PAYLOAD_MAX_BYTES),
        "inline input or result": size(job.INLINE_MAX_BYTES),
        "a job spec": size(job.SPEC_MAX_BYTES),
        "a name, a job's id": f"{ids.ID_LENGTH_MAX} characters",
        "a reason": f"{job.REASON_MAX:,} characters",
        "a note of progress": f"{voter.NOTE_MAX} characters",
        "a release's `retry_after_s`": f"{voter.RETRY_AFTER_MAX_S:,.0f} s",
        "a blob; all blobs of a node; free disk left": "; ".join(map(size, sizes)),
        "blobs of one job; of one tenant, at a node": "; ".join(
            map(size, (blobs.job_max_bytes, blobs.tenant_max_bytes))
        ),
        "connections of clients at one port of a node": f"{CONNECTIONS_MAX:,}",
        "what waits in the broker": size(MEMORY_MAX_BYTES),
        "what the broker keeps, unread or retained": size(limits.HEAP_HIGH_BYTES),
        "what waits for a slow reader on the bus": size(LAGGING_MAX_BYTES),
        "functions; their names, removed ones too; their definitions": (
            f"{limits.FUNCTIONS_MAX:,}; {limits.FUNCTION_NAMES_MAX:,}; "
            f"{size(limits.FUNCTIONS_MAX_BYTES)}"
        ),
        "callers and tenants of a function; its description": (
            f"{CALLERS_MAX}; {DESCRIPTION_MAX} characters"
        ),
        "open jobs of a node; their specs": f"{limits.OPEN_MAX:,}; {size(limits.OPEN_MAX_BYTES)}",
        "requests of a device; of all devices of a tenant": (
            f"{quota.DEVICE.rate_per_s:g} a second and {quota.DEVICE.burst:,} at once; "
            f"{quota.TENANT.rate_per_s:,.0f} and {quota.TENANT.burst:,}"
        ),
        "requests of devices that wait for their turn at a node": (
            f"{limits.INTAKE_MAX:,}; one device as many as are free, and {limits.WAITING_MIN}"
        ),
        "open jobs of a device; of a tenant; their specs": (
            f"{quota.DEVICE.open_max:,}; {quota.TENANT.open_max:,}; "
            f"{size(quota.DEVICE.open_max_bytes)}; {size(quota.TENANT.open_max_bytes)}; "
            "and a part of what is free"
        ),
        "requests sent although refused": f"{gate.GRACE_S:g} s, and {gate.IGNORED_MAX} more",
        "refusals said by a node": (
            f"{gate.TOLD_MAX} of a device; of first ones and of further ones of all, "
            f"{limits.REFUSALS_MAX:,} at once, {limits.REFUSALS_PER_S} a second"
        ),
        "requests kept by a node that does not vote yet": (
            f"{HELD_BACK_MAX:,}; {size(HELD_BACK_MAX_BYTES)}"
        ),
        "ids of retired jobs": f"{FORGET_AFTER_S / 86400:g} days",
        "a job's `/job`; its names there": f"{size(JOB_DISK_BYTES)}; {INODES_MAX:,}",
        "processes of a job": str(PIDS_MAX),
        "what a job prints": size(STDOUT_BYTES_MAX),
        "what a log shows": size(message.LOG_MAX_BYTES),
        "a device's outbox": f"{JOBS_MAX:,} jobs",
        "an epoch, an incarnation, an attempt, an exit code": (
            f"2^{ids.NUMBER_MAX.bit_length() - 1}"
        ),
    }


def check_limits(page: Page) -> None:
    """Every limit of the table is a constant, and the other way round."""
    assert {what: limit for what, limit, _ in page.table("Limits", "what")} == limit_rows()
    assert f"sent again after {limits.RETRY_AFTER_S:g} s" in page.section("Limits")
    assert f"sent again after {gate.WAIT_S:g} s" in page.section("Limits")
    assert f"not heard for {quota.BAR_S:g} s" in page.section("Limits")
    assert ids.EPOCH_MAX == ids.NUMBER_MAX


def check_exits(page: Page) -> None:
    """The exit codes that mean something."""
    rows = page.table("The program's contract", "exit code")
    wanted = [0, retry.EXIT_TRY_LATER, retry.EXIT_NEVER, retry.EXIT_CHECKPOINTED]
    assert [code for code, _ in rows] == [*map(str, wanted), "other"]


Check = Callable[[Page], None]
CHECKS: list[Check] = [
    check_grammar,
    check_listening,
    check_agents_listening,
    check_spec,
    check_states,
    check_orders,
    check_definition,
    check_messages,
    check_record,
    check_timing,
    check_limits,
    check_exits,
]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> set[Sent]:
    return traffic(monkeypatch)


@pytest.mark.parametrize("check", CHECKS)
def test_the_document_says_what_the_code_says(check: Check) -> None:
    check(Page(PAGE))


def test_what_is_published_is_in_the_document(sent: set[Sent]) -> None:
    check_traffic(Page(PAGE), sent)


PLANTED: list[tuple[Check, str, str]] = [
    (check_grammar, "`up/{agent}/claim/{job}`", "`up/{agent}/clam/{job}`"),
    (check_grammar, "| `node/{n}/offer/{agent}` |", "| `node/{n}/offer` |"),
    (check_grammar, "| `down/{device}/{id}/out` |", "| `down/{device}/{id}/result` |"),
    (check_listening, "`release`, `progress`, `cancel`", "`progress`, `cancel`"),
    (check_listening, "they hear `job`, `spec`,", "they hear `job`,"),
    (check_listening, "topic +/beat out 1 ", "topic +/beat both 1 "),
    (check_agents_listening, "listens to `node/+/terms`, to", "listens to `node/+/state`, to"),
    (
        check_agents_listening,
        "to `offer`, `order` and `agent` under",
        "to `offer` and `agent` under",
    ),
    (check_agents_listening, "decision, to `node/+/job/{job}`.", "decision, to `node/+/job/+`."),
    (check_spec, "| `attempts_max` | 3 |", "| `attempts_max` | 4 |"),
    (check_spec, "| `env` |", "| `environment` |"),
    (check_states, "| `cancelled` | final |", "| `cancelled` | not final |"),
    (check_states, "| `queued` |", "| `pending` |"),
    (check_states, "`exit_code`, `reason` with", "`code`, `reason` with"),
    (check_orders, '{"order": "undrain", "agent": "a1"}\n', ""),
    (check_definition, "`image` and `command`, and may", "`image` and `program`, and may"),
    (check_definition, "| `tenants` | none |", "| `owners` | none |"),
    (check_messages, "| claim | `incarnation`, `epoch`,", "| claim | `epoch`,"),
    (check_messages, "`result_bytes`, `reason`}", "`reason`}"),
    (check_record, "| `attempt` | starts", "| `attempts` | starts"),
    (check_record, '"plain", "function"', '"function"'),
    (check_timing, "| `margin_s` | 2 |", "| `margin_s` | 3 |"),
    (check_timing, "taken for silent | 3 |", "taken for silent | 4 |"),
    (check_limits, "| a job spec | 96 KiB |", "| a job spec | 64 KiB |"),
    (check_limits, "| an epoch, an incarnation, an attempt, an exit code |", "| an epoch |"),
    (check_exits, "| 78 |", "| 77 |"),
]


@pytest.mark.parametrize(("check", "text", "planted"), PLANTED)
def test_a_planted_change_of_the_document_is_noticed(check: Check, text: str, planted: str) -> None:
    assert PAGE.count(text) == 1
    with pytest.raises(AssertionError):
        check(Page(PAGE.replace(text, planted)))


@pytest.mark.parametrize(
    ("topic", "old", "new"),
    [
        ("up/{agent}/progress/{job}", "| no | 0 |", "| no | 1 |"),
        ("node/{n}/spec/{job}", "| yes | 1 |", "| no | 1 |"),
        ("node/{n}/agent/{agent}", "| yes | 1 |", "| yes | 0 |"),
        ("up/{device}/submit/{id}", "| no | 1 |", "| yes | 1 |"),
        ("down/{device}/{id}/out", "| yes | 1 |", "| no | 1 |"),
        ("echo/{client}", "| no | 1 |", "| no | 0 |"),
    ],
)
def test_a_planted_qos_or_flag_is_noticed(sent: set[Sent], topic: str, old: str, new: str) -> None:
    (line,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{topic}` |"))
    with pytest.raises(AssertionError):
        check_traffic(Page(PAGE.replace(line, line.replace(old, new))), sent)


@pytest.mark.parametrize(
    ("where", "constant", "check"),
    [
        ("workrs.domain.retry.EXIT_NEVER", 77, check_exits),
        ("workrs.domain.job.SPEC_MAX_BYTES", 1 << 20, check_limits),
        ("workrs.wire.message.LOG_S", 31.0, check_timing),
    ],
)
def test_a_planted_change_of_the_code_is_noticed(
    monkeypatch: pytest.MonkeyPatch, where: str, constant: float, check: Check
) -> None:
    monkeypatch.setattr(where, constant)
    with pytest.raises(AssertionError):
        check(Page(PAGE))


def test_a_planted_publication_is_noticed(sent: set[Sent]) -> None:
    for one in (
        Sent("workrs/1/node/n1/mood", 1, retain=True),
        Sent("workrs/1/node/n1/state", 0, retain=True),
        Sent("workrs/1/up/edge-1/claim/pump-7_j1", 1, retain=True),
    ):
        with pytest.raises(AssertionError):
            check_traffic(Page(PAGE), sent | {one})
