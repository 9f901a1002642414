"""Goal: the permissions are the table of topics in docs/protocol.md, no more and no less.

Method: each row's writers and readers, as the document has them in words, are held against what
the rules let each kind do, under its own name and under another's. A topic that is added to the
document and not to the rules, or the other way round, fails here.
"""

from __future__ import annotations

import re

import pytest

from tests.unit.wire.protocol_page import PAGE, Page
from workrs.trust.acl import RULES, acl, forbidden, may
from workrs.trust.kind import Kind
from workrs.wire.topics import ROOT

NAMES = {
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
ROWS = [(row[0].strip("`"), row[1]) for row in Page(PAGE).table("Topics", "topic")]
_KIND = re.compile(r"\b(device|agent|operator|node|bridge)s?\b")


def sample(topic: str) -> str:
    """Return a topic that a row of the table stands for."""
    filled = re.sub(r"\{(\w+)\}", lambda found: NAMES[found[1]], topic)
    return f"{ROOT}/{filled.replace('…', 'beat')}"


def kinds(words: str) -> set[Kind]:
    """Return the kinds that a cell names; a device's rights are an operator's, too."""
    found = {Kind("node" if word == "bridge" else word) for word in _KIND.findall(words)}
    return found | ({Kind.OPERATOR} if Kind.DEVICE in found else set())


def writers(topic: str, cell: str) -> set[Kind]:
    """Return who writes a topic through a port; a node's daemon says `down/` on its own broker."""
    if topic.startswith("down/"):
        return set()
    return kinds(cell.partition("→")[0])


def readers(topic: str, cell: str) -> set[Kind]:
    """Return who reads it through a port; a node reads at its own broker."""
    if topic.startswith("down/{device}"):
        return {Kind.DEVICE, Kind.OPERATOR}
    if topic.startswith("echo"):
        return kinds(cell)
    words = cell.partition("→")[2].partition(";")[0]
    return (kinds(words) | {Kind.OPERATOR}) - {Kind.NODE}


def own_name(kind: Kind, topic: str) -> str:
    """Return the name under which a kind uses a topic: the one that stands in it."""
    levels = sample(topic).split("/")
    return levels[-1] if topic.startswith("node/") and kind is Kind.AGENT else levels[3]


def test_the_table_has_all_topics_and_the_test_reads_it() -> None:
    assert len(ROWS) >= 26
    assert writers(*ROWS[0]) == {Kind.DEVICE, Kind.OPERATOR}
    assert readers("node/{n}/terms", "node n → agents") == {Kind.AGENT, Kind.OPERATOR}


@pytest.mark.parametrize(("topic", "cell"), ROWS, ids=[row[0] for row in ROWS])
def test_a_topic_is_written_by_its_writers_under_their_own_name_alone(
    topic: str, cell: str
) -> None:
    for kind in Kind:
        own = own_name(kind, topic)
        told = (kind, kind in writers(topic, cell))
        assert (kind, may(kind, own, "write", sample(topic))) == told
        if not topic.startswith("echo"):
            assert not may(kind, "mallory", "write", sample(topic)), kind


@pytest.mark.parametrize(("topic", "cell"), ROWS, ids=[row[0] for row in ROWS])
def test_a_topic_is_read_by_its_readers_alone(topic: str, cell: str) -> None:
    for kind in Kind:
        if topic.startswith("down/{operator}") and kind is Kind.DEVICE:
            continue  # the same topic as a device's job
        own = own_name(kind, topic)
        told = (kind, kind in readers(topic, cell))
        assert (kind, may(kind, own, "read", sample(topic))) == told
    is_private = topic.startswith("down/") or topic.endswith("{agent}")
    for kind in (Kind.DEVICE, Kind.AGENT):
        if is_private or kind not in readers(topic, cell):
            assert not may(kind, "mallory", "read", sample(topic)), kind


def test_no_rule_is_for_a_topic_that_the_table_does_not_have() -> None:
    levels = [sample(topic).split("/")[2:] for topic, _ in ROWS]
    for rule in RULES:
        wanted = rule.topic.split("/")
        if wanted[-1] == "#":
            wanted = wanted[:-1]
        assert any(
            all(a in ("+", "{self}", b) for a, b in zip(wanted, row, strict=False))
            and len(row) >= len(wanted)
            for row in levels
        ), rule


def test_no_pattern_matches_more_than_one_name_where_a_name_must_be_the_members() -> None:
    for kind in Kind:
        for line in acl(kind).splitlines():
            _, access, topic = line.split()
            head = topic.removeprefix(f"{ROOT}/").split("/")[0]
            if access == "write" and head != "echo":
                assert topic.split("/")[3] == "%u", line
            assert access in ("read", "write")


@pytest.mark.parametrize("kind", list(Kind))
def test_what_is_tried_at_the_start_is_forbidden_and_covers_every_topic(kind: Kind) -> None:
    tried = forbidden(kind, "probe.x.n1")
    assert not [topic for topic in tried if may(kind, "probe.x.n1", "write", topic)]
    heads = {topic.split("/")[2] for topic in tried}
    assert heads >= {"up", "down", "relay", "node"}
    assert not [topic for topic in tried if set("+#") & set(topic)]
