"""What `workrs show` says of the next checkpoint: when, and why then; and how it is laid out."""

from dataclasses import replace

import pytest

from workrs.cli.show import entry, next_one
from workrs.domain.ids import Digest, Epoch
from workrs.domain.next_checkpoint import Why
from workrs.domain.record import CheckpointRef

LAST = CheckpointRef(
    epoch=Epoch(1), seq=1, manifest=Digest("0" * 64), location=("u",), rung="files", bytes=1
)


@pytest.mark.parametrize("why", Why)
def test_every_reason_has_a_sentence(why: Why) -> None:
    told = next_one(replace(LAST, next_s=171.3, next_why=why.value))
    assert told.startswith("after 171.3 s more work: ")
    assert " " in told.partition(": ")[2]


def test_a_newer_agents_reason_is_shown_as_it_is() -> None:
    assert next_one(replace(LAST, next_s=5.0, next_why="moon")) == "after 5 s more work: moon"


def test_where_nobody_said_nothing_is_shown() -> None:
    assert next_one(LAST) == ""


def test_what_is_long_or_has_lines_stays_in_its_column() -> None:
    text = entry("reason", "exit code 3\n" + "word " * 5, 30)
    assert text.splitlines() == [
        "reason      exit code 3",
        "            word word word",
        "            word word",
    ]
    assert entry("command", "x " * 100, None) == f"command     {'x ' * 100}"
