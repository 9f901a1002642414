"""Tables fit the width, whatever stands in them; a pipe gets all of it."""

import io
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workrs.cli.table import (
    cells,
    cut,
    fitted,
    layout,
    plain,
    print_json,
    print_json_line,
    print_table,
    wrapped,
)

COLUMNS = ("job", "state", "note")


def test_a_table_that_fits_is_the_same_as_in_a_pipe() -> None:
    rows = [["pump-7/sum", "running", "half"], ["p/x", "queued", ""]]
    assert fitted(COLUMNS, rows, 80) == plain(COLUMNS, rows)


def test_the_longest_cells_are_cut_first() -> None:
    rows = [["pump-7/sum", "running", "x" * 200]]
    text = fitted(COLUMNS, rows, 40)
    assert text.splitlines()[1] == f"pump-7/sum  running  {'x' * 18}…"


def test_columns_go_from_the_right_before_the_first_is_cut() -> None:
    rows = [["device/" + "a" * 30, "running", "word by word"]]
    assert fitted(COLUMNS, rows, 50).splitlines()[0].split() == ["JOB", "STATE"]
    assert fitted(COLUMNS, rows, 46).splitlines()[1] == f"device/{'a' * 30}  running"
    assert fitted(COLUMNS, rows, 20).splitlines()[1] == f"device/{'a' * 12}…"


def test_a_first_column_that_is_cut_anyway_leaves_room_for_the_next() -> None:
    rows = [["device/" + "a" * 60, "running", ""], ["p/x", "succeeded", ""]]
    assert fitted(COLUMNS, rows, 40).splitlines()[1:] == [
        f"device/{'a' * 21}…  running",
        f"p/x{' ' * 28}succeeded",
    ]


def test_empty_columns_are_left_out_where_there_is_a_width() -> None:
    rows = [["p/x", "", "half"]]
    assert fitted(COLUMNS, rows, 80).splitlines()[0].split() == ["JOB", "NOTE"]
    assert plain(COLUMNS, rows).splitlines()[0].split() == ["JOB", "STATE", "NOTE"]
    assert fitted(COLUMNS, [["", "", ""]], 80) == "JOB\n"


def test_wide_characters_take_two_columns() -> None:
    assert [cells("abc"), cells("日本"), cells("e\u0301")] == [3, 4, 1]
    assert [cut("日本語", width) for width in (6, 5, 4, 2)] == ["日本語", "日本…", "日…", "…"]
    lines = fitted(("a", "b"), [["日本", "x"], ["p", "y"]], 80).splitlines()
    assert lines == ["A     B", "日本  x", "p     y"]


@pytest.mark.parametrize("text", ["漢字" * 30, "a 漢字かな " * 9, "🚀" * 25 + " x", "é" * 50])
@pytest.mark.parametrize("width", [1, 2, 7, 40])
def test_lines_of_wide_characters_fit_and_lose_nothing(text: str, width: int) -> None:
    lines = wrapped(text, width)
    assert all(cells(line) <= max(2, width) for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_states_stand_out_and_the_columns_stay_where_they_are() -> None:
    text = fitted(COLUMNS, [["p/x", "failed", "n"]], 80, is_coloured=True)
    assert "\x1b[31mfailed\x1b[0m  n" in text


def test_advice_is_wrapped_and_not_cut() -> None:
    text = fitted(("part", "advice"), [["criu", "apt install criu, or nothing"]], 20, wrap=True)
    assert text.splitlines() == [
        "PART  ADVICE",
        "criu  apt install",
        "      criu, or",
        "      nothing",
    ]


TEXTS = st.text(alphabet=st.sampled_from("abc 日é\u0301💥"), max_size=60)


@given(
    rows=st.lists(st.lists(TEXTS, min_size=4, max_size=4), min_size=1, max_size=5),
    width=st.integers(1, 120),
)
def test_no_line_is_wider_than_the_screen(rows: list[list[str]], width: int) -> None:
    for line in fitted(("job", "state", "agent", "note"), rows, width).split("\n"):
        assert cells(line) <= max(width, 1)


@given(natural=st.lists(st.integers(1, 200), min_size=1, max_size=8), width=st.integers(1, 300))
def test_a_layout_fits_and_wastes_nothing(natural: list[int], width: int) -> None:
    found = layout(natural, width)
    used = sum(found) + 2 * (len(found) - 1)
    assert used <= width
    assert all(given <= wanted for given, wanted in zip(found, natural, strict=False))
    if len(found) == len(natural) and found != natural:
        assert width - used < len(natural), "what is left would have shown more"


def test_a_cell_stays_one_line_and_gives_no_orders(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("a", "b"), [["x\ny\tz", "\x1b[31mred"]], empty="none")
    assert capsys.readouterr().out == "A      B\nx y z  \\x1b[31mred\n"
    print_table(("a",), [], empty="none")
    assert capsys.readouterr() == ("", "none\n")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_json_is_json_in_every_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", output)
    told = {"note": "é … \x85 \x9b31m"}
    print_json(told)
    print_json_line(told)
    output.seek(0)
    assert "\x9b" not in output.read()
    output.seek(0)
    assert [json.loads(line) for line in output.read().splitlines()] == [
        {"note": "é … \x85 \x9b31m"}
    ] * 2


def test_a_width_that_is_given_holds_for_pipes_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "10")
    print_table(("a",), [["x" * 20]], empty="none")
    assert capsys.readouterr().out.splitlines()[1] == "x" * 9 + "…"
    monkeypatch.delenv("COLUMNS")
    print_table(("a",), [["x" * 20]], empty="none")
    assert capsys.readouterr().out.splitlines()[1] == "x" * 20


@pytest.mark.parametrize("variable", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_are_for_terminals_that_want_them(
    variable: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    print_table(("a",), [["failed"]], empty="none")
    assert "\x1b[31m" in capsys.readouterr().out
    monkeypatch.setenv(*variable)
    print_table(("a",), [["failed"]], empty="none")
    assert "\x1b" not in capsys.readouterr().out
