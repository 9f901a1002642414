"""Goal: a vote of a node that said that it may not vote is seen. Method: records with times."""

import pytest

from workrs.domain.ids import JobId
from workrs.domain.record import Record, Version
from workrs.faults.rows.node import new_votes
from workrs.faults.trace import Shown


def shown(at_s: float, step: int, node: str = "n1") -> Shown:
    return Shown(at_s, node, Record(job=JobId("d_j"), version=Version(1, step)))


@pytest.mark.parametrize(
    ("late", "seen"),
    [
        (shown(5.0, 3), 1),
        (shown(5.0, 2), 0),
        (shown(5.0, 3, "n2"), 0),
        (shown(9.5, 3), 0),
    ],
    ids=["a-vote", "a-copy", "another-node", "after-it-recovered"],
)
def test_a_vote_while_not_ready_is_seen(late: Shown, seen: int) -> None:
    assert len(new_votes([shown(1.0, 1), shown(2.0, 2), late], "n1", 3.0, 9.0)) == seen


def test_a_first_vote_on_a_job_is_one_too() -> None:
    assert len(new_votes([shown(5.0, 1)], "n1", 3.0, 9.0)) == 1
