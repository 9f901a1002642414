"""Goal: a record at any broker that is not the ledger's is seen.

Method: three brokers and ledgers that agree, and one of them changed; a ledger as nodes make it.
"""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from broker.ledger_file import create
from workrs.faults.agreement import Ledger, Place, Vote, differences, read_votes, vote_of

NODES = ("n1", "n2", "n3")
VOTE = Vote(epoch=2, holder="a1 [1, 'a']", digest="x", accepted="2 y", decided="y")
Shown = dict[str, dict[Place, Vote] | None]


def agreeing() -> tuple[Shown, dict[str, Ledger | None]]:
    shown: Shown = {b: {Place(b, n, "d_j"): VOTE for n in NODES} for b in NODES}
    return shown, {n: Ledger({"d_j": VOTE}, {"d_old": "z"}) for n in NODES}


def at(shown: Shown, broker: str) -> dict[Place, Vote]:
    votes = shown[broker]
    assert votes is not None
    return votes


def test_what_agrees_is_no_difference() -> None:
    assert differences(*agreeing()) == {}


@pytest.mark.parametrize("field", Vote._fields)
@pytest.mark.parametrize("broker", NODES)
def test_every_part_of_a_record_is_compared_at_every_broker(broker: str, field: str) -> None:
    shown, ledgers = agreeing()
    place = Place(broker, "n1", "d_j")
    at(shown, broker)[place] = VOTE._replace(**{field: 7 if field == "epoch" else "else"})
    found = differences(shown, ledgers)
    copies = {Place("n2", "n1", "d_j"), Place("n3", "n1", "d_j")} if broker == "n1" else set()
    assert found.keys() == {place} | copies
    assert f" with {field} " in found[place]


@pytest.mark.parametrize("broker", NODES)
def test_a_record_that_a_broker_lost_is_missed(broker: str) -> None:
    shown, ledgers = agreeing()
    del at(shown, broker)[Place(broker, "n2", "d_j")]
    assert Place(broker, "n2", "d_j") in differences(shown, ledgers)


def test_a_record_that_no_ledger_has_is_seen() -> None:
    shown, ledgers = agreeing()
    ghost = Place("n1", "n1", "d_k")
    at(shown, "n1")[ghost] = VOTE
    assert ghost in differences(shown, ledgers)


@pytest.mark.parametrize(("decided", "seen"), [("z", False), ("y", True), ("", True)])
def test_what_is_left_of_a_retired_job_is_its_decision(decided: str, *, seen: bool) -> None:
    shown, ledgers = agreeing()
    left = Place("n2", "n1", "d_old")
    at(shown, "n2")[left] = VOTE._replace(decided=decided)
    assert (left in differences(shown, ledgers)) == seen


def test_who_has_retired_a_job_owes_no_copy_of_it_but_a_right_one() -> None:
    shown, ledgers = agreeing()
    ledgers["n2"] = Ledger({}, {"d_j": "y"})
    for place in (Place("n2", "n1", "d_j"), Place("n2", "n2", "d_j")):
        del at(shown, "n2")[place]
    for broker in ("n1", "n3"):
        del at(shown, broker)[Place(broker, "n2", "d_j")]
    assert differences(shown, ledgers) == {}
    wrong = Place("n2", "n1", "d_j")
    at(shown, "n2")[wrong] = VOTE._replace(decided="w")
    assert differences(shown, ledgers).keys() == {wrong}


def test_a_broker_or_a_ledger_that_is_not_there_is_told() -> None:
    shown, ledgers = agreeing()
    shown["n1"] = ledgers["n2"] = None
    texts = list(differences(shown, ledgers).values())
    assert texts == [
        "L2 the broker of n1 cannot be read",
        "L2 the ledger of n2 cannot be read",
    ]


def test_a_ledgers_votes_are_read_as_they_lie_there(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    create(path)
    body = {
        "job": "d_j",
        "digest": "x",
        "epoch": 2,
        "holder": {"client": "a1", "incarnation": [1, "a"]},
        "accepted": {"epoch": 2, "digest": "y", "outcome": {}},
        "decided_digest": "y",
    }
    with closing(sqlite3.connect(path)) as database:
        row = ("d_j", "succeeded", 2, json.dumps(body))
        database.execute("INSERT INTO records (job, state, epoch, body) VALUES (?, ?, ?, ?)", row)
        database.commit()
    assert read_votes(path) == Ledger({"d_j": VOTE}, {})
    assert vote_of({}) == Vote()
    assert read_votes(tmp_path / "none.db") is None
