"""Goal: no schedule of votes decides two outcomes, and each rule that prevents it is needed.

Method: Spin visits every state of two models; with one rule switched off it must find the
violation. Wider bounds: `python -m tests.model.check --large`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.model.check import (
    BEGIN,
    CHECKS,
    DOCUMENT,
    END,
    FOLDER,
    LARGE,
    MUTANTS,
    Search,
    missing,
    read,
    run,
    tables,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(600)  # seconds each where the machine does nothing else
needs_spin = pytest.mark.skipif(missing() is not None, reason=str(missing()))

COMPLETE = """
State-vector 124 byte, depth reached 58, errors: 0
  8194241 states, stored
  945.480\ttotal actual memory usage
unreached in proctype node
\t/x/vote.pml:160, state 97, "-end-"
\t/x/vote.pml:161, state 98, "best = 1"
pan: elapsed time 13.4 seconds
"""


def by_name(search: Search) -> str:
    return f"{search.model}-{search.name}"


@needs_spin
@pytest.mark.parametrize("search", CHECKS, ids=by_name)
def test_every_schedule_is_visited_and_none_goes_wrong(search: Search, tmp_path: Path) -> None:
    result = run(search, tmp_path)
    assert result.found is None, result.said
    assert result.complete, result.said
    assert result.states > 100_000
    # Nothing was accepted before the first epoch, so at that one nothing is adopted. Nothing else
    # in a model is dead.
    assert [text for text in result.unreached if not re.search("best|decision", text)] == []


@needs_spin
@pytest.mark.parametrize("search", MUTANTS, ids=by_name)
def test_without_this_rule_a_schedule_goes_wrong(search: Search, tmp_path: Path) -> None:
    result = run(search, tmp_path)
    assert result.found == search.finds, result.said


def test_every_switch_of_a_model_is_tried() -> None:
    for model in ("vote", "readmission"):
        text = (FOLDER / f"{model}.pml").read_text()
        switches = set(re.findall(r"#ifn?def (\w+)|defined\((\w+)\)", text))
        named = {name for pair in switches for name in pair if name}
        used = {
            define.partition("=")[0]
            for search in (*CHECKS, *LARGE, *MUTANTS)
            if search.model == model
            for define in search.defines
        }
        assert named - {"EPOCHS"} == used - {"EPOCHS"}


def test_a_search_that_was_cut_short_is_no_proof() -> None:
    assert read(COMPLETE, 1.0).complete
    assert not read("error: max search depth too small\n" + COMPLETE, 1.0).complete
    assert not read("pan: reached -DMEMLIM bound\n" + COMPLETE, 1.0).complete
    with pytest.raises(ValueError, match="did not end"):
        read("Depth= 56 States= 1e+06", 1.0)


def test_what_spin_says_is_read() -> None:
    result = read(COMPLETE, 13.4)
    assert (result.states, result.depth, result.cpu_s) == (8194241, 58, 13.4)
    assert result.unreached == ("best = 1",)
    assert result.found is None
    failed = "pan:1: assertion violated ((chosen==0)||(chosen==3)) (at depth 3)\n" + COMPLETE
    assert read(failed, 1.0).found == "two outcomes"
    assert read(COMPLETE.replace("errors: 0", "errors: 1"), 1.0).found is not None


def test_the_document_has_every_search() -> None:
    """Figures depend on the machine and on Spin's version; the rest must be as it is here."""
    document = DOCUMENT.read_text().split(BEGIN)[1].split(END)[0]
    assert "|  |" not in document, "without figures: run the command in the document"
    assert re.sub(r"(?<=\| )[\d,.]+(?= \|)", "", document) == tables({})
