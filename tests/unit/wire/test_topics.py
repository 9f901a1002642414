"""Goal: every topic that is built can be parsed, and no string at all can break the parsers.

Method: round trips over legal names, junk of every kind, and the limits of the grammar.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.unit.wire.values import CLIENT, JOB, LOCAL
from workrs.domain.errors import IdError
from workrs.domain.ids import (
    ClientId,
    JobId,
    LocalJobId,
    client_id,
    is_digest,
    job_id,
    local_job_id,
    split_job_id,
)
from workrs.wire import topics

LEVEL = st.sampled_from(
    [
        "workrs",
        "1",
        "up",
        "relay",
        "node",
        "down",
        "beat",
        "run",
        "submit",
        "claim",
        "job",
        "spec",
        "state",
        "out",
        "agent",
        "",
        "+",
        "#",
        "$SYS",
        "a",
        "pump-7_j1",
        "A",
        "ä",
        "_",
        "a_",
        "_a",
        ".",
        "..",
        "a" * 64,
        "a/b",
        "\n",
        "\0",
    ]
) | st.text(max_size=5)
JUNK = st.text() | st.lists(LEVEL, max_size=9).map("/".join)


@given(JUNK)
def test_parsers_are_total(text: str) -> None:
    for parse in (topics.parse_up, topics.parse_node, topics.parse_down):
        found = parse(text)
        if found is not None:
            assert text.count("/") <= 7
            assert not re.search(r"[+#\0]", text)


@given(st.lists(LEVEL, max_size=6))
def test_what_is_parsed_below_the_root_has_only_legal_names(levels: list[str]) -> None:
    for head in ("up", "relay/n1", "relay"):
        up = topics.parse_up("/".join((topics.ROOT, head, *levels)))
        if up is not None:
            client_id(up.client)
            assert up.via == "" or client_id(up.via) == up.via
            assert (up.via == "") == (head == "up")


@given(CLIENT, LOCAL, CLIENT, CLIENT)
def test_requests_of_devices_are_read_back(
    device: ClientId, local: str, function: str, via: ClientId
) -> None:
    for topic, verb, named in (
        (topics.up(device, "submit", local), "submit", ""),
        (topics.up(device, "cancel", local), "cancel", ""),
        (topics.up(device, "order", local), "order", ""),
        (topics.up(device, "run", function, local), "run", function),
    ):
        up = topics.parse_up(topic)
        assert up == topics.Up(device, verb, local, named, "")
        relayed = topic.replace(f"{topics.ROOT}/up/", f"{topics.ROOT}/relay/{via}/")
        assert topics.parse_up(relayed) == up._replace(via=via)
        assert relayed.count("/") <= 7


@given(CLIENT, JOB, st.sampled_from(sorted(topics.AGENT_VERBS)))
def test_requests_of_agents_are_read_back(agent: ClientId, job: JobId, verb: str) -> None:
    assert topics.parse_up(topics.up(agent, verb, job)) == topics.Up(agent, verb, job, "", "")
    assert topics.parse_up(topics.beat(agent)) == topics.Up(agent, "beat", "", "", "")


@given(CLIENT, JOB, CLIENT)
def test_what_nodes_publish_is_read_back(node: ClientId, job: JobId, agent: ClientId) -> None:
    for kind, name in (
        ("job", job),
        ("spec", job),
        ("log", job),
        ("agent", agent),
        ("offer", agent),
        ("order", agent),
    ):
        topic = topics.node(node, kind, name)
        assert topics.parse_node(topic) == topics.Node(node, kind, name)
        assert topic.count("/") <= 7
    assert topics.parse_node(topics.node(node, "state")) == topics.Node(node, "state", "")
    assert topics.record(node, job) == topics.node(node, "job", job)


@given(CLIENT, LOCAL, st.sampled_from(["", "state", "out"]))
def test_what_a_device_is_told_is_read_back(device: ClientId, local: str, tail: str) -> None:
    topic = topics.down(device, local, *filter(None, [tail]))
    assert topics.parse_down(topic) == (device, local, tail)


@pytest.mark.parametrize(
    "topic",
    [
        "workrs/1/up/pump",
        "workrs/1/up/pump/submit",
        "workrs/1/up/pump/submit/a/b",
        "workrs/1/up/pump/run/j1",
        "workrs/1/up/pump/beat/x",
        "workrs/1/up/pump/claim/j1",
        "workrs/1/up/pump_7/submit/j1",
        "workrs/1/up/Pump/submit/j1",
        "workrs/1/up/pump/eat/j1",
        "workrs/1/up//submit/j1",
        "workrs/2/up/pump/submit/j1",
        "mqtt/1/up/pump/submit/j1",
        "workrs/1/relay//pump/submit/j1",
        "workrs/1/relay/n1/beat",
        "workrs/1/relay/N1/pump/submit/j1",
        "workrs/1/down/pump/submit/j1",
        "",
    ],
)
def test_a_malformed_request_is_none(topic: str) -> None:
    assert topics.parse_up(topic) is None


@pytest.mark.parametrize(
    "topic",
    [
        "workrs/1/node/n1",
        "workrs/1/node/n1/state/x",
        "workrs/1/node/n1/job",
        "workrs/1/node/n1/job/j1",
        "workrs/1/node/n1/agent/a_b",
        "workrs/1/node/n1/vote/a_b",
        "workrs/1/node/n_1/state",
        "workrs/1/node/n1/job/a_b/c",
        "workrs/2/node/n1/state",
    ],
)
def test_a_malformed_message_of_a_node_is_none(topic: str) -> None:
    assert topics.parse_node(topic) is None


@pytest.mark.parametrize(
    "topic",
    ["workrs/1/down/p", "workrs/1/down/p/j/x", "workrs/1/down/p/J", "workrs/1/down/p/j/out/x", "a"],
)
def test_a_malformed_answer_is_none(topic: str) -> None:
    assert topics.parse_down(topic) is None


@given(CLIENT, LOCAL)
def test_a_job_id_comes_apart_again(device: ClientId, local: LocalJobId) -> None:
    assert split_job_id(job_id(device, local)) == (device, local)


@given(CLIENT, LOCAL, CLIENT, LOCAL)
def test_jobs_of_two_devices_never_meet(
    device: ClientId, local: LocalJobId, other: ClientId, theirs: LocalJobId
) -> None:
    assume((device, local) != (other, theirs))
    assert job_id(device, local) != job_id(other, theirs)


@given(st.text())
def test_no_id_holds_what_a_topic_a_path_or_a_url_reads_otherwise(text: str) -> None:
    for check in (client_id, local_job_id, split_job_id):
        try:
            check(text)
        except IdError as error:
            assert len(str(error)) < 400  # noqa: PT017
        else:
            assert not re.search(r"[^a-z0-9._-]", text)
            assert not text.startswith(".")


@pytest.mark.parametrize("text", ["a" * 63, "0", "a.b-c"])
def test_a_name_at_the_limit_is_taken(text: str) -> None:
    assert client_id(text) == local_job_id(text) == text


@pytest.mark.parametrize("text", ["a" * 64, "", "-a", ".a", "a b", "a\n", "A", "a/b", "é"])
def test_a_name_past_the_limit_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(IdError, match="1 to 63 of a-z 0-9"):
        client_id(text)
    with pytest.raises(IdError, match="1 to 63 of a-z 0-9"):
        local_job_id(text)


def test_only_a_job_id_may_hold_an_underscore() -> None:
    assert local_job_id("a_b") == "a_b"
    with pytest.raises(IdError):
        client_id("a_b")
    with pytest.raises(IdError, match="does not name its device"):
        split_job_id("j1")
    assert split_job_id("a_b_c") == ("a", "b_c")


def test_a_digest_is_64_lower_case_hex_digits() -> None:
    assert is_digest("0" * 64)
    assert not is_digest("0" * 63)
    assert not is_digest("0" * 65)
    assert not is_digest("A" * 64)
    assert not is_digest("0" * 64 + "\n")
