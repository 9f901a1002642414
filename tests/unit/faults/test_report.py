"""Goal: figures mean what they say. Method: known values; a report written and read."""

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from workrs.faults.diary import parse
from workrs.faults.play import SITE, Played
from workrs.faults.report import beyond, summary, table, verdict, write_report
from workrs.faults.row import Injection, Mark, Row
from workrs.faults.rows import all_rows
from workrs.faults.timeline import Bar, Timeline

ROOT = Path(__file__).parents[3]
FIGURE = re.compile(r'\.figure\(\s*f?"([^"]+)"')


def injected(number: int, *lease_s: float, faults: tuple[str, ...] = ()) -> Played:
    injection = Injection(name="agent killed", began_s=1, ended_s=5, figures={"lease": lease_s})
    picture = Timeline(
        title="agent <a1> killed",
        from_s=0.0,
        to_s=6.0,
        fault_s=1.0,
        lanes=("n1", "a1", "d_j"),
        bars=(Bar("a1", 1.0, 4.0, "down"), Bar("d_j", 0.0, 2.0, "lease", "a1")),
        marks=(Mark(1.0, "a1", "fault", "killed"), Mark(2.2, "d_j", "grant", "a2 epoch 2")),
    )
    return Played(row="row", number=number, injection=injection, faults=faults, picture=picture)


def row(**bounds: float) -> Row:
    return Row(
        name="row", title="a row", passes_when="so", inject=lambda _site: None, bounds=bounds
    )  # type: ignore[arg-type, return-value]


@pytest.mark.parametrize(
    ("count", "p50", "p99"), [(1, 1.0, 1.0), (2, 1.0, 2.0), (100, 50.0, 99.0), (101, 51.0, 100.0)]
)
def test_percentiles_are_values_that_were_measured(count: int, p50: float, p99: float) -> None:
    found = summary([float(n + 1) for n in reversed(range(count))])
    assert (found.p50, found.p99, found.worst) == (p50, p99, float(count))


def test_a_bound_is_held_against_the_99th_percentile_of_all_injections() -> None:
    played = [injected(1, 1.0, 2.0), injected(2, 2.01)]
    assert beyond(row(lease=2.01), played) == []
    assert len(beyond(row(lease=2.0), played)) == 1


def test_a_patient_player_stretches_bounds_and_nothing_else() -> None:
    played = [injected(1, 2.01)]
    assert len(beyond(row(lease=1.0), played, patience=2.0)) == 1
    assert beyond(row(lease=1.01), played, patience=2.0) == []
    blind = [injected(n + 1, 1.0) for n in range(10)]
    assert len(beyond(row(dead=1.0), blind, patience=2.0)) == 1


def test_a_bound_on_what_was_never_measured_does_not_hold() -> None:
    whole_turn = [injected(number + 1, 1.0) for number in range(row().repeat)]
    assert beyond(row(dead=1.0), whole_turn[1:]) == []
    assert beyond(row(dead=1.0), whole_turn) == ["dead: was not measured in 10 injections"]


def test_a_bound_is_told_in_its_figures_unit() -> None:
    crowded = Injection(name="c", began_s=1, ended_s=5, figures={"messages per job": (41.0,)})
    played = [Played(row="row", number=1, injection=crowded)]
    bounded = replace(row(), bounds={"messages per job": 40.0})
    assert beyond(bounded, played) == ["messages per job: p99 is 41.00, allowed are 40"]
    assert beyond(row(lease=1.0), [injected(1, 2.0)]) == ["lease: p99 is 2.00 s, allowed are 1 s"]


def test_the_end_of_a_site_is_no_injection(tmp_path: Path) -> None:
    ended = Played(row=SITE, number=0, injection=None, faults=("L4 left behind",))
    played = [injected(1, 1.0), injected(2, 1.0, faults=("S2 twice",)), ended]
    assert verdict(played) == "2 injections, 1 failed; sites that failed: 1"
    assert verdict(played[:2]) == "2 injections, 1 failed"
    assert verdict(played) in write_report(tmp_path, [row()], played, seed=7).read_text()


def test_the_report_says_what_every_figure_means(tmp_path: Path) -> None:
    legend = write_report(tmp_path, [], [], seed=7).read_text()
    heads = re.findall(r"^\| ([^|]+) \|", legend, re.MULTILINE)
    told = [name for head in heads for name in head.split(", ")]
    sources = (ROOT / "workrs" / "faults" / "rows").glob("*.py")
    found = {name for file in sources for name in re.findall(FIGURE, file.read_text())}
    assert {"lease", "claim in the flood", "messages per job, 3 agents"} <= found
    for name in found:
        assert any(name == one or name.startswith(f"{one},") for one in told), name


def test_a_report_names_what_this_machine_could_not_play(tmp_path: Path) -> None:
    place = write_report(tmp_path, [row()], [injected(1, 1.0)], seed=7, skipped={"split": "no ip"})
    assert "- `split`: no ip" in place.read_text()


def test_a_rate_is_claimed_only_without_failures() -> None:
    passed = [injected(n, 1.0) for n in range(10)]
    assert "| 10 | 0 | 0.3 |" in "\n".join(table([row()], passed))
    assert "| 2 | 0 | 1 |" in "\n".join(table([row()], passed[:2])), "no rate is above 1"
    failed = [*passed[:9], injected(10, 1.0, faults=("S2 d_j was decided twice",))]
    assert "| 10 | 1 |  |" in "\n".join(table([row()], failed))


def test_a_report_has_a_picture_of_every_injection(tmp_path: Path) -> None:
    played = [injected(1, 1.0), injected(2, 1.0, faults=("S2 twice",))]
    place = write_report(tmp_path, [row()], played, seed=7)
    text = place.read_text()
    assert "S2 twice" in text
    for number in (1, 2):
        assert f"pictures/row-{number}.svg" in text
        picture = ET.parse(tmp_path / "pictures" / f"row-{number}.svg")
        assert len(picture.findall(".//{*}title")) == 4


def test_a_log_line_is_put_on_the_traces_clock() -> None:
    line = '07:09:18.689 INFO    agent[a1] restored job=d_j epoch=2 why="a \\"b\\" c" seq=1'
    entry = parse(line, "a1", 7 * 3600 + 9 * 60 + 10)
    assert entry is not None
    assert (entry.key, round(entry.at_s, 3), entry.number("epoch")) == ("restored", 8.689, 2)
    assert entry.facts["why"] == 'a "b" c'
    assert parse("a line of a traceback", "a1", 0.0) is None


def test_a_run_over_midnight_has_one_clock() -> None:
    entry = parse("00:00:05.000 INFO    agent restored job=d_j", "a1", 24 * 3600.0 - 5)
    assert entry is not None
    assert entry.at_s == pytest.approx(10.0)


def test_the_document_names_every_row() -> None:
    text = (ROOT / "docs" / "faults.md").read_text()
    named = re.findall(r"`([a-z-]+)(…?)`", text)
    for row in all_rows():
        assert any(
            row.name == name or (more and row.name.startswith(name)) for name, more in named
        ), row.name
