"""Goal: only what a majority acknowledged renews a lease.

Method: heartbeats and views as JSON, and a trace in which an agent is alone with one node while
its program runs on.
"""

import json
from pathlib import Path

import pytest

from workrs.faults.check import Checker
from workrs.faults.evidence import Run, RunKey
from workrs.faults.plan import TEST_TIMING
from workrs.faults.receipts import Receipts, Renewal
from workrs.faults.running import LAG_S

LEASE = ("d_j", 1)


def beat(counter: int, *held: tuple[str, int]) -> dict[str, object]:
    said = [[job, epoch, 1] for job, epoch in held or (LEASE,)]
    return {"incarnation": [1, "a"], "connection": 1, "counter": counter, "held": said}


def view(counter: int, *refused: tuple[str, int], nonce: str = "a") -> dict[str, object]:
    said = [list(lease) for lease in refused]
    return {"incarnation": [1, nonce], "connection": 1, "counter": counter, "refused": said}


def test_a_heartbeat_renews_from_its_sending_once_a_majority_has_it() -> None:
    receipts = Receipts(2)
    assert list(receipts.take_beat(beat(1), 1.0)) == []
    assert list(receipts.take_view("n1", view(1), 1.1)) == []
    assert list(receipts.take_view("n1", view(1), 1.2)) == []
    assert list(receipts.take_view("n2", view(1), 1.3)) == [(LEASE, Renewal(1.3, 1.0))]
    assert list(receipts.take_view("n3", view(1), 1.4)) == []


def test_a_view_that_came_before_its_heartbeat_counts_too() -> None:
    receipts = Receipts(2)
    found = [*receipts.take_view("n1", view(4), 1.0), *receipts.take_view("n2", view(3), 1.0)]
    assert found == []
    assert list(receipts.take_beat(beat(3), 1.1)) == [(LEASE, Renewal(1.1, 1.1))]


def test_a_node_that_refuses_a_lease_does_not_count_for_it() -> None:
    receipts, other = Receipts(2), ("d_k", 3)
    list(receipts.take_beat(beat(1, LEASE, other), 1.0))
    list(receipts.take_view("n1", view(1, LEASE), 1.1))
    assert list(receipts.take_view("n2", view(1), 1.2)) == [(other, Renewal(1.2, 1.0))]
    assert list(receipts.take_view("n3", view(1), 1.3)) == [(LEASE, Renewal(1.3, 1.0))]


def test_a_heartbeat_that_does_not_list_a_lease_does_not_renew_it() -> None:
    receipts = Receipts(1)
    list(receipts.take_beat(beat(1, ("d_k", 3)), 1.0))
    assert [lease for lease, _ in receipts.take_view("n1", view(1), 1.1)] == [("d_k", 3)]


@pytest.mark.parametrize(
    ("nodes", "nonce", "refused", "late"),
    [
        (("n1", "n2"), "a", (), 0),
        (("n1",), "a", (), 1),
        (("n1", "n2"), "another", (), 1),
        (("n1", "n2"), "a", (LEASE,), 1),
        (("n1", "n2"), "a", (("d_j", 2),), 0),
    ],
    ids=["majority", "island", "another-incarnation", "refused", "another-epoch-refused"],
)
def test_a_program_of_an_agent_alone_with_a_minority_is_late(
    tmp_path: Path,
    nodes: tuple[str, ...],
    nonce: str,
    refused: tuple[tuple[str, int], ...],
    late: int,
) -> None:
    """All nodes grant, the agent goes on with heartbeats and its program with running."""
    lines: list[dict[str, object]] = []

    def say(at_s: float, topic: str, body: object) -> None:
        text = json.dumps(body)
        rest = {"broker": "n1", "topic": f"workrs/1/{topic}", "retain": False, "text": text}
        lines.append({"t": at_s, "kind": "message", **rest})

    holder = {"client": "a1", "incarnation": [1, "a"]}
    for node in ("n1", "n2", "n3"):
        record = {"node": node, "version": [1, 1], "epoch": 1, "digest": "x", "holder": holder}
        say(0.0, f"node/{node}/job/d_j", record)
    ticks = [0.4 * n for n in range(1, 26)]
    for counter, at_s in enumerate(ticks, start=1):
        say(at_s, "up/a1/beat", beat(counter))
        for node in nodes:
            say(at_s, f"node/{node}/agent/a1", view(counter, *refused, nonce=nonce))
    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(json.dumps(line) + "\n" for line in lines))
    checker = Checker(trace=trace, nodes=("n1", "n2", "n3"), timing=TEST_TIMING)
    checker.read()
    found = checker.judge([Run(RunKey("d_j", 1, "a1"), ticks)], {}, ())
    assert [text.split()[0] for text in found] == ["S7"] * late


def test_what_the_trace_was_not_read_for_yet_is_not_judged(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    body = {"version": [1, 1], "epoch": 1, "holder": {"client": "a1", "incarnation": [1, "a"]}}
    lines = [
        {
            "t": 0.0,
            "kind": "message",
            "topic": "workrs/1/node/n1/job/d_j",
            "text": json.dumps(body),
        },
        {"t": 9.0, "kind": "mark", "lane": "a1", "what": "note", "text": ""},
    ]
    trace.write_text("".join(json.dumps(line) + "\n" for line in lines))
    checker = Checker(trace=trace, nodes=("n1",), timing=TEST_TIMING)
    checker.read()
    assert checker.judge([Run(RunKey("d_j", 1, "a1"), [9.1 - LAG_S])], {}, ()) == []
    assert len(checker.judge([Run(RunKey("d_j", 1, "a1"), [8.9 - LAG_S])], {}, ())) == 1
