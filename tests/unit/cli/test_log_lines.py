"""Goal: who follows a log sees each line once, though only its end is ever sent."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workrs.cli.logs import Screen, new_part

LINES = st.lists(st.integers(0, 10_000), unique=True, max_size=40)


def text(lines: list[int]) -> bytes:
    return b"".join(b"%d\n" % line for line in lines)


@given(LINES, st.integers(0, 40), st.integers(0, 40))
def test_what_an_end_shares_with_the_one_before_is_not_new(
    lines: list[int], dropped: int, told: int
) -> None:
    before, after = lines[:told], lines[min(dropped, told) :]
    assert new_part(text(before), text(after)) == text(lines[told:])


@given(LINES, LINES, st.integers(0, 40), st.integers(0, 40))
def test_both_streams_may_go_on(
    stdout: list[int], stderr: list[int], told: int, told_stderr: int
) -> None:
    errors = [10_001 + line for line in stderr]
    before = text(stdout[:told]) + text(errors[:told_stderr])
    after = text(stdout) + text(errors)
    assert new_part(before, after) == text(stdout[told:]) + text(errors[told_stderr:])


def test_a_remark_beside_the_log_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    Screen().tell("pump-7/sum failed: \x1b[2J\x07gone")
    assert capsys.readouterr().err == "workrs: pump-7/sum failed: \\x1b[2J\\x07gone\n"


def test_lines_that_are_all_the_same_are_counted() -> None:
    assert new_part(b"tick\n" * 3, b"tick\n" * 5) == b"tick\n" * 2
    assert new_part(b"tick\n" * 3, b"tick\n" * 3) == b""


def test_an_unfinished_line_goes_on_where_it_stopped() -> None:
    assert new_part(b"one\ntw", b"one\ntwo\nthree") == b"o\nthree"
    assert new_part(b"10%\r", b"10%\r20%\r") == b"20%\r"
    assert new_part(b"half", b"another\n") == b"another\n"
    assert new_part(b"", b"") == b""


def test_a_line_is_one_document_however_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(is_json=True)
    for tail in (b"one\ntw", b"one\ntwo\nthr", b"one\ntwo\nthree"):
        screen.show(tail)
    assert len(capsys.readouterr().out.splitlines()) == 2
    screen.end()
    screen.end()
    assert json.loads(capsys.readouterr().out) == {"line": "three"}
