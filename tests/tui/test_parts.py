"""Goal: filters, orders, columns, bars and graphs, without a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tui.stage import Stage
from tui import graph, headline, sign
from tui.agent_columns import AGENTS
from tui.cell import Look, Piece, narrow, padded
from tui.column import Column, fit
from tui.event_columns import EVENTS
from tui.job_columns import JOBS
from tui.listing import Order, arrange, job_fields
from tui.model import amount
from tui.model.event import Kind
from tui.model.query import parse
from tui.node_columns import NODES
from tui.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tui.model.job import Job

LINE = {"job": "pump-7/sum-1", "state": "running", "agent": "a1", "note": "Row 12"}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", True),
        ("sum", True),
        ("SUM", True),
        ("sum row", True),
        ("sum missing", False),
        ("state:run", True),
        ("state:queued", False),
        ("state:queued,running", True),
        ("-state:queued", True),
        ("-sum", False),
        ("agent:a1 -note:row", False),
        ("state:", True),
        ("-", True),
        ("nothing:x", False),
    ],
)
def test_a_filter_means_what_the_help_says(text: str, wanted: bool) -> None:  # noqa: FBT001
    assert parse(text).matches(LINE) is wanted


@given(st.text(max_size=40))
def test_every_text_is_a_filter(text: str) -> None:
    parse(text).matches(LINE)


@pytest.mark.parametrize("width", [1, 20, 79, 159, 300])
@pytest.mark.parametrize("columns_of", [JOBS, AGENTS, EVENTS, NODES])
def test_columns_fit_whatever_the_width(width: int, columns_of: Sequence[Any]) -> None:
    table: list[Column[object]] = list(columns_of)
    found = fit(table, width)
    used = sum(each for _, each in found) + len(found) - 1
    assert used <= max(width, found[0][1])
    keys = [column.key for column, _ in found]
    assert keys == [column.key for column in table if column.key in keys]


@given(st.text("ab", max_size=12), st.integers(0, 8), st.booleans())
def test_a_cell_is_as_wide_as_its_column(text: str, width: int, right: bool) -> None:  # noqa: FBT001
    cell = padded([Piece(text[:4]), Piece(text[4:], "dim")], width, right=right)
    assert sum(len(piece.text) for piece in cell) == width


def test_text_of_others_takes_one_cell_a_character() -> None:
    assert narrow("a\x1b\t漢é") == "a···é"


@given(st.lists(st.floats(0, 1e6), max_size=30), st.integers(1, 20), st.integers(1, 4))
def test_a_chart_has_its_size_and_shows_every_value_above_zero(
    values: list[float], width: int, height: int
) -> None:
    lines = sign.chart(values, width, height)
    assert [len(line) for line in lines] == [width] * height
    shown = values[-width:]
    for place, value in enumerate(reversed(shown), start=1):
        assert (lines[-1][-place] != " ") == (value > 0)


@given(st.lists(st.floats(0, 100), max_size=100), st.integers(1, 20))
def test_squeezed_values_are_few_and_within_bounds(values: list[float], width: int) -> None:
    found = sign.squeeze(values, width)
    assert len(found) <= width
    if values:
        assert min(values) - 1e-9 <= min(found) <= max(found) <= max(values) + 1e-9


@pytest.mark.parametrize(
    ("done", "saved", "text"),
    [
        (None, None, "┄┄┄┄┄┄┄┄┄┄"),
        (0.0, None, "──────────"),
        (0.5, None, "╍╍╍╍╍─────"),
        (0.5, 0.3, "━━━╍╍─────"),
        (0.3, 0.5, "━━━───────"),
        (7.0, 1.0, "━━━━━━━━━━"),
    ],
)
def test_a_bar_tells_saved_done_and_left_by_its_strokes(
    done: float | None, saved: float | None, text: str
) -> None:
    assert "".join(piece.text for piece in sign.bar(done, saved, 10)) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (9999, "9,999"),
        (10_000, "10.0k"),
        (123_456, "123k"),
        (2.5e6, "2.5M"),
        (9e12, "many"),
    ],
)
def test_numbers_are_short(number: float, text: str) -> None:
    assert amount.count(number) == text


def test_every_state_and_event_has_a_sign_of_its_own_for_its_kind() -> None:
    jobs = ["arriving", "queued", "running", "orphan", "cancelling", "succeeded", "failed"]
    signs = [sign.STATES[word][0] for word in [*jobs, "cancelled", "expired"]]
    assert len(set(signs)) == len(signs)
    assert set(sign.EVENTS) == set(Kind)
    assert all(len(mark) == 1 for mark, _ in [*sign.STATES.values(), *sign.EVENTS.values()])


def stage() -> Stage:
    return Stage(Scene(agents=4, jobs=30, speed=0.1), quiet_s=20)


@pytest.mark.parametrize("column", JOBS, ids=lambda column: column.key)
def test_every_column_of_jobs_sorts_and_reverses(column: Column[Job]) -> None:
    on = stage()
    look = Look(on.model, on.now)
    rows = list(on.model.jobs.values())
    order = Order(sort=column.key)
    found = arrange(rows, JOBS, order, job_fields, look)
    assert sorted(id(row) for row in found) == sorted(id(row) for row in rows)
    if column.sort is not None:
        keys = [column.sort(row, look) for row in found]
        assert keys == sorted(keys)
        again = arrange(rows, JOBS, order.by(column.key), job_fields, look)
        assert [column.sort(row, look) for row in again] == keys[::-1]


def test_the_next_order_goes_round_through_all_columns() -> None:
    order, seen = Order(), []
    for _ in range(len(JOBS)):
        order = order.by_next(JOBS)
        seen.append(order.sort)
    sortable = [column.key for column in JOBS if column.sort]
    assert seen[: len(sortable)] == sortable
    assert seen[len(sortable)] == sortable[0]


@pytest.mark.parametrize(("width", "height"), [(78, 2), (60, 8), (10, 2)])
def test_the_trend_has_the_lines_it_was_given(width: int, height: int) -> None:
    on = stage()
    lines = graph.trend(Look(on.model, on.now), width, height)
    assert len(lines) == height


def test_a_tab_is_found_where_it_is_drawn() -> None:
    on = stage()
    text = "".join(piece.text for piece in headline.tabs("jobs", Look(on.model, on.now), 80))
    for name in headline.VIEWS:
        assert headline.tab_at(text.index(name)) == name
    assert headline.tab_at(2) is None
    assert headline.tab_at(79) is None
